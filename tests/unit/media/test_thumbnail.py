"""Thumbnails: WebP of two sizes, never enlarged, that show what the image shows."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imgsearch.media import formats
from imgsearch.media.thumbnail import SIDES, budget_of, enough_for, make_thumbnail, read_thumbnail
from imgsearch.types import DEFAULT_BUDGET, PixelBudget


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from(sorted(SIDES)))
def test_a_thumbnail_has_the_shape_of_its_image_and_is_not_larger(width: int, height: int, size: str) -> None:
    """Its long side is that of its size, or the image's where that is smaller."""
    pixels = np.full((height, width, 3), (200, 40, 60), np.uint8)
    found = read_thumbnail(make_thumbnail(pixels, size))
    long = min(SIDES[size], max(width, height))
    assert max(found.shape[:2]) == long
    scale = long / max(width, height)
    assert abs(found.shape[0] - height * scale) <= 1
    assert abs(found.shape[1] - width * scale) <= 1
    assert np.abs(found.astype(int) - (200, 40, 60)).max() <= 12


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 2500), st.integers(1, 2500), st.sampled_from(["JPEG", "PNG"]))
def test_what_the_decoder_leaves_has_the_detail_of_a_thumbnail(width: int, height: int, format: str) -> None:
    """However far the decoder may reduce an image, its long side is the thumbnail's or its own."""
    if max(width, height) > 200 * min(width, height):
        return
    data = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(data, format)
    for size, side in SIDES.items():
        data.seek(0)
        (picture,) = formats.load_pictures(data, f"a.{format.lower()}", budget_of(size))
        assert max(picture.pixels.shape[:2]) >= min(side, width if width > height else height)


def test_the_default_budget_leaves_enough_for_small_thumbnails_only() -> None:
    """What is decoded for the model makes a small thumbnail, and not a large one."""
    assert enough_for("s", DEFAULT_BUDGET)
    assert not enough_for("s", PixelBudget(1024, 4096))
    assert not enough_for("l", DEFAULT_BUDGET)


def test_a_thumbnail_holds_nothing_of_the_file_but_its_look(tmp_path: Path) -> None:
    """Neither place nor camera leaves with it."""
    exif = Image.Exif()
    exif[0x010F] = "Maker of cameras"
    Image.new("RGB", (400, 300), "blue").save(tmp_path / "a.jpg", exif=exif, comment=b"a comment")
    with open(tmp_path / "a.jpg", "rb") as stream:
        (picture,) = formats.load_pictures(stream, "a.jpg", budget_of("s"))
    data = make_thumbnail(picture.pixels, "s")
    assert data[:4] == b"RIFF"
    assert data[8:12] == b"WEBP"
    assert b"Maker" not in data
    assert b"EXIF" not in data


@pytest.mark.parametrize("data", [b"", b"RIFF", b"not an image at all", b"RIFF\x10\0\0\0WEBPVP8 \0\0\0\0"])
def test_what_is_no_thumbnail_is_refused(data: bytes) -> None:
    """That is a ValueError, whatever the decoder makes of it."""
    with pytest.raises(ValueError, match="thumbnail"):
        read_thumbnail(data)
