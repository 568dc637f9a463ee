"""Frames of a film as pictures: their colours and proportions as a player shows them, and which of many to keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgsearch.media import colour
from imgsearch.rgb import flat
from imgsearch.types import RGB, PixelBudget

if TYPE_CHECKING:
    from fractions import Fraction

    from av.video.frame import VideoFrame

_SIDE = 16
"""Of a thumbnail, by which frames are compared."""
_BLANK = 24
"""Channels of a thumbnail that differ by no more than this, of 255, show nothing: a fade, a black frame."""
_SAME = 24
"""Frames whose thumbnails differ by less than this, of 255, nearly everywhere show the same."""
_NEARLY = 98
"""Per cent of a thumbnail that is nearly everywhere."""
_LENGTH = 0.1
"""How much a stretch of film as long as the share of one frame counts, beside the change of the picture from 0 to 1."""
_MOST_SHARES = 3.0
_SCALERS = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""Matrix by ITU-T H.273 → the number that swscale has for it; _BT601 and _BT709 are two of those."""
_BT601, _BT709 = 5, 1
_FULL, _LIMITED = 2, 1
_MOST_STRETCHED = 4
"""Pixels of a film are no longer than so many times their height; whoever says so is wrong."""
_PLENTY = 2
"""The sides of a picture are so many times those that the pixel budget leaves: the resize that follows averages."""


class Candidate(NamedTuple):
    """A frame that may be kept: when it is shown, in milliseconds, and its thumbnail, (16, 16, 3) uint8."""

    milliseconds: int
    thumbnail: RGB

    @property
    def is_blank(self) -> bool:
        """Whether it shows nothing: it is of one colour, or nearly."""
        pixels = self.thumbnail.reshape(-1, 3).astype(int)
        return bool((pixels.max(axis=0) - pixels.min(axis=0) <= _BLANK).all())


def choose_moments(candidates: Sequence[Candidate], count: int, duration: int) -> list[int]:
    """Return the milliseconds of at most ``count`` candidates, in order, that stand for a film of ``duration`` ms.

    Each next one is that which differs most from those that are kept: in what it shows, and less in when. One that
    shows the same as another is not kept, nor is a blank one unless there is nothing else.
    """
    telling = [one for one in candidates if not one.is_blank] or list(candidates[:1])
    if not telling:
        return []
    pixels = np.array([one.thumbnail for one in telling], np.int16).reshape(len(telling), -1)
    times = np.array([one.milliseconds for one in telling], np.float64)
    share = max(1.0, duration / count)
    kept, least, differs = [0], np.full(len(telling), np.inf), np.ones(len(telling), bool)
    while True:
        change = np.abs(pixels - pixels[kept[-1]])
        shares = np.minimum(np.abs(times - times[kept[-1]]) / share, _MOST_SHARES)
        least = np.minimum(least, change.mean(axis=1) / 255 + _LENGTH * shares)
        differs &= np.percentile(change, _NEARLY, axis=1) >= _SAME
        if len(kept) == count or not differs.any():
            return sorted(telling[number].milliseconds for number in kept)
        kept.append(int(np.argmax(np.where(differs, least, -1))))


def wanted(frames: int, duration: int) -> int:
    """Return how many frames of a film of ``duration`` milliseconds are kept at most.

    ``frames`` is what is asked for; 0 is three, and two for each minute, but no more than 40.
    """
    return frames or min(40, 3 + 2 * round(duration / 60_000))


def shown_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Return the (width, height) that a player shows of pixels that are ``aspect`` times as wide as high."""
    if aspect and 1 / _MOST_STRETCHED <= aspect <= _MOST_STRETCHED:
        width = max(1, round(width * aspect))
    return width, height


def thumbnail(frame: VideoFrame) -> RGB:
    """Return what a frame is compared by: (16, 16, 3) uint8, neither turned nor in its proportions."""
    return _rgb(frame, _SIDE, _SIDE)


def picture_of(frame: VideoFrame, size: tuple[int, int], budget: PixelBudget) -> tuple[RGB, int, int]:
    """Return a frame's pixels, upright sRGB, and the (width, height) that it is shown at.

    ``size`` is that before it is turned, with square pixels.
    """
    width, height = size
    scale = min(1.0, _PLENTY * math.sqrt(budget.max_pixels / (width * height)))
    pixels = _rgb(frame, max(1, math.ceil(width * scale)), max(1, math.ceil(height * scale)))
    matrix = _matrix(frame)
    if _is_sideways(matrix):
        width, height = height, width
    return np.ascontiguousarray(_turned(pixels, matrix)), width, height


def _rgb(frame: VideoFrame, width: int, height: int) -> RGB:
    """Return a frame as sRGB at a size."""
    from av.video.reformatter import Interpolation

    transparent = any(part.is_alpha for part in frame.format.components) or frame.format.has_palette
    rgb = frame.reformat(
        width,
        height,
        "rgba" if transparent else "rgb24",
        src_colorspace=_scaler(frame),
        dst_colorspace=_scaler(frame),
        src_color_range=_range(frame),
        dst_color_range=_FULL,
        interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
        threads=1,
    )
    pixels = cast("RGB", rgb.to_ndarray())
    profile = colour.from_cicp(frame.color_primaries, frame.color_trc)
    if not transparent and not colour.moves("RGB", profile):
        return pixels
    return np.array(flat(colour.to_srgb(Image.fromarray(pixels), profile)))


def _scaler(frame: VideoFrame) -> int:
    """Return swscale's number for the matrix between RGB and a frame's colours.

    Where a film does not say, its size does, as players have it: BT.709 for what is larger than DVDs.
    """
    if frame.colorspace in _SCALERS:
        return _SCALERS[frame.colorspace]
    return _BT709 if frame.width >= 1280 or frame.height > 576 else _BT601


def _range(frame: VideoFrame) -> int:
    """Return whether black is 0 (full) or 16 (limited) of 255 in a frame; films are limited if they do not say."""
    if frame.color_range in (_FULL, _LIMITED):
        return int(frame.color_range)
    return _FULL if frame.format.is_rgb or frame.format.name.startswith("yuvj") else _LIMITED


def _matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """Return how a player is to turn a frame: x' = a·x + c·y, y' = b·x + d·y, in 65,536ths (ISO 14496-12, 6.2.2)."""
    found: Any
    for found in frame.side_data:
        if found.type.name == "DISPLAYMATRIX" and found.buffer_size >= 36:
            a, b, _, c, d, *_ = np.frombuffer(bytes(found)[:36], "=i4").tolist()
            return a, b, c, d
    return 65536, 0, 0, 65536


def _is_sideways(matrix: tuple[int, int, int, int]) -> bool:
    a, b, c, d = matrix
    return abs(b) + abs(c) > abs(a) + abs(d)


def _turned(pixels: RGB, matrix: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Return pixels turned by the multiple of 90° that is nearest to a matrix, and mirrored if it says so."""
    a, b, c, d = matrix
    sideways = _is_sideways(matrix)
    turned = pixels.swapaxes(0, 1) if sideways else pixels
    if (c if sideways else a) < 0:
        turned = turned[:, ::-1]
    return turned[::-1] if (b if sideways else d) < 0 else turned
