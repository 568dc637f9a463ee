"""Whether an index is whole: every checksum and count is read, what is damaged is named, and taken out on request."""

from __future__ import annotations

import itertools
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from imgsearch.errors import IndexDamaged
from imgsearch.fs import open_own
from imgsearch.index.ann import rabitq
from imgsearch.index.catalog import Catalog
from imgsearch.index.generations import unnamed
from imgsearch.index.image_text import search as image_words
from imgsearch.index.metadata import collect, fulltext
from imgsearch.index.rows import LOST, AnnFile, pair_row, triple_row
from imgsearch.index.segments import (
    HEADER_BYTES,
    MOST_SEGMENTS,
    are_unit,
    check_header,
    header_says,
    rows_per_segment,
    segment_name,
    write_header,
)
from imgsearch.text import error_line, plural
from imgsearch.types import IndexSpec

# Contents dropped in one transaction.
_AT_ONCE = 1000
# Bytes of rows read at once.
_BLOCK = 8 << 20


class LostFile(NamedTuple):
    """A file whose picture has lost its vector: its root's id, its path below it, and the absolute path."""

    root: int
    path: str
    whole: str


Kind = Literal[
    "manifest",
    "catalogue",
    "counters",
    "files",
    "misplaced",
    "header",
    "missing",
    "refused",
    "short",
    "vectors",
    "ann",
    "columns",
    "thumbnail",
]


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong: the file ``path`` that it is in, and ``what`` in a few words.

    ``contents`` are the ids of the pictures that lose their vectors by it. ``segment`` is the number of the
    segment concerned, if it is one, and ``rows`` how many of its rows are there at all.
    """

    kind: Kind
    path: str
    what: str
    contents: tuple[int, ...] = ()
    segment: int = 0
    rows: int = 0


@dataclass(slots=True)
class Findings:
    """What a check found: ``damages``, files that nothing names (``orphans``), and how much was read."""

    damages: list[Damage] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    vectors: int = 0
    bytes: int = 0


def check(
    catalog: Catalog,
    spec: IndexSpec | None,
    start: Callable[[int], None],
    advance: Callable[[int], None],
) -> Findings:
    """Read everything below ``catalog.folder``, in one snapshot of its catalogue.

    ``spec`` is what the index is made with, or None if its manifest no longer says it. ``start`` is told how many
    bytes there are to read, ``advance`` how many have been. Raises IndexMismatch for a segment of a newer format.
    """
    findings = Findings()
    with catalog.transaction("DEFERRED"), ExitStack() as stack:
        if trouble := _sqlite_trouble(catalog):
            findings.damages.append(Damage("catalogue", catalog.path, f"is damaged ({trouble})"))
            return findings
        counts = catalog.segments()
        folder = os.path.join(catalog.folder, "vectors")
        # Opened before anything is read: what compaction takes away meanwhile can still be read to its end.
        opened = {number: _open(stack, os.path.join(folder, segment_name(number))) for number, _ in counts}
        ann_files = catalog.ann_files()
        start(
            sum(os.fstat(file).st_size for file in opened.values() if isinstance(file, int))
            + sum(file.bytes for file in ann_files.values())
        )
        _check_catalogue(catalog, findings)
        for number, rows in counts:
            _check_segment(catalog, number, rows, opened[number], spec, findings, advance)
        for file in ann_files.values():
            path = os.path.join(catalog.folder, "faiss", file.name)
            if reason := _codes_trouble(path, file, spec):
                findings.damages.append(
                    Damage("ann", path, reason.removeprefix(path).strip(), segment=file.segment)
                )
            elif file.rows > dict(counts).get(file.segment, 0):
                what = f"covers {file.rows:,} embeddings, more than exist"
                findings.damages.append(Damage("ann", path, what, segment=file.segment))
            findings.bytes += file.bytes
            advance(file.bytes)
        for segment, path, what in collect.damaged(catalog.database, catalog.folder, dict(counts)):
            findings.damages.append(Damage("columns", path, what, segment=segment))
        derived = {file.name for file in ann_files.values()}
        derived |= {columns.name for columns in collect.column_files(catalog.database).values()}
        findings.orphans = unnamed(catalog.folder, {number for number, _ in counts}, derived)
    return findings


def repair(catalog: Catalog, findings: Findings, spec: IndexSpec) -> None:
    """Take everything that was found damaged out of the catalogue, and put right what costs nothing.

    The caller holds the writer lock. Raises StorageError.
    """
    for damage in findings.damages:
        _drop_contents(catalog, damage.contents)
    _lose_files_without_content(catalog)
    for number in {damage.segment for damage in findings.damages if damage.segment}:
        kinds = {damage.kind: damage for damage in findings.damages if damage.segment == number}
        if "ann" in kinds:
            catalog.drop_ann_file(number)
        if "columns" in kinds:
            collect.drop(catalog.database, number)
        if kinds.keys() <= {"ann", "columns"}:
            continue
        if not _contents_of(catalog, number):
            _drop_segment(catalog, number)
            continue
        if "short" in kinds:
            _shorten(catalog, number, kinds["short"].rows)
        if "header" in kinds:
            # The vectors below it have proved to be this index's own.
            write_header(
                os.path.join(catalog.folder, "vectors", segment_name(number)), spec.dim, spec.fingerprint
            )
    # Triggers have kept the figures along; where they began wrong, they are wrong still. Last, since it takes as long
    # as there are rows, and a damaged segment may claim any number.
    _recount(catalog)


def lost_files(catalog: Catalog) -> list[LostFile]:
    """Return the files that wait to be embedded again after a repair."""
    return catalog.database.query(
        _lost_file,
        "SELECT root, root.path, file.path FROM file JOIN root ON root.id = file.root WHERE error = ?",
        LOST,
    )


def files_of(catalog: Catalog, content: int) -> list[LostFile]:
    """Return the files that have the same bytes as a content."""
    return catalog.database.query(
        _lost_file,
        "SELECT root, root.path, file.path FROM content JOIN file ON file.content = content.sha256 "
        "JOIN root ON root.id = file.root WHERE content.id = ?",
        content,
    )


def files_without_content(catalog: Catalog) -> list[LostFile]:
    """Return the files that name a content that is not there."""
    return catalog.database.query(
        _lost_file,
        f"SELECT root, root.path, file.path FROM file JOIN root ON root.id = file.root WHERE {_HOMELESS}",
    )


def _drop_segment(catalog: Catalog, number: int) -> None:
    last = max(known for known, _ in catalog.segments())
    catalog.drop_segment(number, last if last > number else min(number + 1, MOST_SEGMENTS))


# ---- what is asked of the catalogue; these questions read all of it

_FILES = "SELECT count(*) FROM file WHERE file.content = content.sha256"
_HOMELESS = "content IS NOT NULL AND NOT EXISTS (SELECT 1 FROM content WHERE content.sha256 = file.content)"
_COUNTED = "SELECT coalesce(error, ''), count(*) FROM file GROUP BY 1"
_KEPT = "SELECT reason, files FROM tally WHERE files <> 0"
_TALLY_OFF = f"SELECT * FROM ({_COUNTED} EXCEPT {_KEPT}) UNION ALL SELECT * FROM ({_KEPT} EXCEPT {_COUNTED})"
# Tombstones (the table dead) that are wrong: past the end of their segment, or of a picture that has a file.
_NOT_DELETED = (
    "NOT EXISTS (SELECT 1 FROM segment WHERE id = dead.segment AND dead.row >= 0 AND dead.row < rows) "
    "OR EXISTS (SELECT 1 FROM content WHERE content.segment = dead.segment AND content.row = dead.row "
    "AND EXISTS (SELECT 1 FROM file WHERE file.content = content.sha256))"
)
# How many rows of each segment must have a tombstone: those that no picture with a file is in.
_SHOULD_BE_DELETED = (
    "SELECT id, rows - (SELECT count(*) FROM content WHERE content.segment = segment.id AND content.row < rows "
    "AND EXISTS (SELECT 1 FROM file WHERE file.content = content.sha256)) AS gone "
    "FROM segment WHERE gone <> 0 ORDER BY id"
)


def _sqlite_trouble(catalog: Catalog) -> str:
    """Return what SQLite finds wrong with the database, in a few words; "" if nothing."""
    try:
        for line in catalog.database.query(str, "PRAGMA integrity_check(1)"):
            if line != "ok":
                return " ".join(line.replace("***", "").split())
        for table, *_ in catalog.database.query(lambda *row: row, "PRAGMA foreign_key_check"):
            return f"a row of table {table} refers to a missing row"
    except IndexDamaged as error:
        return str(error.__cause__ or error)
    return ""


def _wrong_counters(catalog: Catalog) -> list[str]:
    """Say which of the figures that are kept along are not what counting gives."""
    ask, wrong = catalog.database.query, []
    if ask(int, f"SELECT EXISTS ({_TALLY_OFF})")[0]:
        wrong.append("the number of files by reason")
    if ask(int, f"SELECT count(*) FROM content WHERE files <> ({_FILES})")[0]:
        wrong.append("the number of files per image")
    counted = "SELECT segment, count(*) FROM dead GROUP BY segment ORDER BY segment"
    if ask(int, f"SELECT EXISTS (SELECT 1 FROM dead WHERE {_NOT_DELETED})")[0] or (
        ask(pair_row, _SHOULD_BE_DELETED) != ask(pair_row, counted)
    ):
        wrong.append("which embeddings belong to deleted images")
    if not fulltext.is_right(catalog.database):
        wrong.append("the words of names and titles")
    if not image_words.is_right(catalog.database):
        wrong.append("the words in images")
    return wrong


def _misplaced(catalog: Catalog) -> list[int]:
    """Return the ids of contents that lie outside their segment, or where another one lies."""
    return catalog.database.query(
        int,
        "SELECT content.id FROM content LEFT JOIN segment ON segment.id = content.segment "
        "WHERE segment.id IS NULL OR row < 0 OR row >= rows UNION SELECT id FROM content NOT INDEXED "
        "WHERE (segment, row) IN (SELECT segment, row FROM content NOT INDEXED GROUP BY segment, row "
        "HAVING count(*) > 1)",
    )


def _contents_in_rows(
    catalog: Catalog, segment: int, first_row: int, limit: int
) -> list[tuple[int, int, int]]:
    """Return (id, row, crc) of the contents in at most ``limit`` rows from ``first_row`` of a segment."""
    return catalog.database.query(
        triple_row,
        "SELECT id, row, crc FROM content WHERE segment = ? AND row >= ? AND row < ? ORDER BY row",
        segment,
        first_row,
        first_row + limit,
    )


def _contents_of(catalog: Catalog, segment: int, first_row: int = 0) -> list[int]:
    """Return the ids of the contents of a segment, from a row on."""
    return catalog.database.query(
        int, "SELECT id FROM content WHERE segment = ? AND row >= ?", segment, first_row
    )


# ---- what is taken out of it: only under the writer lock

_LOSES = "content = NULL, error = ?, detail = ''"


def _drop_contents(catalog: Catalog, ids: Iterable[int]) -> None:
    """Forget contents; the files that have them wait from then on to be embedded again.

    All pages of a file go with one of them. Some at a time: killed in between, what is left can go later.
    """
    for part in _parts(ids):
        with catalog.transaction() as db:
            for id in part:
                known = db.execute("SELECT sha256 FROM content WHERE id = ?", (id,)).fetchone()
                if known:  # not with an earlier page
                    db.execute(f"UPDATE file SET {_LOSES} WHERE content = ?", (LOST, *known))
                    db.execute("DELETE FROM content WHERE sha256 = ?", known)


def _lose_files_without_content(catalog: Catalog) -> None:
    """Let the files that name a content that is not there wait to be embedded again."""
    with catalog.transaction() as db:
        db.execute(f"UPDATE file SET {_LOSES} WHERE {_HOMELESS}", (LOST,))


def _shorten(catalog: Catalog, segment: int, rows: int) -> None:
    """Let a segment have only its first ``rows`` rows, all others being lost; no content may lie in those."""
    with catalog.transaction() as db:
        db.execute("UPDATE segment SET rows = ? WHERE id = ?", (rows, segment))
        db.execute("DELETE FROM dead WHERE segment = ? AND row >= ?", (segment, rows))
        db.execute("DELETE FROM ann WHERE segment = ? AND rows > ?", (segment, rows))


def _recount(catalog: Catalog) -> None:
    """Count anew what is kept along: files by reason, files of each content, and which rows are deleted."""
    now = int(time.time())
    with catalog.transaction() as db:
        db.execute("DELETE FROM tally")
        db.execute("INSERT INTO tally SELECT coalesce(error, ''), count(*) FROM file GROUP BY 1")
        db.execute(f"UPDATE content SET files = ({_FILES}) WHERE files <> ({_FILES})")
        db.execute(f"DELETE FROM dead WHERE {_NOT_DELETED}")
        db.execute("INSERT OR IGNORE INTO dead SELECT segment, row, ? FROM content WHERE files = 0", (now,))
        for number, rows in db.execute("SELECT id, rows FROM segment").fetchall():
            db.execute(
                "WITH RECURSIVE every (row) AS (SELECT 0 WHERE ?2 > 0 UNION ALL SELECT row + 1 FROM every "
                "WHERE row + 1 < ?2) INSERT OR IGNORE INTO dead SELECT ?1, row, 0 FROM every WHERE NOT EXISTS "
                "(SELECT 1 FROM content WHERE segment = ?1 AND content.row = every.row)",
                (number, rows),
            )
        fulltext.make_anew(catalog.database)
        image_words.make_anew(catalog.database)


def _lost_file(root: int, folder: bytes, path: bytes) -> LostFile:
    return LostFile(int(root), os.fsdecode(path), os.fsdecode(os.path.join(folder, path)))


def _parts(ids: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(ids)
    while part := list(itertools.islice(rest, _AT_ONCE)):
        yield part


# ---- what is read of the segments


def _check_catalogue(catalog: Catalog, findings: Findings) -> None:
    """Hold the catalogue against itself."""
    for wrong in _wrong_counters(catalog):
        findings.damages.append(Damage("counters", catalog.path, f"has wrong records of {wrong}"))
    if misplaced := _misplaced(catalog):
        what = f"refers to embeddings that can't exist, of {plural(len(misplaced), 'image')}"
        findings.damages.append(Damage("misplaced", catalog.path, what, tuple(misplaced)))
    if strays := len(files_without_content(catalog)):
        what = f"has {plural(strays, 'file')} of unknown images"
        findings.damages.append(Damage("files", catalog.path, what))


def _codes_trouble(path: str, file: AnnFile, spec: IndexSpec | None) -> str:
    if spec is None or file.faiss != rabitq.version():
        return rabitq.damage(path, file.bytes, file.crc)
    try:
        rabitq.load(path, spec.dim, file.rows, file.nlist, file.nprobe, file.bytes, file.crc)
    except rabitq.CodesError as error:
        return str(error)
    return ""


def _open(stack: ExitStack, path: str) -> int | OSError:
    try:
        descriptor = open_own(path)
    except OSError as error:
        return error
    stack.callback(os.close, descriptor)
    return descriptor


def _check_segment(
    catalog: Catalog,
    number: int,
    rows: int,
    file: int | OSError,
    spec: IndexSpec | None,
    findings: Findings,
    advance: Callable[[int], None],
) -> None:
    path = os.path.join(catalog.folder, "vectors", segment_name(number))
    if isinstance(file, OSError):
        if rows and isinstance(file, FileNotFoundError):
            lost = _contents_of(catalog, number)
            what = f"is missing, and with it the embeddings of {plural(len(lost), 'image')}"
            findings.damages.append(Damage("missing", path, what, tuple(lost), number))
        elif rows:
            # What it holds may be whole: nothing is lost yet.
            findings.damages.append(
                Damage("refused", path, f"can't be opened ({error_line(file)})", segment=number)
            )
        return
    if not rows:
        return  # nothing in it exists; what takes its first row writes it anew
    header = _read_header(file)
    expected = (spec.dim, spec.fingerprint) if spec else header_says(header)
    if expected is None:
        return  # the manifest is damaged, too, and said to be
    dim, fingerprint = expected
    try:
        check_header(header, path, dim, fingerprint)
    except IndexDamaged:
        findings.damages.append(
            Damage("header", path, "does not start with this index's header", segment=number)
        )
    width = 2 * dim
    whole = min(max(0, os.fstat(file).st_size - HEADER_BYTES) // width, rows_per_segment(dim))
    if not 0 < rows <= whole:
        whole = whole if rows > 0 else 0
        lost = _contents_of(catalog, number, whole)
        what = f"ends after {whole:,} of {rows:,} embeddings, which affects {plural(len(lost), 'image')}"
        findings.damages.append(Damage("short", path, what, tuple(lost), number, whole))
    advance(len(header))
    _check_rows(catalog, number, max(0, min(rows, whole)), file, dim, findings, advance)


def _check_rows(
    catalog: Catalog,
    number: int,
    rows: int,
    file: int,
    dim: int,
    findings: Findings,
    advance: Callable[[int], None],
) -> None:
    """Hold every vector of a segment that has a picture against its checksum, and see that it is a unit vector."""
    width = 2 * dim
    step = max(1, _BLOCK // width)
    buffer = bytearray(min(step, rows) * width)
    mismatched: list[tuple[int, int]] = []  # row, id
    not_unit: list[tuple[int, int]] = []
    for first in range(0, rows, step):
        count = min(step, rows - first)
        entries = _contents_in_rows(catalog, number, first, count)
        if entries:
            good = _read_rows(file, buffer, HEADER_BYTES + first * width, count, width)
            view = memoryview(buffer)
            sound = []
            for id, row, crc in entries:
                at = row - first
                if good[at] and zlib.crc32(view[at * width : (at + 1) * width]) == crc:
                    sound.append((row, id))
                else:
                    mismatched.append((row, id))
            block = np.frombuffer(buffer, "<f2", count * dim).reshape(count, dim)
            here = block if len(sound) == count else block[[row - first for row, _ in sound]]
            not_unit += [sound[at] for at in np.flatnonzero(~are_unit(here))]
            findings.vectors += len(entries)
            findings.bytes += count * width
        advance(count * width)
    path = os.path.join(catalog.folder, "vectors", segment_name(number))
    for bad, what in (
        (mismatched, "that do not match their checksums"),
        (not_unit, "that are not finite or not of unit length"),
    ):
        if bad:
            named = f"has {len(bad):,} of {rows:,} embeddings {what}: {_ranges([row for row, _ in bad])}"
            findings.damages.append(Damage("vectors", path, named, tuple(id for _, id in bad), number, rows))


def _read_header(file: int) -> bytes:
    try:
        return os.pread(file, HEADER_BYTES, 0)
    except OSError:  # a bad place on the disk
        return b""


def _read_rows(file: int, buffer: bytearray, offset: int, count: int, width: int) -> list[bool]:
    """Fill the buffer with rows; return which of them could be read."""
    view = memoryview(buffer)
    try:
        done = 0
        while done < count * width and (got := os.preadv(file, [view[done : count * width]], offset + done)):
            done += got
        return [(at + 1) * width <= done for at in range(count)]
    except OSError:
        pass  # a bad place on the disk: only the rows that it touches are lost
    good = []
    for at in range(count):
        try:
            row = view[at * width : (at + 1) * width]
            good.append(os.preadv(file, [row], offset + at * width) == width)
        except OSError:
            good.append(False)
    return good


def _ranges(rows: list[int], most: int = 5) -> str:
    """Name rows in a few words: 3, 5-9, 12 and 8 more."""
    spans: list[tuple[int, int]] = []
    for row in rows:
        if spans and spans[-1][1] == row - 1:
            spans[-1] = (spans[-1][0], row)
        else:
            spans.append((row, row))
    named = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans[:most])
    left = sum(b - a + 1 for a, b in spans[most:])
    return f"{named} and {left:,} more" if left else named
