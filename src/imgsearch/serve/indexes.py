"""The indexes that a server keeps open: the last few that were asked, opened anew when they were replaced."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from imgsearch.errors import IndexDamaged, IndexMismatch, IndexMissing, StorageError
from imgsearch.index.image_index import ImageIndex

T = TypeVar("T")

_OPEN = 4


class Indexes:
    """Open indexes by their folders; one is used by one thread at a time."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._turn = threading.Lock()
        self._open: OrderedDict[str, ImageIndex] = OrderedDict()

    def use(self, folder: str, work: Callable[[ImageIndex], T]) -> T:
        """Return what ``work`` makes of the index in ``folder``, an absolute path.

        Where the index that is open is no longer the one on disk, ``work`` is done once more with that. Raises what
        opening an index raises, and what ``work`` does.
        """
        with self._turn:
            known = self._open.get(folder)
            if known is not None:
                self._open.move_to_end(folder)
                try:
                    return work(known)
                except (IndexDamaged, IndexMismatch, IndexMissing, StorageError):
                    self._open.pop(folder).close()
            fresh = ImageIndex(folder)
            self._open[folder] = fresh
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)[1].close()
            return work(fresh)

    def close(self) -> None:
        """Let go of every index, so that a drive can be taken away."""
        with self._turn:
            while self._open:
                self._open.popitem()[1].close()
