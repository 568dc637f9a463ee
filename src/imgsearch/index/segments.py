"""Append-only vector segments: files of float16 rows behind a checksummed header, durable before they are named.

Layout of ``vectors/00000001.f16``: 4,096 bytes of header, then rows of ``dim`` float16, little-endian, unit
length. A segment's true number of rows is what the catalogue says; bytes past it are a torn tail that the next
writer cuts off and readers never look at.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import IndexDamaged, IndexMismatch, repair_hint
from imgsearch.fs import (
    close_quietly,
    create_own,
    make_folder,
    open_own,
    storage_error,
    sync_file,
    sync_folder,
)
from imgsearch.index.layout import index_of
from imgsearch.text import error_line, plural

Rows = NDArray[np.float16]
"""Stored vectors: (n, dim) float16, unit length."""

HEADER_BYTES = 4096
SEGMENT_BYTES = 1 << 30
MOST_SEGMENTS = 99_999_999
"""The highest number of a segment: its file's name has eight digits."""
_BLOCK_BYTES = 4 << 20  # of 16 MB at a time, a scan takes three times as long
_MAGIC = b"imgsearch.f16\0\0\0"
_VERSION = 1
_FIELDS = struct.Struct("<16sII32s")  # magic, version, dim, fingerprint; a crc32 of these follows
_CRC = struct.Struct("<I")


# How far from 1 a row's length may be: a float16 row of unit length is off by less than a thousandth.
_LENGTH = 0.01


class SegmentMissing(IndexDamaged):
    """A segment's file is not there: compaction has just replaced it, or somebody has removed it."""

    def __init__(self, message: str, number: int) -> None:
        """Keep the segment's number."""
        super().__init__(message)
        self.number = number


def segment_name(number: int) -> str:
    """Return the file name of segment ``number`` (from 1)."""
    return f"{number:08d}.f16"


def row_crc(row: Rows) -> int:
    """Return the crc32 of one row's bytes, as the catalogue keeps it."""
    return zlib.crc32(np.ascontiguousarray(row).view(np.uint8).data)


def are_unit(rows: Rows) -> NDArray[np.bool_]:
    """Return which of ``rows`` (n, dim) are finite and of unit length, as all that imgsearch stores are: (n,)."""
    with np.errstate(all="ignore"):
        values = rows.astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", values, values))
        return np.asarray(np.abs(lengths - 1) <= _LENGTH)  # False for what is not a number


def rows_per_segment(dim: int) -> int:
    """Return how many rows of ``dim`` one segment holds at most."""
    return (SEGMENT_BYTES - HEADER_BYTES) // (2 * dim)


def _damaged(path: str, what: str) -> IndexDamaged:
    return IndexDamaged(f"{path} {what}; ", repair_hint(index_of(os.path.dirname(os.path.dirname(path)))))


def header(dim: int, fingerprint: str) -> bytes:
    """Return what a segment of rows of ``dim`` begins with: HEADER_BYTES."""
    fields = _FIELDS.pack(_MAGIC, _VERSION, dim, bytes.fromhex(fingerprint))
    return (fields + _CRC.pack(zlib.crc32(fields))).ljust(HEADER_BYTES, b"\0")


def check_header(found: bytes, path: str, dim: int, fingerprint: str) -> None:
    """Raise IndexMismatch for a newer format, IndexDamaged for anything else that is not this index's header."""
    if len(found) == HEADER_BYTES and found[: len(_MAGIC)] == _MAGIC:
        fields = found[: _FIELDS.size]
        version = _FIELDS.unpack(fields)[1]
        whole = found[_FIELDS.size : _FIELDS.size + _CRC.size] == _CRC.pack(zlib.crc32(fields))
        if version > _VERSION and whole:
            raise IndexMismatch(
                f"{path} was written by a newer imgsearch (format {version}; this one reads up to {_VERSION}): "
                "please upgrade imgsearch"
            )
    if found != header(dim, fingerprint):
        raise _damaged(path, "does not start with this index's header")


def header_says(header: bytes) -> tuple[int, str] | None:
    """Return dimension and fingerprint as a segment's header says them, or None if it is damaged."""
    fields = header[: _FIELDS.size]
    if len(header) < HEADER_BYTES or header[_FIELDS.size :][: _CRC.size] != _CRC.pack(zlib.crc32(fields)):
        return None
    magic, _, dim, fingerprint = _FIELDS.unpack(fields)
    return (dim, fingerprint.hex()) if magic == _MAGIC else None


def write_header(path: str, dim: int, fingerprint: str) -> None:
    """Write a segment's header over a damaged one, and make it durable. Raises StorageError."""
    try:
        descriptor = open_own(path, os.O_RDWR)
        try:
            os.pwrite(descriptor, header(dim, fingerprint), 0)
            sync_file(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(error, path) from error


class SegmentWriter:
    """The open end of the vectors. The caller holds the writer lock."""

    def __init__(self, folder: str, dim: int, fingerprint: str) -> None:
        """Write below ``folder`` (made if missing) rows of ``dim`` float16."""
        self.folder = folder
        self.dim = dim
        self.fingerprint = fingerprint
        self._descriptor = -1
        self._path = ""

    def open(self, number: int, rows: int) -> None:
        """Open segment ``number`` to append after its ``rows`` committed rows, cutting off a torn tail.

        Raises IndexDamaged if it is shorter than that or has a foreign header, StorageError if the disk refuses.
        """
        self.close()
        self._path = os.path.join(self.folder, segment_name(number))
        end = HEADER_BYTES + rows * self.dim * 2
        try:
            make_folder(self.folder, above=False)
            if rows == 0:
                # Nothing here is committed: whatever a killed writer left gives way to a new file.
                self._descriptor = create_own(self._path)
                self._write(header(self.dim, self.fingerprint), 0)
                sync_file(self._descriptor)
                sync_folder(self.folder)
                # A writer that was killed may have made the folder without making its name durable.
                sync_folder(os.path.dirname(self.folder))
                return
            self._descriptor = open_own(self._path, os.O_RDWR)
            check_header(os.pread(self._descriptor, HEADER_BYTES, 0), self._path, self.dim, self.fingerprint)
            if os.fstat(self._descriptor).st_size < end:
                raise _damaged(self._path, f"is shorter than its {plural(rows, 'saved embedding')}")
            os.ftruncate(self._descriptor, end)
        except OSError as error:
            raise storage_error(error, self._path) from error

    def append(self, first_row: int, rows: Rows) -> None:
        """Write ``rows`` (n, dim) after ``first_row`` rows and make them durable; they are not yet visible.

        Raises StorageError with the file cut back to where it was.
        """
        start = HEADER_BYTES + first_row * self.dim * 2
        try:
            self._write(np.ascontiguousarray(rows, dtype="<f2").tobytes(), start)
            sync_file(self._descriptor)
        except OSError as error:
            try:
                os.ftruncate(self._descriptor, start)
            except OSError:
                pass  # the next writer cuts the tail off
            raise storage_error(error, self._path) from error

    def _write(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written

    def close(self) -> None:
        """Close the open segment, if any."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            close_quietly(descriptor)


class Segment:
    """The committed rows of one segment.

    They are read and not mapped: a file that becomes shorter, or whose drive is pulled, is an error then and does not
    end the process; and pages of a mapping stay counted as this process's memory.
    """

    def __init__(self, folder: str, number: int, rows: int, dim: int, fingerprint: str) -> None:
        """Open the first ``rows`` rows of segment ``number`` below ``folder``. Raises IndexDamaged."""
        self.number = number
        self.dim = dim
        self.path = os.path.join(folder, segment_name(number))
        self._rows = rows
        self._descriptor = _open(self.path, number, rows, dim, fingerprint)

    def __len__(self) -> int:
        """Return the number of committed rows."""
        return self._rows

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """Return a copy of some rows: (n, dim) float16."""
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            raise _damaged(self.path, f"has no embedding {rows.min() if rows.min() < 0 else rows.max()}")
        width, descriptor = 2 * self.dim, self._descriptor
        # Rows that lie behind each other are read in one go.
        firsts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        lengths = (np.diff(firsts, append=len(rows)) * width).tolist()
        runs = list(zip((HEADER_BYTES + rows[firsts] * width).tolist(), lengths, strict=True))
        found = bytearray(len(rows) * width)
        try:
            count, done = _read_cached(descriptor, runs, found)
            runs = runs[count:]
            if hasattr(os, "posix_fadvise") and len(runs) > 1:
                # All of them are asked for before the first is waited for: 500 cold rows in 7 ms instead of 106.
                for offset, length in runs:
                    os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_WILLNEED)
            rest = b"".join([os.pread(descriptor, length, offset) for offset, length in runs])
            found[done:] = rest  # shorter, if the file is
            return self._whole(found, len(rows))
        except OSError as error:
            raise _damaged(self.path, f"can't be read ({error_line(error)})") from error

    def read(self, start: int, stop: int) -> Rows:
        """Return a copy of the rows from ``start`` to before ``stop``: (n, dim) float16, read in one go."""
        count, width = min(stop, len(self)) - start, 2 * self.dim
        try:
            return self._whole(os.pread(self._descriptor, count * width, HEADER_BYTES + start * width), count)
        except OSError as error:
            raise _damaged(self.path, f"can't be read ({error_line(error)})") from error

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, Rows]]:
        """Yield the rows from ``start`` to before ``stop`` in blocks that stay in the processor's cache.

        Each comes with the number of its first row, and is good only until the next one is asked for.
        """
        size = max(1, _BLOCK_BYTES // (2 * self.dim))
        block = np.empty((min(size, max(0, stop - start)), self.dim), "<f2")
        for first in range(start, stop, size):
            rows = block[: min(size, stop - first)]
            try:
                count = os.preadv(self._descriptor, [rows.data], HEADER_BYTES + first * 2 * self.dim)
            except OSError as error:
                raise _damaged(self.path, f"can't be read ({error_line(error)})") from error
            if count != rows.nbytes:
                raise _damaged(self.path, "is shorter than its saved embeddings")
            yield first, rows

    def _whole(self, data: bytes | bytearray, rows: int) -> Rows:
        if len(data) != 2 * self.dim * rows:
            raise _damaged(self.path, "is shorter than its saved embeddings")
        return np.frombuffer(data, "<f2").reshape(rows, self.dim)

    def __del__(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = getattr(self, "_descriptor", -1), -1
        if descriptor >= 0:
            close_quietly(descriptor)


def _read_cached(descriptor: int, runs: Sequence[tuple[int, int]], found: bytearray) -> tuple[int, int]:
    """Read as many runs (offset, length) as the system has in memory: how many those are, and their bytes.

    The first that would have to be waited for ends it. Where that can't be asked, none is read.
    """
    at = count = 0
    with suppress(OSError), memoryview(found) as view:
        for offset, length in runs if hasattr(os, "RWF_NOWAIT") else ():
            if os.preadv(descriptor, [view[at : at + length]], offset, os.RWF_NOWAIT) != length:
                break
            at, count = at + length, count + 1
    return count, at


def _open(path: str, number: int, rows: int, dim: int, fingerprint: str) -> int:
    end = HEADER_BYTES + rows * dim * 2
    if not 0 <= rows <= rows_per_segment(dim):
        raise _damaged(path, f"can't have {rows:,} embeddings")
    try:
        descriptor = open_own(path)
    except FileNotFoundError as error:
        raise SegmentMissing(
            _damaged(path, f"is missing, and with it {plural(rows, 'embedding')}").as_message, number
        ) from error
    except OSError as error:
        raise _damaged(
            path, f"can't be opened ({error_line(error)}), and with it {plural(rows, 'embedding')}"
        ) from error
    try:
        check_header(os.pread(descriptor, HEADER_BYTES, 0), path, dim, fingerprint)
        if os.fstat(descriptor).st_size < end:
            raise _damaged(path, f"is shorter than its {plural(rows, 'saved embedding')}")
        return descriptor
    except OSError as error:
        os.close(descriptor)
        raise _damaged(path, f"can't be read ({error_line(error)})") from error
    except BaseException:
        os.close(descriptor)
        raise
