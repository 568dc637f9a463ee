"""The catalogue, opened to be checked and mended: its own consistency, what it counts, and what it names."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from imgsearch.errors import IndexDamaged
from imgsearch.index.catalog import Catalog

_AT_ONCE = 1000


class LostFile(NamedTuple):
    """A file whose picture has lost its vector: its root's id, its path below it, and the absolute path."""

    root: int
    path: str
    whole: str


class Audit(Catalog):
    """A catalogue that can be asked whether all is well with it. These questions read all of it."""

    def trouble(self) -> str:
        """Return what SQLite finds wrong with the database, in a few words; "" if nothing."""
        try:
            for line in self._all(str, "PRAGMA integrity_check(1)"):
                if line != "ok":
                    return " ".join(line.replace("***", "").split())
            for table, *_ in self._all(lambda *row: row, "PRAGMA foreign_key_check"):
                return f"a row of table {table} names what is not there"
        except IndexDamaged as error:
            return str(error.__cause__ or error)
        return ""

    def wrong_counters(self) -> list[str]:
        """Say which of the figures that are kept along are not what counting gives."""
        wrong = []
        if self._all(int, f"SELECT EXISTS ({_TALLY_OFF})")[0]:
            wrong.append("the number of files by reason")
        if self._all(int, f"SELECT count(*) FROM content WHERE files <> ({_FILES})")[0]:
            wrong.append("the number of files of pictures")
        if self._all(int, f"SELECT EXISTS (SELECT 1 FROM dead WHERE {_NOT_DEAD})")[0] or self._all(
            _pair, _DEAD_SHOULD
        ) != self._all(_pair, "SELECT segment, count(*) FROM dead GROUP BY segment ORDER BY segment"):
            wrong.append("which vectors are of pictures that are gone")
        return wrong

    def misplaced(self) -> list[int]:
        """Return the ids of contents that lie outside their segment, or where another one lies."""
        return self._all(
            int,
            "SELECT content.id FROM content LEFT JOIN segment ON segment.id = content.segment "
            "WHERE segment.id IS NULL OR row < 0 OR row >= rows UNION SELECT id FROM content NOT INDEXED "
            "WHERE (segment, row) IN (SELECT segment, row FROM content NOT INDEXED GROUP BY segment, row "
            "HAVING count(*) > 1)",
        )

    def without_content(self) -> list[LostFile]:
        """Return the files that name a content that is not there."""
        return self._all(
            _lost_file,
            f"SELECT root, root.path, file.path FROM file JOIN root ON root.id = file.root WHERE {_HOMELESS}",
        )

    def contents(self, segment: int, first_row: int, limit: int) -> list[tuple[int, int, int]]:
        """Return (id, row, crc) of the contents in at most ``limit`` rows from ``first_row`` of a segment."""
        return self._all(
            _triple,
            "SELECT id, row, crc FROM content WHERE segment = ? AND row >= ? AND row < ? ORDER BY row",
            segment,
            first_row,
            first_row + limit,
        )

    def contents_of(self, segment: int, first_row: int = 0) -> list[int]:
        """Return the ids of the contents of a segment, from a row on."""
        return self._all(int, "SELECT id FROM content WHERE segment = ? AND row >= ?", segment, first_row)

    def files_of(self, content: int) -> list[LostFile]:
        """Return the files that have the same bytes as a content."""
        return self._all(
            _lost_file,
            "SELECT root, root.path, file.path FROM content JOIN file ON file.content = content.sha256 "
            "JOIN root ON root.id = file.root WHERE content.id = ?",
            content,
        )

    # ---- mending: only under the writer lock ----------------------------------------------------------------

    def drop_contents(self, ids: Iterable[int]) -> None:
        """Forget contents and the files that have them, so that the next run finds these files new.

        All pages of a file go with one of them. Some at a time: killed in between, what is left can go later.
        """
        for part in _parts(ids):
            with self.transaction() as db:
                for id in part:
                    known = db.execute("SELECT sha256 FROM content WHERE id = ?", (id,)).fetchone()
                    if known:  # not with an earlier page
                        db.execute("DELETE FROM file WHERE content = ?", known)
                        db.execute("DELETE FROM content WHERE sha256 = ?", known)

    def drop_without_content(self) -> None:
        """Forget the files that name a content that is not there."""
        with self.transaction() as db:
            db.execute(f"DELETE FROM file WHERE {_HOMELESS}")

    def shorten(self, segment: int, rows: int) -> None:
        """Let a segment have only its first ``rows`` rows, all others being lost; no content may lie in those."""
        with self.transaction() as db:
            db.execute("UPDATE segment SET rows = ? WHERE id = ?", (rows, segment))
            db.execute("DELETE FROM dead WHERE segment = ? AND row >= ?", (segment, rows))
            db.execute("DELETE FROM ann WHERE segment = ? AND rows > ?", (segment, rows))

    def recount(self) -> None:
        """Count anew what is kept along: files by reason, files of each content, and which rows are dead."""
        now = int(time.time())
        with self.transaction() as db:
            db.execute("DELETE FROM tally")
            db.execute("INSERT INTO tally SELECT coalesce(error, ''), count(*) FROM file GROUP BY 1")
            db.execute(f"UPDATE content SET files = ({_FILES}) WHERE files <> ({_FILES})")
            db.execute(f"DELETE FROM dead WHERE {_NOT_DEAD}")
            db.execute(
                "INSERT OR IGNORE INTO dead SELECT segment, row, ? FROM content WHERE files = 0", (now,)
            )
            for number, rows in db.execute("SELECT id, rows FROM segment").fetchall():
                db.execute(
                    "WITH RECURSIVE every (row) AS (SELECT 0 WHERE ?2 > 0 UNION ALL SELECT row + 1 FROM every "
                    "WHERE row + 1 < ?2) INSERT OR IGNORE INTO dead SELECT ?1, row, 0 FROM every WHERE NOT EXISTS "
                    "(SELECT 1 FROM content WHERE segment = ?1 AND content.row = every.row)",
                    (number, rows),
                )


_FILES = "SELECT count(*) FROM file WHERE file.content = content.sha256"
_HOMELESS = "content IS NOT NULL AND NOT EXISTS (SELECT 1 FROM content WHERE content.sha256 = file.content)"
_COUNTED = "SELECT coalesce(error, ''), count(*) FROM file GROUP BY 1"
_KEPT = "SELECT reason, files FROM tally WHERE files <> 0"
_TALLY_OFF = f"SELECT * FROM ({_COUNTED} EXCEPT {_KEPT}) UNION ALL SELECT * FROM ({_KEPT} EXCEPT {_COUNTED})"
# Dead rows that are none: past the end of their segment, or of a picture that has a file.
_NOT_DEAD = (
    "NOT EXISTS (SELECT 1 FROM segment WHERE id = dead.segment AND dead.row >= 0 AND dead.row < rows) "
    "OR EXISTS (SELECT 1 FROM content WHERE content.segment = dead.segment AND content.row = dead.row "
    "AND EXISTS (SELECT 1 FROM file WHERE file.content = content.sha256))"
)
# How many rows of each segment must be dead: those that no picture with a file is in.
_DEAD_SHOULD = (
    "SELECT id, rows - (SELECT count(*) FROM content WHERE content.segment = segment.id AND content.row < rows "
    "AND EXISTS (SELECT 1 FROM file WHERE file.content = content.sha256)) AS gone "
    "FROM segment WHERE gone <> 0 ORDER BY id"
)


def _pair(first: int, second: int) -> tuple[int, int]:
    return int(first), int(second)


def _triple(first: int, second: int, third: int) -> tuple[int, int, int]:
    return int(first), int(second), int(third)


def _lost_file(root: int, folder: bytes, path: bytes) -> LostFile:
    return LostFile(int(root), os.fsdecode(path), os.fsdecode(os.path.join(folder, path)))


def _parts(ids: Iterable[int]) -> Iterator[list[int]]:
    part: list[int] = []
    for id in ids:
        part.append(id)
        if len(part) == _AT_ONCE:
            yield part
            part = []
    yield part
