"""The catalogue's nouns: what one row of each table says."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from imgsearch.types import SourceFile


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that is kept indexed. ``mount`` is the mount point that it lay on: "/", or a drive's.

    ``options`` are the walk's options as the user gave them, by name.
    """

    id: int
    path: str
    options: dict[str, object]
    mount: str


@dataclass(frozen=True, slots=True)
class FileRow:
    """A catalogued file: its content's sha256, or the reason why it has none."""

    id: int
    path: str
    size: int
    mtime_ns: int
    device: int
    content: bytes | None
    error: str | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a content's vector lies, with the crc32 of its bytes."""

    content: int
    segment: int
    row: int
    crc: int


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


def root_row(id: int, path: bytes, options: str, mount: bytes) -> Root:
    """Read a row of the root table."""
    return Root(id, os.fsdecode(path), dict(json.loads(options)), os.fsdecode(mount))


def file_row(id: int, path: bytes, *rest: Any) -> FileRow:
    """Read a row of the file table."""
    return FileRow(id, os.fsdecode(path), *rest)


def skipped_row(root: bytes, path: bytes, error: str, detail: str) -> tuple[str, str, str]:
    """Read (absolute path, reason, detail) of a file that was skipped."""
    return os.fsdecode(os.path.join(root, path)), str(error), str(detail)
