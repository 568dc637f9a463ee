"""The catalogue's table of the text that stands in images: one row an image whose text has been read."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgsearch.index.rows import FILE_COLUMNS, FileRow, file_row

if TYPE_CHECKING:
    import sqlite3

    from imgsearch.index.database import Database

Corners = tuple[float, float, float, float, float, float, float, float]
"""x and y of four corners, clockwise from where the text begins; fractions of the upright image's width and height."""
MOST_CHARACTERS = 40_000
"""Of one image that are kept: a page of small print has some 10,000."""
_MOST_LINES = 2_000
_UNIT = 10_000
"""Corners are stored as whole numbers of this part of the width and height."""
_AT_ONCE = 500
WANTED = "text in images"
"""The remark that the text of all images is to be read by every run."""
_UNREAD = "kind <> 'tile' AND NOT EXISTS (SELECT 1 FROM image_text WHERE image_text.content = content.id)"
"""What a tile says, its page says."""
_MISSING = f"EXISTS (SELECT 1 FROM content WHERE sha256 = file.content AND {_UNREAD})"


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of text as it was read; ``corners`` are None where nobody knows where it stands."""

    text: str
    corners: Corners | None = None


@dataclass(frozen=True, slots=True)
class ImageText:
    """What was read in one image of a file, and by which reader; no lines if no text stands there."""

    sha256: bytes
    page: int
    lines: tuple[TextLine, ...]
    reader: str


def put(connection: sqlite3.Connection, texts: Collection[ImageText]) -> None:
    """Keep what was read in images, in place of what was known. In a transaction of the writer."""
    connection.executemany(
        "INSERT OR REPLACE INTO image_text (content, reader, lines) "
        "SELECT id, ?, ? FROM content WHERE sha256 = ? AND page = ?",
        ((text.reader, _stored(text.lines), text.sha256, text.page) for text in texts),
    )


def lines_of(database: Database, contents: Collection[int]) -> dict[int, tuple[TextLine, ...]]:
    """Return by content id the text of some images; those without any, or not read yet, are left out."""
    found: dict[int, tuple[TextLine, ...]] = {}
    ids = list(contents)
    for some in (ids[first : first + _AT_ONCE] for first in range(0, len(ids), _AT_ONCE)):
        sql = (
            "SELECT content, lines FROM image_text "
            f"WHERE lines <> '' AND content IN ({', '.join('?' * len(some))})"
        )
        found.update(database.query(_text_row, sql, *some))
    return found


def stored(database: Database) -> Iterator[ImageText]:
    """Yield all that has been read, an image at a time."""
    sql = (
        "SELECT sha256, page, lines, reader FROM image_text JOIN content ON content.id = image_text.content "
        "ORDER BY content.id"
    )
    yield from database.stream(_image_row, sql)


def counts(database: Database) -> tuple[int, int]:
    """Return of how many images that have a file the text has been read, and how many have any."""
    sql = (
        "SELECT count(*), count(*) FILTER (WHERE lines <> '') FROM image_text "
        "CROSS JOIN content ON content.id = image_text.content WHERE files > 0"
    )
    return database.query(lambda read, found: (int(read), int(found)), sql)[0]


def files_with_text(database: Database) -> list[int]:
    """Return the ids of the files with an image in which text was found."""
    sql = (
        "SELECT DISTINCT file.id FROM image_text JOIN content ON content.id = image_text.content "
        "JOIN file ON file.content = content.sha256 WHERE lines <> ''"
    )
    return database.query(int, sql)


def has_any(database: Database) -> bool:
    """Whether any text has been found in an image."""
    return bool(database.query(int, "SELECT EXISTS (SELECT 1 FROM image_text WHERE lines <> '')")[0])


def count_missing(database: Database) -> int:
    """Return how many images that have a file have not been read."""
    sql = f"SELECT count(*) FROM content WHERE files > 0 AND {_UNREAD}"
    return database.query(int, sql)[0]


def missing(database: Database, root: int, after: int, limit: int) -> list[FileRow]:
    """Return at most ``limit`` files of a root, from above an id, that have an image which has not been read."""
    sql = f"SELECT {FILE_COLUMNS} FROM file WHERE root = ? AND id > ? AND {_MISSING} ORDER BY id LIMIT ?"
    return database.query(file_row, sql, root, after, limit)


def pages_missing(database: Database, sha256: bytes) -> list[int]:
    """Return which images of a content have not been read, ascending."""
    sql = f"SELECT page FROM content WHERE sha256 = ? AND {_UNREAD} ORDER BY page"
    return database.query(int, sql, sha256)


def is_wanted(database: Database) -> bool:
    """Whether the text of all images is to be read by every run."""
    return bool(database.query(str, "SELECT value FROM meta WHERE key = ?", WANTED))


def set_wanted(connection: sqlite3.Connection, wanted: bool) -> None:
    """Note whether the text of all images is to be read by every run. In a transaction of the writer."""
    connection.execute("DELETE FROM meta WHERE key = ?", (WANTED,))
    if wanted:
        connection.execute("INSERT INTO meta (key, value) VALUES (?, '1')", (WANTED,))


def _stored(lines: Sequence[TextLine]) -> str:
    """Return lines as the table has them, as far as an image may have so many; "" if there is no text."""
    kept: list[list[Any]] = []
    left = MOST_CHARACTERS
    for line in lines[:_MOST_LINES]:
        text = " ".join("".join(map(_plain, line.text[:left])).split())
        if not text:
            continue
        left -= len(text)
        corners = [round(min(max(part, 0.0), 1.0) * _UNIT) for part in line.corners or ()]
        kept.append([text, corners] if corners else [text])
        if left <= 0:
            break
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")) if kept else ""


def _plain(char: str) -> str:
    """Return a character as it is kept: nothing that acts on a terminal, and nothing that is not text."""
    return " " if char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff" else char


def _text_row(content: int, lines: str) -> tuple[int, tuple[TextLine, ...]]:
    """Read a row; the catalogue's reader turns ValueError and TypeError into damage."""
    return int(content), tuple(_line(*stored) for stored in json.loads(lines))


def _image_row(sha256: bytes, page: int, lines: str, reader: str) -> ImageText:
    _, read = _text_row(0, lines or "[]")
    return ImageText(bytes(sha256), int(page), read, str(reader))


def _line(text: str, corners: Sequence[int] | None = None) -> TextLine:
    if not isinstance(text, str):
        raise TypeError("a line is not a text")
    if corners is None:
        return TextLine(text)
    a, b, c, d, e, f, g, h = (min(max(int(part) / _UNIT, 0.0), 1.0) for part in corners)
    return TextLine(text, (a, b, c, d, e, f, g, h))
