"""Images that somebody searches by and that are not indexed: decoded, embedded, and forgotten but for the vector."""

from __future__ import annotations

import hashlib
import io
import math
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

from imgsearch.budgets import of_image
from imgsearch.errors import InputError, PictureError, UsageError
from imgsearch.media import formats
from imgsearch.types import MAX_MEGAPIXELS, RGB, PixelBudget, PixelBudgets, Vectors

MOST_BYTES = 64 << 20
MOST_KEPT = 256
"""Vectors of a session; each takes 8 KB at 2,048 dimensions."""
_LEAST = 1 / 4096
_MOST_PIXELS = 40_000_000
"""As many pixels a part's whole image is decoded with, however small the part."""


class Uploads:
    """The vectors of one session's uploads, in memory. To be used from one thread at a time, or with the GIL alone."""

    def __init__(self) -> None:
        """Begin without any."""
        self._vectors: OrderedDict[str, Vectors] = OrderedDict()

    def keep(self, vector: Vectors) -> str:
        """Keep a vector (1, dim); return the token by which a search names it. The one kept longest may go."""
        token = secrets.token_urlsafe(16)
        self._vectors[token] = vector
        while len(self._vectors) > MOST_KEPT:
            self._vectors.popitem(last=False)
        return token

    def vector(self, token: str) -> Vectors:
        """Return a vector that was kept. Raises InputError."""
        found = self._vectors.get(token)
        if found is None:
            raise InputError("the image is no longer in memory; drop it on the page again")
        return found


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of an image that is meant, in fractions of its sides: left, top, width, height."""

    x: float = 0.0
    y: float = 0.0
    width: float = 1.0
    height: float = 1.0

    @staticmethod
    def of(query: Mapping[str, str]) -> Crop:
        """Read it from a query string. Raises UsageError."""
        try:
            found = [
                float(query.get(name, default)) for name, default in (("x", 0), ("y", 0), ("w", 1), ("h", 1))
            ]
        except ValueError as error:
            raise UsageError("x, y, w and h are fractions from 0 to 1") from error
        x, y, width, height = found
        fits = 0 <= x < 1 and 0 <= y < 1 and width >= _LEAST and height >= _LEAST
        if not (all(map(math.isfinite, found)) and fits and x + width <= 1.001 and y + height <= 1.001):
            raise UsageError("x, y, w and h are fractions from 0 to 1")
        return Crop(x, y, width, height)

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole image."""
        return self.width >= 0.999 and self.height >= 0.999

    def of_pixels(self, pixels: RGB) -> RGB:
        """Return the part of an image (h, w, 3), at least one pixel of it."""
        height, width = pixels.shape[:2]
        left, top = min(int(self.x * width), width - 1), min(int(self.y * height), height - 1)
        right = max(left + 1, min(width, round((self.x + self.width) * width)))
        bottom = max(top + 1, min(height, round((self.y + self.height) * height)))
        return pixels[top:bottom, left:right]


@dataclass(frozen=True, slots=True, eq=False)
class Uploaded:
    """An upload that was decoded: what is to be embedded, (h, w, 3) uint8, and the size of the whole image in pixels.

    ``sha256`` is that of the bytes, None for a part of the image; ``budget`` what the model is to see it with.
    """

    pixels: RGB
    width: int
    height: int
    sha256: bytes | None
    budget: PixelBudget


def decode(data: bytes, crop: Crop, budgets: PixelBudgets) -> Uploaded:
    """Decode the first picture of an uploaded file, as files are decoded: by its first bytes, within all limits.

    Raises InputError that says what is wrong with it.
    """
    stream = io.BytesIO(data)
    seen_with = budget = _budget(stream, budgets)
    if not crop.is_whole:
        # Of a part as much detail is wanted as of an image of its own.
        pixels = min(_MOST_PIXELS, round(budget.max_pixels / (crop.width * crop.height)))
        budget = replace(budget, max_pixels=max(budget.max_pixels, pixels))
    try:
        for picture in formats.load_pictures(stream, "", budget, max_megapixels=MAX_MEGAPIXELS):
            part = picture.pixels if crop.is_whole else crop.of_pixels(picture.pixels)
            whole = hashlib.sha256(data).digest() if crop.is_whole else None
            return Uploaded(part, picture.width, picture.height, whole, seen_with)
    except PictureError as error:
        raise InputError(f"this image can't be used: {error}") from error
    raise InputError("this file contains no image")


def _budget(stream: BinaryIO, budgets: PixelBudgets) -> PixelBudget:
    """Return the budget of an image without a name, but for the extension that goes with its first bytes."""
    try:
        name = f".{formats.recognise(stream, '').extensions.split()[0]}"
    except PictureError:
        return budgets.image
    metadata = formats.load_metadata(stream, name)
    return of_image(stream, f"image{name}", metadata, budgets).budget
