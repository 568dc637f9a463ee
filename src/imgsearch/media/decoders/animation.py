"""Which frame stands for an animation: the first, or the most telling of those behind a first one that is empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageFile

from imgsearch.rgb import eight_bits, flat

MOST_FRAMES = 100
"""Frames that are looked at, the first included: one can only be reached by decoding those before it."""
_MOST_PIXELS = 400_000_000
"""Of all those frames together; about six seconds of a GIF."""
_SAME_COLOUR = 32
"""Channels that differ by no more than this, of 255, from one end of a frame to the other show nothing."""
_SIDE = 64
"""The longer side of the thumbnail by which frames are compared: noise and single pixels vanish in it."""

Seen: TypeAlias = Callable[[Image.Image], Image.Image]
"""Gives a frame as it is seen: RGB, on a ground."""


class Choice(NamedTuple):
    """A loaded frame, its number from 0, and why it is that one."""

    image: Image.Image
    number: int
    reason: str


def most_telling(image: ImageFile.ImageFile, seen: Seen) -> Choice:
    """Return the frame that stands for a loaded image, which may be an animation.

    The first if it shows something: the very ``image`` then. Else, of the frames that follow, the one whose colours
    vary most; if none shows anything, the first. A frame that can't be decoded ends the search.
    """
    if not getattr(image, "is_animated", False):
        return Choice(image, 0, "it is not animated")
    if not _is_empty(image, seen):
        return Choice(image, 0, "the first frame shows something")
    first = best = image.copy()
    number, most = 0, _variation(first)
    looked_at = min(MOST_FRAMES, max(2, _MOST_PIXELS // (image.width * image.height)))
    for following in range(1, looked_at):
        try:
            image.seek(following)
            image.load()
            variation = _variation(image)
        except Exception:  # no more frames, too much time, or a broken one behind a first that is in order
            looked_at = following
            break
        if variation > most:
            best, number, most = image.copy(), following, variation
    if _is_empty(best, seen):
        return Choice(first, 0, f"none of the {looked_at} frames checked shows anything")
    return Choice(best, number, f"the first frame is empty; of {looked_at}, this one shows the most")


def _is_empty(image: Image.Image, seen: Seen) -> bool:
    """Tell whether a frame shows nothing: it is of one colour, or nearly."""
    return all(high - low <= _SAME_COLOUR for low, high in seen(image).getextrema())  # type: ignore[misc]


def _variation(image: Image.Image) -> float:
    """Return by how much the colours of a frame differ from their mean, of 255."""
    small = eight_bits(image)
    small = small.resize(_small(small.size), Image.Resampling.BOX)
    return float(np.asarray(flat(small), np.float32).std(axis=(0, 1)).mean())


def _small(size: tuple[int, int]) -> tuple[int, int]:
    """Return the (width, height) of a frame's thumbnail."""
    longer = max(size)
    return tuple(max(1, side * _SIDE // longer) if longer > _SIDE else side for side in size)  # type: ignore[return-value]
