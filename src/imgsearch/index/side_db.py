"""queries.sqlite, the file beside an index for what may be lost: best effort, never waited for, its owner's alone."""

from __future__ import annotations

import os
import sqlite3
import urllib.parse
from collections.abc import Callable
from sqlite3 import Connection as Connection
from typing import TypeVar

NAME = "queries.sqlite"
T = TypeVar("T")

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS run (command TEXT PRIMARY KEY, at REAL NOT NULL, device TEXT NOT NULL, "
    "dtype TEXT NOT NULL, reason TEXT NOT NULL, rate REAL NOT NULL)",
    # `key` is a hash, so that the file does not tell what somebody has asked.
    "CREATE TABLE IF NOT EXISTS question (key BLOB PRIMARY KEY, at REAL NOT NULL, vector BLOB NOT NULL, "
    "crc INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS question_at ON question (at)",
)


def read(folder: str, work: Callable[[Connection], T]) -> T | None:
    """Return what ``work`` finds in the file beside the index in ``folder``; None if there is none or it is damaged."""
    try:
        db = _connect(folder, "ro")
        try:
            return work(db)
        finally:
            db.close()
    except (sqlite3.Error, OSError):
        return None


def write(folder: str, work: Callable[[Connection], object]) -> None:
    """Let ``work`` write to the file; in a folder that can't be written, or when another writes, do nothing.

    A damaged file is thrown away and begun anew: nothing in it is worth mending.
    """
    try:
        _write(folder, work)
    except (sqlite3.OperationalError, OSError):
        pass  # busy, full or read-only: what is not remembered is computed again
    except sqlite3.DatabaseError:
        try:
            for ending in ("", "-journal"):
                path = os.path.join(folder, NAME + ending)
                if os.path.exists(path):
                    os.unlink(path)
            _write(folder, work)
        except (sqlite3.Error, OSError):
            pass


def _write(folder: str, work: Callable[[Connection], object]) -> None:
    path = os.path.join(folder, NAME)
    # SQLite would make it readable by everyone, and gives its journal the same mode.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_mode & 0o077:
            os.fchmod(descriptor, 0o600)  # an older version made it
    finally:
        os.close(descriptor)
    db = _connect(folder, "rw")
    try:
        db.execute("PRAGMA synchronous = OFF")
        with db:
            for statement in _SCHEMA:
                db.execute(statement)
            work(db)
    finally:
        db.close()


def _connect(folder: str, mode: str) -> Connection:
    path = urllib.parse.quote(os.fsencode(os.path.join(folder, NAME)))
    return sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=0.05)
