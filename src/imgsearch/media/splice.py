"""A stream that is put together from bytes and from stretches of another, which it neither copies nor closes."""

from __future__ import annotations

import io
from bisect import bisect_right
from itertools import accumulate
from typing import Any, BinaryIO, TypeAlias, cast

Piece: TypeAlias = "bytes | tuple[int, int]"
"""Bytes as they are, or (start, end) of a stretch of the other stream."""


def spliced(stream: BinaryIO, pieces: list[Piece], *, same_file: bool = False) -> BinaryIO:
    """Return a stream of ``pieces``; with ``same_file`` it has the file descriptor of ``stream``, if there is one.

    That is for decoders in C that read a file themselves and are told the places to read from.
    """
    return cast("BinaryIO", io.BufferedReader(_Spliced(stream, pieces, same_file), 1 << 16))


def length(stream: BinaryIO) -> int:
    """Return how many bytes a stream has; it stays where it is."""
    place = stream.tell()
    end = stream.seek(0, io.SEEK_END)
    stream.seek(place)
    return end


class _Spliced(io.RawIOBase):
    def __init__(self, stream: BinaryIO, pieces: list[Piece], same_file: bool) -> None:
        self._stream = stream
        self._pieces = [piece for piece in pieces if isinstance(piece, bytes) or piece[0] < piece[1]]
        sizes = [len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in self._pieces]
        self._starts = list(accumulate(sizes, initial=0))
        self._place = 0
        self._same_file = same_file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno() if self._same_file else super().fileno()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._starts[-1]}[whence]
        self._place = max(0, origin + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        number = bisect_right(self._starts, self._place) - 1
        if number >= len(self._pieces):
            return 0
        piece, within = self._pieces[number], self._place - self._starts[number]
        if isinstance(piece, bytes):
            some = piece[within : within + len(buffer)]
            buffer[: len(some)] = some
            got = len(some)
        else:
            self._stream.seek(piece[0] + within)
            most = min(len(buffer), piece[1] - piece[0] - within)
            got = self._stream.readinto(memoryview(buffer)[:most])  # type: ignore[attr-defined]
        self._place += got
        return got
