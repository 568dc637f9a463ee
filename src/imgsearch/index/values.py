"""The values that the images of an index have: cameras, lenses, keywords, types of file; and its folders.

They are for completion on a command line, where a tenth of a second counts: they are read straight from the catalogue,
without NumPy, and what takes long or goes wrong yields nothing.
"""

from __future__ import annotations

import os
import sqlite3
import time
import urllib.parse
from contextlib import closing
from typing import Any

from imgsearch.errors import ImgsearchError
from imgsearch.index import manifest
from imgsearch.index.layout import CATALOGUE, base_of

_MOST = 1_000
_PATIENCE_SECONDS = 0.5
_STEPS_AT_ONCE = 10_000
_QUERIES = {
    "camera": "SELECT DISTINCT model FROM metadata WHERE model <> ''",
    "camera with make": "SELECT DISTINCT make || ' ' || model FROM metadata WHERE make <> '' AND model <> ''",
    "lens": "SELECT DISTINCT lens FROM metadata WHERE lens <> ''",
    "keyword": "SELECT DISTINCT value FROM metadata, json_each(keywords) WHERE keywords <> ''",
}
"""What somebody may look for → the statement that reads all its values."""


def values(folder: str, name: str) -> list[str]:
    """Return the different values of a fact in the index in ``folder``, sorted, a thousand at most.

    ``name`` is "camera", "camera with make", "lens" or "keyword". Without an index, or where that takes long, nothing.
    """
    found = {str(value).strip() for (value,) in _rows(_data(folder), _QUERIES[name])}
    return sorted(found, key=str.casefold)


def folders(folder: str) -> list[str]:
    """Return the folders that the index in ``folder`` keeps indexed, sorted; nothing if it can't be read."""
    data = _data(folder)
    base = os.fsencode(base_of(data))  # of a portable index the folders are relative to it
    found = (os.path.join(base, bytes(path)) for (path,) in _rows(data, "SELECT path FROM root"))
    return sorted(os.path.normpath(os.fsdecode(path)) for path in found)


def _data(folder: str) -> str:
    """Return where the catalogue of an index is."""
    try:
        return manifest.load(folder)[1]
    except ImgsearchError:
        return folder


def _rows(data: str, sql: str) -> list[Any]:
    """Return what a statement reads from the catalogue in ``data``; nothing after an error, or half a second."""
    uri = f"file:{urllib.parse.quote(os.fsencode(os.path.join(data, CATALOGUE)))}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE_SECONDS)) as connection:
            # It may be somebody else's: of what it can bring along to be run, nothing is.
            connection.execute("PRAGMA trusted_schema = OFF")
            until = time.monotonic() + _PATIENCE_SECONDS
            connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS_AT_ONCE)
            return connection.execute(f"{sql} LIMIT {_MOST}").fetchall()
    except sqlite3.Error:
        return []
