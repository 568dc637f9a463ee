"""Difference hashes: imagehash's bits, and what they tell of an image that was turned, scaled or saved again."""

from __future__ import annotations

import io

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from imgsearch.media.pixelhash import (
    ORIENTATIONS,
    checksum,
    codes,
    difference_bits,
    distances,
    pixel_hash,
    texture,
)


def scene(seed: int, height: int = 90, width: int = 120) -> NDArray[np.uint8]:
    """Draw an image of soft shapes, as a photo has them."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    return np.array(small.resize((width, height), Image.Resampling.BICUBIC))


def bits(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image's hashes as one row."""
    return np.frombuffer(pixel_hash(np.ascontiguousarray(pixels)).bits, np.uint8)[None]


TURNS = {
    "upright": lambda image: image,
    "mirrored": lambda image: image[:, ::-1],
    "rotated by 90°": lambda image: np.rot90(image, -1),
    "rotated by 180°": lambda image: np.rot90(image, 2),
    "rotated by 270°": lambda image: np.rot90(image, 1),
}


@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 200))
def test_the_hashes_are_those_of_imagehash(seed: int, height: int, width: int) -> None:
    """The first two are bit for bit imagehash's dhash and dhash_vertical of the same pixels."""
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))
    found = difference_bits(image)
    assert found[:32].hex() == str(imagehash.dhash(image, 16))
    assert found[32:64].hex() == str(imagehash.dhash_vertical(image, 16))


def test_a_large_image_is_hashed_as_a_part_of_it() -> None:
    """Of a large image some rows are left out and columns averaged; the hash stays near that of all its pixels."""
    pixels = scene(1, 600, 900)
    part = Image.fromarray(pixels[::4]).convert("L").reduce((7, 1))
    assert pixel_hash(pixels).bits[:32].hex() == str(imagehash.dhash(part, 16))
    every = np.frombuffer(difference_bits(Image.fromarray(pixels)), np.uint8)[None]
    assert distances(codes(every), codes(bits(pixels)))[0] <= 16


@pytest.mark.parametrize("named", TURNS)
def test_a_turned_image_has_the_code_of_the_original_in_that_orientation(named: str) -> None:
    """What was rotated or mirrored is found, nearly exactly, among the eight codes of the original."""
    original, turned = scene(2), bits(TURNS[named](scene(2)))
    found = {
        ORIENTATIONS[number]: int(distances(codes(bits(original), number), codes(turned))[0])
        for number in (ORIENTATIONS.index(named), 1, 0)
    }
    assert found[named] <= 4
    assert named == "upright" or found["upright"] > 100


def test_all_eight_orientations_are_found() -> None:
    """Each of the eight ways to lay an image is the code of exactly one number, also where neighbours are equal."""
    original = scene(3)
    original[40:, :70] = 255
    ways = [way for flip in (original, original[:, ::-1]) for way in (np.rot90(flip, n) for n in range(4))]
    near = [
        [number for number in range(8) if distances(codes(bits(original), number), codes(bits(way)))[0] <= 16]
        for way in ways
    ]
    assert sorted(near) == [[number] for number in range(8)]


def test_scaled_and_saved_again_it_stays_near() -> None:
    """A quarter of the size, or a JPEG of low quality, differs in few bits; another image in many."""
    image = Image.fromarray(scene(4, 600, 800))
    saved = io.BytesIO()
    image.save(saved, "JPEG", quality=40)
    original = codes(bits(np.asarray(image)))
    for other in (image.resize((200, 150)), Image.open(saved)):
        assert distances(original, codes(bits(np.asarray(other))))[0] <= 24
    assert distances(original, codes(bits(scene(5))))[0] > 100


def test_a_plain_colour_has_no_texture() -> None:
    """An image of one colour has no neighbours that differ, and its code is nothing but zeros in every orientation."""
    plain = bits(np.full((50, 60, 3), 77, np.uint8))
    assert texture(plain)[0] == 0
    assert not any(codes(plain, number).any() for number in range(8))


@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.integers(1, 90))
def test_the_checksum_is_of_every_pixel(seed: int, height: int, width: int) -> None:
    """An image of which one pixel, or the order of the rows or columns, is another has another checksum."""
    rng = np.random.default_rng(seed)
    one = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert checksum(one) == checksum(one.copy())
    other = one.copy()
    other[rng.integers(height), rng.integers(width), rng.integers(3)] ^= np.uint8(1 << rng.integers(8))
    changed = [other, *(turned for turned in (one[::-1], one[:, ::-1]) if (turned != one).any())]
    assert checksum(one) not in {checksum(image) for image in changed}
