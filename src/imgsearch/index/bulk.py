"""What is asked of the catalogue, or done to it, wholesale: every picture in order, a sample, roots that move."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from imgsearch.index.database import Database
from imgsearch.index.rows import FileRow, Root, Stored, file_row, stored_row


class Bulk(Database):
    """The part of the catalogue's interface that export and relocate use."""

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


def _join(folder: bytes, name: bytes) -> bytes:
    return os.path.join(folder, name)
