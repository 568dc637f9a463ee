"""The catalogue, the index's source of truth: which files and pictures it holds, and what failed.

What the catalogue does not name does not exist: its transaction is the only point at which new vectors become
visible. WAL with synchronous=FULL; paths are stored as the bytes that the file system gave.
"""

from __future__ import annotations

import functools
import itertools
import json
import operator
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.index import hashes, metadata
from imgsearch.index.database import PORTABLE, Database, Kind
from imgsearch.index.image_text import search as image_words
from imgsearch.index.layout import base_of
from imgsearch.index.metadata import fulltext
from imgsearch.index.rows import (
    EMBEDDING_STAYS,
    FILE_COLUMNS,
    UNFINISHED,
    AnnFile,
    FileRow,
    FileState,
    NewContent,
    Root,
    StoredPicture,
    VectorLocation,
    ann_file_row,
    file_row,
    location_row,
    pair_row,
    record_row,
    root_row,
    skipped_row,
    stored_options,
    stored_path,
    stored_picture_row,
    triple_row,
)
from imgsearch.types import Record

if TYPE_CHECKING:
    import sqlite3


_DAY = 86_400.0
_MOST_AT_ONCE = 10 * _DAY
"""Seconds by which retained rows age at most from one run to the next: no clock is believed further than that."""
_NOT_READ = "not read"
_AT_ONCE = 500  # values of one statement
_END_OF_TIME = 1e11  # seconds since 1970: the year 5138


class Catalog:
    """The catalogue's tables, read and written as the index's nouns, over one connection: ``database``."""

    def __init__(self, folder: str, *, write: bool = False, create: bool = False) -> None:
        """Open the catalogue in ``folder``; a writer brings its schema up to date and, with ``create``, makes it.

        Raises IndexDamaged, IndexMismatch (made by a newer imgsearch), StorageError.
        """
        self.database = Database(folder, write=write, create=create)

    @property
    def folder(self) -> str:
        """The data folder that the catalogue lies in."""
        return self.database.folder

    @property
    def base(self) -> str:
        """The folder that a portable index is in, and its roots with it; "" for any other index."""
        return self.database.base

    @property
    def path(self) -> str:
        """The database file."""
        return self.database.path

    @contextmanager
    def transaction(self, kind: Kind = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Run a block in one transaction: all of it, or nothing. ``DEFERRED`` gives a reader one snapshot.

        A writer's ends with making the full text right.
        """
        with self.database.transaction(kind) as db:
            yield db
            if kind == "IMMEDIATE":
                fulltext.make_due(self.database)
                image_words.make_due(self.database)

    def close(self) -> None:
        """Close the connection."""
        self.database.close()

    # ---- reading -------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise IndexDamaged if there are files and not one folder that they could lie in."""
        sql = "SELECT EXISTS (SELECT 1 FROM tally WHERE files > 0) AND NOT EXISTS (SELECT 1 FROM root)"
        if self.database.query(bool, sql)[0]:
            raise self.database.damaged(ValueError("its folders are lost"))

    def roots(self) -> list[Root]:
        """Return the known roots in the order in which they were added."""
        make = functools.partial(root_row, base=self.base)
        return self.database.query(make, "SELECT id, path, options, mount, drive FROM root ORDER BY id")

    def file(self, root: int, path: str) -> FileRow | None:
        """Return what is known of the file at ``path`` below a root, or None."""
        sql = f"SELECT {FILE_COLUMNS} FROM file WHERE root = ? AND path = ?"
        rows = self.database.query(file_row, sql, root, os.fsencode(path))
        return rows[0] if rows else None

    def files(self, root: int, below: str = "") -> Iterator[FileRow]:
        """Yield the files of a root, or of a file or folder ``below`` it, in the order of their paths' bytes."""
        where, values = _path_condition(below)
        sql = f"SELECT {FILE_COLUMNS} FROM file WHERE root = ? AND {where} ORDER BY path"
        yield from self.database.stream(file_row, sql, root, *values)

    def count_files(self, root: int, below: str = "") -> int:
        """Return how many files ``files`` would yield."""
        where, values = _path_condition(below)
        sql = f"SELECT count(*) FROM file WHERE root = ? AND {where}"
        return self.database.query(int, sql, root, *values)[0]

    def files_by_id(self, ids: Sequence[int]) -> dict[int, tuple[str, FileRow]]:
        """Return files with the paths of their roots, by their ids; at most a few hundred at a time."""
        columns = ", ".join(f"file.{name}" for name in FILE_COLUMNS.split(", "))
        sql = (
            f"SELECT root.path, {columns} FROM file JOIN root ON root.id = file.root "
            f"WHERE file.id IN ({', '.join('?' * len(ids))})"
        )
        found = self.database.query(lambda root, *file: (os.fsdecode(root), file_row(*file)), sql, *ids)
        return {file.id: (root, file) for root, file in found}

    def named_otherwise(self, root: int, below: str, extensions: Collection[str]) -> list[str]:
        """Return the paths of a root's files, at or ``below`` a path of it, that end in none of ``extensions``.

        These are lower case and in ASCII, with the dot; the case of a file's own does not count.
        """
        where, values = _path_condition(below)
        by_length: dict[int, list[str]] = {}
        for extension in extensions:
            by_length.setdefault(len(extension), []).append(extension)
        for length, same in by_length.items():
            # In SQL this takes a hundredth of the time of the walk.
            where += (
                f" AND lower(CAST(substr(path, {-length}) AS TEXT)) NOT IN ({', '.join('?' * len(same))})"
            )
        names = [extension for same in by_length.values() for extension in same]
        sql = f"SELECT path FROM file WHERE root = ? AND {where}"
        return self.database.query(os.fsdecode, sql, root, *values, *names)

    def locate(self, sha256: bytes, page: int = 0) -> VectorLocation | None:
        """Return where the vector of a content lies, or None if there is none."""
        rows = self.database.query(
            location_row,
            "SELECT id, segment, row, crc FROM content WHERE sha256 = ? AND page = ?",
            sha256,
            page,
        )
        return rows[0] if rows else None

    def is_complete(self, sha256: bytes, reading: str) -> bool:
        """Whether a file has a content of which all that ``reading`` asks for is indexed."""
        sql = "SELECT EXISTS (SELECT 1 FROM file WHERE content = ? AND reading = ?)"
        return self.database.query(bool, sql, sha256, reading)[0]

    def detail_of(self, sha256: bytes, reading: str) -> str:
        """Return what is told of a file with some bytes that was read in a way; "" if nothing is to be said."""
        sql = "SELECT detail FROM file WHERE content = ? AND reading = ? AND detail <> '' ORDER BY id"
        told = (
            one for one in self.database.query(str, sql, sha256, reading) if not one.endswith(EMBEDDING_STAYS)
        )
        return next(told, "")

    def page_numbers(self, sha256: bytes) -> set[int]:
        """Return the pages of a content that are there, also of one that no file has any more."""
        return set(self.database.query(int, "SELECT page FROM content WHERE sha256 = ?", sha256))

    def content_id(self, sha256: bytes, page: int) -> int:
        """Return the id of a page of a content, 0 if there is none."""
        sql = "SELECT id FROM content WHERE sha256 = ? AND page = ?"
        return next(iter(self.database.query(int, sql, sha256, page)), 0)

    def drop_tiles(self, reading: str) -> None:
        """Forget the tiles of contents of which no file that is there is read in a way that asks for them."""
        asked = "SELECT 1 FROM file WHERE file.content = content.sha256 AND instr(reading, ?)"
        with self.transaction() as db:
            db.execute(
                f"DELETE FROM content WHERE kind = 'tile' AND files > 0 AND NOT EXISTS ({asked})", (reading,)
            )

    def kinds(self, sha256: bytes) -> set[str]:
        """Return what the images of a content are: some of types.KINDS."""
        return set(self.database.query(str, "SELECT DISTINCT kind FROM content WHERE sha256 = ?", sha256))

    def places(self, contents: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return by content id (segment, row) of some contents."""
        found: dict[int, tuple[int, int]] = {}
        for some in (contents[first : first + _AT_ONCE] for first in range(0, len(contents), _AT_ONCE)):
            sql = f"SELECT id, segment, row FROM content WHERE id IN ({', '.join('?' * len(some))})"
            rows = self.database.query(triple_row, sql, *some)
            found |= {id: (segment, row) for id, segment, row in rows}
        return found

    def segments(self) -> list[tuple[int, int]]:
        """Return (number, committed rows) of every segment, in order; the last one takes the next row."""
        return self.database.query(pair_row, "SELECT id, rows FROM segment ORDER BY id")

    def deleted_counts(self, before: float | None = None) -> dict[int, int]:
        """Return by segment how many of its rows no search may show; segments without such rows are left out.

        With ``before``, in seconds since 1970, only those whose last file went by then, or that are forgotten.
        """
        sql = "SELECT segment, count(*) FROM dead WHERE ?1 IS NULL OR since <= ?1 GROUP BY segment"
        return dict(self.database.query(pair_row, sql, before))

    def retained(self) -> int:
        """Return how many pictures without files keep their vectors in case those come back."""
        return self.database.query(int, "SELECT count(*) FROM dead WHERE since > 0")[0]

    def deleted_rows(self, segment: int) -> NDArray[np.int64]:
        """Return the rows of a segment that no search may show, ascending: (n,) int64."""
        rows = self.database.query(int, "SELECT row FROM dead WHERE segment = ? ORDER BY row", segment)
        return np.array(rows, np.int64)

    def ann_files(self) -> dict[int, AnnFile]:
        """Return by segment the ANN file that belongs to it."""
        sql = "SELECT segment, rows, name, faiss, bytes, crc, nlist, nprobe FROM ann"
        return {found.segment: found for found in self.database.query(ann_file_row, sql) if found}

    def records(self, rows: Sequence[tuple[int, int]]) -> dict[tuple[int, int], tuple[Record, int]]:
        """Return the pictures of some ``rows`` (segment, row), each with its row's crc32, in one statement.

        A row whose picture no file has any more is left out. At most a few hundred at a time.
        """
        values = ", ".join(["(?, ?)"] * len(rows))
        # CROSS JOIN keeps the order: from the few rows to their files, all by indexes.
        found = self.database.query(
            record_row,
            f"WITH wanted (segment, row) AS (VALUES {values}) "
            "SELECT segment, row, content.id, sha256, page, width, height, kind, content.name, crc, root.path, "
            "file.path FROM wanted "
            "CROSS JOIN content USING (segment, row) CROSS JOIN file ON file.content = content.sha256 "
            "CROSS JOIN root ON root.id = file.root",
            *(number for row in rows for number in row),
        )
        records: dict[tuple[int, int], tuple[Record, int]] = {}
        paths: dict[tuple[int, int], list[bytes]] = {}
        for row, record, crc, path in found:
            records[row] = record, crc
            paths.setdefault(row, []).append(path)
        for row, several in paths.items():
            if len(several) > 1:
                record, crc = records[row]
                records[row] = replace(record, paths=tuple(map(os.fsdecode, sorted(several)))), crc
        return records

    def pages(self, sha256: bytes) -> list[Record]:
        """Return the pictures of one content, in the order of its pages."""
        sql = "SELECT segment, row FROM content WHERE sha256 = ? ORDER BY page"
        rows = self.database.query(pair_row, sql, sha256)
        found = self.records(rows) if rows else {}
        return [found[row][0] for row in rows if row in found]

    def contents(self) -> list[bytes]:
        """Return the sha256 of every content, also of those that are only retained."""
        return self.database.query(bytes, "SELECT DISTINCT sha256 FROM content")

    def contents_from(self, first: bytes) -> list[bytes]:
        """Return the sha256 of the contents that have a file, as far as they begin with ``first``: a byte or more."""
        sql = "SELECT DISTINCT sha256 FROM content WHERE sha256 >= ?1 AND sha256 < ?2 AND files > 0"
        return self.database.query(bytes, sql, first, first + b"\xff" * 32)

    def errors(self) -> Iterator[tuple[str, str, str]]:
        """Yield (absolute path, reason, detail) of every file that was skipped, or indexed with something missing.

        The reason of the latter is "incomplete"; that of one that could not be read again is why.
        """
        yield from self.database.query(
            skipped_row,
            "SELECT root.path, file.path, CASE WHEN error IS NULL AND substr(detail, -?1) = ?2 "
            "THEN substr(detail, 1, instr(detail, ':') - 1) ELSE coalesce(error, 'incomplete') END AS reason, detail "
            "FROM file JOIN root ON root.id = file.root "
            "WHERE error IS NOT NULL OR detail <> '' ORDER BY reason, root.path, file.path",
            len(EMBEDDING_STAYS),
            EMBEDDING_STAYS,
        )

    def counts(self) -> tuple[int, int, dict[str, int]]:
        """Return the number of indexed files, of their distinct contents, and of skipped files by reason."""
        # One statement, so that it is of one moment.
        counted = self.database.query(
            lambda kind, reason, count: ((str(kind), str(reason)), int(count)),
            "SELECT 'files', reason, files FROM tally WHERE files > 0 UNION ALL SELECT 'contents', '', "
            "(SELECT coalesce(sum(rows), 0) FROM segment) - (SELECT count(*) FROM dead) ORDER BY 3 DESC",
        )
        known = dict(counted)
        reasons = {reason: count for (kind, reason), count in counted if kind == "files" and reason}
        return known.get(("files", ""), 0), known["contents", ""], reasons

    def meta(self, key: str) -> str | None:
        """Return a remark about the index itself, or None."""
        rows = self.database.query(str, "SELECT value FROM meta WHERE key = ?", key)
        return rows[0] if rows else None

    def not_read(self) -> dict[int, dict[str, int]]:
        """Return by root how many files of which kind were in it that are not read, at its last walk."""
        try:
            known = json.loads(self.meta(_NOT_READ) or "{}")
            return {int(root): {str(k): int(n) for k, n in kinds.items()} for root, kinds in known.items()}
        except (ValueError, TypeError, AttributeError, RecursionError):
            return {}  # it is worth no error

    def devices(self, root: int) -> list[int]:
        """Return the devices that a root has files on; 0 is its own."""
        return self.database.query(int, "SELECT DISTINCT device FROM file WHERE root = ?", root)

    def sample(self, root: int, limit: int, *, device: int | None = None) -> tuple[list[FileRow], int]:
        """Return at most ``limit`` files of a root, evenly spread over their paths, and how many it has in all.

        With a ``device``, only those that are indexed and lie on it.
        """
        where = "root = ?" + ("" if device is None else f" AND device = {device:d} AND content IS NOT NULL")
        count = self.database.query(int, f"SELECT count(*) FROM file WHERE {where}", root)[0]
        step = max(1, -(-count // limit))
        rows = self.database.query(
            file_row,
            f"SELECT {FILE_COLUMNS} FROM file WHERE id IN (SELECT id FROM "
            f"(SELECT id, row_number() OVER (ORDER BY path) - 1 AS number FROM file WHERE {where}) "
            "WHERE number % ? = 0) "
            "ORDER BY path",
            root,
            step,
        )
        return rows, count

    def pictures(self) -> Iterator[StoredPicture]:
        """Yield every picture that has a file, in the order of segments and rows; of one moment in a transaction."""
        rows = self.database.stream(
            _picture_and_path,
            # CROSS JOIN: in this order, which is that of an index, so that nothing is sorted in memory.
            "SELECT segment, row, crc, sha256, page, width, height, root.path, file.path FROM content "
            "CROSS JOIN file ON file.content = content.sha256 CROSS JOIN root ON root.id = file.root "
            "ORDER BY segment, row",
        )
        for picture, copies in itertools.groupby(rows, key=operator.itemgetter(0)):
            yield self.database.made(stored_picture_row, (*picture, [path for _, path in copies]))

    def picture_count(self) -> int:
        """Return the number of pictures that have a file."""
        return self.database.query(int, "SELECT count(*) FROM content WHERE files > 0")[0]

    def live_rows(
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
        return self.database.query(
            triple_row, sql, segment, first_row, never if before is None else before, limit
        )

    # ---- writing: only under the writer lock ----------------------------------------------------------------

    def put_root(
        self,
        path: str,
        options: dict[str, object],
        mount: str = os.sep,
        drive: str = "",
        *,
        devices: Mapping[int, int] | None = None,
    ) -> int:
        """Add a root, or bring its options, mount point and drive up to date; return its id.

        ``devices`` gives by the devices that its files have those that they have from now on; the others stay.
        With another drive, what tells its files from others of the same size and time is unknown from now on. Raises
        UsageError for a root that a portable index can't have.
        """
        stored = stored_path(path, self.base)
        mount = os.sep if self.base else mount  # it may be mounted anywhere
        with self.transaction() as db:
            db.execute(
                f"UPDATE file SET {_NOT_TOLD_APART} WHERE root = "
                "(SELECT id FROM main.root WHERE path = ? AND drive <> ?)",
                (stored, drive),
            )
            row = db.execute(
                "INSERT INTO main.root (path, options, mount, drive) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (path) DO UPDATE SET options = excluded.options, mount = excluded.mount, "
                "drive = excluded.drive RETURNING id",
                (stored, stored_options(options, self.base), os.fsencode(mount), drive),
            ).fetchone()
            if devices:
                case, values = _renumbered(devices)
                db.execute(f"UPDATE file SET device = {case} WHERE root = ?", (*values, row[0]))
        return int(row[0])

    def make_portable(self) -> None:
        """Store roots relative to the folder that the index is in from now on.

        Raises UsageError if one of them is elsewhere.
        """
        if self.base:
            return
        base, roots = base_of(self.folder), self.roots()
        with self.transaction() as db:
            db.executemany(
                "UPDATE root SET path = ?, options = ?, mount = ? WHERE id = ?",
                [
                    (
                        stored_path(root.path, base),
                        stored_options(root.options, base),
                        os.fsencode(os.sep),
                        root.id,
                    )
                    for root in roots
                ],
            )
            db.execute("INSERT INTO meta (key, value) VALUES (?, '1')", (PORTABLE,))
        self.database.show_absolute()

    def put_meta(self, key: str, value: str) -> None:
        """Keep a remark about the index itself."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def put_not_read(self, counts: Mapping[int, Mapping[str, int]]) -> None:
        """Keep by root how many files of which kind are not read, in place of what was known of these roots."""
        before, roots = self.not_read(), {root.id for root in self.roots()}
        known = {root: kinds for root, kinds in before.items() if root in roots}
        known |= {root: {kind: n for kind, n in kinds.items() if n} for root, kinds in counts.items()}
        known = {root: kinds for root, kinds in known.items() if kinds}
        if known != before:
            self.put_meta(_NOT_READ, json.dumps(known, sort_keys=True))

    def keep_time(self, now: float) -> None:
        """Let what is retained age by the time since this was last called: by no more, whatever the clock shows.

        ``now`` is the clock's, in seconds since 1970. One that went back ages nothing, and one that went ahead, as when
        it is set right after a start in 1970, by ten days at most: so it takes three such errors to lose an embedding.
        """
        before = self._time_kept()
        if before is not None and 0 <= now - before < _DAY:
            return
        with self.transaction() as db:
            if before is None:
                oldest = int(now - _MOST_AT_ONCE)
                db.execute(
                    "UPDATE dead SET since = min(max(since, ?), ?) WHERE since > 0", (oldest, int(now))
                )
            elif shift := int(now - before - min(max(now - before, 0.0), _MOST_AT_ONCE)):
                db.execute(
                    "UPDATE dead SET since = max(min(since + ?, ?), 1) WHERE since > 0", (shift, int(now))
                )
            db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('clock', ?)", (repr(now),))

    def _time_kept(self) -> float | None:
        """Return the time of the last ``keep_time``; None if there is none that makes sense."""
        try:
            kept = float(self.meta("clock") or "")
        except ValueError:
            return None
        return kept if 0 <= kept < _END_OF_TIME else None

    def split_root(self, outer: int, below: str, inner: int, devices: Mapping[int, int]) -> None:
        """Hand the files of ``outer`` that lie in its folder ``below`` over to the root ``inner`` of that folder.

        ``devices`` gives by the devices that these files have those that they have there; the others stay.
        """
        prefix = os.fsencode(below) + b"/"
        case, values = _renumbered(devices)
        with self.transaction() as db:
            db.execute(
                f"UPDATE OR REPLACE file SET root = ?, path = substr(path, ?), device = {case} "
                "WHERE root = ? AND path > ? AND path < ?",
                (inner, len(prefix) + 1, *values, outer, prefix, os.fsencode(below) + b"0"),
            )

    def commit(
        self, segment: int, first_row: int, contents: list[NewContent], states: list[FileState]
    ) -> None:
        """Name ``contents``, whose rows lie durably at ``first_row`` and on of ``segment``, and their files.

        Raises StorageError, IndexLocked, IndexDamaged; then nothing of it is visible.
        """
        with self.database.consistent(), self.transaction() as db:
            if contents:
                self._put_segment(db, segment, first_row + len(contents))
            metadata.put(db, states)
            db.executemany(
                "INSERT INTO file (root, path, size, mtime_ns, device, inode, ctime_ns, sidecars, content, error, "
                "detail, reading) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (root, path) DO UPDATE SET "
                "size = excluded.size, mtime_ns = excluded.mtime_ns, device = excluded.device, "
                "inode = excluded.inode, ctime_ns = excluded.ctime_ns, sidecars = excluded.sidecars, "
                "content = excluded.content, "
                "error = excluded.error, detail = excluded.detail, reading = excluded.reading",
                (
                    (
                        state.root,
                        os.fsencode(state.source.path),
                        state.source.size,
                        state.source.mtime_ns,
                        state.source.device,
                        state.source.inode,
                        state.source.ctime_ns,
                        state.source.sidecar_state or 0,
                        state.content,
                        state.error,
                        state.detail,
                        state.reading,
                    )
                    for state in states
                ),
            )
            db.executemany(
                "INSERT INTO content (sha256, page, segment, row, crc, width, height, kind, name) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (new.sha256, new.page, segment, row, new.crc, new.width, new.height, new.kind, new.name)
                    for row, new in enumerate(contents, first_row)
                ),
            )
            hashes.put(db, contents)

    def keep_pages(self, sha256: bytes, pages: Collection[int], reading: str, root: int) -> None:
        """Forget all other pages of a content, unless a file outside of a root has it of which others are asked for."""
        if not (surplus := self.page_numbers(sha256).difference(pages)):
            return
        others = (
            "SELECT EXISTS (SELECT 1 FROM file WHERE content = ? AND root <> ? AND reading NOT IN (?, ?))"
        )
        if self.database.query(bool, others, sha256, root, reading, UNFINISHED)[0]:
            return
        with self.transaction() as db:
            db.executemany(
                "DELETE FROM content WHERE sha256 = ? AND page = ?", ((sha256, page) for page in surplus)
            )

    def refresh_files(self, numbers: Iterable[tuple[int, int, int, int]]) -> None:
        """Bring up to date where files are that have not changed: (device, inode, ctime_ns, row id) of each."""
        with self.transaction() as db:
            db.executemany("UPDATE file SET device = ?, inode = ?, ctime_ns = ? WHERE id = ?", numbers)

    def drop_files(self, ids: Iterable[int]) -> None:
        """Take files out.

        Their contents stay until the index is compacted, so that a file, found again somewhere else, need not be
        embedded again.
        """
        with self.transaction() as db:
            db.executemany("DELETE FROM file WHERE id = ?", ((id,) for id in ids))

    def put_ann_file(self, file: AnnFile) -> None:
        """Register an ANN file in place of the one that the segment had."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO ann VALUES (?, ?, ?, ?, ?, ?, ?, ?)", astuple(file))

    def drop_ann_file(self, segment: int) -> None:
        """Forget a segment's ANN file."""
        with self.transaction() as db:
            db.execute("DELETE FROM ann WHERE segment = ?", (segment,))

    def drop_root(self, id: int) -> None:
        """Forget a root; its files must have been dropped before."""
        with self.transaction() as db:
            db.execute("DELETE FROM main.root WHERE id = ?", (id,))

    def move_roots(self, moved: Sequence[Root], *, copied: bool, forget: int | None = None) -> None:
        """Give roots, known by their ids, other paths, options, mount points and drives: all or, killed, none.

        ``copied`` says that the files there are copies: what tells those from others of the same size and time is
        unknown. Files on devices with a number below ``forget`` count as the roots' own from then on.
        """
        with self.transaction() as db:
            if copied:
                db.executemany(
                    f"UPDATE file SET {_NOT_TOLD_APART} WHERE root = ?", ((root.id,) for root in moved)
                )
            # First out of each other's way: /a may become /a/b while /a/b becomes something else.
            db.executemany(
                "UPDATE main.root SET path = ? WHERE id = ?", ((b"%d" % root.id, root.id) for root in moved)
            )
            db.executemany(
                "UPDATE main.root SET path = ?, options = ?, mount = ?, drive = ? WHERE id = ?",
                [
                    (
                        stored_path(root.path, self.base),
                        stored_options(root.options, self.base),
                        os.fsencode(os.sep if self.base else root.mount),
                        root.drive,
                        root.id,
                    )
                    for root in moved
                ],
            )
            if forget is not None:
                db.executemany(
                    "UPDATE file SET device = 0 WHERE root = ? AND device < ?",
                    ((root.id, forget) for root in moved),
                )

    def move(self, moves: Sequence[tuple[int, int]], segment: int, rows: int) -> None:
        """Give contents other rows in ``segment``, which has ``rows`` rows now: ``moves`` are (content id, row).

        The rows that they leave are deleted from then on.
        """
        with self.database.consistent(), self.transaction() as db:
            self._put_segment(db, segment, rows)
            db.executemany(
                "UPDATE content SET segment = ?, row = ? WHERE id = ?",
                ((segment, row, id) for id, row in moves),
            )

    def drop_segment(self, segment: int, next_segment: int) -> None:
        """Forget a segment whose rows are all deleted, and the contents without files that still lie in it.

        ``next_segment`` is the one that takes the next row: a number is never given twice.
        """
        with self.database.consistent(), self.transaction() as db:
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


_NOT_TOLD_APART = "inode = 0, ctime_ns = 0"


def _renumbered(devices: Mapping[int, int]) -> tuple[str, tuple[int, ...]]:
    """Return the expression, with its values, of the device that a file has from now on."""
    if not devices:
        return "device", ()
    cases = " ".join(["WHEN ? THEN ?"] * len(devices))
    return f"CASE device {cases} ELSE device END", tuple(itertools.chain.from_iterable(devices.items()))


def _path_condition(below: str) -> tuple[str, tuple[bytes, ...]]:
    """Return the condition that a file is ``below`` itself or lies in it; paths compare as bytes."""
    if not below:
        return "TRUE", ()
    path = os.fsencode(below)
    # "0" follows "/" in ASCII, so this is the range of everything that begins with path + "/".
    return "(path = ? OR (path > ? AND path < ?))", (path, path + b"/", path + b"0")


def _picture_and_path(*columns: Any) -> tuple[tuple[Any, ...], bytes]:
    *picture, folder, name = columns
    return tuple(picture), os.path.join(folder, name)
