"""Pictures of every format, damaged: a decoder gives a picture or a reason, in time and in memory."""

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path

from PIL import Image

from imgsearch.errors import PictureError
from imgsearch.media.formats import check_picture, load_pictures
from imgsearch.types import DEFAULT_BUDGET
from support.pictures import encode, scene

_WAYS: tuple[tuple[str, str, dict[str, object]], ...] = (
    (".jpg", "RGB", {}),
    (".jpg", "RGB", {"progressive": True}),
    (".jpg", "CMYK", {}),
    (".png", "RGBA", {}),
    (".png", "P", {}),
    (".png", "I;16", {}),
    (".gif", "P", {}),
    (".webp", "RGB", {}),
    (".webp", "RGBA", {"lossless": True}),
    (".tif", "RGB", {"compression": "tiff_lzw"}),
    (".tif", "F", {}),
    (".tif", "1", {"compression": "group4"}),
    (".tif", "RGB", {"compression": "jpeg"}),
    (".bmp", "RGB", {}),
    (".bmp", "P", {}),
    (".jp2", "RGB", {}),
    (".ppm", "RGB", {}),
    (".pgm", "L", {}),
    (".tga", "RGBA", {"compression": "tga_rle"}),
    (".avif", "RGB", {}),
    (".heic", "RGB", {}),
    *((extension, "RGB", {"save_all": True}) for extension in (".gif", ".webp", ".png", ".avif", ".tif")),
)
_LARGE = (
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\x40\0",
    b"\0\x40\0\0",
    b"\x36\x3e",
    b"\x3e\x36",
    b"\0\0",
    b"\0\1",
)
"""What a number that is misread often is: the largest ones, sides of large pictures, nothing."""


@cache
def whole(number: int) -> tuple[str, bytes]:
    """Return extension and bytes of a small picture in one of the ways."""
    extension, mode, options = _WAYS[number]
    image = scene(number, (48, 40))
    image = image.convert("L").convert(mode) if mode in ("I;16", "F") else image.convert(mode)
    if options.get("save_all"):  # an animation that begins black, or pages
        options = {**options, "append_images": [image, scene(number + 1, (48, 40))]}
        image = Image.new("RGB", image.size)
    return extension, encode(image, extension, **options)


def damaged(random: random.Random, data: bytes) -> bytes:
    """Return bytes with a few places changed, most of them near the start, where headers are."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        near = random.random() < 0.7
        at = random.randrange(min(len(changed), 256 if near else len(changed)) or 1)
        match random.randrange(6):
            case 0:
                changed[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                changed[at : at + 1] = bytes(
                    [(changed[at] if at < len(changed) else 0) ^ 1 << random.randrange(8)]
                )
            case 2:
                number = random.choice(_LARGE)
                changed[at : at + len(number)] = number
            case 3:
                del changed[at : at + random.choice((1, 4, 100))]
            case 4:
                stretch = changed[at : at + random.choice((1, 8, 64))]
                changed[at:at] = stretch * random.choice((1, 2, 100))
            case 5:
                del changed[random.randrange(len(changed) or 1) :]
    return bytes(changed)


def case(random: random.Random, folder: Path) -> None:
    """Have one damaged picture checked and decoded, from memory or from a file."""
    extension, data = whole(random.randrange(len(_WAYS)))
    data = damaged(random, data)
    path = folder / f"a{extension}"
    path.write_bytes(data)
    for read in (check_picture, lambda stream, name: list(load_pictures(stream, name, DEFAULT_BUDGET))):
        try:
            if random.random() < 0.5:
                read(io.BytesIO(data), path.name)
            else:
                with open(path, "rb") as stream:
                    read(stream, path.name)
        except PictureError:
            pass
