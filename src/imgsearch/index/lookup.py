"""What is known of files, looked up one after the other in about the order of their paths, as a walk meets them."""

from __future__ import annotations

import os
from typing import Any

from imgsearch.index.catalog import Catalog
from imgsearch.index.rows import FILE_COLUMNS, FileRow, file_row

_AT_ONCE = 100
"""Rows read at a time: a query costs as much as a dozen rows do, and a walk leaves the paths' order at folders only."""


class FileLookup:
    """The files of one root, as of when a stretch of them was read: for a time in which nobody writes."""

    def __init__(self, catalog: Catalog, root: int) -> None:
        """Take an open catalogue and the id of a root."""
        self._catalog, self._root = catalog, root
        self._rows: dict[Any, tuple[Any, ...]] = {}
        self._first: bytes | None = None
        self._last: bytes | None = None  # None: to the end

    def find(self, path: str) -> FileRow | None:
        """Return what is known of the file at ``path`` below the root, or None. Raises IndexDamaged."""
        key = os.fsencode(path)
        if self._first is None or key < self._first or (self._last is not None and key > self._last):
            self._read(key)
        row = self._rows.get(key)
        return self._catalog.database.made(file_row, row) if row else None

    def _read(self, key: bytes) -> None:
        sql = f"SELECT {FILE_COLUMNS} FROM file WHERE root = ? AND path >= ? ORDER BY path LIMIT {_AT_ONCE}"
        rows: list[tuple[Any, ...]] = self._catalog.database.query(lambda *row: row, sql, self._root, key)
        self._rows = {row[1]: row for row in rows}
        self._first, self._last = key, rows[-1][1] if len(rows) == _AT_ONCE else None
