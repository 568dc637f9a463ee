"""ImageIndex: the directory on disk, opened to search it. A reader takes no lock and sees one moment at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import IndexDamaged, IndexMismatch, StorageError, UsageError, repair_hint
from imgsearch.index import manifest, side_db, snapshot
from imgsearch.index.ann import search as ann
from imgsearch.index.catalog import Catalog
from imgsearch.index.image_text import search as image_words
from imgsearch.index.image_text.tokens import Phrase
from imgsearch.index.metadata import fulltext
from imgsearch.index.metadata.filters import Filter
from imgsearch.index.metadata.found import FoundFiles, found_files
from imgsearch.index.rows import VectorLocation
from imgsearch.index.segments import Rows, SegmentMissing, are_unit, row_crc, segment_name
from imgsearch.index.snapshot import Snapshot
from imgsearch.text import Option
from imgsearch.types import IndexSpec, Record, Vectors

T = TypeVar("T")

# Rows asked for beyond k: pictures whose files are gone are passed over, and ties may stand behind the last place.
_SPARE = 32
# Rows that are compared exactly for each hit that need not be one of the very nearest.
_SPARE_LISTED = 10
# How far a stored row's length may be from 1 (float16, and what import takes as it is), and an inner product in
# float32 from the true one.
_LENGTH = 2.0**-10
_CLOSE = 2e-6
_TRIES = 8
# Rows whose checksums are compared at once.
_CHECKED = 200
_BY_WORDS = ann.SearchStrategy("exact", "found by their words")
SHORTLIST = "shortlist"
"""The key under which a catalogue keeps by how much this index's shortlists are to be longer."""


class ImageIndex:
    """A directory of vectors and rows, open for reading.

    ``folder`` is the index, ``data`` the folder in it where catalogue, vectors and ANN files lie; ``spec``
    says what it was made with, ``catalog`` which files it knows. After a search, ``strategy`` says how it was done,
    ``scanned`` how many vectors no ANN file covered, ``searched`` how many a filter left (None without one), and
    ``tail`` are the scores of the nearest ones, best first. ``shortlist_factor`` is how many times the usual number of
    vectors are compared exactly where codes are used; None leaves it to the catalogue. Use it as a context manager.
    """

    shortlist_factor: int | None = None

    def __init__(
        self, folder: str, *, write: bool = False, generation: tuple[IndexSpec, str] | None = None
    ) -> None:
        """Open the index in ``folder``, or a ``generation`` of it, (spec, data folder), that is not in use yet.

        ``write`` opens the catalogue for writing, too: that is for IndexWriter, which holds the lock. Raises
        IndexMissing, IndexDamaged, IndexMismatch (a newer format) or StorageError.
        """
        self.folder = os.path.abspath(folder)
        self.strategy: ann.SearchStrategy | None = None
        self.scanned = 0
        self.searched: int | None = None
        self.tail: NDArray[np.float64] = np.zeros(0)
        self._background: tuple[str, int, Vectors] | None = None
        self._write = write
        self._stamp = manifest.stamp(self.folder)
        if generation:
            self._open_data(*generation)
        else:
            self._open(*manifest.load(self.folder))

    def _open(self, spec: IndexSpec, data: str) -> None:
        while True:
            try:
                self._open_data(spec, data)
                return
            except (IndexDamaged, StorageError):
                # A rebuilt index may just have taken this one's place, and its files with it.
                now = manifest.load(self.folder)
                if now == (spec, data):
                    raise
                spec, data = now

    def _open_data(self, spec: IndexSpec, data: str) -> None:
        catalog, snapshot = Catalog(data, write=self._write), Snapshot(data, spec)
        try:
            # Damage is better said before a model is loaded than after.
            catalog.check()
            _retry(catalog, lambda: snapshot.views(catalog, fast=False))
        except BaseException:
            catalog.close()
            raise
        # Only now: who fails to open the new one still has the old one to ask again with.
        self.spec, self.data, self.catalog, self.snapshot = spec, data, catalog, snapshot

    @property
    def rung(self) -> ann.SearchStrategy | None:
        """``strategy`` under its name of the version before."""
        return self.strategy

    @property
    def identity(self) -> IndexSpec:
        """``spec`` under its name of the version before."""
        return self.spec

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the index."""
        self.close()

    def close(self) -> None:
        """Close the catalogue and let go of the files."""
        self.catalog.close()
        self.snapshot.close()

    def _in_snapshot(self, work: Callable[[], T]) -> T:
        """Run ``work`` in one snapshot of the catalogue: of the index that is in use now, if another took its place."""
        stamp = manifest.stamp(self.folder)
        if stamp != self._stamp:
            self._reopen_if_replaced()
            self._stamp = stamp
        while True:
            try:
                return _retry(self.catalog, work)
            except SegmentMissing:
                if not self._reopen_if_replaced():
                    raise

    def _reopen_if_replaced(self) -> bool:
        """Open the index that has taken this one's place, if one has; return whether."""
        spec, data = manifest.load(self.folder)
        if data == self.data:
            return False
        if manifest.differences(self.spec, spec):
            raise IndexMismatch(
                f"the index in {self.folder} was just rebuilt with another model or settings; try again"
            )
        # Another thread may still be reading from the old catalogue; it closes when nobody does any more.
        self._open(spec, data)
        return True

    def search(
        self,
        vectors: Vectors,
        k: int,
        dim: int | None = None,
        *,
        exact: bool = False,
        below: Sequence[str] = (),
        filters: Sequence[Filter] = (),
        tail: int = 0,
        spare: int = 0,
    ) -> list[list[tuple[Record, float]]]:
        """Return for each of ``vectors`` (n, dim) float32 the at most ``k`` nearest pictures, best first.

        The figure beside a record is the exact cosine with the stored row; equal ones stand in the order in
        which they were indexed. ``dim`` searches a Matryoshka prefix, ``exact`` compares every row, ``below``
        finds only pictures with a file at or below one of these absolute paths, ``filters`` only those that pass all
        of them. So many scores as ``tail`` says are known afterwards, of the last of the vectors, if there are so
        many. So many of the ``k`` as ``spare`` says, the last ones, may be others than the very nearest: then fewer
        rows are compared where codes are used. Raises UsageError for a dim that the index does not have, IndexDamaged
        if a hit's row does not match its checksum.
        """
        self.check_dim(dim)
        if vectors.ndim != 2 or vectors.shape[1] != self.spec.dim:
            raise UsageError(
                f"an embedding of shape {vectors.shape[1:]} does not fit this index of {self.spec.dim} dimensions"
            )
        if k < 1 or not len(vectors):
            return [[] for _ in vectors]
        return self._in_snapshot(lambda: self._search(vectors, k, dim, exact, below, filters, tail, spare))

    def check_dim(self, dim: int | None) -> None:
        """Raise UsageError for a Matryoshka dimension that the index can't be searched at."""
        if dim is not None and not 1 <= dim <= self.spec.dim:
            raise UsageError(
                Option("dim", dim), f": the embeddings in this index have {self.spec.dim} dimensions"
            )

    def _search(
        self,
        vectors: Vectors,
        k: int,
        dim: int | None,
        exact: bool,
        below: Sequence[str],
        filters: Sequence[Filter],
        tail: int,
        spare: int,
    ) -> list[list[tuple[Record, float]]]:
        fast = not exact and (dim or vectors.shape[1]) == vectors.shape[1]
        views = self.snapshot.views(self.catalog, fast)
        self.scanned = sum(len(view.segment) - view.covered for view in views) if fast else 0
        allowed = self._allowed(views, below, filters)
        self.searched = None if allowed is None else sum(int(mask.sum()) for mask in allowed)
        return [self._nearest(views, query, k, dim, exact, allowed, tail, spare) for query in vectors]

    def _allowed(
        self, views: list[ann.SegmentView], below: Sequence[str], filters: Sequence[Filter]
    ) -> list[NDArray[np.bool_]] | None:
        """Return which rows may be found; None if all of them may."""
        if below and (folders := snapshot.below(self.catalog, below)):
            filters = (*filters, folders)
        columns = self.snapshot.columns(self.catalog) if filters else {}
        return snapshot.mask_where(self.catalog, views, filters, columns) if filters else None

    def search_words(
        self,
        vector: Vectors,
        words: Sequence[str],
        k: int,
        dim: int | None = None,
        *,
        below: Sequence[str] = (),
        filters: Sequence[Filter] = (),
    ) -> list[tuple[Record, float]]:
        """Return the at most ``k`` pictures in whose names, titles and keywords some words stand, best first.

        ``words`` are folded (``metadata.fulltext.words_of``). The figure beside a record is the exact cosine with
        ``vector`` (dim,) float32; it has no say in the order. For the rest, and what is raised, see ``search``.
        """
        return self._in_snapshot(lambda: self._search_words(vector, words, k, dim, below, filters))

    def _search_words(
        self,
        vector: Vectors,
        words: Sequence[str],
        k: int,
        dim: int | None,
        below: Sequence[str],
        filters: Sequence[Filter],
    ) -> list[tuple[Record, float]]:
        views = self.snapshot.views(self.catalog, fast=False)
        with closing(fulltext.find(self.catalog.database, words)) as rows:
            places = self._allowed_places(views, rows, k, below, filters)
        return self._with_cosines(views, places, vector, dim)

    def _with_cosines(
        self, views: list[ann.SegmentView], places: list[tuple[int, int]], vector: Vectors, dim: int | None
    ) -> list[tuple[Record, float]]:
        """Return the pictures in some rows of views, in this order, each with its exact cosine with a vector."""
        found: list[tuple[Record, float]] = []
        for some in (places[at : at + _CHECKED] for at in range(0, len(places), _CHECKED)):
            view_of, row_of = np.array(some, np.int64).T
            nearest = ann.NearestRows(np.zeros(len(some), np.float32), view_of, row_of, _BY_WORDS)
            cosines, stored = ann.cosines(views, nearest, vector, dim)
            named = [(views[view].segment.number, row) for view, row in some]
            records = self.catalog.records(named)
            for place, cosine, vector_stored in zip(named, cosines, stored, strict=True):
                if place in records and are_unit(vector_stored[None])[0]:
                    record, crc = records[place]
                    self.check_row(vector_stored, crc, *place)
                    found.append((record, float(cosine)))
        return found

    def _allowed_places(
        self,
        views: list[ann.SegmentView],
        rows: Iterable[tuple[int, int]],
        k: int,
        below: Sequence[str],
        filters: Sequence[Filter],
    ) -> list[tuple[int, int]]:
        """Return the first ``k`` of some (segment, row) that may be found, as (number of the view, row)."""
        allowed = self._allowed(views, below, filters)
        numbers = {view.segment.number: number for number, view in enumerate(views)}
        places: list[tuple[int, int]] = []
        for segment, row in rows:
            view = numbers.get(segment, -1)
            if 0 <= row < len(views[view].segment) and (allowed is None or allowed[view][row]):
                places.append((view, row))
            if len(places) == k:
                break
        return places

    def search_text(
        self,
        phrases: Sequence[Phrase],
        k: int,
        vector: Vectors | None = None,
        dim: int | None = None,
        *,
        below: Sequence[str] = (),
        filters: Sequence[Filter] = (),
    ) -> list[tuple[Record, float]]:
        """Return the at most ``k`` pictures in which some phrases are written, best first.

        Without a ``vector`` all of them must be, and the figure beside a record is its BM25, which says nothing in
        another index. With one, (dim,) float32, so much of them as ``image_text.search.find_close`` asks for, and the
        figure is the exact cosine; it has no say in the order. For the rest, and what is raised, see ``search``.
        """
        return self._in_snapshot(lambda: self._search_text(phrases, k, vector, dim, below, filters))

    def _search_text(
        self,
        phrases: Sequence[Phrase],
        k: int,
        vector: Vectors | None,
        dim: int | None,
        below: Sequence[str],
        filters: Sequence[Filter],
    ) -> list[tuple[Record, float]]:
        views = self.snapshot.views(self.catalog, fast=False)
        find = image_words.find if vector is None else image_words.find_close
        scores: dict[tuple[int, int], float] = {}

        def noted(rows: Iterable[tuple[int, int, float]]) -> Iterator[tuple[int, int]]:
            for segment, row, score in rows:
                scores[segment, row] = score
                yield segment, row

        with closing(find(self.catalog.database, phrases)) as rows:
            places = self._allowed_places(views, noted(rows), k, below, filters)
        if vector is not None:
            return self._with_cosines(views, places, vector, dim)
        named = [(views[view].segment.number, row) for view, row in places]
        found: list[tuple[Record, float]] = []
        for some in (named[at : at + _CHECKED] for at in range(0, len(named), _CHECKED)):
            records = self.catalog.records(some)
            found += [(records[place][0], scores[place]) for place in some if place in records]
        return found

    def _nearest(
        self,
        views: list[ann.SegmentView],
        query: Vectors,
        k: int,
        dim: int | None,
        exact: bool,
        allowed: list[NDArray[np.bool_]] | None,
        tail: int,
        spare: int,
    ) -> list[tuple[Record, float]]:
        """Widen the search until there are k pictures with files, and nothing left out may tie with the last one."""
        total = sum(len(view.segment) for view in views)
        k = min(k, total)
        if not k:
            self.strategy = ann.SearchStrategy("exact", "there is nothing to search")
            self.tail = np.zeros(0)
            return []
        wanted, live_only, unit_only = max(k + _SPARE, tail), False, False
        sure = max(ann.shortlist_for(max(k - spare, 1), self.spec.dim, total), _SPARE_LISTED * k)
        shortlist = min(ann.shortlist_for(k, self.spec.dim, total), sure) * self.effective_shortlist_factor()
        while True:
            nearest = ann.nearest(
                views, query, wanted, shortlist=shortlist, dim=dim, exact=exact, allowed=allowed
            )
            self.strategy = nearest.strategy
            cosines, rows = ann.cosines(views, nearest, query, dim)
            bad = np.flatnonzero(~are_unit(rows))
            if len(bad) and not unit_only:
                # Damage; or, if checksums are right, somebody else's index. Such a row is no hit and, as long as it
                # likes, crowds out others.
                self._check_rows(views, nearest, rows, bad[:_CHECKED])
                allowed, unit_only = snapshot.mask_unit(views, allowed), True
                continue
            self.tail = np.sort(cosines)[::-1]
            hits, certain = self._hits(views, nearest, cosines, rows, k)
            if certain or (len(nearest.row) < wanted and nearest.strategy.name != "codes") or wanted >= total:
                return hits
            if len(hits) < k and not live_only:
                # So many of the nearest have no file any more that it is better to look only at those that have.
                allowed, live_only = snapshot.mask_live(self.catalog, views, allowed), True
            if len(nearest.row) < wanted:
                exact = True  # the shortlists hold no more
            wanted, shortlist = min(4 * wanted, total), 4 * shortlist

    def files(
        self,
        filters: Sequence[Filter] = (),
        below: Sequence[str] = (),
        counted_by: Sequence[str] = (),
        among: Mapping[int, NDArray[np.bool_]] | None = None,
    ) -> list[FoundFiles]:
        """Return the indexed files that pass all ``filters`` and lie at or ``below`` one of some absolute paths.

        They can be counted by those things that ``counted_by`` names. ``among`` leaves only the images in some rows: a
        mask of rows for each segment that has any.
        """

        def work() -> list[FoundFiles]:
            folders = snapshot.below(self.catalog, below) if below else None
            wanted = (*filters, folders) if folders else filters
            columns = self.snapshot.columns(self.catalog)
            return found_files(self.catalog.database, wanted, columns, counted_by, among)

        return self._in_snapshot(work)

    def effective_shortlist_factor(self) -> int:
        """Return by how much shortlists are longer than usual, as measuring recall has found it right."""
        factor = self.shortlist_factor or self.catalog.meta(SHORTLIST) or "1"
        return int(factor) if str(factor).isdecimal() and 1 <= int(factor) <= 64 else 1

    def with_views(self, work: Callable[[list[ann.SegmentView]], T]) -> T:
        """Return what ``work`` makes of every segment that has rows; it may be called again with a later snapshot."""
        return self._in_snapshot(lambda: work(self.snapshot.views(self.catalog, fast=False)))

    def _hits(
        self,
        views: list[ann.SegmentView],
        nearest: ann.NearestRows,
        cosines: NDArray[np.float64],
        rows: Rows,
        k: int,
    ) -> tuple[list[tuple[Record, float]], bool]:
        """Return the best k pictures among the nearest rows, and whether no row that was not found could be one.

        ``cosines`` and ``rows`` are those of the nearest rows.
        """
        order = np.argsort(-cosines, kind="stable").tolist()
        hits: list[tuple[float, Record, int, int]] = []
        at_once = min(max(k, 8), 200)
        # Of pictures that tie with the last one, those that were indexed first are to be seen.
        while order and not (len(hits) >= k and cosines[order[0]] < hits[k - 1][0]):
            now, order = order[:at_once], order[at_once:]
            rows_now = [(views[nearest.view[rank]].segment.number, int(nearest.row[rank])) for rank in now]
            records = self.catalog.records(rows_now)
            for rank, row in zip(now, rows_now, strict=True):
                if row in records:
                    hits.append((float(cosines[rank]), *records[row], rank))
        hits = sorted(hits, key=lambda hit: (-hit[0], hit[1].id))[:k]
        for _, _, crc, rank in hits:
            segment = views[nearest.view[rank]].segment.number
            self.check_row(rows[rank], crc, segment, int(nearest.row[rank]))
        shown = [(record, score) for score, record, _, _ in hits]
        if len(hits) < k or not len(nearest.scores):
            return shown, False
        # What was not found has at most the last inner product, and a stored row's length is 1 only nearly.
        last = float(nearest.scores[-1])
        return shown, hits[-1][0] > last + abs(last) * _LENGTH + _CLOSE

    def vector(self, sha256: bytes, page: int = 0) -> Vectors | None:
        """Return the stored vector of a content as (1, dim) float32, or None if there is none.

        Raises IndexDamaged if it does not match its checksum.
        """
        return self._in_snapshot(lambda: self._vector(self.catalog.locate(sha256, page)))

    def vectors_of(self, contents: Sequence[int]) -> Vectors:
        """Return the stored vectors of some contents by their ids: (n, dim) float32, zeros where there is none.

        None of them is compared with its checksum.
        """
        return self._in_snapshot(lambda: self._vectors_of(contents))

    def _vectors_of(self, contents: Sequence[int]) -> Vectors:
        found = np.zeros((len(contents), self.spec.dim), np.float32)
        places = self.catalog.places(contents)
        rows = dict(self.catalog.segments())
        for number in {segment for segment, _ in places.values()}:
            here = [place for place, id in enumerate(contents) if places.get(id, (0, 0))[0] == number]
            taken = np.array([places[contents[place]][1] for place in here])
            found[here] = self.snapshot.segment(number, rows.get(number, 0)).take(taken)
        return found

    def background(self, count: int) -> Vectors:
        """Return at most ``count`` stored vectors, (n, dim) float32, to be read only, as ``sample`` does.

        They are kept, in memory and beside the index, until there are a tenth more or fewer rows than there were.
        """
        return self._in_snapshot(lambda: self._kept_sample(count))

    @property
    def rows(self) -> int:
        """How many vectors are stored, those of deleted images among them."""
        return sum(rows for _, rows in self.catalog.segments())

    def _kept_sample(self, count: int) -> Vectors:
        rows = self.rows
        # A generation, a rebuilt index and another sample have other names.
        name = f"{os.path.relpath(self.data, self.folder)} {self.created} {self.spec.dim} {count}"
        if self._background is None:
            self._background = side_db.cached_sample(self.folder, name, self.spec.dim)
        if not (
            self._background and self._background[0] == name and abs(rows - self._background[1]) <= 0.1 * rows
        ):
            stored = self._sample(count)
            self._background = (name, rows, stored)
            if rows > count:  # else it is read as quickly from the index
                side_db.cache_sample(self.folder, name, rows, stored)
        return self._background[2]

    def sample(self, count: int) -> Vectors:
        """Return at most ``count`` stored vectors, evenly spread over all rows: (n, dim) float32; deleted ones too.

        They show how scores spread over this index; none of them is compared with its checksum.
        """
        return self._in_snapshot(lambda: self._sample(count))

    def _sample(self, count: int) -> Vectors:
        segments = [(number, rows) for number, rows in self.catalog.segments() if rows]
        step = max(1, -(-sum(rows for _, rows in segments) // count))
        taken = [self.snapshot.segment(*found).take(np.arange(0, found[1], step)) for found in segments]
        empty = np.zeros((0, self.spec.dim), np.float16)
        return np.concatenate([empty, *taken]).astype(np.float32)

    def _vector(self, where: VectorLocation | None) -> Vectors | None:
        if where is None:
            return None
        segment = self.snapshot.segment(where.segment, dict(self.catalog.segments()).get(where.segment, 0))
        if not 0 <= where.row < len(segment):
            raise self._damaged(where.segment, f"has no embedding {where.row}")
        stored = segment.take(np.array([where.row]))
        self.check_row(stored[0], where.crc, where.segment, where.row)
        if not are_unit(stored)[0]:
            raise self._damaged(where.segment, f"is damaged: embedding {where.row} is not of unit length")
        return stored.astype(np.float32)

    def _check_rows(
        self, views: list[ann.SegmentView], nearest: ann.NearestRows, rows: Rows, ranks: NDArray[np.int64]
    ) -> None:
        """Raise IndexDamaged if one of the nearest rows, those of some ranks, does not match its checksum."""
        places = {
            (views[nearest.view[rank]].segment.number, int(nearest.row[rank])): rows[rank] for rank in ranks
        }
        for (segment, row), (_, crc) in self.catalog.records(list(places)).items():
            self.check_row(places[segment, row], crc, segment, row)

    def check_row(self, row: Rows, crc: int, segment: int, number: int) -> None:
        """Raise IndexDamaged if row ``number`` of a segment does not match its checksum."""
        if row_crc(row) != crc:
            raise self._damaged(segment, f"is damaged: embedding {number} does not match its checksum")

    def _damaged(self, segment: int, what: str) -> IndexDamaged:
        path = os.path.join(self.data, "vectors", segment_name(segment))
        return IndexDamaged(f"{path} {what}; ", repair_hint(self.folder))

    @property
    def advice(self) -> str:
        """What would make the last search faster: why many vectors had to be compared one by one; "" if few had."""
        if self.scanned < ann.EXACT_ROWS or not (self.snapshot.problems or self.scanned > 5 * ann.EXACT_ROWS):
            return ""
        why = next(iter(self.snapshot.problems.values()), "the files for fast search are not built yet")
        return f"{self.scanned:,} embeddings were compared one by one: {why}"

    @property
    def created(self) -> float:
        """When the index was made, in seconds since 1970; 0 if it no longer says."""
        try:
            created = float(self.catalog.meta("created") or 0)
        except ValueError:
            return 0.0
        return created if 0 < created < 1e11 else 0.0

    def bytes_on_disk(self) -> int:
        """Return the size of everything in the index's folder."""
        total = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_size
                except OSError:
                    pass  # a file that a writer has just replaced
        return total


def _retry(catalog: Catalog, work: Callable[[], T]) -> T:
    """Run ``work`` in a snapshot; in a new one, if compaction has taken a segment away that the old one named."""
    for _ in range(_TRIES):
        with catalog.transaction("DEFERRED"):
            try:
                return work()
            except SegmentMissing as error:
                missing = error
        if missing.number in dict(catalog.segments()):
            break
    raise missing
