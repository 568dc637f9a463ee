"""Every checksum of an index read: what is damaged, and which pictures that costs. Nothing is written.

Plain reads of one block after another: the memory that this takes stays small, however large the segments are.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from imgsearch.errors import IndexDamaged
from imgsearch.index.ann import codes
from imgsearch.index.audit import Audit
from imgsearch.index.generations import unnamed
from imgsearch.index.vectors import HEADER_BYTES, check_header, header_says, segment_name

_BLOCK = 8 << 20
# A float16 row of unit length is off by less than a thousandth.
_LENGTH = 0.01

Kind = Literal[
    "manifest",
    "catalogue",
    "counters",
    "files",
    "places",
    "header",
    "missing",
    "refused",
    "short",
    "vectors",
    "derived",
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
    audit: Audit,
    kind: tuple[int, str] | None,
    start: Callable[[int], None],
    advance: Callable[[int], None],
) -> Findings:
    """Read everything below ``audit.folder``, in one snapshot of its catalogue.

    ``kind`` is the index's dimension and fingerprint, or None if its manifest no longer says them. ``start`` is
    told how many bytes there are to read, ``advance`` how many have been. Raises IndexMismatch for a segment of a
    newer format.
    """
    found = Findings()
    with audit.transaction("DEFERRED"), ExitStack() as stack:
        if trouble := audit.trouble():
            found.damages.append(Damage("catalogue", audit.path, f"is damaged ({trouble})"))
            return found
        counts = audit.segments()
        folder = os.path.join(audit.folder, "vectors")
        # Opened before anything is read: what compaction takes away meanwhile can still be read to its end.
        opened = {number: _open(stack, os.path.join(folder, segment_name(number))) for number, _ in counts}
        derived = audit.derived()
        start(
            sum(os.fstat(file).st_size for file in opened.values() if isinstance(file, int))
            + sum(one.bytes for one in derived.values())
        )
        _check_catalogue(audit, found)
        for number, rows in counts:
            _check_segment(audit, number, rows, opened[number], kind, found, advance)
        for one in derived.values():
            path = os.path.join(audit.folder, "faiss", one.name)
            if reason := codes.damage(path, one.bytes, one.crc):
                found.damages.append(
                    Damage("derived", path, reason.removeprefix(path).strip(), segment=one.segment)
                )
            elif one.rows > dict(counts).get(one.segment, 0):
                what = f"covers {one.rows:,} vectors, more than there are"
                found.damages.append(Damage("derived", path, what, segment=one.segment))
            found.bytes += one.bytes
            advance(one.bytes)
        found.orphans = unnamed(
            audit.folder, {number for number, _ in counts}, {one.name for one in derived.values()}
        )
    return found


def _check_catalogue(audit: Audit, found: Findings) -> None:
    """Hold the catalogue against itself."""
    for wrong in audit.wrong_counters():
        found.damages.append(Damage("counters", audit.path, f"miscounts {wrong}"))
    if misplaced := audit.misplaced():
        what = f"places {_pictures(len(misplaced))} where no vector of theirs can be"
        found.damages.append(Damage("places", audit.path, what, tuple(misplaced)))
    if strays := len(audit.without_content()):
        what = f"has {strays:,} {'file' if strays == 1 else 'files'} of pictures that it does not know"
        found.damages.append(Damage("files", audit.path, what))


def _open(stack: ExitStack, path: str) -> int | OSError:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return error
    stack.callback(os.close, descriptor)
    return descriptor


def _check_segment(
    audit: Audit,
    number: int,
    rows: int,
    file: int | OSError,
    kind: tuple[int, str] | None,
    found: Findings,
    advance: Callable[[int], None],
) -> None:
    path = os.path.join(audit.folder, "vectors", segment_name(number))
    if isinstance(file, OSError):
        if rows and isinstance(file, FileNotFoundError):
            lost = audit.contents_of(number)
            what = f"is missing, and with it {_pictures(len(lost))}"
            found.damages.append(Damage("missing", path, what, tuple(lost), number))
        elif rows:
            # What it holds may be whole: nothing is lost yet.
            found.damages.append(
                Damage("refused", path, f"can't be opened ({file.strerror})", segment=number)
            )
        return
    if not rows:
        return  # nothing in it exists; what takes its first row writes it anew
    header = _read_header(file)
    kind = kind or header_says(header)
    if kind is None:
        return  # the manifest is damaged, too, and said to be
    dim, fingerprint = kind
    try:
        check_header(header, path, dim, fingerprint)
    except IndexDamaged:
        found.damages.append(
            Damage("header", path, "does not begin with this index's header", segment=number)
        )
    width = 2 * dim
    whole = max(0, os.fstat(file).st_size - HEADER_BYTES) // width
    if whole < rows:
        lost = audit.contents_of(number, whole)
        what = f"ends after {whole:,} of {rows:,} vectors, and with it {_pictures(len(lost))}"
        found.damages.append(Damage("short", path, what, tuple(lost), number, whole))
    advance(len(header))
    _check_rows(audit, number, min(rows, whole), file, dim, found, advance)


def _check_rows(
    audit: Audit, number: int, rows: int, file: int, dim: int, found: Findings, advance: Callable[[int], None]
) -> None:
    """Hold every vector of a segment that has a picture against its checksum, and see that it is a unit vector."""
    width = 2 * dim
    step = max(1, _BLOCK // width)
    buffer = bytearray(min(step, rows) * width)
    wrong: list[tuple[int, int]] = []  # row, id
    odd: list[tuple[int, int]] = []
    for first in range(0, rows, step):
        count = min(step, rows - first)
        entries = audit.contents(number, first, count)
        if entries:
            good = _read_rows(file, buffer, HEADER_BYTES + first * width, count, width)
            view = memoryview(buffer)
            sound = []
            for id, row, crc in entries:
                place = row - first
                if good[place] and zlib.crc32(view[place * width : (place + 1) * width]) == crc:
                    sound.append((row, id))
                else:
                    wrong.append((row, id))
            block = np.frombuffer(buffer, "<f2", count * dim).reshape(count, dim)
            with np.errstate(all="ignore"):
                here = block if len(sound) == count else block[[row - first for row, _ in sound]]
                values = here.astype(np.float32)
                lengths = np.sqrt(np.einsum("ij,ij->i", values, values))
                off = ~(np.abs(lengths - 1) <= _LENGTH)  # also what is not a number
            odd += [sound[place] for place in np.flatnonzero(off)]
            found.vectors += len(entries)
            found.bytes += count * width
        advance(count * width)
    path = os.path.join(audit.folder, "vectors", segment_name(number))
    for bad, what in ((wrong, "not matching their checksums"), (odd, "that are not of unit length")):
        if bad:
            named = f"has {len(bad):,} of {rows:,} vectors {what}: {_ranges([row for row, _ in bad])}"
            found.damages.append(Damage("vectors", path, named, tuple(id for _, id in bad), number, rows))


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
        return [(place + 1) * width <= done for place in range(count)]
    except OSError:
        pass  # a bad place on the disk: only the rows that it touches are lost
    good = []
    for place in range(count):
        try:
            part = view[place * width : (place + 1) * width]
            good.append(os.preadv(file, [part], offset + place * width) == width)
        except OSError:
            good.append(False)
    return good


def _pictures(count: int) -> str:
    return f"{count:,} {'picture' if count == 1 else 'pictures'}"


def _ranges(rows: list[int], most: int = 5) -> str:
    """Name rows in a few words: 3, 5-9, 12 and 8 more."""
    spans: list[tuple[int, int]] = []
    for row in rows:
        if spans and spans[-1][1] == row - 1:
            spans[-1] = (spans[-1][0], row)
        else:
            spans.append((row, row))
    said = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans[:most])
    left = sum(b - a + 1 for a, b in spans[most:])
    return f"{said} and {left:,} more" if left else said
