"""Thumbnails: decoded images made small and written as WebP, and read again."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from imgsearch.types import MIN_PIXELS, RGB, PixelBudget

if TYPE_CHECKING:
    from PIL import Image

SIDES = {"s": 320, "l": 1600}
"""Size → pixels of a thumbnail's long side: "s" for grids, "l" to look at one image."""
_QUALITY = 80
# Method 4 is Pillow's default: it takes twice as long as 2, and saves 5 %. A large one is waited for, so it takes 0:
# half the time of 2 for 10 % more bytes.
_METHOD = {"s": 2, "l": 0}


def budget_of(size: str) -> PixelBudget:
    """Return the pixel budget with which an image is to be decoded for a thumbnail: all detail that it can show.

    Decoders leave at least four times the budget's pixels, and so a long side of twice the root of it.
    """
    return PixelBudget(min(MIN_PIXELS, (SIDES[size] // 2) ** 2), (SIDES[size] // 2) ** 2)


def enough_for(size: str, budget: PixelBudget) -> bool:
    """Whether what a decoder leaves of any image with ``budget`` has the detail of a thumbnail."""
    return budget.max_pixels >= budget_of(size).max_pixels


def make_thumbnail(pixels: RGB, size: str) -> bytes:
    """Return an upright image (height, width, 3) uint8 in sRGB as WebP, its long side that of a size in SIDES.

    A smaller image is not enlarged. Without metadata: neither place nor camera leaves with it.
    """
    from PIL import Image

    image: Image.Image = Image.fromarray(np.ascontiguousarray(pixels))
    side = SIDES[size]
    if max(image.size) > side:
        scale = side / max(image.size)
        to = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(to, Image.Resampling.LANCZOS, reducing_gap=2.0)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=_QUALITY, method=_METHOD[size])
    return out.getvalue()


def read_thumbnail(data: bytes) -> RGB:
    """Return the pixels (height, width, 3) uint8 of what ``make_thumbnail`` made. ValueError for anything else."""
    from PIL import Image, WebPImagePlugin

    try:
        with WebPImagePlugin.WebPImageFile(io.BytesIO(data)) as image:
            if max(image.size) > max(SIDES.values()):
                raise ValueError("too large for a thumbnail")
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError("not a thumbnail") from error
