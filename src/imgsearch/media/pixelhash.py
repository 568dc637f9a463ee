"""What is kept of an image's pixels to find it again: difference hashes that can be turned, and a checksum.

A difference hash says of an image shrunk to 16 x 16 whether each pixel is darker than its neighbour. The two that
imagehash calls dhash and dhash_vertical, and the two that say "brighter", hold those of all eight orientations.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imgsearch.types import RGB, PixelHash

if TYPE_CHECKING:
    # The others import it on use: a search compares hashes and has no pixels.
    from PIL import Image

SIDE = 16
BITS = 2 * SIDE * SIDE
"""Bits of a code: of the two hashes of one orientation."""
_REDUCED = 8 * SIDE
"""Before it is shrunk, an image is brought down to sides of at least so many pixels."""
_WORDS = 1024
Bits = NDArray[np.uint8]
"""Hashes as they are stored: (n, 128), the bytes of ``PixelHash.bits``."""
Codes = NDArray[np.uint8]
"""Hashes of one orientation: (n, 64)."""

ORIENTATIONS = (
    "upright",
    "mirrored",
    "rotated by 180°",
    "mirrored",
    "rotated by 270°",
    "mirrored",
    "rotated by 90°",
    "mirrored",
)
"""What somebody has done to an image, clockwise, whose code is now the one that the original has in that place."""


def pixel_hash(pixels: RGB) -> PixelHash:
    """Return the hashes and the checksum of an upright image, (height, width, 3) uint8."""
    return PixelHash(difference_bits(reduced(pixels)), checksum(pixels))


def reduced(pixels: RGB) -> Image.Image:
    """Return an image in grey, of which rows are left out and columns averaged as long as 128 of either are left.

    To shrink all of a large image takes ten times as long.
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels[:: max(1, len(pixels) // _REDUCED)])).convert("L")
    across = image.width // _REDUCED
    return image.reduce((across, 1)) if across > 1 else image


def checksum(pixels: RGB) -> int:
    """Return a number of 32 bits that changes with any pixel: a crc32 of sums over the pixels, which are quicker."""
    numbers = np.ascontiguousarray(pixels).reshape(-1)
    whole = len(numbers) // (8 * _WORDS) * (8 * _WORDS)
    words = numbers[:whole].view(np.uint64).reshape(-1, _WORDS)
    parts = np.bitwise_xor.reduce(words, axis=0), words.sum(axis=1), numbers[whole:]
    return zlib.crc32(b"".join(part.tobytes() for part in parts))


def difference_bits(image: Image.Image) -> bytes:
    """Return the difference hashes of an image in mode RGB or L: 128 bytes, that is 4 times 16 x 16 bits.

    They say where the pixel to the right is brighter, that below, where it is darker, and that below.
    """
    grey = image.convert("L")
    from PIL import Image

    across = np.asarray(grey.resize((SIDE + 1, SIDE), Image.Resampling.LANCZOS))
    down = np.asarray(grey.resize((SIDE, SIDE + 1), Image.Resampling.LANCZOS))
    maps = (
        across[:, 1:] > across[:, :-1],
        down[1:] > down[:-1],
        across[:, 1:] < across[:, :-1],
        down[1:] < down[:-1],
    )
    return np.packbits(np.stack(maps)).tobytes()


NEAR = 0.12
"""Of the neighbours that differ in an image, the share that may be another in a version of it."""
LEAST_TEXTURE = BITS // 8
"""Images with fewer neighbours that differ are too plain to be told apart by these."""


def codes(bits: Bits, orientation: int = 0) -> Codes:
    """Return (n, 64): the hashes that images, known by theirs, would have in one of ORIENTATIONS."""
    if orientation == 0:
        return np.ascontiguousarray(bits[:, : BITS // 8])
    maps = list(np.unpackbits(bits, axis=1).reshape(-1, 4, SIDE, SIDE).swapaxes(0, 1))
    for step in _STEPS[orientation]:
        maps = step(maps)
    turned = np.stack(maps[:2], axis=1).reshape(len(bits), BITS)
    return np.ascontiguousarray(np.packbits(turned, axis=1))


_Maps = list[NDArray[np.uint8]]
"""Where pixels are brighter than their neighbours: to the right, below, to the left, above; (n, 16, 16) each."""


def _mirrored(maps: _Maps) -> _Maps:
    right, below, left, above = (some[:, :, ::-1] for some in maps)
    return [left, below, right, above]


def _transposed(maps: _Maps) -> _Maps:
    right, below, left, above = (some.swapaxes(1, 2) for some in maps)
    return [below, right, above, left]


_QUARTER = (_mirrored, _transposed)
_STEPS: tuple[tuple[Callable[[_Maps], _Maps], ...], ...] = (
    (),
    (_mirrored,),
    _QUARTER * 2,
    (*_QUARTER * 2, _mirrored),
    _QUARTER,
    (_transposed,),
    _QUARTER * 3,
    (*_QUARTER * 2, _transposed),
)


def distances(some: Codes, others: Codes) -> NDArray[np.int64]:
    """Return (n,) in how many of 512 bits codes differ from others, one by one."""
    different = np.bitwise_xor(some, others)
    return np.asarray(np.bitwise_count(different.view(np.uint64)).sum(axis=1, dtype=np.int64))


def texture(bits: Bits) -> NDArray[np.int64]:
    """Return (n,) how many of 512 neighbours differ at all: 0 for an image of one colour."""
    return np.asarray(
        np.bitwise_count(np.ascontiguousarray(bits).view(np.uint64)).sum(axis=1, dtype=np.int64)
    )


def are_near(
    found: NDArray[np.int64], some: NDArray[np.int64], others: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return whether images are versions of others, by the distances of their codes and the textures of both."""
    return (found <= NEAR * np.maximum(some, others)) & (np.minimum(some, others) >= LEAST_TEXTURE)


def near_pairs(bits: Bits) -> dict[tuple[int, int], int]:
    """Return which of a few hundred images are versions of each other: (row, later row) to an orientation.

    It is the one in which the first is nearest to the second.
    """
    textures, upright = texture(bits), codes(bits).view(np.uint64)
    best = np.full((len(bits), len(bits)), 2 * BITS)
    turned = np.zeros(best.shape, np.int64)
    for number in range(len(ORIENTATIONS)):
        other = codes(bits, number).view(np.uint64)
        found = np.bitwise_count(other[:, None] ^ upright).sum(axis=2, dtype=np.int64)
        turned[found < best] = number
        best = np.minimum(best, found)
    near = np.triu(are_near(best, textures[:, None], textures), 1)
    return {(int(one), int(two)): int(turned[one, two]) for one, two in np.argwhere(near)}
