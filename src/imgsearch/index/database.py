"""One SQLite connection: how it is opened for reading or writing, brought up to date, and what its errors mean."""

from __future__ import annotations

import functools
import itertools
import os
import re
import sqlite3
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeVar

from imgsearch.errors import IndexDamaged, IndexLocked, IndexMismatch, StorageError, rebuild_hint
from imgsearch.fs import check_handles
from imgsearch.index.image_text import search as image_words
from imgsearch.index.layout import CATALOGUE, base_of, check_files, index_of
from imgsearch.index.metadata import columns, fulltext, named
from imgsearch.index.metadata.globe import distance
from imgsearch.text import Call, error_line

_NOW = "CAST(strftime('%s', 'now') AS INTEGER)"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE meta (
            key TEXT PRIMARY KEY,
            value TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE root (
            id INTEGER PRIMARY KEY,
            path BLOB NOT NULL UNIQUE,           -- absolute
            options TEXT NOT NULL,               -- JSON: the walk's options by name
            mount BLOB NOT NULL                  -- the mount point that it lies on
        )""",
        """CREATE TABLE segment (
            id INTEGER PRIMARY KEY,              -- vectors/<id>.f16
            rows INTEGER NOT NULL                -- committed rows; bytes past them do not exist
        )""",
        """CREATE TABLE content (
            id INTEGER PRIMARY KEY,
            sha256 BLOB NOT NULL,                -- of the file's bytes
            page INTEGER NOT NULL DEFAULT 0,
            segment INTEGER NOT NULL REFERENCES segment (id),
            row INTEGER NOT NULL,
            crc INTEGER NOT NULL,                -- crc32 of the row's bytes
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            UNIQUE (sha256, page),
            UNIQUE (segment, row)
        )""",
        """CREATE TABLE file (
            id INTEGER PRIMARY KEY,
            root INTEGER NOT NULL REFERENCES root (id) ON DELETE CASCADE,
            path BLOB NOT NULL,                  -- relative to the root
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            device INTEGER NOT NULL DEFAULT 0,   -- 0: the root's own device
            content BLOB,                        -- content.sha256, or NULL when skipped
            error TEXT,                          -- why it was skipped
            detail TEXT NOT NULL DEFAULT '',
            UNIQUE (root, path),
            CHECK ((content IS NULL) <> (error IS NULL))
        )""",
        "CREATE INDEX file_by_content ON file (content) WHERE content IS NOT NULL",
        "CREATE INDEX file_by_error ON file (error) WHERE error IS NOT NULL",
        """CREATE TABLE ann (
            id INTEGER PRIMARY KEY,
            segment INTEGER NOT NULL REFERENCES segment (id),
            rows INTEGER NOT NULL,
            name TEXT NOT NULL,                  -- file below faiss/
            faiss TEXT NOT NULL                  -- version that wrote it
        )""",
    ),
    # 2: which rows are deleted and how many files there are is known without counting; ANN files.
    (
        "ALTER TABLE content ADD COLUMN files INTEGER NOT NULL DEFAULT 0",  # how many files have it
        # The tombstones: committed rows that no search may show, since no file has their content, or it is forgotten.
        # With a time in "since" a row is retained in case its file comes back.
        """CREATE TABLE dead (
            segment INTEGER NOT NULL,
            row INTEGER NOT NULL,
            since INTEGER NOT NULL DEFAULT 0,    -- when the last file went, seconds since 1970; 0: forgotten
            PRIMARY KEY (segment, row)
        ) WITHOUT ROWID""",
        # Files by the reason why they were skipped; '' are the indexed ones.
        "CREATE TABLE tally (reason TEXT PRIMARY KEY, files INTEGER NOT NULL) WITHOUT ROWID",
        "DROP TABLE ann",
        """CREATE TABLE ann (
            segment INTEGER PRIMARY KEY REFERENCES segment (id),
            rows INTEGER NOT NULL,               -- it covers the first so many
            name TEXT NOT NULL,                  -- file below faiss/
            faiss TEXT NOT NULL,                 -- version that wrote it
            bytes INTEGER NOT NULL,
            crc INTEGER NOT NULL,                -- crc32 of the file
            nlist INTEGER NOT NULL,              -- inverted lists
            nprobe INTEGER NOT NULL              -- of which a search looks into so many
        )""",
        "UPDATE content SET files = (SELECT count(*) FROM file WHERE file.content = content.sha256)",
        f"INSERT INTO dead SELECT segment, row, {_NOW} FROM content WHERE files = 0",
        """INSERT OR IGNORE INTO dead (segment, row)
            WITH RECURSIVE every (segment, row, rows) AS (
                SELECT id, 0, rows FROM segment WHERE rows > 0
                UNION ALL SELECT segment, row + 1, rows FROM every WHERE row + 1 < rows
            )
            SELECT segment, row FROM every
            WHERE NOT EXISTS (SELECT 1 FROM content c WHERE c.segment = every.segment AND c.row = every.row)""",
        "INSERT INTO tally SELECT coalesce(error, ''), count(*) FROM file GROUP BY 1",
        """CREATE TRIGGER file_added AFTER INSERT ON file BEGIN
            INSERT INTO tally VALUES (coalesce(NEW.error, ''), 1)
                ON CONFLICT (reason) DO UPDATE SET files = files + 1;
            UPDATE content SET files = files + 1 WHERE sha256 = NEW.content;
        END""",
        """CREATE TRIGGER file_dropped AFTER DELETE ON file BEGIN
            UPDATE tally SET files = files - 1 WHERE reason = coalesce(OLD.error, '');
            UPDATE content SET files = files - 1 WHERE sha256 = OLD.content;
        END""",
        """CREATE TRIGGER file_changed AFTER UPDATE OF content, error ON file
        WHEN OLD.content IS NOT NEW.content OR OLD.error IS NOT NEW.error BEGIN
            UPDATE tally SET files = files - 1 WHERE reason = coalesce(OLD.error, '');
            INSERT INTO tally VALUES (coalesce(NEW.error, ''), 1)
                ON CONFLICT (reason) DO UPDATE SET files = files + 1;
            UPDATE content SET files = files - 1 WHERE sha256 = OLD.content;
            UPDATE content SET files = files + 1 WHERE sha256 = NEW.content;
        END""",
        # A content is named after its files, in the same transaction, so that it is hardly ever deleted for a moment.
        """CREATE TRIGGER content_added AFTER INSERT ON content BEGIN
            UPDATE content SET files = (SELECT count(*) FROM file WHERE content = NEW.sha256) WHERE id = NEW.id;
            INSERT INTO dead (segment, row) SELECT NEW.segment, NEW.row
                WHERE NOT EXISTS (SELECT 1 FROM file WHERE content = NEW.sha256);
        END""",
        f"""CREATE TRIGGER content_unused AFTER UPDATE OF files ON content WHEN OLD.files > 0 AND NEW.files = 0 BEGIN
            INSERT OR REPLACE INTO dead VALUES (NEW.segment, NEW.row, {_NOW});
        END""",
        """CREATE TRIGGER content_used AFTER UPDATE OF files ON content WHEN OLD.files = 0 AND NEW.files > 0 BEGIN
            DELETE FROM dead WHERE segment = NEW.segment AND row = NEW.row;
        END""",
        # Compaction: the row that it has left is deleted; one that is retained still is.
        """CREATE TRIGGER content_moved AFTER UPDATE OF segment, row ON content BEGIN
            INSERT OR REPLACE INTO dead SELECT NEW.segment, NEW.row, since FROM dead
                WHERE segment = OLD.segment AND row = OLD.row AND NEW.files = 0;
            INSERT OR REPLACE INTO dead VALUES (OLD.segment, OLD.row, 0);
        END""",
        """CREATE TRIGGER content_forgotten AFTER DELETE ON content BEGIN
            INSERT OR REPLACE INTO dead VALUES (OLD.segment, OLD.row, 0);
        END""",
    ),
    # 3: what tells a file from another one of the same size and time, and a root's drive from another one; metadata.
    (
        "ALTER TABLE file ADD COLUMN inode INTEGER NOT NULL DEFAULT 0",  # 0: unknown
        "ALTER TABLE file ADD COLUMN ctime_ns INTEGER NOT NULL DEFAULT 0",  # 0: unknown
        "ALTER TABLE root ADD COLUMN drive TEXT NOT NULL DEFAULT ''",  # '': unknown
        # What is known of a picture besides its pixels, and the files beside it that tell of it.
        "ALTER TABLE file ADD COLUMN sidecars INTEGER NOT NULL DEFAULT 0",  # crc32 of names, sizes, times; 0: none
        """CREATE TABLE metadata (
            sha256 BLOB PRIMARY KEY,             -- content.sha256
            taken INTEGER,                       -- the wall clock's time: milliseconds since 1970 on that clock
            taken_from TEXT NOT NULL,            -- types.TAKEN_FROM, or ''
            offset INTEGER,                      -- of that clock from UTC, in minutes
            make TEXT NOT NULL,
            model TEXT NOT NULL,
            lens TEXT NOT NULL,
            latitude REAL,                       -- degrees
            longitude REAL,
            rating INTEGER,                      -- -1 to 5
            title TEXT NOT NULL,
            description TEXT NOT NULL,
            keywords TEXT NOT NULL,              -- JSON: texts; '' if none
            software TEXT NOT NULL,
            burst TEXT NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX metadata_by_date ON metadata (taken)",
        "CREATE INDEX metadata_by_camera ON metadata (model) WHERE model <> ''",
        "CREATE INDEX metadata_by_place ON metadata (latitude, longitude) WHERE latitude IS NOT NULL",
        "CREATE INDEX metadata_by_burst ON metadata (burst) WHERE burst <> ''",
        """CREATE TRIGGER metadata_forgotten AFTER DELETE ON content BEGIN
            DELETE FROM metadata WHERE sha256 = OLD.sha256;
        END""",
        # What is kept of an image's pixels, where they were decoded since there is this table.
        """CREATE TABLE hash (
            content INTEGER PRIMARY KEY,         -- content.id
            bits BLOB NOT NULL,                  -- difference hashes, 128 bytes
            crc INTEGER NOT NULL                 -- crc32 of the decoded pixels
        )""",
        """CREATE TRIGGER hash_forgotten AFTER DELETE ON content BEGIN
            DELETE FROM hash WHERE content = OLD.id;
        END""",
        *columns.SCHEMA,
        *fulltext.SCHEMA,
    ),
    # 4: files that hold more than one image: what kind of part an image is, and which parts of a file were asked for.
    (
        "ALTER TABLE content ADD COLUMN kind TEXT NOT NULL DEFAULT ''",  # types.KINDS
        "ALTER TABLE content ADD COLUMN name TEXT NOT NULL DEFAULT ''",  # of a member of an archive
        "ALTER TABLE file ADD COLUMN reading TEXT NOT NULL DEFAULT ''",  # rows.FileRow.reading
        *image_words.SCHEMA,  # the text that stands in images
    ),
)

# By format: what lets a reader use it as it is, so that searches go on until a writer has brought it up to date. These
# views are the reader's own, on its side of the disk, and stay right when that happens meanwhile.
_WITHOUT_KINDS = """CREATE TEMP VIEW content AS SELECT id, sha256, page, segment, row, crc, width, height, files,
    '' AS kind, '' AS name FROM main.content"""
_READ_AS_IT_IS = {
    3: (
        "PRAGMA temp_store = MEMORY",
        _WITHOUT_KINDS,
        """CREATE TEMP VIEW file AS SELECT id, root, path, size, mtime_ns, device, content, error, detail,
            inode, ctime_ns, sidecars, '' AS reading FROM main.file""",
        *image_words.EMPTY,
    ),
    2: (
        "PRAGMA temp_store = MEMORY",
        _WITHOUT_KINDS,
        """CREATE TEMP VIEW file AS SELECT id, root, path, size, mtime_ns, device, content, error, detail,
            0 AS inode, 0 AS ctime_ns, 0 AS sidecars, '' AS reading FROM main.file""",
        "CREATE TEMP VIEW root AS SELECT id, path, options, mount, '' AS drive FROM main.root",
        """CREATE TEMP VIEW metadata AS SELECT x'' AS sha256, NULL AS taken, '' AS taken_from, NULL AS offset,
            '' AS make, '' AS model, '' AS lens, NULL AS latitude, NULL AS longitude, NULL AS rating, '' AS title,
            '' AS description, '' AS keywords, '' AS software, '' AS burst WHERE 0""",
        "CREATE TEMP VIEW hash AS SELECT 0 AS content, x'' AS bits, 0 AS crc WHERE 0",
        *columns.EMPTY,
        *fulltext.EMPTY,
        *image_words.EMPTY,
    ),
}


PORTABLE = "portable"
"""The key in ``meta`` that says of an index that its roots are stored relative to the folder that it is in."""

# Rows of a stream fetched at once.
_FETCHED = 1000
# No value in it is longer; SQLite would take a gigabyte.
_MOST_BYTES = 64 << 20
# How many steps of SQLite's own a statement may take, some and more for every byte of the file, before it is broken
# off: only pages that lead back to each other take so many. They are counted a million at a time.
_STEPS, _STEPS_PER_BYTE, _STEPS_AT_ONCE = 50_000_000, 25, 1_000_000
T = TypeVar("T")
Kind = Literal["IMMEDIATE", "DEFERRED"]
"""Of transactions: a writer's takes the lock at once, a reader's sees one moment."""


def _plain(sql: str) -> str:
    """Return SQL without its comments, and with one space where one is needed."""
    return " ".join(re.sub(r"--[^\n]*", "", sql).split()).replace(" ,", ",").replace(" )", ")")


_Thing = tuple[str, str]
"""TABLE, INDEX or TRIGGER, and its name."""


@functools.cache
def _schema(version: int) -> tuple[dict[_Thing, str], dict[_Thing, list[str]]]:
    """Return what a database of a format consists of, as it is made, and the columns that were added to tables."""
    made: dict[_Thing, str] = {}
    added: dict[_Thing, list[str]] = {}
    for statement in itertools.chain.from_iterable(MIGRATIONS[:version]):
        verb, kind, name = statement.replace(" VIRTUAL ", " ", 1).split()[:3]
        if verb == "CREATE":
            made[kind, name] = _plain(statement)
        elif verb == "ALTER":  # TABLE name ADD COLUMN column
            added.setdefault((kind, name), []).append(f", {_plain(statement.split(maxsplit=5)[5])}")
        elif verb == "DROP":
            del made[kind, name]
    for table, shadows in (("words", fulltext.SHADOWS), ("image_words", image_words.SHADOWS)):
        if ("TABLE", table) in made:
            made.update({("TABLE", sql.split("'")[1]): _plain(sql) for sql in shadows})
    return made, added


def sqlite_version() -> str:
    """Return the version of SQLite."""
    return sqlite3.sqlite_version


class Database:
    """The catalogue's database. Reads may come from several threads, writes from the writer lock's holder only."""

    def __init__(self, folder: str, *, write: bool = False, create: bool = False) -> None:
        """Open the catalogue in ``folder``; a writer brings its schema up to date and, with ``create``, makes it.

        Raises IndexDamaged, IndexMismatch (made by a newer imgsearch), StorageError.
        """
        self.folder = folder
        self.path = os.path.join(folder, CATALOGUE)
        self.base = ""
        """The folder that a portable index is in, and its roots with it; "" for any other index."""
        self._turn, self._steps = threading.RLock(), 0
        check_files(folder)
        if not create and not os.path.exists(self.path):
            raise IndexDamaged(
                f"{self.path} is missing: the list of indexed files is lost; ",
                rebuild_hint(index_of(folder)),
            )
        with self.errors_explained():
            self.connection = self._connect(write)
            try:
                self._prepare(write, create)
            except BaseException:
                # What has begun is rolled back now, not when somebody has done with the error.
                self.connection.close()
                raise

    def _prepare(self, write: bool, create: bool) -> None:
        # It may be somebody else's: of what it can bring along to be run, nothing is.
        self.connection.execute("PRAGMA trusted_schema = OFF")
        self.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
        self.connection.set_progress_handler(self._goes_on_for_ever, _STEPS_AT_ONCE)
        self._check_schema()
        if write:
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")
            # Keys are hashes and fall all over the tree: folding 32 MB of log in at once writes a page once where
            # 4 MB at a time write it again and again (13,000 to 19,000 rows a second at 500,000).
            self.connection.execute("PRAGMA wal_autocheckpoint = 8000")
            self.connection.execute("PRAGMA foreign_keys = ON")
            # A row that gives way to another one (REPLACE) is counted out by its triggers, too.
            self.connection.execute("PRAGMA recursive_triggers = ON")
            # A sync that failed may have left log that only the system's memory still holds. What is committed behind
            # it would be lost with it in a power cut: it is made durable in the database first.
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._migrate(write, create)
        if self.connection.execute("SELECT 1 FROM meta WHERE key = ?", (PORTABLE,)).fetchone():
            self.show_absolute()

    def show_absolute(self) -> None:
        """Let all that is read be of absolute roots, though they are stored relative to ``base``.

        This view is the connection's own. What is written goes to ``main.root``.
        """
        self.base = base_of(self.folder)
        base = os.fsencode(self.base)
        inside = base.rstrip(b"/") + b"/"
        self.connection.execute("PRAGMA temp_store = MEMORY")
        self.connection.execute(
            f"CREATE TEMP VIEW root AS SELECT id, CASE path WHEN x'2e' THEN x'{base.hex()}' "
            f"ELSE CAST(x'{inside.hex()}' || path AS BLOB) END AS path, options, mount, drive FROM main.root"
        )

    def _connect(self, write: bool) -> sqlite3.Connection:
        uri = "file:" + urllib.parse.quote(os.fsencode(self.path))
        if write:
            return self._open(uri + "?mode=rwc")
        try:
            return self._probed(uri + "?mode=ro")
        except sqlite3.OperationalError as error:
            check_handles()
            if os.access(self.folder, os.W_OK):
                # The last writer may just have taken its log away; and a full disk is no better than no right.
                with suppress(sqlite3.OperationalError):
                    return self._probed(uri + "?mode=ro")
            # A folder that may not be written has no place for the -shm file that a WAL reader needs.
            # Without a -wal the database file is all there is, and may be read as it stands.
            log = self.path + "-wal"
            if os.path.exists(log) and os.path.getsize(log) > 0:
                raise StorageError(
                    f"{self.path} can't be read: its latest changes are still in {log}, and the folder "
                    f"is not writable ({error}); run '",
                    Call("index_pictures"),
                    "' once with write access",
                ) from error
            return self._open(uri + "?mode=ro&immutable=1")

    def _probed(self, uri: str) -> sqlite3.Connection:
        """Return a connection that has read something: opening alone touches nothing."""
        connection = self._open(uri)
        try:
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    @staticmethod
    def _open(uri: str) -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
        # SQLite's own lower() knows ASCII alone.
        connection.create_function("casefold", 1, lambda text: str(text).casefold(), deterministic=True)
        for name, function in named.FUNCTIONS.items():
            connection.create_function(name, -1, function, deterministic=True)
        connection.create_function("km_between", 4, distance, deterministic=True)
        return connection

    def _goes_on_for_ever(self) -> bool:
        """Say whether a statement has taken more steps than one that comes to an end; SQLite asks now and then."""
        self._steps += _STEPS_AT_ONCE
        size = 0
        for path in (self.path, self.path + "-wal"):
            with suppress(OSError):
                size += 512 * os.stat(path).st_blocks  # what a file of holes holds
        return self._steps > _STEPS + _STEPS_PER_BYTE * size

    def _check_schema(self) -> None:
        """Raise IndexDamaged unless tables, indexes and triggers are those of the database's format, and nothing else.

        A view in the place of a table, a trigger or a column that computes could do anything at any length.
        """
        self.connection.execute("BEGIN")  # both of one moment: a writer may be bringing it up to date
        version = self.connection.execute("PRAGMA user_version").fetchone()[0]
        rows = self.connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        self.connection.execute("COMMIT")
        if version > len(MIGRATIONS):
            return  # a newer one, which `_migrate` refuses
        wanted, added = _schema(max(version, 0))
        found = {
            (kind.upper(), name): _plain(sql or "")
            for kind, name, sql in rows
            if not name.startswith("sqlite_")
        }
        for thing, added_columns in added.items():
            for column in added_columns:
                found[thing] = found.get(thing, "").replace(column, "", 1)
        if wrong := [name for (_, name), _ in found.items() ^ wanted.items()]:
            raise self.damaged(ValueError(f"its schema is not imgsearch's: {min(wrong)}"))

    def _migrate(self, write: bool, create: bool) -> None:
        version = self.connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise IndexMismatch(
                f"{self.path} was written by a newer imgsearch (format {version}; this one reads up to "
                f"{len(MIGRATIONS)}): please upgrade imgsearch"
            )
        if version < 0 or (version == 0 and not create):
            raise IndexDamaged(f"{self.path} is not a catalogue; ", rebuild_hint(index_of(self.folder)))
        if not write and version in _READ_AS_IT_IS:
            for statement in _READ_AS_IT_IS[version]:
                self.connection.execute(statement)
            return
        if version < len(MIGRATIONS) and not write:
            raise IndexMismatch(
                f"{self.path} has an older format; update it once with: ",
                Call("index_pictures", {"folder": index_of(self.folder)}),
            )
        for number in range(version, len(MIGRATIONS)):
            self.connection.execute("BEGIN IMMEDIATE")
            for statement in MIGRATIONS[number]:
                self.connection.execute(statement)
            self.connection.execute(f"PRAGMA user_version = {number + 1}")
            self.connection.execute("COMMIT")

    @contextmanager
    def errors_explained(self) -> Iterator[None]:
        """Turn SQLite's errors into the user's words."""
        try:
            yield
        except UnicodeError as error:  # what SQLite wanted to say holds bytes of a damaged database
            raise self.damaged(error) from error
        except sqlite3.DatabaseError as error:
            name = getattr(error, "sqlite_errorname", "") or ""
            if name.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR")):
                check_handles()
            if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")):
                raise StorageError(
                    f"{self.path} could not be used ({error}); everything saved before is intact. "
                    "Check that the disk has free space and the folder is writable"
                ) from error
            if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise IndexLocked(
                    f"{self.path} is in use by another program; try again in a moment"
                ) from error
            if name == "SQLITE_INTERRUPT":
                raise self.damaged(ValueError("its pages refer to each other without end")) from error
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise  # a bug of ours
            raise self.damaged(error) from error

    @contextmanager
    def consistent(self) -> Iterator[None]:
        """Say that the catalogue is damaged where what it says of its own rows contradicts itself."""
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise self.damaged(error) from error

    def damaged(self, error: Exception) -> IndexDamaged:
        """Return the error that says that the catalogue is damaged, and what to do."""
        reason = error_line(error, most=100)  # SQLite may quote the whole schema
        return IndexDamaged(
            f"{self.path} is damaged ({reason}): embeddings can no longer be matched to their images; ",
            rebuild_hint(index_of(self.folder)),
        )

    @contextmanager
    def transaction(self, kind: Kind = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Run the block in one transaction: all of it, or nothing. ``DEFERRED`` gives a reader one snapshot.

        A connection has one transaction at a time; other threads' transactions wait for their turn.
        """
        with self._turn, self.errors_explained():
            self._steps = 0
            self.connection.execute(f"BEGIN {kind}")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def query(self, make: Callable[..., T], sql: str, *values: object) -> list[T]:
        """Return ``make(*row)`` of every row; what it can't make sense of is damage, too."""
        with self.errors_explained():
            self._steps = 0
            rows = self.connection.execute(sql, values).fetchall()
        return [self.made(make, row) for row in rows]

    def stream(self, make: Callable[..., T], sql: str, *values: object) -> Iterator[T]:
        """Yield what ``query`` returns, fetched a thousand rows at a time; of one moment in a transaction."""
        with self.errors_explained():
            self._steps = 0
            cursor = self.connection.execute(sql, values)
        while True:
            with self.errors_explained():
                self._steps = 0
                rows = cursor.fetchmany(_FETCHED)
            if not rows:
                return
            for row in rows:
                yield self.made(make, row)

    def made(self, make: Callable[..., T], row: Any) -> T:
        """Return ``make(*row)``. Raises IndexDamaged if it makes no sense."""
        try:
            return make(*row)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise self.damaged(error) from error

    def free_share(self) -> float:
        """Return the share of the database's pages that hold nothing."""
        free, pages = (self.query(int, f"PRAGMA {name}")[0] for name in ("freelist_count", "page_count"))
        return free / max(pages, 1)

    def vacuum(self) -> None:
        """Write the database anew without its free pages; it needs twice its size meanwhile. Raises StorageError."""
        with self._turn, self.errors_explained():
            self.connection.execute("VACUUM")
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @property
    def version(self) -> int:
        """The number of the schema that it has."""
        return self.query(int, "PRAGMA user_version")[0]

    def close(self) -> None:
        """Close the connection; the last writer's close folds the log into the database file."""
        self.connection.close()
