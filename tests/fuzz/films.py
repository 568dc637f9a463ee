"""Films of every container, damaged: they have frames or a reason, in time and in memory."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from fuzz.decoders import damaged
from imgsearch.errors import PictureError
from imgsearch.media.documents.contract import DocumentOptions, Place
from imgsearch.media.documents.film import open_reader
from imgsearch.media.live_photo import why_part
from imgsearch.types import DEFAULT_BUDGET
from support.films import WRITERS, film, scenes
from support.pictures import encode, scene

_REASONS = {
    "corrupt",
    "empty file",
    "not an image",
    "unsupported",
    "too many pixels",
    "aspect ratio over 200",
    "takes too long",
    "out of memory",
}


@cache
def whole(number: int) -> bytes:
    """Return a small film in one of the ways."""
    _, container, codec, pixels = WRITERS[number]
    return film(scenes(3, 7, (128, 96)), container, codec, pixels, keyframes=5)


@cache
def still() -> bytes:
    """Return a photo that the film could be part of."""
    return encode(scene(1, (48, 40)), ".jpg")


def somewhere(random: random.Random, data: bytes) -> bytes:
    """Return bytes damaged near their start, near their end, where many indexes are, or in the middle."""
    at = random.choice((0, 0, random.randrange(len(data)), max(0, len(data) - 1500)))
    return data[:at] + damaged(random, data[at:])


def case(random: random.Random, folder: Path) -> None:
    """Have one damaged film read: all frames that stand for it, any moment of it, its tags."""
    data = somewhere(random, whole(random.randrange(len(WRITERS))))
    why_part(io.BytesIO(data), io.BytesIO(still()), "still.jpg")
    with refusals():
        reader = open_reader(io.BytesIO(data), "film", DocumentOptions())
        reader.metadata()
        for place in [*reader.places, Place(random.randrange(5000))]:
            with refusals():
                picture = reader.picture(place, DEFAULT_BUDGET)
                assert picture.pixels.ndim == 3
                assert picture.width * picture.height
        reader.close()


@contextmanager
def refusals() -> Iterator[None]:
    """Take what may be said of a damaged film; raise AssertionError for any other reason."""
    try:
        yield
    except PictureError as error:
        if error.reason not in _REASONS:
            raise AssertionError(f"it said {error}") from error
