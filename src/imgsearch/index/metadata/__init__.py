"""The catalogue's table of what is known of pictures besides their pixels, one row a content."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from imgsearch.index.rows import FILE_COLUMNS, FileRow, FileState, file_row, pair_row
from imgsearch.types import Metadata

if TYPE_CHECKING:
    import sqlite3

    from imgsearch.index.database import Database

_AT_ONCE = 500
_EPOCH = datetime(1970, 1, 1)
_MILLISECOND = timedelta(milliseconds=1)
_COLUMNS = (
    "taken, taken_from, offset, make, model, lens, latitude, longitude, rating, title, description, keywords, "
    "software, burst"
)
_MISSING = "content IS NOT NULL AND NOT EXISTS (SELECT 1 FROM metadata WHERE sha256 = file.content)"
_COMPLETE = "metadata is complete"
"""The remark that every content that has a file has a row here."""


def milliseconds(moment: datetime) -> int:
    """Return a wall clock's time as the table has it: milliseconds since 1970 on that clock."""
    return (moment - _EPOCH) // _MILLISECOND


def moment(number: int) -> datetime:
    """Return the wall clock's time of a number of milliseconds. Raises OverflowError where no calendar has it."""
    return _EPOCH + number * _MILLISECOND


def put(connection: sqlite3.Connection, states: Collection[FileState]) -> None:
    """Keep what was found out about contents in place of what was known. In a transaction of the writer.

    Of a content whose files differ, by their dates or sidecars, the last one counts.
    """
    connection.executemany(
        f"INSERT OR REPLACE INTO metadata (sha256, {_COLUMNS}) VALUES ({', '.join('?' * 15)})",
        ((state.content, *_values(state.metadata)) for state in states if state.content and state.metadata),
    )
    if any(state.content and state.metadata is None for state in states):
        connection.execute("DELETE FROM meta WHERE key = ?", (_COMPLETE,))


def get(database: Database, sha256: bytes) -> Metadata | None:
    """Return what is known of a content; None if nobody has looked yet."""
    rows = database.query(_row, f"SELECT {_COLUMNS} FROM metadata WHERE sha256 = ?", sha256)
    return rows[0] if rows else None


def dates(database: Database, contents: Sequence[int]) -> dict[int, int]:
    """Return by content id when images were taken, as the table has it; those without a date are left out."""
    found: dict[int, int] = {}
    for start in range(0, len(contents), _AT_ONCE):
        some = contents[start : start + _AT_ONCE]
        sql = (
            "SELECT content.id, taken FROM content JOIN metadata USING (sha256) "
            f"WHERE taken IS NOT NULL AND content.id IN ({', '.join('?' * len(some))})"
        )
        found |= dict(database.query(pair_row, sql, *some))
    return found


def sizes(database: Database, contents: Sequence[bytes]) -> dict[bytes, tuple[int, int, int | None]]:
    """Return by sha256 the width and height in pixels of contents, and when they were taken, as ``dates`` has it.

    Of several pages that is the first; at most a few hundred at a time.
    """
    sql = (
        "SELECT sha256, width, height, taken FROM content LEFT JOIN metadata USING (sha256) "
        f"WHERE page = 0 AND sha256 IN ({', '.join('?' * len(contents))})"
    )
    return dict(database.query(_size_row, sql, *contents))


def _size_row(
    sha256: bytes, width: int, height: int, taken: int | None
) -> tuple[bytes, tuple[int, int, int | None]]:
    return bytes(sha256), (int(width), int(height), None if taken is None else int(taken))


def camera_name(make: str, model: str) -> str:
    """Return what a camera is called; "" if nobody tells."""
    return model if model.startswith(make) else f"{make} {model}".strip()


def counts(database: Database) -> dict[str, int]:
    """Return how many indexed contents have a date of their own, a place, a camera."""
    sql = (
        "SELECT count(*) FILTER (WHERE taken_from NOT IN ('', 'file')), count(latitude), "
        "count(*) FILTER (WHERE model <> '') FROM metadata "
        "WHERE EXISTS (SELECT 1 FROM content WHERE content.sha256 = metadata.sha256 AND files > 0)"
    )
    (found,) = database.query(
        lambda *row: dict(zip(("date", "place", "camera"), map(int, row), strict=True)), sql
    )
    return found


def is_complete(database: Database) -> bool:
    """Whether no file is left to look at: false for an index that an older imgsearch has made."""
    return bool(database.query(str, "SELECT value FROM meta WHERE key = ?", _COMPLETE))


def set_complete(connection: sqlite3.Connection) -> None:
    """Note that every file has been looked at; whoever commits a file from now on commits its metadata, too."""
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_COMPLETE, "1"))


def missing(database: Database, root: int, after: int, limit: int) -> list[FileRow]:
    """Return at most ``limit`` files of a root, from above an id, whose contents nobody has looked at."""
    sql = f"SELECT {FILE_COLUMNS} FROM file WHERE root = ? AND id > ? AND {_MISSING} ORDER BY id LIMIT ?"
    return database.query(file_row, sql, root, after, limit)


def count_missing(database: Database) -> int:
    """Return how many files there are whose contents nobody has looked at."""
    return database.query(int, f"SELECT count(*) FROM file WHERE {_MISSING}")[0]


def _values(metadata: Metadata) -> tuple[Any, ...]:
    return (
        None if metadata.taken is None else milliseconds(metadata.taken),
        metadata.taken_from,
        metadata.offset,
        metadata.make,
        metadata.model,
        metadata.lens,
        metadata.latitude,
        metadata.longitude,
        metadata.rating,
        metadata.title,
        metadata.description,
        json.dumps(metadata.keywords, ensure_ascii=False) if metadata.keywords else "",
        metadata.software,
        metadata.burst,
    )


def _row(taken: int | None, taken_from: str, offset: int | None, *rest: Any) -> Metadata:
    """Read a row; the catalogue's reader turns ValueError, TypeError and OverflowError into damage."""
    make, model, lens, latitude, longitude, rating, title, description, keywords, software, burst = rest
    if latitude is not None and not (abs(float(latitude)) <= 90 and abs(float(longitude)) <= 180):
        raise ValueError("a place off the globe")
    return Metadata(
        taken=None if taken is None else moment(int(taken)),
        taken_from=str(taken_from),
        offset=None if offset is None else int(offset),
        make=str(make),
        model=str(model),
        lens=str(lens),
        latitude=None if latitude is None else float(latitude),
        longitude=None if longitude is None else float(longitude),
        rating=None if rating is None else int(rating),
        title=str(title),
        description=str(description),
        keywords=tuple(map(str, json.loads(keywords))) if keywords else (),
        software=str(software),
        burst=str(burst),
    )


def kinds_of_files(database: Database) -> dict[str, list[int]]:
    """Return the ids of the files that are documents by what their images are, one of types.KINDS."""
    sql = "SELECT DISTINCT file.id, kind FROM content JOIN file ON file.content = content.sha256 WHERE kind <> ''"
    found: dict[str, list[int]] = {}
    for id, kind in database.query(lambda id, kind: (int(id), str(kind)), sql):
        found.setdefault(kind, []).append(id)
    return found
