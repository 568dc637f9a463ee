"""What is asked of the catalogue, or done to it, wholesale: every picture in order, roots and rows that move."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from imgsearch.index.database import Database
from imgsearch.index.rows import FileRow, Root, Stored, file_row, stored_row

if TYPE_CHECKING:
    import sqlite3


class Bulk(Database):
    """The part of the catalogue's interface that export, relocate and compaction use."""

    def sample(self, root: int, limit: int) -> tuple[list[FileRow], int]:
        """Return at most ``limit`` files of a root, evenly spread over their paths, and how many it has in all."""
        count = self._all(int, "SELECT count(*) FROM file WHERE root = ?", root)[0]
        step = max(1, -(-count // limit))
        rows = self._all(
            file_row,
            "SELECT id, path, size, mtime_ns, device, content, error, detail FROM file WHERE id IN (SELECT id FROM "
            "(SELECT id, row_number() OVER (ORDER BY path) - 1 AS place FROM file WHERE root = ?) WHERE place % ? = 0) "
            "ORDER BY path",
            root,
            step,
        )
        return rows, count

    def pictures(self) -> Iterator[Stored]:
        """Yield every picture that has a file, in the order of segments and rows; of one moment in a transaction."""
        with self._guard():
            # CROSS JOIN: in this order, which is that of an index, so that nothing is sorted in memory.
            cursor = self._db.execute(
                "SELECT segment, row, crc, sha256, page, width, height, root.path, file.path FROM content "
                "CROSS JOIN file ON file.content = content.sha256 CROSS JOIN root ON root.id = file.root "
                "ORDER BY segment, row"
            )
        picture: list[Any] = []
        paths: list[bytes] = []
        while True:
            with self._guard():
                rows = cursor.fetchmany(1000)
            for *row, folder, name in rows:
                if row != picture:
                    if picture:
                        yield self._made(stored_row, (*picture, paths))
                    picture, paths = row, []
                paths.append(self._made(_join, (folder, name)))
            if not rows:
                if picture:
                    yield self._made(stored_row, (*picture, paths))
                return

    def picture_count(self) -> int:
        """Return the number of pictures that have a file."""
        return self._all(int, "SELECT count(*) FROM content WHERE files > 0")[0]

    def move_roots(self, moved: Sequence[Root]) -> None:
        """Give roots, known by their ids, other paths, options and mount points: all of them or, killed, none."""
        with self.transaction() as db:
            # First out of each other's way: /a may become /a/b while /a/b becomes something else.
            db.executemany(
                "UPDATE root SET path = ? WHERE id = ?", ((b"%d" % root.id, root.id) for root in moved)
            )
            db.executemany(
                "UPDATE root SET path = ?, options = ?, mount = ? WHERE id = ?",
                (
                    (
                        os.fsencode(root.path),
                        json.dumps(root.options, sort_keys=True),
                        os.fsencode(root.mount),
                        root.id,
                    )
                    for root in moved
                ),
            )

    def living(
        self, segment: int, first_row: int, limit: int, before: float | None = None
    ) -> list[tuple[int, int, int]]:
        """Return (content id, row, crc) of at most ``limit`` pictures with files, from ``first_row`` of a segment.

        With ``before``, those whose last file went later than that are among them.
        """
        sql = (
            "SELECT id, row, crc FROM content LEFT JOIN dead USING (segment, row) WHERE segment = ? AND row >= ? "
            "AND (dead.since IS NULL OR dead.since > ?) ORDER BY row LIMIT ?"
        )
        never = 1e18  # no file went after the end of time
        return self._all(_triple, sql, segment, first_row, never if before is None else before, limit)

    def move(self, moves: Sequence[tuple[int, int]], segment: int, rows: int) -> None:
        """Give contents new places in ``segment``, which has ``rows`` rows now: ``moves`` are (content id, row).

        The rows that they leave are dead from then on.
        """
        with self._consistent(), self.transaction() as db:
            self._put_segment(db, segment, rows)
            db.executemany(
                "UPDATE content SET segment = ?, row = ? WHERE id = ?",
                ((segment, row, id) for id, row in moves),
            )

    def drop_segment(self, segment: int, next_segment: int) -> None:
        """Forget a segment whose rows are all dead, and the contents without files that still lie in it.

        ``next_segment`` is the one that takes the next row: a number is never given twice.
        """
        with self._consistent(), self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO segment (id, rows) VALUES (?, 0)", (next_segment,))
            db.execute("DELETE FROM content WHERE segment = ? AND files = 0", (segment,))
            db.execute("DELETE FROM dead WHERE segment = ?", (segment,))
            db.execute("DELETE FROM ann WHERE segment = ?", (segment,))
            db.execute("DELETE FROM segment WHERE id = ?", (segment,))

    @staticmethod
    def _put_segment(db: sqlite3.Connection, segment: int, rows: int) -> None:
        db.execute(
            "INSERT INTO segment (id, rows) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET rows = excluded.rows",
            (segment, rows),
        )


def _join(folder: bytes, name: bytes) -> bytes:
    return os.path.join(folder, name)


def _triple(first: int, second: int, third: int) -> tuple[int, int, int]:
    return int(first), int(second), int(third)
