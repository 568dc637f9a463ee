"""The pictures of a training set: told apart by content, decoded once and kept in memory while they fit."""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from imgsearch import media
from imgsearch.dataset import PictureRef
from imgsearch.errors import DatasetError, PictureError
from imgsearch.model import pixels
from imgsearch.types import RGB, Patches, PixelBudget, Reporter

_S = TypeVar("_S")
_T = TypeVar("_T")
_AHEAD = 64  # pictures that are read ahead of their turn


class Pictures:
    """Numbered pictures; the same bytes have the same number wherever in the dataset they stand.

    Equal numbers are what the no-duplicates sampler tells equal pictures by. ``in_memory`` says whether the
    resized pictures are kept; where they don't fit, each is read and decoded again whenever it is needed.
    """

    def __init__(
        self,
        refs: Iterable[PictureRef],
        budget: PixelBudget,
        layout: pixels.PatchLayout,
        reporter: Reporter,
        room: int | None = None,
    ) -> None:
        """Read and decode every picture once. ``room`` is how many bytes may be kept, by default a
        quarter of the machine's memory.

        Raises DatasetError, which names the place, for a picture that can't be read or decoded.
        """
        wanted = list(dict.fromkeys(refs))
        self._budget, self._layout = budget, layout
        self.in_memory = len(wanted) * budget.max_pixels * 3 <= (_memory() // 4 if room is None else room)
        self._numbers: dict[PictureRef, int] = {}
        self._places: list[PictureRef] = []
        self._kept: list[RGB] = []
        by_content: dict[bytes, int] = {}
        reporter.start(len(wanted), "pictures")
        try:
            for ref, digest, picture in _ahead(self._read, wanted):
                number = by_content.setdefault(digest, len(self._places))
                self._numbers[ref] = number
                if number == len(self._places):
                    self._places.append(ref)
                    if self.in_memory:
                        self._kept.append(picture)
                reporter.advance()
        finally:
            reporter.stop()

    def __len__(self) -> int:
        """How many distinct pictures there are."""
        return len(self._places)

    def number(self, ref: PictureRef) -> int:
        """Return the number of a picture that was given to the constructor."""
        return self._numbers[ref]

    def patches(self, number: int) -> Patches:
        """Return a picture as the vision tower takes it."""
        if self.in_memory:
            image = self._kept[number]
        else:
            ref = self._places[number]
            image = self._decode(ref, ref.read())
        return pixels.prepare(image, self._budget, self._layout)

    def _read(self, ref: PictureRef) -> tuple[PictureRef, bytes, RGB]:
        content = ref.read()
        return ref, hashlib.sha256(content).digest(), self._decode(ref, content)

    def _decode(self, ref: PictureRef, content: bytes) -> RGB:
        """Return a picture in the size that the model sees it in."""
        try:
            for picture in media.load_pictures(io.BytesIO(content), ref.path, self._budget):
                return pixels.resize(picture.pixels, self._budget, self._layout)
        except PictureError as error:
            raise DatasetError(f"{ref.where}: {error}") from error
        raise DatasetError(f"{ref.where}: holds no picture")


def _ahead(read: Callable[[_S], _T], refs: Sequence[_S]) -> Iterator[_T]:
    """Run ``read`` in threads, a little ahead, and yield its results in order."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        left = iter(refs)
        waiting = deque(pool.submit(read, ref) for ref in islice(left, _AHEAD))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(read, ref) for ref in islice(left, 1))
        finally:
            for future in waiting:
                future.cancel()


def _memory() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
