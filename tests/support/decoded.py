"""Decodes the bytes of a file for tests, and tells the colours of its four quarters or why there are none."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from imgsearch.errors import PictureError
from imgsearch.media.formats import load_pictures
from imgsearch.types import Picture, PixelBudget

BUDGET = PixelBudget(4096, 57600)


def pages(data: bytes, name: str = "x", budget: PixelBudget = BUDGET, **options: Any) -> list[Picture]:
    """Return all pictures of a file."""
    return list(load_pictures(io.BytesIO(data), name, budget, **options))


def load(data: bytes, name: str = "x", budget: PixelBudget = BUDGET, **options: Any) -> Picture:
    """Return the only picture of a file."""
    [picture] = pages(data, name, budget, **options)
    return picture


def refusal(data: bytes, name: str = "x", **options: Any) -> PictureError:
    """Return the error of a file that has no picture."""
    with pytest.raises(PictureError) as caught:
        pages(data, name, **options)
    return caught.value


def quarters(picture: Picture) -> list[tuple[int, ...]]:
    """Return the mean colours of the middles of the four quarters, row by row."""
    height, width, _ = picture.pixels.shape
    return [
        tuple(
            round(float(value))
            for value in picture.pixels[
                height * (4 * y + 1) // 8 : height * (4 * y + 3) // 8,
                width * (4 * x + 1) // 8 : width * (4 * x + 3) // 8,
            ].mean(axis=(0, 1))
        )
        for y in (0, 1)
        for x in (0, 1)
    ]


def off(picture: Picture, colours: Any) -> int:
    """Return how far the quarters are from what they should be, of 255, at most; a grey is a colour."""
    wanted = [np.broadcast_to(colour, 3) for colour in colours]
    return int(np.abs(np.subtract(quarters(picture), wanted)).max())
