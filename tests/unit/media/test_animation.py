"""Animations: the first frame stands for one, and the most telling where that is empty; the work is bounded."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from imgsearch.media.decoders import animation
from imgsearch.media.decoders.animation import most_telling
from support.decoded import load
from support.pictures import QUADRANTS, encode, quadrants, scene

SIZE = (96, 64)
BLACK, WHITE = Image.new("RGB", SIZE), Image.new("RGB", SIZE, "white")
KINDS = (".gif", ".webp", ".png", ".avif")
_LOSSLESS = {".webp": {"lossless": True}, ".avif": {"quality": 100}}


def animated(extension: str, frames: Sequence[Image.Image]) -> bytes:
    """Return an animation, as faithful as its format is."""
    options = _LOSSLESS.get(extension, {})
    return encode(frames[0], extension, save_all=True, append_images=frames[1:], duration=50, **options)


def faded(share: float) -> Image.Image:
    """Return quadrants() as a fade-in shows them at a share of its time."""
    return ImageEnhance.Brightness(quadrants(SIZE)).enhance(share)


def centres(data: bytes) -> np.ndarray:
    """Return the colours of the quarters of what is seen of a file."""
    pixels = load(data).pixels
    high, wide = pixels.shape[:2]
    return pixels[
        [high // 4, high // 4, 3 * high // 4, 3 * high // 4], [wide // 4, 3 * wide // 4] * 2
    ].astype(int)


@pytest.mark.parametrize("extension", KINDS)
@pytest.mark.parametrize("empty", [BLACK, WHITE], ids=["black", "white"])
def test_behind_an_empty_frame_the_most_telling_is_seen(extension: str, empty: Image.Image) -> None:
    """Of a fade-in the frame in full light is seen, not the first that is no longer black, nor the last."""
    frames = [empty, faded(0.25), faded(0.6), faded(1), faded(0.3)]
    assert np.abs(centres(animated(extension, frames)) - QUADRANTS).max() <= 24


@pytest.mark.parametrize("extension", KINDS)
def test_a_first_frame_that_shows_something_is_seen_to_the_bit(extension: str) -> None:
    """A dim frame is not given up for a brighter one, and its pixels are those of the still image."""
    first = faded(0.4)
    data = animated(extension, [first, quadrants(SIZE), scene(1, SIZE)])
    with Image.open(io.BytesIO(data)) as image:
        own = np.asarray(image.convert("RGB"))
    assert np.array_equal(load(data).pixels, own)


@pytest.mark.parametrize("extension", KINDS)
def test_an_animation_of_nothing_is_its_first_frame(extension: str) -> None:
    """Where no frame shows anything the first is seen, and nothing fails."""
    data = animated(
        extension, [BLACK, Image.new("RGB", SIZE, (9, 9, 9)), Image.new("RGB", SIZE, (18, 18, 18))]
    )
    assert centres(data).max() <= 2


def opened(frames: Sequence[Image.Image]) -> Image.Image:
    """Return a loaded GIF of some frames."""
    image = Image.open(io.BytesIO(animated(".gif", frames)))
    image.load()
    return image


def choice(frames: Sequence[Image.Image]) -> tuple[int, str]:
    """Return the number and the reason of the frame that stands for some."""
    found = most_telling(opened(frames), lambda frame: frame.convert("RGB"))  # type: ignore[arg-type]
    return found.number, found.reason


def test_the_choice_says_why() -> None:
    """The number of the frame comes with the reason for it."""
    assert choice([quadrants(SIZE)]) == (0, "it is not animated")
    assert choice([quadrants(SIZE), BLACK]) == (0, "the first frame shows something")
    assert choice([BLACK, faded(0.5), quadrants(SIZE)]) == (
        2,
        "the first frame is empty; of 3, this one shows the most",
    )
    assert choice([BLACK, Image.new("RGB", SIZE, (9, 9, 9))]) == (
        0,
        "none of the 2 frames checked shows anything",
    )


def test_no_more_frames_are_looked_at_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither beyond a number of frames nor beyond a number of pixels."""
    grey = [Image.new("RGB", SIZE, (level, level, level)) for level in range(0, 20, 2)]
    monkeypatch.setattr(animation, "MOST_FRAMES", 10)
    assert choice([*grey, quadrants(SIZE)])[0] == 0
    monkeypatch.setattr(animation, "MOST_FRAMES", 11)
    assert choice([*grey, quadrants(SIZE)])[0] == 10
    monkeypatch.setattr(animation, "_MOST_PIXELS", 10 * SIZE[0] * SIZE[1])
    assert choice([*grey, quadrants(SIZE)])[0] == 0


def test_a_damaged_frame_behind_an_empty_one_ends_the_search() -> None:
    """What was found until there is seen; the file is not refused."""
    data = animated(".gif", [BLACK, quadrants(SIZE), scene(1, SIZE), scene(2, SIZE)])
    assert np.abs(centres(data[: len(data) - 400]) - QUADRANTS).max() <= 24
