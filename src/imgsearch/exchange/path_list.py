"""Lists of paths in a file: one a line, or each ended by a NUL byte where a name may hold anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from imgsearch.errors import DatasetError
from imgsearch.files import shown

_LONGEST = 1 << 16  # bytes; no system takes a longer path
_BOM = b"\xef\xbb\xbf"


def is_nul_separated(path: str) -> bool:
    """Whether a list of this name holds paths ended by NUL bytes."""
    return path.lower().endswith(".nul")


def read_paths(path: str, file: BinaryIO) -> Iterator[str]:
    """Yield the paths of an open file as they stand in it, "" for an empty line. Raises DatasetError.

    A list with a NUL byte near its beginning is NUL-separated, whatever it is called. Else a byte order mark is
    left out, and so is the carriage return before every newline if the first line has one. Nothing else is
    taken away: a space at the end of a line is a part of the name.
    """
    head = file.read(_LONGEST)
    file.seek(0)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DatasetError(f"{shown(path)} is UTF-16; save it as UTF-8, one path a line")
    if is_nul_separated(path) or b"\0" in head:
        yield from map(os.fsdecode, _split(path, file))
        return
    file.seek(len(_BOM) if head.startswith(_BOM) else 0)
    end = b"\r\n" if head.partition(b"\n")[0].endswith(b"\r") else b"\n"
    number = 0
    while line := file.readline(_LONGEST):
        number += 1
        if not line.endswith(b"\n") and len(line) == _LONGEST:
            raise DatasetError(
                f"{shown(path)}, line {number}: it is longer than any path; is this a list of paths?"
            )
        if b"\0" in line:
            raise DatasetError(f"{shown(path)}, line {number}: it holds a NUL byte; name the list FILE.nul")
        yield os.fsdecode(line.removesuffix(end).removesuffix(b"\n"))


def _split(path: str, file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while data := file.read(1 << 20):
        *names, rest = (rest + data).split(b"\0")
        if len(rest) > _LONGEST:
            raise DatasetError(
                f"{shown(path)}: it holds what is longer than any path; is this a list of paths?"
            )
        yield from names
    if rest:
        yield rest


class PathWriter:
    """Writes a list of paths; a name with a newline is refused where lines separate them."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        """Write to an open file; its name decides how paths are separated."""
        self._file, self._path = file, path
        self._end = b"\0" if is_nul_separated(path) else b"\n"

    def write(self, path: bytes) -> None:
        """Append a path. Raises DatasetError."""
        if self._end == b"\n" and (b"\n" in path or path.endswith(b"\r")):
            raise DatasetError(
                f"{shown(os.fsdecode(path))} holds the end of a line, so a list of lines can't name it; "
                "write the list with --paths FILE.nul, or export to a .parquet file"
            )
        self._file.write(path + self._end)
