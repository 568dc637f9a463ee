"""The pictures of a training set: told apart by content, decoded once and kept in memory while they fit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

from imgsearch.dataset import PictureRef
from imgsearch.dataset.pictures import decode, placed, work_ahead
from imgsearch.model import pixels
from imgsearch.types import RGB, Patches, PixelBudget, Reporter

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
            for ref, digest, picture in work_ahead(self._read, wanted, _AHEAD):
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
        image = self._kept[number] if self.in_memory else self._resized(self._places[number])
        return pixels.prepare(image, self._budget, self._layout)

    def _read(self, ref: PictureRef) -> tuple[PictureRef, bytes, RGB]:
        content = ref.read()
        return ref, hashlib.sha256(content).digest(), self._resized(ref, content)

    def _resized(self, ref: PictureRef, content: bytes | None = None) -> RGB:
        """Return a picture in the size that the model sees it in."""
        with placed(ref):  # the model may refuse a picture for its shape
            return pixels.resize(decode(ref, self._budget, content), self._budget, self._layout)


def _memory() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
