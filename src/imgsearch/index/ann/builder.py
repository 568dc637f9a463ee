"""Keeps the ANN files up to date: which segments need codes, and a thread that makes them while others work.

At the end it has the columns made that filters read, too.

An ANN file is written beside, made durable, renamed, and only then registered in the catalogue; a search uses
what is registered and scans the rest, so that it never waits for a build.
"""

from __future__ import annotations

import os
import threading
from contextlib import closing, suppress
from dataclasses import dataclass

from imgsearch.errors import ImgsearchError, StorageError
from imgsearch.fs import make_folder, put_in_place, storage_error, sync_file
from imgsearch.index.ann import rabitq
from imgsearch.index.ann import search as ann
from imgsearch.index.catalog import Catalog
from imgsearch.index.metadata import collect
from imgsearch.index.rows import AnnFile
from imgsearch.index.segments import Segment
from imgsearch.text import Message
from imgsearch.types import IndexSpec, Reporter, Silent

# While rows are still being added, a segment's codes are made anew only when they have grown by this share.
_GROWTH = 0.5


@dataclass(frozen=True, slots=True)
class Build:
    """An ANN file to make: it is to cover the first ``rows`` rows of a segment, in ``nlist`` lists."""

    segment: int
    rows: int
    nlist: int
    reason: str


def lists_for(rows: int, total: int) -> int:
    """Return into how many inverted lists a segment's ``rows`` codes are sorted, in an index of ``total`` rows."""
    if total <= ann.LISTED_ROWS:
        return 1
    return max(1, 1 << (rows // 1024).bit_length() - 1) if rows >= 1024 else 1


def plan_builds(catalog: Catalog, data: str, dim: int, growing: bool = False) -> list[Build]:
    """Return the ANN files to make, those that cover most new rows first.

    ``growing`` says that rows are still being added: then a file that would soon be made anew waits.
    """
    counts = [(number, rows) for number, rows in catalog.segments() if rows]
    total = sum(rows for _, rows in counts)
    if total < ann.EXACT_ROWS:
        return []
    known = catalog.ann_files()
    builds, uncovered = [], {}
    for number, rows in counts:
        nlist = lists_for(rows, total)
        covered, reason = _covered(known.get(number), data, dim, rows, total, growing)
        uncovered[number] = rows - covered
        if rows > covered:
            builds.append(Build(number, rows, nlist, reason))
    builds.sort(key=lambda build: (-uncovered[build.segment], build.segment))
    left = sum(uncovered.values())
    needed = []
    for build in builds:
        if left < ann.EXACT_ROWS:
            break
        grown = uncovered[build.segment]
        if growing and grown < _GROWTH * (build.rows - grown):
            continue
        left -= grown
        needed.append(build)
    return needed


def _covered(
    one: AnnFile | None, data: str, dim: int, rows: int, total: int, growing: bool
) -> tuple[int, str]:
    """Return how many of a segment's rows its ANN file covers, and why not all.

    While rows are being added it is not read again and again for its checksum.
    """
    if one is None:
        return 0, "not built yet"
    if one.faiss != rabitq.version():
        return 0, f"it was built by FAISS {one.faiss}"
    if one.nlist != lists_for(one.rows, total):
        return 0, f"the index has {total:,} rows now"
    path = os.path.join(data, "faiss", one.name)
    if not growing:
        try:
            rabitq.load(path, dim, one.rows, one.nlist, one.nprobe, one.bytes, one.crc)
        except rabitq.CodesError as error:
            return 0, str(error)
    return min(one.rows, rows), f"it covers {one.rows:,} of {rows:,} rows"


def build(catalog: Catalog, data: str, spec: IndexSpec, wanted: Build, stop: threading.Event) -> None:
    """Make one ANN file and register it, unless ``stop`` is set meanwhile. Raises StorageError, IndexDamaged.

    The caller holds the writer lock.
    """
    segment = Segment(os.path.join(data, "vectors"), wanted.segment, wanted.rows, spec.dim, spec.fingerprint)
    try:
        made = rabitq.build(segment, wanted.nlist, stop.is_set, ann.shortlist_for(10, spec.dim))
    except MemoryError as error:
        raise StorageError(f"not enough memory for the {wanted.rows:,} rows of {segment.path}") from error
    if made is None:
        return
    folder = os.path.join(data, "faiss")
    beside = os.path.join(folder, f"{wanted.segment:08d}.faiss.new")
    try:
        make_folder(folder, above=False)
        size, crc = rabitq.write(made, beside, sync_file)
        name = f"{wanted.segment:08d}-{crc:08x}.faiss"
        put_in_place(beside, os.path.join(folder, name))
    except OSError as error:
        _remove(beside)
        raise storage_error(error, beside) from error
    old = catalog.ann_files().get(wanted.segment)
    catalog.put_ann_file(
        AnnFile(wanted.segment, wanted.rows, name, rabitq.version(), size, crc, made.nlist, made.nprobe)
    )
    if old and old.name != name:
        _remove(os.path.join(folder, old.name))


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # it costs room until the next writer clears it away


class AnnBuilder:
    """A thread that makes ANN files in the background of a writer's work."""

    def __init__(self, data: str, spec: IndexSpec, reporter: Reporter | None = None) -> None:
        """Start nothing yet. ``reporter`` is told what could not be made."""
        self.data, self.spec, self.reporter = data, spec, reporter or Silent()
        self._stop = threading.Event()
        self._last_error = ""
        self._thread: threading.Thread | None = None

    def schedule(self) -> None:
        """Look in the background whether an ANN file is due; to be called after a commit."""
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._work, args=(True,), name="ann-builder", daemon=True)
            with suppress(RuntimeError):  # the system has no more threads: what is due is made at the end
                thread.start()
                self._thread = thread

    def join(self) -> None:
        """Wait for what is being made: compaction takes segments and unnamed files away."""
        if self._thread is not None:
            self._thread.join()

    def finish(self) -> int:
        """Wait for the background, then make what is still due; return how many files that were."""
        self.join()
        return self._work(False)

    def stop(self) -> None:
        """Give up what is being made; the next run makes it."""
        self._stop.set()
        self.join()

    def _work(self, growing: bool) -> int:
        made = 0
        try:
            # A connection of its own: the writer's may be in a transaction.
            with closing(Catalog(self.data, write=True)) as catalog:
                wanted_ones = plan_builds(catalog, self.data, self.spec.dim, growing)
                if wanted_ones and not growing:
                    rows = sum(wanted.rows for wanted in wanted_ones)
                    self.reporter.say(f"building the search files for {rows:,} embeddings")
                for wanted in wanted_ones:
                    if self._stop.is_set():
                        break
                    build(catalog, self.data, self.spec, wanted, self._stop)
                    made += 1
                if not growing:  # it takes the catalogue to itself
                    for segment, rows in collect.due(catalog.database, self.data):
                        collect.build(catalog.database, self.data, segment, rows)
        except ImgsearchError as error:
            # Searches go on without it. Every commit tries again, and one line is enough.
            if str(error) != self._last_error:
                self._last_error = str(error)
                line = Message("could not build the files for fast search: ", error.as_message)
                self.reporter.say(line)
        return made
