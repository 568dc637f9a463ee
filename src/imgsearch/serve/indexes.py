"""The indexes that a server keeps open: the last few that were asked, opened anew when they were replaced."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from imgsearch.errors import IndexDamaged, IndexMismatch, IndexMissing, StorageError
from imgsearch.index import manifest
from imgsearch.index.image_index import ImageIndex

T = TypeVar("T")

_OPEN = 4


class Indexes:
    """Open indexes by their folders; one is used by one thread at a time."""

    def __init__(self, idle_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Open nothing yet. ``idle_seconds`` after the last use, ``close_idle`` lets go of all."""
        self._idle_seconds, self._clock, self._used = idle_seconds, clock, clock()
        self._turn = threading.Lock()
        self._open: OrderedDict[str, tuple[object, ImageIndex]] = OrderedDict()

    def use(self, folder: str, work: Callable[[ImageIndex], T]) -> T:
        """Return what ``work`` makes of the index in ``folder``, an absolute path.

        An index that is no longer the one on disk is opened anew before; where another takes its place meanwhile,
        ``work`` is done once more with that. Raises what opening an index raises, and what ``work`` does.
        """
        with self._turn:
            self._used = self._clock()
            if folder in self._open:
                stamp, known = self._open[folder]
                self._open.move_to_end(folder)
                if stamp == manifest.stamp(folder):
                    try:
                        return work(known)
                    except (IndexDamaged, IndexMismatch, IndexMissing, StorageError):
                        pass  # of the old one or of the new one: opening it tells
                self._open.pop(folder)[1].close()
            stamp = manifest.stamp(
                folder
            )  # before it is opened: one that is older than the index costs an opening
            fresh = ImageIndex(folder)
            self._open[folder] = stamp, fresh
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)[1][1].close()
            return work(fresh)

    def close_idle(self) -> None:
        """Let go of every index if none was asked for long enough, so that a drive can be taken away."""
        with self._turn:
            if self._clock() - self._used >= self._idle_seconds:
                self._close()

    def close(self) -> None:
        """Let go of every index."""
        with self._turn:
            self._close()

    def _close(self) -> None:
        while self._open:
            self._open.popitem()[1][1].close()
