"""The catalogue's nouns: what one row of each table says."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from imgsearch.addresses import is_remote, normal
from imgsearch.errors import UsageError
from imgsearch.fs import is_at_or_below
from imgsearch.text import Option, display_path
from imgsearch.types import Metadata, PixelHash, Record, SourceFile, path_json

LOST = "embedding lost"
"""Why a file has no content whose vector was damaged: a repair says so first, and then has it embedded again."""
# These say nothing about the file's bytes, so the next run tries again.
TRANSIENT = frozenset(
    {"out of memory", "too large for the memory", "unreadable", "vanished", "changed while it was read", LOST}
)
EMBEDDING_STAYS = "its earlier embedding stays"
"""Ends the detail of a file that has a content and could not be read again; before it stands the reason."""
_FOLDERS = ("above", "anchor")
"""A root's options that name a folder."""
UNFINISHED = "unfinished"
"""The ``reading`` of a file that is indexed in part; the next run resumes it."""
# Of the answers of `is_current`, those that are asked for by name.
CHANGED, UNCHANGED = "changed", "same size and time"


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that is kept indexed. ``mount`` is the mount point that it lay on: "/", or a drive's.

    ``options`` are the walk's options as the user gave them, by name. ``drive`` tells the drive that it lay on from
    others; "" is unknown. ``base`` is the folder that a portable index is in, with which the root moves; else "".
    """

    id: int
    path: str
    options: dict[str, object]
    mount: str
    drive: str = ""
    base: str = ""


FILE_COLUMNS = "id, path, size, mtime_ns, device, content, error, detail, inode, ctime_ns, sidecars, reading"
"""Of the table ``file``, what ``file_row`` makes a FileRow of."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A catalogued file: its content's sha256, or the reason why it has none.

    An ``inode`` or ``ctime_ns`` of 0 is unknown. ``detail`` goes with the reason; with a content it tells what of the
    file is missing, or why it could not be read again (``EMBEDDING_STAYS``). ``reading`` says which of its images were
    asked for, as SourceFile's does, or that they are not all in yet (``UNFINISHED``).
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
    sidecars: int = 0
    reading: str = ""


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file that is indexed: its absolute path, its size in bytes and mtime (ns) when it was, its bytes' sha256."""

    path: str
    size: int
    mtime_ns: int
    sha256: bytes = field(default=b"", compare=False)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it, with the time in seconds."""
        return {**path_json(self.path), "bytes": self.size, "modified": self.mtime_ns / 1e9}


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
    """A picture about to be committed: its key, its size in pixels, its row's checksum, and what is kept of its pixels.

    ``hash`` is None where nobody has decoded it. ``kind`` is one of types.KINDS, and ``name`` that of a member of an
    archive.
    """

    sha256: bytes
    page: int
    width: int
    height: int
    crc: int
    hash: PixelHash | None = None
    kind: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class FileState:
    """What a run found out about a file: the content it holds, or why it was skipped.

    ``metadata`` is what is known of the content besides its pixels, None if nobody has looked. ``reading`` is as for
    FileRow.
    """

    root: int
    source: SourceFile
    content: bytes | None = None
    error: str | None = None
    detail: str = ""
    metadata: Metadata | None = None
    reading: str = ""


# From columns to nouns. SQLite keeps anything in any column, and somebody else's database may hold anything: what is
# no path, no number or no JSON raises ValueError, TypeError, OverflowError or RecursionError.


def root_row(id: int, path: bytes, options: str, mount: bytes, drive: str, base: str = "") -> Root:
    """Read a row of the root table, of a portable index in the folder ``base``, else ""."""
    folder = _folder(os.fsdecode(path))
    known = _options(json.loads(options), folder, base)
    return Root(int(id), folder, known, _folder(os.fsdecode(mount)), str(drive), base)


def stored_path(path: str, base: str) -> bytes:
    """Return an absolute folder as the root table has it: relative to ``base`` in a portable index.

    Raises UsageError if it lies outside.
    """
    if not base:
        return os.fsencode(path)
    if not is_at_or_below(path, base):
        raise UsageError(
            f"{display_path(path)} is not in {display_path(base)}: a portable index holds only images in the folder "
            "that it is in; use another index for others: ",
            Option("folder", metavar="DIR"),
        )
    return os.fsencode(os.path.relpath(path, base))


def stored_options(options: Mapping[str, object], base: str) -> str:
    """Return a root's options as the root table has them. Raises UsageError as ``stored_path``."""
    changed = dict(options)
    for name in _FOLDERS:
        if base and changed.get(name):
            changed[name] = os.fsdecode(stored_path(str(changed[name]), base))
    return json.dumps(changed, sort_keys=True)


def _folder(path: object) -> str:
    if not isinstance(path, str):
        raise ValueError(f"{path!r:.100} is not a folder")
    if is_remote(path) and normal(path) == path:
        return path
    if not os.path.isabs(path) or "\0" in path or os.path.normpath(path) != path:
        raise ValueError(f"{path[:100]!r} is not an absolute folder")
    return path


def _options(options: Any, root: str, base: str) -> dict[str, object]:
    """Check the options of the root ``root``, and make its folders absolute where they are relative to ``base``.

    What is unknown stays, for a newer imgsearch may have written it.
    """
    if not isinstance(options, dict):
        raise TypeError("its options are not named")
    names = {name: options.get(name, []) for name in ("exclude", "only")}
    for name, values in names.items():
        if not (isinstance(values, list) and all(isinstance(value, str) for value in values)):
            raise TypeError(f"{name} is not a list of words")
    if any(name in ("", os.curdir, os.pardir) or os.sep in name or "\0" in name for name in names["only"]):
        raise ValueError("only is not a list of files")
    for name in ("include_hidden", "follow_symlinks", "include_copies"):
        if not isinstance(options.get(name, False), bool):
            raise TypeError(f"{name} is neither true nor false")
    for name, kind in (
        ("pages", str),
        ("frames", int),
        ("pdf_password_file", str),
        ("raw_too", bool),
        ("tiles", bool),
    ):
        if name in options and type(options[name]) is not kind:
            raise TypeError(f"{name} is of another kind")
    for name in _FOLDERS:
        # A walk goes from there down to the root, and would never arrive from anywhere else.
        folder = options.get(name, "")
        if base and folder:
            options[name] = folder = os.path.normpath(os.path.join(base, folder))
        if folder != "" and not is_at_or_below(root, _folder(folder)):
            raise ValueError(f"{name} is not a folder above {root}")
    return dict(options)


def _path(path: bytes) -> bytes:
    """Check a path in a root. Raises ValueError for one that leads out of it."""
    if b"\0" in path or path[:1] in (b"", b"/") or b"/../" in b"/%b/" % path:
        raise ValueError(f"{path[:100]!r} is not a path in a folder")
    return path


def location_row(*columns: Any) -> VectorLocation:
    """Read where a content lies."""
    return VectorLocation(*map(int, columns))


def ann_file_row(segment: int, rows: int, name: str, faiss: str, *rest: Any) -> AnnFile | None:
    """Read an ANN file's row; None if it makes no sense: an ANN file is never worth an error."""
    try:
        found = AnnFile(int(segment), int(rows), str(name), str(faiss), *map(int, rest))
    except (ValueError, TypeError, OverflowError):
        return None
    plain = name and os.sep not in found.name and "\0" not in found.name
    return found if plain and found.rows > 0 and 1 <= found.nprobe <= found.nlist else None


def record_row(
    segment: int,
    row: int,
    id: int,
    sha256: bytes,
    page: int,
    width: int,
    height: int,
    kind: str,
    name: str,
    crc: int,
    root: bytes,
    path: bytes,
) -> tuple[tuple[int, int], Record, int, bytes]:
    """Read a picture with one of its files: (segment, row), the picture with that path, its row's crc32, the path."""
    path = os.path.join(root, _path(path))
    paths = (os.fsdecode(path),)
    record = Record(int(id), bytes(sha256), int(page), int(width), int(height), paths, str(kind), str(name))
    return (int(segment), int(row)), record, int(crc), path


def file_row(id: int, path: bytes, *rest: Any) -> FileRow:
    """Read a row of the file table."""
    size, mtime_ns, device, content, error, detail, inode, ctime_ns, sidecars, reading = rest
    if not (isinstance(content, bytes | None) and isinstance(error, str | None)):
        raise TypeError("a file has neither a content nor an error")
    numbers = int(size), int(mtime_ns), int(device)
    marks = int(inode), int(ctime_ns), int(sidecars)
    return FileRow(
        int(id), os.fsdecode(_path(path)), *numbers, content, error, str(detail), *marks, str(reading)
    )


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
    return os.fsdecode(os.path.join(root, _path(path))), str(error), detail


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
    if row.content and row.reading != source.reading:
        return False, "not all of it is indexed" if row.reading == UNFINISHED else "other pages are asked for"
    if source.sidecar_state is not None and row.content and row.sidecars != source.sidecar_state:
        return False, "another sidecar"
    if row.device == source.device:
        if row.inode and source.inode and row.inode != source.inode:
            return False, "replaced"
        if row.ctime_ns and source.ctime_ns and row.ctime_ns != source.ctime_ns:
            return False, "changed in place"
    return True, UNCHANGED
