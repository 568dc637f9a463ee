"""Which files were being decoded when a run died: one that ends imgsearch twice is skipped from then on.

While a run decodes, a note in the index folder names the files in work. A run that ends, also by Ctrl-C or an error,
takes the note away; one that is killed or crashes leaves it. The next run decodes what was in work then first, one file
at a time, so that no neighbour is blamed. If that run dies too, it was the file that it was decoding.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

from imgsearch import deep
from imgsearch.addresses import is_remote
from imgsearch.fs import close_quietly, open_own
from imgsearch.types import SourceFile, int64

NOTE = "decoding.note"
CRASHED = "crashed imgsearch"
"""The reason by which such a file is skipped."""
_MOST_BYTES = 1 << 20  # then the note is written again with what is in work
_File: TypeAlias = tuple[str, int, int]


class DecodingNote:
    """The note of one run, from construction until ``close``; one process has it, under the writer lock.

    It is never synced, since a power cut is nobody's fault, and never worth an error.
    """

    def __init__(self, folder: str) -> None:
        """Read what a dead run left in the index ``folder``, and begin."""
        self._path = os.path.join(folder, NOTE)
        self._turn = threading.Lock()
        self._left = {file: alone for file, alone in _read(self._path).items() if _is_there(file)}
        self._in_work: dict[_File, bool] = {}  # as in ``_left``, by file whether it is decoded alone
        self._size = 0
        try:
            self._descriptor: int | None = open_own(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        except OSError:
            self._descriptor = None
        with self._turn:
            self._write_again()

    def is_suspect(self, source: SourceFile) -> bool:
        """Whether a file was in work when a run died, and is as it was."""
        return _file(source) in self._left

    def is_culprit(self, source: SourceFile) -> bool:
        """Whether it was the only one, and so was in work twice."""
        return self._left.get(_file(source), False)

    @contextmanager
    def decoding(self, source: SourceFile) -> Iterator[None]:
        """Have the note name a file during the block; called in threads, but for a suspect in no two at a time."""
        file = _file(source)
        with self._turn:
            alone = self._in_work[file] = file in self._left
            self._write("+", file, alone)
        try:
            yield
        finally:
            self.settle(source)

    def settle(self, source: SourceFile) -> None:
        """Clear a file: it was decoded, or need not be."""
        file = _file(source)
        with self._turn:
            if self._descriptor is not None and (file in self._in_work or file in self._left):
                self._in_work.pop(file, None)
                self._left.pop(file, None)
                self._write("-", file, False)

    def close(self) -> None:
        """End the note: what was left and not decoded in this run stays for the next one."""
        with self._turn:
            self._in_work.clear()
            self._write_again()
            if self._descriptor is None:
                return
            close_quietly(self._descriptor)
            self._descriptor = None  # a thread may still be decoding
            if not self._left:
                with suppress(OSError):
                    os.unlink(self._path)

    def _write_again(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            self._size = 0
            for file, alone in {**self._left, **self._in_work}.items():
                self._write("+", file, alone)

    def _write(self, sign: str, file: _File, alone: bool) -> None:
        if self._descriptor is None:
            return
        line = json.dumps([sign, *file, alone]).encode() + b"\n"
        if self._size and self._size + len(line) > _MOST_BYTES:
            self._write_again()
        else:
            self._size += len(line)
            with suppress(OSError):
                os.write(self._descriptor, line)


def _file(source: SourceFile) -> _File:
    return os.path.join(source.root, source.path), source.size, source.mtime_ns


def _is_there(file: _File) -> bool:
    """Whether a file is as it was when it was noted; what changed since may well be intact."""
    path, size, mtime_ns = file
    if is_remote(path):
        return True  # the list of its bucket will tell: by then `_file` of another version is another one
    try:
        status = deep.stat(path)
    except (OSError, ValueError):
        return False
    return (status.st_size, int64(status.st_mtime_ns)) == (size, mtime_ns)


def _read(path: str) -> dict[_File, bool]:
    """Return the files of a note that was left, by each whether it was decoded alone; none of one that is not ours."""
    found: dict[_File, bool] = {}
    try:
        descriptor = open_own(path)
        with os.fdopen(descriptor, "rb") as file:
            lines = file.read(2 * _MOST_BYTES).splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            sign, name, size, mtime_ns, alone = json.loads(line)
            known = str(name), int(size), int(mtime_ns)
        except (ValueError, TypeError, RecursionError):
            continue  # cut off by the kill
        if sign == "+":
            found[known] = bool(alone)
        else:
            found.pop(known, None)
    return found
