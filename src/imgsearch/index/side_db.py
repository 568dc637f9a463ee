"""queries.sqlite beside an index, for what may be lost: query cache, run log, what takes long to make; private."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
import urllib.parse
import zlib
from collections.abc import Callable
from dataclasses import astuple, dataclass
from sqlite3 import Connection
from typing import TypeVar

import numpy as np

from imgsearch.fs import open_own, unusual
from imgsearch.types import Runtime, Vectors

NAME = "queries.sqlite"
T = TypeVar("T")

_SCHEMA = (
    # The run log.
    "CREATE TABLE IF NOT EXISTS run (command TEXT PRIMARY KEY, at REAL NOT NULL, device TEXT NOT NULL, "
    "dtype TEXT NOT NULL, reason TEXT NOT NULL, rate REAL NOT NULL)",
    # How often a piece of advice was given.
    "CREATE TABLE IF NOT EXISTS advice (name TEXT PRIMARY KEY, times INTEGER NOT NULL)",
    # The query cache. `key` is a hash, so that the file does not tell what somebody has searched for.
    "CREATE TABLE IF NOT EXISTS question (key BLOB PRIMARY KEY, at REAL NOT NULL, vector BLOB NOT NULL, "
    "crc INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS question_at ON question (at)",
    # Vectors of the index that every query is compared with; there is one sample.
    "CREATE TABLE IF NOT EXISTS sample (name TEXT PRIMARY KEY, rows INTEGER NOT NULL, vectors BLOB NOT NULL, "
    "crc INTEGER NOT NULL)",
    # What takes long to make of the index: one of each name; `key` says of what exactly.
    "CREATE TABLE IF NOT EXISTS made (name TEXT PRIMARY KEY, key TEXT NOT NULL, data BLOB NOT NULL, "
    "crc INTEGER NOT NULL)",
)


def read(folder: str, work: Callable[[Connection], T]) -> T | None:
    """Return what ``work`` finds in the file beside the index in ``folder``; None if there is none or it is damaged."""
    try:
        db = _connect(folder, "ro")
        try:
            return work(db)
        finally:
            db.close()
    except (
        sqlite3.Error,
        UnicodeError,
        OSError,
    ):  # UnicodeError: SQLite's message holds bytes of a damaged file
        return None


def write(folder: str, work: Callable[[Connection], object]) -> None:
    """Let ``work`` write to the file; in a folder that can't be written, or when another writes, do nothing.

    A damaged file is deleted and made again: nothing in it is worth a repair.
    """
    try:
        _write(folder, work)
    except (sqlite3.OperationalError, OSError):
        pass  # busy, full or read-only: what is not cached is computed again
    except (sqlite3.DatabaseError, UnicodeError):
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
    descriptor = open_own(path, os.O_RDWR | os.O_CREAT, 0o600)
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
    for ending in ("", "-journal", "-wal", "-shm"):
        if what := unusual(os.path.join(folder, NAME + ending)):
            raise OSError(what)
    path = urllib.parse.quote(os.fsencode(os.path.join(folder, NAME)))
    return sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=0.05)


MAX_CACHED_QUERIES = 2_000
"""How many vectors of queries are cached, the newest: 16 MB at 2,048 dimensions."""


@dataclass(frozen=True, slots=True)
class CachedQuery:
    """What a query's vector depends on; device and dtype are as they were asked for, "auto" among them."""

    fingerprint: str
    instruction: str
    text: str
    dim: int
    device: str = "auto"
    dtype: str = "auto"

    def key(self) -> bytes:
        """Return what stands for the query in the file; the query can't be read from it."""
        return hashlib.sha256(json.dumps(astuple(self)).encode()).digest()


def cached_vector(folder: str, query: CachedQuery) -> Vectors | None:
    """Return the vector (1, dim) of a query that was asked before, bit for bit; None if it is not cached."""
    row = read(
        folder,
        lambda db: db.execute("SELECT vector, crc FROM question WHERE key = ?", (query.key(),)).fetchone(),
    )
    if not row or not isinstance(row[0], bytes) or zlib.crc32(row[0]) != row[1]:
        return None
    if len(row[0]) != 4 * query.dim:
        return None
    return np.frombuffer(row[0], "<f4").astype(np.float32)[None]


def cache_vector(folder: str, query: CachedQuery, vector: Vectors) -> None:
    """Keep the vector (dim,) of a query, and of all queries the newest; do nothing where that is not possible."""
    data = vector.astype("<f4").tobytes()
    row = (query.key(), time.time(), data, zlib.crc32(data))

    def work(db: Connection) -> None:
        db.execute("REPLACE INTO question VALUES (?, ?, ?, ?)", row)
        db.execute(
            "DELETE FROM question WHERE at < (SELECT at FROM question ORDER BY at DESC LIMIT 1 OFFSET ?)",
            (MAX_CACHED_QUERIES - 1,),
        )

    write(folder, work)


def cached_sample(folder: str, name: str, dim: int) -> tuple[str, int, Vectors] | None:
    """Return the sample of a name: the name, of how many rows it was taken, and its vectors, (n, dim) float32."""
    row = read(
        folder,
        lambda db: db.execute("SELECT rows, vectors, crc FROM sample WHERE name = ?", (name,)).fetchone(),
    )
    if (
        not row
        or not isinstance(row[0], int)
        or not isinstance(row[1], bytes)
        or zlib.crc32(row[1]) != row[2]
    ):
        return None
    if len(row[1]) % (2 * dim):
        return None
    return name, row[0], np.frombuffer(row[1], "<f2").astype(np.float32).reshape(-1, dim)


def cache_sample(folder: str, name: str, rows: int, vectors: Vectors) -> None:
    """Keep a sample of stored vectors, taken of so many ``rows``, in place of the one before."""
    data = vectors.astype("<f2").tobytes()

    def work(db: Connection) -> None:
        db.execute("DELETE FROM sample")
        db.execute("INSERT INTO sample VALUES (?, ?, ?, ?)", (name, rows, data, zlib.crc32(data)))

    write(folder, work)


def cached_bytes(folder: str, name: str, key: str) -> bytes | None:
    """Return what was kept under a name and is of this ``key``; None if there is none."""
    row = read(
        folder,
        lambda db: db.execute(
            "SELECT data, crc FROM made WHERE name = ? AND key = ?", (name, key)
        ).fetchone(),
    )
    if not row or not isinstance(row[0], bytes) or zlib.crc32(row[0]) != row[1]:
        return None
    return row[0]


def cache_bytes(folder: str, name: str, key: str, data: bytes) -> None:
    """Keep something under a name in place of what was there; do nothing where that is not possible."""
    row = (name, key, data, zlib.crc32(data))
    write(folder, lambda db: db.execute("REPLACE INTO made VALUES (?, ?, ?, ?)", row))


_RECOMPUTED = "recomputed"


@dataclass(frozen=True, slots=True)
class Run:
    """A run that loaded the model. ``at`` in seconds since 1970; ``rate`` in images per second, 0 if it had none."""

    command: str
    at: float
    runtime: Runtime
    rate: float


def record_run(folder: str, command: str, runtime: Runtime, rate: float = 0.0) -> None:
    """Record a run of ``command``; in a folder that can't be written, or when busy, do nothing.

    A run too short to have a ``rate`` (0) leaves the one that is known for its device and dtype.
    """
    row = (command, time.time(), runtime.device, runtime.dtype, runtime.reason, rate)
    write(
        folder,
        lambda db: db.execute(
            "INSERT INTO run VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (command) DO UPDATE SET at = excluded.at, "
            "device = excluded.device, dtype = excluded.dtype, reason = excluded.reason, "
            "rate = iif(excluded.rate = 0 AND (excluded.device, excluded.dtype) = (device, dtype), "
            "rate, excluded.rate)",
            row,
        ),
    )


def record_recomputed(folder: str, recomputed: int, rows: int) -> None:
    """Record how many of the ``rows`` that the last run embedded it had to compute once more in float32."""
    if recomputed or cached_bytes(folder, _RECOMPUTED, "") is not None:
        cache_bytes(folder, _RECOMPUTED, "", json.dumps([recomputed, rows]).encode())


def recomputed(folder: str) -> tuple[int, int]:
    """Return what ``record_recomputed`` was given last; (0, 0) if nothing was."""
    data = cached_bytes(folder, _RECOMPUTED, "")
    again, rows = json.loads(data) if data else (0, 0)
    return again, rows


def last_run(folder: str, command: str | None = None) -> Run | None:
    """Return the last run (of ``command``), or None if none is recorded."""
    row = read(
        folder,
        lambda db: db.execute(
            "SELECT command, at, device, dtype, reason, rate FROM run WHERE ?1 IS NULL OR command = ?1 "
            "ORDER BY at DESC LIMIT 1",
            (command,),
        ).fetchone(),
    )
    return Run(row[0], row[1], Runtime(row[2], row[3], row[4]), row[5]) if row else None


def moved(folder: str, command: str, runtime: Runtime) -> str:
    """Tell where the model computes, if that is not where the last run of ``command`` did it; else return ""."""
    run = last_run(folder, command)
    if run is None or (run.runtime.device, run.runtime.dtype) == (runtime.device, runtime.dtype):
        return ""
    before = f"{run.runtime.device} in {run.runtime.dtype}"
    return f"the model now runs on {runtime.device} in {runtime.dtype} (last time: {before})"


def may_advise(folder: str, name: str, most: int) -> bool:
    """Return whether a piece of advice was given fewer than ``most`` times for this index, and count it as given."""
    row = read(folder, lambda db: db.execute("SELECT times FROM advice WHERE name = ?", (name,)).fetchone())
    if row and row[0] >= most:
        return False
    write(
        folder,
        lambda db: db.execute(
            "INSERT INTO advice VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET times = times + 1", (name,)
        ),
    )
    return True
