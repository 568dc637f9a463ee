"""Siblings in many formats: light drawings, alpha that is none, first frames that are empty, ends that are missing."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from support.pictures import encode, quadrants
from support.siblings import QUARTERS, Drawn, Right, fields_of
from support.siblings.other_files import GREY, bmp, jp2, little, psd, space, tga
from support.tagged import GREYS, chunk, fields, pack, packed, png, tiff

SEEN = Right(differ=60)
OR_CORRUPT = Right(tolerance=16, or_skipped="corrupt")


def light_drawing_on_transparency() -> Drawn:
    """Draw white, on nothing, in the upper half."""
    upper = np.zeros((48, 64), np.uint8)
    upper[:24] = 255
    white = np.full((48, 64), 255, np.uint8)
    rgba = Image.fromarray(np.dstack([white] * 3 + [upper]))
    la = Image.merge("LA", [Image.fromarray(white), Image.fromarray(upper)])
    for extension, options in (
        (".webp", {"quality": 80}),
        (".avif", {}),
        (".heic", {}),
        (".png", {}),
        (".tiff", {}),
        (".jp2", {}),
        (".tga", {"compression": "tga_rle"}),
    ):
        yield f"white-rgba{extension}", encode(rgba, extension, **options), SEEN
    for extension in (".png", ".tiff", ".jp2", ".tga"):
        yield f"white-grey{extension}", encode(la, extension), SEEN
    yield "white-palette.gif", _gif(upper), SEEN
    wide = upper.astype(np.uint32) * 257
    yield "white-grey16.png", png(np.dstack([wide * 0 + 65535, wide]), 16, 4), SEEN
    yield (
        "white-rgba16-associated.tif",
        tiff(({258: [16] * 4, 262: 2, 277: 4, 338: 1}, pack(np.dstack([wide] * 4).reshape(48, -1), 16))),
        SEEN,
    )
    yield (
        "nearly-white-half-covering.png",
        encode(Image.fromarray(np.dstack([white - 15] * 3 + [upper // 2 + upper % 2])), ".png"),
        SEEN,
    )
    yield (
        "white-over-colours-that-are-clear.png",
        encode(
            Image.fromarray(
                np.dstack([np.where(upper[..., None] > 0, 255, fields()), upper]).astype(np.uint8)
            ),
            ".png",
        ),
        SEEN,
    )
    yield (
        "white-in-photoshop.psd",
        psd([white, white, white, upper], 3, layers=struct.pack(">Ih", 2, -1)),
        SEEN,
    )
    yield "white-in-a-key.png", png(upper // 255, 1, 0, before=chunk(b"tRNS", b"\0\0")), SEEN
    first = Image.fromarray(np.dstack([white] * 3 + [white * 0]))
    yield "white-in-an-animation.png", encode(first, ".png", save_all=True, append_images=[rgba]), SEEN


def _gif(upper: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(upper // 255, "P")
    image.putpalette([0, 0, 255, 255, 255, 255])
    return encode(image, ".gif", transparency=0)


def alpha_that_is_none() -> Drawn:
    """Draw files in which what looks like alpha is filler, a selection, or nothing in particular."""
    rgb = fields()
    zeros, full = np.zeros((48, 64), np.uint8), np.full((48, 64), 255, np.uint8)
    bgra = np.dstack([rgb[..., ::-1], zeros])
    some = np.dstack([rgb[..., ::-1], fields((0, 50, 100, 200))])
    yield "tga32-no-alpha-bits-of-anything.tga", tga(some.tobytes(), 2, 32), QUARTERS
    runs = b"".join(b"\x9f" + bgra[row, column].tobytes() for row in range(48) for column in (0, 32))
    yield "tga32-runs-of-zeros.tga", tga(runs, 10, 32, 0x28), QUARTERS
    footer = struct.pack("<II", 18 + bgra.size, 0) + b"TRUEVISION-XFILE.\0"
    for kind in (0, 1, 2):
        area = little(495, 2) + bytes(492) + bytes([kind])
        yield (
            f"tga32-attributes-of-type-{kind}.tga",
            tga(some.tobytes(), 2, 32, 0x28) + area + footer,
            QUARTERS,
        )
    below = bgra[::-1].tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    yield "bmp32-header-124-zeros.bmp", bmp(below, 32, 3, masks=masks + b"sRGB" + bytes(64)), QUARTERS
    yield "bmp32-header-56-zeros.bmp", _bmp56(below, masks), QUARTERS
    yield "bmp32-fields-zeros.bmp", bmp(below, 32, 3, masks=masks[:12]), QUARTERS
    planes = list(np.moveaxis(rgb, 2, 0))
    yield "psd-selection-of-zeros-runs.psd", psd([*planes, zeros], 3, runs=True), QUARTERS
    yield "psd-selection-with-layers.psd", psd([*planes, zeros], 3, layers=struct.pack(">Ih", 2, 1)), QUARTERS
    four = pack(np.dstack([rgb, zeros]).reshape(48, -1), 8)
    yield (
        "tiff-fourth-unspecified-deflate.tif",
        tiff(({258: [8] * 4, 259: 8, 262: 2, 277: 4, 338: 0}, zlib.compress(four))),
        QUARTERS,
    )
    yield (
        "tiff-fourth-unsaid-lzw.tif",
        tiff(({258: [8] * 4, 259: 5, 262: 2, 277: 4}, packed(four, "tiff_lzw"))),
        QUARTERS,
    )
    grey = pack(np.dstack([fields(GREYS), zeros]).reshape(48, -1), 8)
    yield "tiff-grey-second-unspecified.tif", tiff(({258: [8] * 2, 262: 1, 277: 2, 338: 0}, grey)), GREY
    yield "tiff-grey-second-unsaid.tif", tiff(({258: [8] * 2, 262: 1, 277: 2}, grey)), GREY
    yield (
        "jp2-fourth-undefined.jp2",
        jp2(encode(Image.fromarray(np.dstack([rgb, full])), ".j2k"), space(16), components=4),
        QUARTERS,
    )


def _bmp56(rows: bytes, masks: bytes) -> bytes:
    """Return a BMP with a header of 56 bytes, as Photoshop writes it."""
    header = little(56) + struct.pack("<iiHHIIiiII", 64, 48, 1, 32, 3, len(rows), 0, 0, 0, 0) + masks
    return b"BM" + little(14 + 56 + len(rows)) + bytes(4) + little(70) + header + rows


def first_frame_is_empty() -> Drawn:
    """Draw animations that begin with nothing."""
    image = quadrants((64, 48))
    black, white = Image.new("RGB", (64, 48)), Image.new("RGB", (64, 48), "white")
    dark = Image.fromarray((np.asarray(image) // 12).astype(np.uint8))
    clear = Image.new("RGBA", (64, 48), (0, 0, 0, 0))

    def moving(extension: str, *frames: Image.Image, **options: Any) -> bytes:
        first, *rest = frames
        return encode(first, extension, save_all=True, append_images=rest, duration=100, **options)

    webp: dict[str, Any] = {"lossless": True}
    for extension, options in ((".gif", {}), (".webp", webp), (".png", {}), (".avif", {"quality": 95})):
        right = Right(tolerance=12)
        yield (
            f"black-black-picture{extension}",
            moving(extension, black, Image.new("RGB", (64, 48), (3, 2, 1)), image, **options),
            right,
        )
        yield f"white-black-picture{extension}", moving(extension, white, black, image, **options), right
        yield f"dark-fade-in{extension}", moving(extension, dark, image, **options), right
        nothing = fields_of(((0, 0, 0),) * 4)
        yield (
            f"black-only{extension}",
            moving(extension, black, Image.new("RGB", (64, 48), (4, 4, 4)), **options),
            nothing,
        )
    for extension, options in ((".gif", {"disposal": 2}), (".webp", webp), (".avif", {"quality": 95})):
        yield (
            f"clear-picture{extension}",
            moving(extension, clear, image.convert("RGBA"), **options),
            Right(tolerance=12),
        )
    yield "hidden-black-then-picture.png", _hidden(black, image), QUARTERS
    yield "hidden-picture-then-black.png", _hidden(image, black), Right(or_skipped="corrupt")
    part = Image.new("RGB", (64, 48))
    part.paste(image.crop((0, 0, 64, 24)), (0, 0))
    yield "picture-in-two-parts.gif", moving(".gif", black, part, image), QUARTERS


def _hidden(still: Image.Image, frame: Image.Image) -> bytes:
    """Return an APNG whose still image is no frame, and that has one frame."""
    data = [
        zlib.compress(b"".join(b"\0" + row.tobytes() for row in np.asarray(image)))
        for image in (still, frame)
    ]
    control = struct.pack(">IIIIIHHBB", 0, 64, 48, 0, 0, 1, 10, 0, 0)
    after = chunk(b"fcTL", control) + chunk(b"fdAT", _big(1) + data[1])
    return png(fields(), pixels=data[0], before=chunk(b"acTL", struct.pack(">II", 1, 0)), after=after)


def _big(value: int) -> bytes:
    return value.to_bytes(4, "big")


def end_is_missing() -> Drawn:
    """Draw files of every format that lack some of their end, or have something behind it."""
    image = quadrants((64, 48))
    for extension, options in (
        (".webp", {"lossless": True}),
        (".gif", {}),
        (".bmp", {}),
        (".tga", {}),
        (".ppm", {}),
        (".jp2", {}),
        (".j2k", {}),
        (".heic", {"quality": 95}),
        (".avif", {"quality": 95}),
        (".tiff", {}),
        (".png", {}),
    ):
        data = encode(image, extension, **options)
        yield f"one-byte-lost{extension}", data[:-1], OR_CORRUPT
        yield f"twenty-bytes-lost{extension}", data[:-20], OR_CORRUPT
        yield f"half-lost{extension}", data[: len(data) // 2], Right(pages=(), skipped="corrupt")
        if extension not in (".tiff",):
            yield f"zeros-behind{extension}", data + bytes(999), Right(tolerance=16)
            yield f"text-behind{extension}", data + b"words, and more of them" * 40, Right(tolerance=16)
    for way in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        data = encode(image, ".tiff", compression=way)
        head = struct.unpack_from("<I", data, 4)[0]
        yield f"{way}-zeros-behind.tif", data + bytes(999), Right(tolerance=16)
        yield f"{way}-directory-lost.tif", data[:head], Right(pages=(), skipped="corrupt")
    rows = fields()
    yield (
        "png-last-rows-lost.png",
        png(rows, pixels=zlib.compress(rows_of(rows))[:-30]),
        Right(or_skipped="corrupt"),
    )
    out = io.BytesIO()
    image.save(out, "WEBP", lossless=True)
    longer = bytearray(out.getvalue())
    struct.pack_into("<I", longer, 4, len(longer) + 500)
    yield "webp-says-it-is-longer.webp", bytes(longer), Right(or_skipped="corrupt")


def rows_of(values: NDArray[Any]) -> bytes:
    """Return the rows of a PNG, with a filter each."""
    return b"".join(b"\0" + row.tobytes() for row in values)
