"""Makes of an index one that nobody writes: in its manifest, options, schema, numbers, links and vectors.

``spoil`` draws from any ``random.Random``, so that property tests and `make fuzz` do the same.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np

from imgsearch.index import manifest
from imgsearch.index.layout import CATALOGUE
from imgsearch.index.segments import HEADER_BYTES, row_crc
from support.cli import imgsearch
from support.fakes import DIM

NUMBERS = (0, 1, -1, 7, -5, 2**20, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
VALUES: tuple[Any, ...] = (
    *NUMBERS, None, True, 0.5, 1e308, float("inf"), float("nan"), "", "x", "/", "..", "\x00", "a\x00b", "\udcff",
    "[" * 5000, [], {}, [[]], "9" * 5000, "/proc", "x" * 100_000, {"a": {"b": 1}},
)  # fmt: skip
FIELDS = ("format", "data", "model", "fingerprint", "dim", "prompts", "pixels", "checksum", "new")
OPTIONS = ("exclude", "only", "above", "anchor", "include_hidden", "follow_symlinks", "include_copies", "new")
STATEMENTS = (
    "CREATE VIEW theirs AS WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
    "CREATE TRIGGER theirs AFTER UPDATE ON file BEGIN DELETE FROM root; END",
    "CREATE UNIQUE INDEX theirs ON file (1)",
    "DROP TRIGGER content_added",
    "DROP TABLE tally",
    "ALTER TABLE content RENAME TO theirs",
    "ALTER TABLE file ADD COLUMN x AS (zeroblob(1000000000))",
    "DROP INDEX file_by_error",
    "PRAGMA user_version = 0",
    "PRAGMA user_version = 1",
    "PRAGMA user_version = 99",
    "PRAGMA user_version = -1",
    "DELETE FROM root",
    "DELETE FROM segment",
    "DELETE FROM file",
    "INSERT INTO segment VALUES (9223372036854775807, 0)",
    "INSERT INTO segment VALUES (-3, 5)",
    "INSERT INTO dead VALUES (1, 1, 0), (1, 9, 0), (7, 7, 7)",
    "INSERT INTO meta VALUES ('shortlist', '999999999999')",
    "UPDATE meta SET value = 'nan'",
)
COLUMNS = {
    "root": ("id", "path", "mount", "drive"),
    "segment": ("id", "rows"),
    "content": ("id", "sha256", "page", "segment", "row", "crc", "width", "height", "files"),
    "file": ("id", "root", "path", "size", "mtime_ns", "device", "detail", "inode", "ctime_ns", "error"),
    "dead": ("segment", "row", "since"),
    "tally": ("reason", "files"),
    "meta": ("value",),
}
PLACES = (
    "writer.lock", "manifest.json", "manifest.json.new", "queries.sqlite", "vectors/00000001.f16",
    "vectors/00000002.f16", "vectors", "faiss", "generation-0002", "generation-0009",
    CATALOGUE, f"{CATALOGUE}-wal", f"{CATALOGUE}-shm",
)  # fmt: skip
COMMANDS = (
    "query red", "query words --exact --json", "query red --in GALLERY --dim 5", "similar GALLERY/red.png", "status",
    "status --errors --json", "list", "verify", "doctor", "doctor --recall", "index", "index GALLERY --dry-run",
    "remove GALLERY/red.png", "compact --all", "relocate GALLERY OUTSIDE", "export OUT", "verify --repair",
    "index GALLERY --rebuild",
)  # fmt: skip


def spoil(rng: random.Random, index: Path, outside: Path) -> list[str]:
    """Change one to three things of an index; return which. ``outside`` is where its links lead."""
    kinds = [rng.choice(_KINDS) for _ in range(rng.randint(1, 3))]
    kinds.sort(
        key=lambda kind: kind is _link
    )  # last: the others would wait for a pipe, or write through a link
    return [f"{kind.__name__.strip('_')}: {kind(rng, index, outside)}" for kind in kinds]


def use(index: Path, gallery: Path, outside: Path, commands: Sequence[str] = COMMANDS) -> None:
    """Run commands on an index: each works, or ends with exit code 2 and says why in one line."""
    for command in commands:
        words = command.replace("GALLERY", str(gallery)).replace("OUTSIDE", str(outside))
        argv = words.replace("OUT", str(index.parent / "exported.npy")).split()
        done = imgsearch(*argv, "--index", index)
        assert done.code in (0, 1, 2), (command, done)
        assert "Traceback" not in done.err, (command, done)
        if done.code == 2:
            assert done.err.strip(), command
            assert max(map(len, done.err.splitlines())) < 3000, command


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the mode and bytes of everything below a folder."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def _manifest(rng: random.Random, index: Path, outside: Path) -> object:
    try:
        content = json.loads((index / manifest.NAME).read_bytes())
    except (ValueError, OSError):
        return "damaged already"
    field, value = rng.choice(FIELDS), rng.choice(VALUES)
    content.pop("checksum", None)
    content[field] = value
    with suppress(ValueError):
        content.setdefault("checksum", manifest._checksum(content))
    (index / manifest.NAME).write_text(json.dumps(content), encoding="utf-8", errors="surrogateescape")
    return field, repr(value)[:50]


def _bytes(rng: random.Random, index: Path, outside: Path) -> object:
    path = rng.choice([path for path in sorted(index.rglob("*")) if path.is_file() and not path.is_symlink()])
    data = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 40)):
        if data:
            data[rng.randrange(len(data))] = rng.choice((0, 255, rng.randrange(256)))
    path.write_bytes(data)
    return path.name


def _options(rng: random.Random, index: Path, outside: Path) -> object:
    options = {rng.choice(OPTIONS): rng.choice(VALUES) for _ in range(rng.randint(1, 3))}
    return _sql(index, "UPDATE root SET options = ?", json.dumps(options))


def _schema(rng: random.Random, index: Path, outside: Path) -> object:
    return _sql(index, rng.choice(STATEMENTS))


def _number(rng: random.Random, index: Path, outside: Path) -> object:
    table = rng.choice(list(COLUMNS))
    value = rng.choice(
        [value for value in VALUES if not isinstance(value, list | dict | str) or value == "x"]
    )
    if rng.random() < 0.3:
        value = rng.choice((b"", b"\0", b"/etc/passwd", b"../../x", b"\xff" * 32, "/", "nan"))
    where = (
        rng.choice(("", f" WHERE rowid % 3 = {rng.randrange(3)}"))
        if table not in ("meta", "dead", "tally")
        else ""
    )
    return _sql(index, f"UPDATE OR REPLACE {table} SET {rng.choice(COLUMNS[table])} = ?{where}", value)


def _link(rng: random.Random, index: Path, outside: Path) -> object:
    place, kind = (
        rng.choice(PLACES),
        rng.choice(("link", "dangling", "folder", "pipe", "a folder of its own")),
    )
    path = index / place
    if os.path.lexists(path.parent) and (path.parent.is_symlink() or not path.parent.is_dir()):
        return place, "in what is no folder any more"
    path.parent.mkdir(exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "a folder of its own":
        path.mkdir()
    else:
        path.symlink_to(outside / {"link": "secret", "dangling": "not there", "folder": "."}[kind])
    return place, kind


def _vectors(rng: random.Random, index: Path, outside: Path) -> object:
    value = rng.choice((np.nan, np.inf, -np.inf, 0.0, 65504.0))
    row, path = np.full(DIM, value, "<f2"), index / "vectors/00000001.f16"
    with (
        suppress(OSError, sqlite3.Error, UnicodeError),
        path.open("r+b") as file,
        closing(sqlite3.connect(index / CATALOGUE)) as db,
        db,
    ):
        for at in range(rng.randint(1, 5)):
            file.seek(HEADER_BYTES + at * 2 * DIM)
            file.write(row.tobytes())
            db.execute("UPDATE content SET crc = ? WHERE row = ?", (row_crc(row), at))
    return value


def _sql(index: Path, statement: str, *values: object) -> object:
    with (
        suppress(sqlite3.Error, OSError, UnicodeError),
        closing(sqlite3.connect(index / CATALOGUE, timeout=0.1)) as db,
        db,
    ):
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("PRAGMA ignore_check_constraints = ON")
        triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        with suppress(sqlite3.Error, OverflowError):
            db.execute(statement, values)
        for name, made in triggers:
            if name not in statement:
                db.execute(made)
    return statement, repr(values)[:80]


_KINDS = (_manifest, _bytes, _options, _schema, _number, _number, _link, _vectors)
