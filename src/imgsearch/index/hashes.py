"""The catalogue's table of what is kept of images' pixels, one row a picture that was decoded since there is one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from imgsearch.index.database import Database
from imgsearch.index.rows import FILE_COLUMNS, FileRow, NewContent, file_row
from imgsearch.types import PixelHash

if TYPE_CHECKING:
    import sqlite3

HASH_BYTES = 128
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


def get(database: Database, contents: Sequence[int]) -> dict[int, PixelHash]:
    """Return by content id the hashes that there are of some contents; at most a few hundred at a time."""
    marks = ", ".join("?" * len(contents))
    sql = f"SELECT content, bits, crc FROM hash WHERE content IN ({marks})"
    return dict(database.query(_row, sql, *contents))


def count_missing(database: Database) -> int:
    """Return how many pictures that have a file have no hash."""
    sql = "SELECT count(*) FROM content WHERE files > 0 AND id NOT IN (SELECT content FROM hash)"
    return database.query(int, sql)[0]


def missing(database: Database, root: int, after: int, limit: int) -> list[FileRow]:
    """Return at most ``limit`` files of a root, from above an id, that have a picture without a hash."""
    sql = f"SELECT {FILE_COLUMNS} FROM file WHERE root = ? AND id > ? AND {_MISSING} ORDER BY id LIMIT ?"
    return database.query(file_row, sql, root, after, limit)


def _row(content: int, bits: bytes, crc: int) -> tuple[int, PixelHash]:
    if not isinstance(bits, bytes) or len(bits) != HASH_BYTES:
        raise ValueError("a hash of the wrong length")
    return int(content), PixelHash(bits, int(crc))
