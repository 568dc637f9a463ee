"""Which of a million images are versions of each other by their difference hashes, without comparing each with each.

The 64 bytes of a code are dealt into 16 bands of four from different places, and images that agree in a whole band are
compared: two codes that differ in at most 15 bits agree in one of them for certain, and those that differ in some more
nearly always, since what differs lies close together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from imgsearch.media.pixelhash import (
    BITS,
    LEAST_TEXTURE,
    ORIENTATIONS,
    Codes,
    are_near,
    codes,
    distances,
    texture,
)

_BANDS = 16
_SAME_BAND = 64
"""Of so many images with the same band, at most, each is compared with the others; more are plain or worn out."""
_AT_ONCE = 1 << 16
Rows = NDArray[np.int64]
Pairs = tuple[Rows, Rows]


def near_pairs(bits: NDArray[np.uint8], advance: Callable[[int], None] = lambda orientations: None) -> Pairs:
    """Return the pairs of rows of ``bits`` (n, 128) that are versions of each other: two (m,), the first rows smaller.

    ``advance`` is called when one of the eight orientations is done. Plain images are near to nothing.
    """
    textures = texture(bits)
    rows = np.flatnonzero(textures >= LEAST_TEXTURE)
    upright = codes(bits)
    bands = _bands(upright[rows])
    orders = [np.argsort(band) for band in bands]
    ordered = [band[order] for band, order in zip(bands, orders, strict=True)]
    found = [np.zeros(0, np.int64)]
    for number in range(len(ORIENTATIONS)):
        turned = _turned(bits, number)
        for band, keys, order in zip(_bands(turned[rows]), ordered, orders, strict=True):
            for some, others in _agreeing(band, keys, order):
                first, second = rows[some], rows[others]
                pairs = first < second if number == 0 else first != second
                first, second = first[pairs], second[pairs]
                apart = distances(turned[first], upright[second])
                near = are_near(apart, textures[first], textures[second])
                low, high = np.minimum(first, second)[near], np.maximum(first, second)[near]
                found.append(low * len(bits) + high)
        found = [np.unique(np.concatenate(found))]
        advance(1)
    return found[0] // max(len(bits), 1), found[0] % max(len(bits), 1)


def _turned(bits: NDArray[np.uint8], orientation: int) -> Codes:
    """Return the codes of many images in an orientation, made of some at a time: making them takes memory."""
    parts = [codes(bits[first : first + _AT_ONCE], orientation) for first in range(0, len(bits), _AT_ONCE)]
    return np.concatenate([np.zeros((0, BITS // 8), np.uint8), *parts])


def _bands(some: Codes) -> NDArray[np.uint32]:
    """Return (16, n): the bands of codes; each has bytes of four places, half of either hash."""
    dealt = some.reshape(len(some), 4, _BANDS).transpose(2, 0, 1)
    return np.ascontiguousarray(dealt).view(np.uint32)[:, :, 0]


def _agreeing(
    band: NDArray[np.uint32], keys: NDArray[np.uint32], order: NDArray[np.int64]
) -> Iterator[tuple[Rows, Rows]]:
    """Yield which rows have a key that stands in ``keys``, sorted, whose rows are ``order``."""
    by_key = np.argsort(band)
    sorted_band = band[by_key]
    start = np.searchsorted(keys, sorted_band, "left")
    count = np.minimum(np.searchsorted(keys, sorted_band, "right") - start, _SAME_BAND)
    for offset in range(_SAME_BAND):
        some = np.flatnonzero(count > offset)
        if not len(some):
            return
        for first in range(0, len(some), _AT_ONCE):
            part = some[first : first + _AT_ONCE]
            yield by_key[part], order[start[part] + offset]
