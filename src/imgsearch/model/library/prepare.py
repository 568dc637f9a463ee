"""Makes an image ready for a model that scales images itself: as it is, or smaller where the model can't tell."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from imgsearch.errors import InputError, PictureError
from imgsearch.types import MAX_ASPECT, RGB, PixelBudget

_PLENTY = 4
"""Times the pixels that the model can make use of: each side twice, so that its own scaling finds what it needs."""
_WORTH_IT = 1.5


def prepare_image(image: RGB, budget: PixelBudget) -> RGB:
    """Return a (height, width, 3) uint8 image, smaller where it has far more pixels than the model makes use of.

    Many threads may call this at once. Raises InputError for another shape or dtype, and PictureError for an empty
    image or an aspect ratio over 200.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"an image must be (height, width, 3) uint8, not {image.shape} {image.dtype}")
    height, width = image.shape[:2]
    if height < 1 or width < 1:
        raise PictureError("empty image", f"{width}x{height}")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise PictureError(f"aspect ratio over {MAX_ASPECT}", f"{width}x{height}")
    if height * width <= _PLENTY * _WORTH_IT * budget.max_pixels:
        return image
    scale = math.sqrt(_PLENTY * budget.max_pixels / (height * width))
    size = math.ceil(width * scale), math.ceil(height * scale)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
