"""The catalogue's nouns: what one row of each table says."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from imgsearch.types import Record, SourceFile

# These say nothing about the file's bytes, so the next run tries again.
TRANSIENT = frozenset({"out of memory", "unreadable", "vanished", "changed while it was read"})
EMBEDDING_STAYS = "its earlier embedding stays"
"""Ends the detail of a file that has a content and could not be read again; before it stands the reason."""
# Of the answers of `is_current`, those that are asked for by name.
CHANGED, UNCHANGED = "changed", "same size and time"


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that is kept indexed. ``mount`` is the mount point that it lay on: "/", or a drive's.

    ``options`` are the walk's options as the user gave them, by name. ``drive`` tells the drive that it lay on from
    others; "" is unknown.
    """

    id: int
    path: str
    options: dict[str, object]
    mount: str
    drive: str = ""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A catalogued file: its content's sha256, or the reason why it has none.

    An ``inode`` or ``ctime_ns`` of 0 is unknown. ``detail`` goes with the reason; with a content it tells what of the
    file is missing, or why it could not be read again (``EMBEDDING_STAYS``).
    """

    id: int
    path: str
    size: int
    mtime_ns: int
    device: int
    content: bytes | None
    error: str | None
    detail: str = ""
    inode: int = 0
    ctime_ns: int = 0


@dataclass(frozen=True, slots=True)
class VectorLocation:
    """Where a content's vector lies, with the crc32 of its bytes."""

    content: int
    segment: int
    row: int
    crc: int


@dataclass(frozen=True, slots=True)
class AnnFile:
    """A FAISS file that covers the first ``rows`` rows of a segment: ``name`` below faiss/, with its checksum.

    ``faiss`` is the version that wrote it; of its ``nlist`` inverted lists a search looks into ``nprobe``.
    """

    segment: int
    rows: int
    name: str
    faiss: str
    bytes: int
    crc: int
    nlist: int
    nprobe: int


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture as it is stored: where its vector lies, with the crc32 of its bytes, and whose it is.

    ``paths`` are absolute and sorted by their bytes; width and height in pixels, 0 where nobody knows.
    """

    segment: int
    row: int
    crc: int
    sha256: bytes
    page: int
    width: int
    height: int
    paths: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class NewContent:
    """A picture about to be committed: its key, its size in pixels, and its row's checksum."""

    sha256: bytes
    page: int
    width: int
    height: int
    crc: int


@dataclass(frozen=True, slots=True)
class FileState:
    """What a run found out about a file: the content it holds, or why it was skipped."""

    root: int
    source: SourceFile
    content: bytes | None = None
    error: str | None = None
    detail: str = ""


# From columns to nouns. SQLite keeps anything in any column, so a damaged database may hold anything: what is
# no path or no JSON raises ValueError or TypeError.


def root_row(id: int, path: bytes, options: str, mount: bytes, drive: str) -> Root:
    """Read a row of the root table."""
    return Root(id, os.fsdecode(path), dict(json.loads(options)), os.fsdecode(mount), str(drive))


def location_row(*columns: Any) -> VectorLocation:
    """Read where a content lies."""
    return VectorLocation(*map(int, columns))


def ann_file_row(segment: int, rows: int, name: str, faiss: str, *rest: Any) -> AnnFile | None:
    """Read an ANN file's row; None if it makes no sense: an ANN file is never worth an error."""
    try:
        found = AnnFile(int(segment), int(rows), str(name), str(faiss), *map(int, rest))
    except (ValueError, TypeError):
        return None
    return found if found.rows > 0 and name and os.sep not in found.name else None


def record_row(
    segment: int, row: int, id: int, sha256: bytes, page: int, width: int, height: int, crc: int, *path: bytes
) -> tuple[tuple[int, int], Record, int, bytes]:
    """Read a picture with one of its files: (segment, row), the picture without paths, its row's crc32, a path."""
    record = Record(int(id), bytes(sha256), int(page), int(width), int(height), ())
    return (int(segment), int(row)), record, int(crc), os.path.join(*path)


def file_row(id: int, path: bytes, *rest: Any) -> FileRow:
    """Read a row of the file table."""
    return FileRow(id, os.fsdecode(path), *rest)


def pair_row(first: int, second: int) -> tuple[int, int]:
    """Read a row of two numbers."""
    return int(first), int(second)


def triple_row(first: int, second: int, third: int) -> tuple[int, int, int]:
    """Read a row of three numbers."""
    return int(first), int(second), int(third)


def skipped_row(root: bytes, path: bytes, error: str, detail: str) -> tuple[str, str, str]:
    """Read (absolute path, reason, detail) of a file that was skipped."""
    detail = str(detail)
    if detail.endswith(EMBEDDING_STAYS):
        detail = detail.removeprefix(f"{error}: ")
    return os.fsdecode(os.path.join(root, path)), str(error), detail


def stored_picture_row(
    segment: int, row: int, crc: int, sha256: bytes, page: int, width: int, height: int, paths: list[bytes]
) -> StoredPicture:
    """Read a picture with the paths of its files."""
    numbers = int(segment), int(row), int(crc)
    return StoredPicture(*numbers, bytes(sha256), int(page), int(width), int(height), tuple(sorted(paths)))


def is_current(
    row: FileRow | None, source: SourceFile, retry: Collection[str] = TRANSIENT
) -> tuple[bool, str]:
    """Say whether what the catalogue knows of a file still holds, and why: the one staleness rule.

    Inode and change time notice other bytes under the same size and time, as after a restore, a swap of names, or a
    program that puts the time back. What either side does not know says nothing, and neither does what was known on
    another device: a drive that was copied, or mounted again.
    """
    if row is None:
        return False, "new"
    if (row.size, row.mtime_ns) != (source.size, source.mtime_ns):
        return False, CHANGED
    if row.error in retry or str(row.detail).endswith(EMBEDDING_STAYS):
        return False, "will be tried again"
    if row.device == source.device:
        if row.inode and source.inode and row.inode != source.inode:
            return False, "replaced"
        if row.ctime_ns and source.ctime_ns and row.ctime_ns != source.ctime_ns:
            return False, "changed in place"
    return True, UNCHANGED
