"""Which stored rows are nearest to a question: one of four strategies, from the exact scan to codes and a rerank.

Below ``EXACT_ROWS`` rows every row is compared. Beyond, each segment has an ANN file of 1-bit RaBitQ codes: they give a
shortlist by estimate, and the rerank scores the shortlist exactly, by inner products with the segment's own rows. What
no ANN file covers is scanned. Every score that leaves this room is a true one, whichever strategy found it.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from imgsearch.index.ann.rabitq import Codes, CodesError
from imgsearch.index.ann.scan import Best, exact_scores, normalize, scan_prefix, scan_rows
from imgsearch.index.segments import Rows, Segment
from imgsearch.machine import cores
from imgsearch.types import Vectors

EXACT_ROWS = 20_000
"""Rows that are compared one by one without anybody noticing: 6 ms at 2,048 dimensions on one core."""

SELECTED_ROWS = 5_000
"""Rows, anywhere in the segments, that are read and compared as fast as the codes of a million: 10 to 15 ms."""

LISTED_ROWS = 2_000_000
"""Rows beyond which codes are sorted into inverted lists, of which a search looks into a few."""

T = TypeVar("T")
_Answer = tuple[Best, NDArray[np.float32], NDArray[np.int64]]
_Job = Callable[[], _Answer]

# Rows that one thread scans before another one may help it.
_STRETCH = 32_768
# Chosen rows read at once: 16 MB of 2,048 dimensions.
_TAKEN = 4096


@dataclass(frozen=True, slots=True)
class SegmentView:
    """One segment as a search sees it; ``codes`` cover its first rows, or are None."""

    segment: Segment
    codes: Codes | None = None

    @property
    def covered(self) -> int:
        """How many of the segment's rows the codes cover."""
        return self.codes.rows if self.codes else 0


@dataclass(frozen=True, slots=True)
class SearchStrategy:
    """Which strategy a search takes, and why: "exact", "prefix", "selected" or "codes"."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class NearestRows:
    """The nearest rows of one question, best first: scores (k,) float32, view and row (k,) int64."""

    scores: NDArray[np.float32]
    view: NDArray[np.int64]
    row: NDArray[np.int64]
    strategy: SearchStrategy


def shortlist_for(k: int, dim: int, rows: int = 0) -> int:
    """Return how many rows, chosen by estimate, are compared exactly to find ``k`` among ``rows``.

    The fewer dimensions, the fewer bits an estimate has and the cheaper a row is to read: 500 rows of 2,048
    dimensions, 2,000 of 512 and less. Among so many rows that there are inverted lists, twice as many: at
    10,000,000 × 512 that takes the recall of text-like questions from 0.984 to 0.998.
    """
    usual = max(50 * k, min(max(500, 1_000_000 // dim), 2000))
    return 2 * usual if rows > LISTED_ROWS else usual


def choose(
    views: Sequence[SegmentView], dim: int, shortlist: int, exact: bool = False, allowed: int | None = None
) -> SearchStrategy:
    """Decide how to search ``views``. ``allowed`` is how many rows a filter lets through, None without one."""
    rows = sum(len(view.segment) for view in views)
    if views and dim != views[0].segment.dim:
        return SearchStrategy("prefix", f"codes can't be cut to {dim} of {views[0].segment.dim} dimensions")
    covered = sum(view.covered for view in views)
    # Of inverted lists only some are looked into, where there may be few of the rows that are left.
    listed = any(view.codes is not None and view.codes.nlist > 1 for view in views)
    most = SELECTED_ROWS if covered and not (listed or exact) else min(EXACT_ROWS, rows // 4)
    if allowed is not None and allowed <= max(most, SELECTED_ROWS):
        return SearchStrategy("selected", f"the filter leaves {allowed:,} rows")
    if exact:
        return SearchStrategy("exact", "requested")
    if not covered:
        few = f"only {rows:,} rows" if rows < EXACT_ROWS else f"no codes yet for {rows:,} rows"
        return SearchStrategy("exact", few)
    if 8 * shortlist >= rows:
        return SearchStrategy("exact", f"a shortlist of {shortlist:,} saves nothing among {rows:,} rows")
    return SearchStrategy("codes", f"codes cover {covered:,} of {rows:,} rows")


def nearest(
    views: Sequence[SegmentView],
    query: Vectors,
    k: int,
    *,
    shortlist: int = 500,
    dim: int | None = None,
    exact: bool = False,
    allowed: Sequence[NDArray[np.bool_]] | None = None,
) -> NearestRows:
    """Find the ``k`` rows with the largest inner product with ``query`` (dim,) float32 of unit length.

    ``shortlist`` is how many rows, by estimate, are compared exactly where codes are used. ``dim`` cuts rows and
    query to a Matryoshka prefix, normalised again. ``allowed`` holds for each view a mask (rows,) of the rows
    that may be found. At most k rows come back, and fewer only if there are no more; of rows that tie for the
    last place it may be any.
    """
    query = np.ascontiguousarray(query, np.float32).reshape(1, -1)
    dim = dim or query.shape[1]
    count = None if allowed is None else sum(int(mask.sum()) for mask in allowed)
    strategy = choose(views, dim, shortlist, exact, count)
    if strategy.name == "prefix":
        query = normalize(query[:, :dim])
    starts = np.cumsum([0, *(len(view.segment) for view in views)])
    best = Best(1, k)
    if strategy.name == "selected":
        assert allowed is not None
        for number, mask in enumerate(allowed):
            _compare(views[number], np.flatnonzero(mask), query, best, starts[number])
    else:
        _search_views(views, query, best, shortlist, strategy, allowed, starts)
    here = best.ids[0] >= 0
    scores, positions = best.scores[0][here], best.ids[0][here]
    # FAISS may order equal scores as it likes; here the one that came first stands first.
    order = np.lexsort((positions, -scores))
    scores, positions = scores[order], positions[order]
    view = np.searchsorted(starts, positions, side="right") - 1
    return NearestRows(scores, view, positions - starts[view], strategy)


def cosines(
    views: Sequence[SegmentView], found: NearestRows, query: Vectors, dim: int | None = None
) -> tuple[NDArray[np.float64], Rows]:
    """Return the cosines of the found rows with ``query`` (dim,), or of their prefixes, in float64, and the rows.

    (k,) and (k, dim).
    """
    scores, rows = np.empty(len(found.row)), np.empty((len(found.row), len(query)), np.float16)
    for number, view in enumerate(views):
        here = found.view == number
        if here.any():
            rows[here] = view.segment.take(found.row[here])
            scores[here] = exact_scores(rows[here], query, dim)
    return scores, rows


def _search_views(
    views: Sequence[SegmentView],
    query: Vectors,
    best: Best,
    shortlist: int,
    strategy: SearchStrategy,
    allowed: Sequence[NDArray[np.bool_]] | None,
    starts: NDArray[np.int64],
) -> None:
    """Search every view, several at a time, by codes where there are any, and rerank what the codes chose."""
    k = best.ids.shape[1]
    estimates = Best(1, min(shortlist, int(starts[-1])))
    jobs: list[_Job] = []

    def by_codes(number: int) -> _Job:
        codes = views[number].codes
        assert codes is not None
        mask = None if allowed is None else allowed[number][: codes.rows]

        def search() -> _Answer:
            try:
                return (estimates, *_numbered(codes.shortlist(query, shortlist, mask), starts[number]))
            except CodesError:
                return by_scan(number, 0, codes.rows)()

        return search

    def by_scan(number: int, start: int, stop: int) -> _Job:
        mask = None if allowed is None else allowed[number]
        cut = strategy.name == "prefix"
        scan = functools.partial(_scan, views[number].segment, start, stop, query, k, mask, cut=cut)
        return lambda: (best, *_numbered(scan(), starts[number]))

    for number, view in enumerate(views):
        first = 0
        if strategy.name == "codes" and view.codes:
            jobs.append(by_codes(number))
            first = view.covered
        jobs += [
            by_scan(number, start, min(start + _STRETCH, len(view.segment)))
            for start in range(first, len(view.segment), _STRETCH)
        ]
    for into, scores, ids in side_by_side(jobs):
        into.take(scores, ids)
    rerank(views, query, estimates, best, starts)


def rerank(
    views: Sequence[SegmentView], query: Vectors, estimates: Best, best: Best, starts: NDArray[np.int64]
) -> None:
    """Compare the rows that ``estimates`` chose with their stored vectors; ``best`` takes the exact scores.

    ``starts`` are the views' first rows, numbered through all of them.
    """
    chosen = np.sort(estimates.ids[0][estimates.ids[0] >= 0])
    for number, view in enumerate(views):
        rows = chosen[(chosen >= starts[number]) & (chosen < starts[number + 1])] - starts[number]
        _compare(view, rows, query, best, starts[number])


def _scan(
    segment: Segment,
    start: int,
    stop: int,
    query: Vectors,
    k: int,
    mask: NDArray[np.bool_] | None,
    *,
    cut: bool,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scan the rows of a segment from ``start`` to before ``stop``, with ``cut`` those of a Matryoshka prefix."""
    best, look = Best(1, k), scan_prefix if cut else scan_rows
    for first, rows in segment.blocks(start, stop):
        allowed = None if mask is None else mask[first : first + len(rows)]
        best.take(*_numbered(look(rows, query, k, allowed), first))
    return best.scores, best.ids


def _numbered(
    found: tuple[NDArray[np.float32], NDArray[np.int64]], start: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Number rows from ``start`` on instead of from 0; -1 (nothing there) stays."""
    scores, ids = found
    return scores, np.where(ids >= 0, ids + start, -1)


def _compare(view: SegmentView, rows: NDArray[np.int64], query: Vectors, best: Best, start: int) -> None:
    """Let ``best`` take the inner products of chosen rows of a segment, whose rows are numbered from ``start`` on."""
    for first in range(0, len(rows), _TAKEN):
        some = rows[first : first + _TAKEN]
        # The scan turns float16 into numbers ten times faster than NumPy does, and on this thread alone.
        scores, positions = scan_rows(view.segment.take(some), query, min(best.ids.shape[1], len(some)))
        best.take(scores, np.where(positions >= 0, some[positions] + start, -1))


def side_by_side(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Run the jobs, one thread a core, this one among them, which takes the first."""
    results: dict[int, T] = {}
    waiting = deque(enumerate(jobs))

    def work() -> None:
        while True:
            try:
                number, job = waiting.popleft()
            except IndexError:
                return
            results[number] = job()

    others = []
    with suppress(RuntimeError):  # the system has no more threads: fewer do it
        for _ in range(min(len(jobs), cores.usable().count) - 1):
            others.append(_pool().submit(work))
    work()
    for other in others:
        other.result()
    return [results[number] for number in range(len(jobs))]


_POOLS: dict[int, ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    # By process: threads do not survive a fork.
    if os.getpid() not in _POOLS:
        _POOLS[os.getpid()] = ThreadPoolExecutor(cores.usable().count, "search")
    return _POOLS[os.getpid()]
