"""The SQLite sidecar, the index's source of truth: which files and pictures it holds, and what failed.

What the catalogue does not name does not exist: its transaction is the only point at which new vectors become
visible. WAL with synchronous=FULL; paths are stored as the bytes that the file system gave.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator

from imgsearch.index.database import Database
from imgsearch.index.rows import FileRow, FileState, NewContent, Place, Root, file_row, root_row, skipped_row
from imgsearch.types import Record


class Catalog(Database):
    """The sidecar's tables, read and written as the index's nouns."""

    # ---- reading -------------------------------------------------------------------------------------------

    def roots(self) -> list[Root]:
        """Return the known roots in the order in which they were added."""
        return self._all(root_row, "SELECT id, path, options, mount FROM root ORDER BY id")

    def file(self, root: int, path: str) -> FileRow | None:
        """Return what is known of the file at ``path`` below a root, or None."""
        sql = f"SELECT {_FILE} FROM file WHERE root = ? AND path = ?"
        rows = self._all(file_row, sql, root, os.fsencode(path))
        return rows[0] if rows else None

    def files(self, root: int, below: str = "") -> Iterator[FileRow]:
        """Yield the files of a root, or of a file or folder ``below`` it, in the order of their paths' bytes."""
        where, values = _within(below)
        with self._guard():
            cursor = self._db.execute(
                f"SELECT {_FILE} FROM file WHERE root = ? AND {where} ORDER BY path", (root, *values)
            )
        while True:
            with self._guard():
                rows = cursor.fetchmany(1000)
            if not rows:
                return
            for row in rows:
                yield self._made(file_row, row)

    def place(self, sha256: bytes, page: int = 0) -> Place | None:
        """Return where the vector of a content lies, or None if there is none."""
        rows = self._all(
            Place, "SELECT id, segment, row, crc FROM content WHERE sha256 = ? AND page = ?", sha256, page
        )
        return rows[0] if rows else None

    def segments(self) -> list[tuple[int, int]]:
        """Return (number, committed rows) of every segment, in order."""
        return self._all(_pair, "SELECT id, rows FROM segment ORDER BY id")

    def record(self, segment: int, row: int) -> tuple[Record, int] | None:
        """Return the picture at a place with its row's crc32, or None if no file has that picture any more."""
        found = self._all(
            lambda *row: row,
            "SELECT id, sha256, page, width, height, crc FROM content WHERE segment = ? AND row = ?",
            segment,
            row,
        )
        if not found:
            return None
        content, sha256, page, width, height, crc = found[0]
        paths = self.paths(sha256)
        return (Record(content, sha256, page, width, height, paths), crc) if paths else None

    def paths(self, sha256: bytes) -> tuple[str, ...]:
        """Return the absolute paths of all files with a content, sorted by their bytes."""
        paths = self._all(
            os.path.join,
            "SELECT root.path, file.path FROM file JOIN root ON root.id = file.root WHERE content = ?",
            sha256,
        )
        return tuple(os.fsdecode(path) for path in sorted(paths))

    def errors(self) -> Iterator[tuple[str, str, str]]:
        """Yield (absolute path, reason, detail) of every file that was skipped."""
        yield from self._all(
            skipped_row,
            "SELECT root.path, file.path, error, detail FROM file JOIN root ON root.id = file.root "
            "WHERE error IS NOT NULL ORDER BY error, root.path, file.path",
        )

    def counts(self) -> tuple[int, int, dict[str, int]]:
        """Return the number of indexed files, of their distinct contents, and of skipped files by reason."""
        files, contents = self._all(
            _pair, "SELECT count(*), count(DISTINCT content) FROM file WHERE content IS NOT NULL"
        )[0]
        reasons = self._all(
            lambda reason, count: (str(reason), int(count)),
            "SELECT error, count(*) FROM file WHERE error IS NOT NULL GROUP BY error ORDER BY 2 DESC",
        )
        return files, contents, dict(reasons)

    def meta(self, key: str) -> str | None:
        """Return a remark about the index itself, or None."""
        rows = self._all(str, "SELECT value FROM meta WHERE key = ?", key)
        return rows[0] if rows else None

    # ---- writing: only under the writer lock ----------------------------------------------------------------

    def put_root(self, path: str, options: dict[str, object], mount: str = os.sep) -> int:
        """Add a root, or bring its options and mount point up to date; return its id."""
        with self.transaction() as db:
            row = db.execute(
                "INSERT INTO root (path, options, mount) VALUES (?, ?, ?) "
                "ON CONFLICT (path) DO UPDATE SET options = excluded.options, mount = excluded.mount RETURNING id",
                (os.fsencode(path), json.dumps(options, sort_keys=True), os.fsencode(mount)),
            ).fetchone()
        return int(row[0])

    def put_meta(self, key: str, value: str) -> None:
        """Keep a remark about the index itself."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def split_root(self, outer: int, below: str, inner: int, device: int) -> None:
        """Hand the files of ``outer`` that lie in its folder ``below`` over to the root ``inner`` of that folder.

        ``device`` is the st_dev of that folder: for the files on it, it is now their root's own.
        """
        prefix = os.fsencode(below) + b"/"
        with self.transaction() as db:
            db.execute(
                "UPDATE OR REPLACE file SET root = ?, path = substr(path, ?), device = iif(device = ?, 0, device) "
                "WHERE root = ? AND path > ? AND path < ?",
                (inner, len(prefix) + 1, device, outer, prefix, os.fsencode(below) + b"0"),
            )

    def commit(
        self, segment: int, first_row: int, contents: list[NewContent], states: list[FileState]
    ) -> None:
        """Name ``contents``, whose rows lie durably at ``first_row`` and on of ``segment``, and their files.

        Raises what _guard raises; then nothing of it is visible.
        """
        with self.transaction() as db:
            if contents:
                db.execute(
                    "INSERT INTO segment (id, rows) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET rows = excluded.rows",
                    (segment, first_row + len(contents)),
                )
            db.executemany(
                "INSERT INTO content (sha256, page, segment, row, crc, width, height) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (new.sha256, new.page, segment, row, new.crc, new.width, new.height)
                    for row, new in enumerate(contents, first_row)
                ),
            )
            db.executemany(
                "INSERT INTO file (root, path, size, mtime_ns, device, content, error, detail) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (root, path) DO UPDATE SET size = excluded.size, "
                "mtime_ns = excluded.mtime_ns, device = excluded.device, content = excluded.content, "
                "error = excluded.error, detail = excluded.detail",
                (
                    (
                        state.root,
                        os.fsencode(state.source.path),
                        state.source.size,
                        state.source.mtime_ns,
                        state.source.device,
                        state.content,
                        state.error,
                        state.detail,
                    )
                    for state in states
                ),
            )

    def drop_files(self, ids: Iterable[int], *, contents: bool = False) -> None:
        """Take files out; with ``contents``, also the contents that no file has any more.

        A pruned file's content stays until the index is compacted, so that the file, found again somewhere
        else, need not be embedded again. What a person removes is forgotten at once.
        """
        with self.transaction() as db:
            for id in ids:
                row = db.execute("DELETE FROM file WHERE id = ? RETURNING content", (id,)).fetchone()
                if contents and row and row[0] is not None:
                    db.execute(
                        "DELETE FROM content WHERE sha256 = ?1 "
                        "AND NOT EXISTS (SELECT 1 FROM file WHERE content = ?1)",
                        (row[0],),
                    )

    def drop_root(self, id: int) -> None:
        """Forget a root; its files must have been dropped before."""
        with self.transaction() as db:
            db.execute("DELETE FROM root WHERE id = ?", (id,))


_FILE = "id, path, size, mtime_ns, device, content, error, detail"


def _pair(first: int, second: int) -> tuple[int, int]:
    return int(first), int(second)


def _within(below: str) -> tuple[str, tuple[bytes, ...]]:
    """Return the condition that a file is ``below`` itself or lies in it; paths compare as bytes."""
    if not below:
        return "TRUE", ()
    path = os.fsencode(below)
    # "0" follows "/" in ASCII, so this is the range of everything that begins with path + "/".
    return "(path = ? OR (path > ? AND path < ?))", (path, path + b"/", path + b"0")
