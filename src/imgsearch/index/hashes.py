"""The catalogue's table of what is kept of images' pixels, one row a picture that was decoded since there is one."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgsearch.index.database import Database
from imgsearch.index.rows import FILE_COLUMNS, FileRow, NewContent, file_row

if TYPE_CHECKING:
    import sqlite3

HASH_BYTES = 128
_AT_ONCE = 500
_MISSING = (
    "EXISTS (SELECT 1 FROM content WHERE sha256 = file.content AND NOT EXISTS "
    "(SELECT 1 FROM hash WHERE hash.content = content.id))"
)


def put(connection: sqlite3.Connection, contents: Collection[NewContent]) -> None:
    """Keep the hashes of pictures, those that have one, in place of what was known. In a transaction of the writer."""
    connection.executemany(
        "INSERT OR REPLACE INTO hash (content, bits, crc) "
        "SELECT id, ?, ? FROM content WHERE sha256 = ? AND page = ?",
        ((new.hash.bits, new.hash.crc, new.sha256, new.page) for new in contents if new.hash),
    )


@dataclass(frozen=True, slots=True)
class Shot:
    """What tells whether two pictures are the same shot: when and with which camera, of which burst, what pixels.

    ``taken`` is in ms of the camera's clock, None unless the image tells it; without a hash ``bits`` is empty.
    """

    sha256: bytes
    page: int
    taken: int | None
    camera: str
    burst: str
    bits: bytes


def shots(database: Database, contents: Sequence[int]) -> dict[int, Shot]:
    """Return by content id what is known of some contents."""
    found: dict[int, Shot] = {}
    for some in (contents[first : first + _AT_ONCE] for first in range(0, len(contents), _AT_ONCE)):
        sql = (
            "SELECT content.id, sha256, page, CASE WHEN taken_from <> 'file' THEN taken END, model, burst, bits "
            "FROM content LEFT JOIN metadata USING (sha256) LEFT JOIN hash ON hash.content = content.id "
            f"WHERE content.id IN ({', '.join('?' * len(some))})"
        )
        found.update(database.query(_shot_row, sql, *some))
    return found


@dataclass(frozen=True, slots=True)
class HashedPicture:
    """A picture that is alone in its file, as it is stored, with its hash; ``taken`` as a Shot has it."""

    content: int
    sha256: bytes
    width: int
    height: int
    bits: bytes
    crc: int
    taken: int | None
    camera: str
    burst: str


def hashed_pictures(database: Database) -> Iterator[HashedPicture]:
    """Yield every picture that has a file, and a hash, and is the only one in it, in the order of content ids."""
    return database.stream(
        _hashed_row,
        "SELECT content.id, content.sha256, width, height, bits, hash.crc, "
        "CASE WHEN taken_from <> 'file' THEN taken END, model, burst FROM hash "
        "CROSS JOIN content ON content.id = hash.content LEFT JOIN metadata USING (sha256) "
        "WHERE files > 0 AND page = 0 "
        "AND NOT EXISTS (SELECT 1 FROM content AS other WHERE other.sha256 = content.sha256 AND other.page = 1) "
        "ORDER BY content.id",
    )


def copied(database: Database) -> list[bytes]:
    """Return the sha256 of the contents that several files have, ascending."""
    sql = "SELECT DISTINCT sha256 FROM content WHERE files > 1 ORDER BY sha256"
    return database.query(bytes, sql)


@dataclass(frozen=True, slots=True)
class ContentFile:
    """A file of a content: its absolute path, size in bytes and mtime (ns) when it was indexed."""

    path: str
    size: int
    mtime_ns: int


def files_of(database: Database, sha256: bytes) -> list[ContentFile]:
    """Return the files of a content, by their paths."""
    sql = (
        "SELECT root.path, file.path, size, mtime_ns FROM file JOIN root ON root.id = file.root "
        "WHERE content = ? ORDER BY root.path, file.path"
    )
    return database.query(_file_of_row, sql, sha256)


def count_missing(database: Database) -> int:
    """Return how many pictures that have a file have no hash."""
    sql = "SELECT count(*) FROM content WHERE files > 0 AND id NOT IN (SELECT content FROM hash)"
    return database.query(int, sql)[0]


def missing(database: Database, root: int, after: int, limit: int) -> list[FileRow]:
    """Return at most ``limit`` files of a root, from above an id, that have a picture without a hash."""
    sql = f"SELECT {FILE_COLUMNS} FROM file WHERE root = ? AND id > ? AND {_MISSING} ORDER BY id LIMIT ?"
    return database.query(file_row, sql, root, after, limit)


def _file_of_row(root: bytes, path: bytes, size: int, mtime_ns: int) -> ContentFile:
    if b"\0" in path or path[:1] in (b"", b"/") or b"/../" in b"/%b/" % path:
        raise ValueError("a path that leads out of its folder")
    return ContentFile(os.fsdecode(os.path.join(root, path)), int(size), int(mtime_ns))


def _hashed_row(
    content: int,
    sha256: bytes,
    width: int,
    height: int,
    bits: bytes,
    crc: int,
    taken: int | None,
    camera: str | None,
    burst: str | None,
) -> HashedPicture:
    if len(bits) != HASH_BYTES:
        raise ValueError("a hash of the wrong length")
    time = None if taken is None else int(taken)
    told = time, str(camera or ""), str(burst or "")
    return HashedPicture(int(content), bytes(sha256), int(width), int(height), bytes(bits), int(crc), *told)


def _shot_row(
    id: int,
    sha256: bytes,
    page: int,
    taken: int | None,
    camera: str | None,
    burst: str | None,
    bits: bytes | None,
) -> tuple[int, Shot]:
    if bits and len(bits) != HASH_BYTES:
        raise ValueError("a hash of the wrong length")
    time = None if taken is None else int(taken)
    return int(id), Shot(
        bytes(sha256), int(page), time, str(camera or ""), str(burst or ""), bytes(bits or b"")
    )
