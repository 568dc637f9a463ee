"""How much is decoded at once: items in threads ahead of whoever takes them, pixels in memory."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def look_ahead(work: Callable[[S], T], items: Iterable[S], ahead: int) -> Generator[T, None, None]:
    """Run ``work`` on each item in threads; yield the results in order, at most ``ahead`` of them in memory.

    ``items`` are taken as they are needed. What ``work`` raises is raised where its result is due. Closing the
    generator, or an error, drops what has not begun, waits for what has, and ends the threads.
    """
    results: deque[Future[T]] = deque()
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1), thread_name_prefix="decode") as pool:
        try:
            for item in items:
                results.append(pool.submit(work, item))
                if len(results) >= ahead:
                    yield results.popleft().result()
            while results:
                yield results.popleft().result()
        finally:
            for result in results:
                result.cancel()


class PixelLimiter:
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
DECODING = PixelLimiter(200_000_000)
