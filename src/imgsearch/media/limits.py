"""What decoding one file may cost: memory, which all threads share and which follows what is free, and time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, cast

from imgsearch.errors import PictureError
from imgsearch.machine import memory
from imgsearch.media.splice import length
from imgsearch.text import format_bytes

_SHARE = 0.5
"""Of the free memory; the rest is for the model and for other programs."""
_UNASKED = 64_000_000
"""Bytes that all threads together may take without a look at what is free."""
_EXPANDED = 1_000_000_000
"""Bytes that decoding may take however small the file is: 200 megapixels of colour in a decoder that takes no more."""
_PER_BYTE = 400
"""Bytes beyond that, for each byte of the file. A photo has at least 0.4 bits per pixel, and no decoder takes over 20
bytes for a pixel: whoever asks for more has no photo."""


SECONDS = 18.0
"""Of the processor that decoding a file of up to 64 MiB may take; a larger one has more in proportion."""
_ORDINARY = 64 << 20
_SMALL, _SMALL_READS = 4096, 16
"""Of reads of fewer bytes only one in so many is checked for time."""


class Cost(NamedTuple):
    """About how many bytes it takes to decode a file, by its header, and why so many."""

    bytes: int
    reason: str


class MemoryLimiter:
    """The memory that threads decode in: a share of what is free."""

    def __init__(self, free: Callable[[], int] = memory.free) -> None:
        """Take who tells how many bytes are free."""
        self._free = free
        self._taken = 0
        self._freed = threading.Condition()

    @contextmanager
    def take(self, cost: Cost, file_bytes: int) -> Iterator[None]:
        """Hold memory for decoding a file of ``file_bytes`` during the block; wait until there is enough.

        Raises PictureError for a file that expands out of all proportion, and for one that is too large for all of it.
        """
        if cost.bytes > _EXPANDED + _PER_BYTE * file_bytes:
            raise PictureError(
                "decompression bomb",
                f"{format_bytes(file_bytes)} would take {format_bytes(cost.bytes)} to decode: {cost.reason}",
            )
        with self._freed:
            while not self._fits(cost.bytes):
                if not self._taken:
                    raise PictureError(
                        "too large for the memory",
                        f"it takes about {format_bytes(cost.bytes)} to decode: {cost.reason}; "
                        f"{format_bytes(self._free())} are free",
                    )
                self._freed.wait()
            self._taken += cost.bytes
        try:
            yield
        finally:
            with self._freed:
                self._taken -= cost.bytes
                self._freed.notify_all()

    def _fits(self, bytes: int) -> bool:
        # What others have taken they may not have allocated yet, so it counts in any case.
        together = self._taken + bytes
        return together <= _UNASKED or together <= _SHARE * self._free()


DECODING = MemoryLimiter()


class TooLong(PictureError):
    """A file that has been decoded for longer than it may take."""

    def __init__(self, seconds: float) -> None:
        """Say how long that was."""
        super().__init__("takes too long", f"given up after {seconds:.0f} seconds of decoding")


def timed(stream: BinaryIO) -> BinaryIO:
    """Return a stream that raises TooLong when it is read after the thread has computed for too long.

    Whatever reads bit by bit is stopped so: Pillow's decoders that are written in Python, its loops over headers, and
    those in C, which get 64 KiB to 1 MiB at a time. The thread's own time counts: a busy machine makes no file slower.
    """
    return cast("BinaryIO", _Timed(stream))


class _Timed:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._seconds = SECONDS * max(1.0, length(stream) / _ORDINARY)
        self._until = time.thread_time() + self._seconds
        self._reads = 0
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        self._check(size)
        return self._stream.read(size)

    def readinto(self, buffer: Any) -> int:
        self._check(len(buffer))
        return self._stream.readinto(buffer)  # type: ignore[attr-defined, no-any-return]

    def _check(self, size: int) -> None:
        # The clock is a system call, and a GIF is read 255 bytes at a time: not before every one of those.
        self._reads += 1
        often = 0 <= size < _SMALL and self._reads % _SMALL_READS
        if not often and time.thread_time() > self._until:
            raise TooLong(self._seconds)

    def __getattr__(self, name: str) -> Any:
        # fileno, getvalue: decoders in C take what there is.
        return getattr(self._stream, name)
