"""Bounds the memory of decoding: how many pixels may be in the making at once, over all threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """A number of pixels that threads share; one picture alone may always come in, however large."""

    def __init__(self, pixels: int) -> None:
        """Have room for ``pixels`` pixels at once."""
        self._pixels = pixels
        self._taken = 0
        self._freed = threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Hold room for a picture of ``pixels`` pixels during the block; wait until there is some."""
        with self._freed:
            self._freed.wait_for(lambda: not self._taken or self._taken + pixels <= self._pixels)
            self._taken += pixels
        try:
            yield
        finally:
            with self._freed:
                self._taken -= pixels
                self._freed.notify_all()


# A pixel takes 3 to 12 bytes on its way: a few GB at most, and room for eight photos of 24 megapixels.
DECODING = Room(200_000_000)
