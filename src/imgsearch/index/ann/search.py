"""Which stored rows are nearest to a question: a ladder from the exact scan to compressed codes, one function.

Below ``EXACT_ROWS`` rows every row is compared. Beyond, each segment has a derived FAISS file of 1-bit RaBitQ
codes: a shortlist by estimate, then the shortlist's true inner products from the segment itself. What no derived
file covers is scanned. Every score that leaves this room is a true one, whichever strategy found it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from imgsearch.index.ann.rabitq import Codes
from imgsearch.index.ann.scan import Best, exact_scores, scan_prefix, scan_rows, unit
from imgsearch.index.segments import Rows, Segment
from imgsearch.types import Vectors

__all__ = [
    "EXACT_ROWS",
    "LISTED_ROWS",
    "Found",
    "Part",
    "SearchStrategy",
    "choose",
    "cosines",
    "exact_scores",
    "nearest",
    "shortlist_for",
    "side_by_side",
]

EXACT_ROWS = 20_000
"""Rows that are compared one by one without anybody noticing: 6 ms at 2,048 dimensions on one core."""

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
class Part:
    """One segment as a search sees it; ``codes`` cover its first rows, or are None."""

    segment: Segment
    codes: Codes | None = None

    @property
    def covered(self) -> int:
        """How many of the segment's rows the codes cover."""
        return self.codes.rows if self.codes else 0


@dataclass(frozen=True, slots=True)
class SearchStrategy:
    """Which strategy of the ladder a search takes, and why: "exact", "prefix", "selected" or "codes"."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """The nearest rows of one question, best first: scores (k,) float32, part and row (k,) int64."""

    scores: NDArray[np.float32]
    part: NDArray[np.int64]
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
    parts: Sequence[Part], dim: int, shortlist: int, exact: bool = False, allowed: int | None = None
) -> SearchStrategy:
    """Decide how to search ``parts``. ``allowed`` is how many rows a filter lets through, None without one."""
    rows = sum(len(part.segment) for part in parts)
    if parts and dim != parts[0].segment.dim:
        return SearchStrategy("prefix", f"codes can't be cut to {dim} of {parts[0].segment.dim} dimensions")
    if allowed is not None and allowed <= EXACT_ROWS:
        return SearchStrategy("selected", f"the filter leaves {allowed:,} rows")
    if exact:
        return SearchStrategy("exact", "it was asked for")
    covered = sum(part.covered for part in parts)
    if not covered:
        few = f"only {rows:,} rows" if rows < EXACT_ROWS else f"no codes yet for {rows:,} rows"
        return SearchStrategy("exact", few)
    if 8 * shortlist >= rows:
        return SearchStrategy("exact", f"a shortlist of {shortlist:,} is no shortcut among {rows:,} rows")
    return SearchStrategy("codes", f"codes cover {covered:,} of {rows:,} rows")


def nearest(
    parts: Sequence[Part],
    query: Vectors,
    k: int,
    *,
    shortlist: int = 500,
    dim: int | None = None,
    exact: bool = False,
    allowed: Sequence[NDArray[np.bool_]] | None = None,
) -> Found:
    """Find the ``k`` rows with the largest inner product with ``query`` (dim,) float32 of unit length.

    ``shortlist`` is how many rows, by estimate, are compared exactly where codes are used. ``dim`` cuts rows and
    query to a Matryoshka prefix, normalised again. ``allowed`` holds for each part a mask (rows,) of the rows
    that may be found. At most k rows come back, and fewer only if there are no more; of rows that tie for the
    last place it may be any.
    """
    query = np.ascontiguousarray(query, np.float32).reshape(1, -1)
    dim = dim or query.shape[1]
    count = None if allowed is None else sum(int(mask.sum()) for mask in allowed)
    strategy = choose(parts, dim, shortlist, exact, count)
    if strategy.name == "prefix":
        query = unit(query[:, :dim])
    starts = np.cumsum([0, *(len(part.segment) for part in parts)])
    best = Best(1, k)
    if strategy.name == "selected":
        assert allowed is not None
        for number, mask in enumerate(allowed):
            rows = np.flatnonzero(mask)
            best.take(_scores(parts[number], rows, query), (rows + starts[number])[None])
    else:
        _climb(parts, query, best, shortlist, strategy, allowed, starts)
    here = best.ids[0] >= 0
    scores, places = best.scores[0][here], best.ids[0][here]
    # FAISS may order equal scores as it likes; here the one that came first stands first.
    order = np.lexsort((places, -scores))
    scores, places = scores[order], places[order]
    part = np.searchsorted(starts, places, side="right") - 1
    return Found(scores, part, places - starts[part], strategy)


def cosines(
    parts: Sequence[Part], found: Found, query: Vectors, dim: int | None = None
) -> tuple[NDArray[np.float64], Rows]:
    """Return the cosines of the found rows with ``query`` (dim,), or of their prefixes, in float64, and the rows.

    (k,) and (k, dim).
    """
    scores, rows = np.empty(len(found.row)), np.empty((len(found.row), len(query)), np.float16)
    for number, part in enumerate(parts):
        here = found.part == number
        if here.any():
            rows[here] = part.segment.take(found.row[here])
            scores[here] = exact_scores(rows[here], query, dim)
    return scores, rows


def _climb(
    parts: Sequence[Part],
    query: Vectors,
    best: Best,
    shortlist: int,
    strategy: SearchStrategy,
    allowed: Sequence[NDArray[np.bool_]] | None,
    starts: NDArray[np.int64],
) -> None:
    """Let every part be searched, several at a time, and take what they find."""
    k = best.ids.shape[1]
    estimates = Best(1, min(shortlist, int(starts[-1])))
    jobs: list[_Job] = []

    def by_codes(number: int) -> _Job:
        codes = parts[number].codes
        assert codes is not None
        mask = None if allowed is None else allowed[number][: codes.rows]
        return lambda: (estimates, *_placed(codes.shortlist(query, shortlist, mask), starts[number]))

    def by_scan(number: int, start: int, stop: int) -> _Job:
        look = scan_prefix if strategy.name == "prefix" else scan_rows
        mask = None if allowed is None else allowed[number][start:stop]
        rows = parts[number].segment.rows[start:stop]
        return lambda: (best, *_placed(look(rows, query, k, mask), starts[number] + start))

    for number, part in enumerate(parts):
        first = 0
        if strategy.name == "codes" and part.codes:
            jobs.append(by_codes(number))
            first = part.covered
        jobs += [
            by_scan(number, start, min(start + _STRETCH, len(part.segment)))
            for start in range(first, len(part.segment), _STRETCH)
        ]
    for into, scores, ids in side_by_side(jobs):
        into.take(scores, ids)
    chosen = np.sort(estimates.ids[0][estimates.ids[0] >= 0])
    for number, part in enumerate(parts):
        rows = chosen[(chosen >= starts[number]) & (chosen < starts[number + 1])] - starts[number]
        if len(rows):
            best.take(_scores(part, rows, query), (rows + starts[number])[None])


def _placed(
    found: tuple[NDArray[np.float32], NDArray[np.int64]], start: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Number the rows of a part as rows of all parts; -1 (nothing there) stays."""
    scores, ids = found
    return scores, np.where(ids >= 0, ids + start, -1)


def _scores(part: Part, rows: NDArray[np.int64], query: Vectors) -> NDArray[np.float32]:
    """Return the inner products (1, n) of chosen rows of a segment."""
    scores = np.empty((1, len(rows)), np.float32)
    for start in range(0, len(rows), _TAKEN):
        stored = part.segment.take(rows[start : start + _TAKEN])
        # The scan turns float16 into numbers ten times faster than NumPy does, and on this thread alone.
        found, places = scan_rows(stored, query, len(stored))
        scores[0, start + places[0]] = found[0]
    return scores


def side_by_side(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Run the jobs, one thread a core, this one among them, which takes the first."""
    results: dict[int, T] = {}
    waiting = deque(enumerate(jobs))

    def work() -> None:
        while True:
            try:
                place, job = waiting.popleft()
            except IndexError:
                return
            results[place] = job()

    others = [_pool().submit(work) for _ in range(min(len(jobs), _cores()) - 1)]
    work()
    for other in others:
        other.result()
    return [results[place] for place in range(len(jobs))]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_POOLS: dict[int, ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    # By process: threads do not survive a fork.
    if os.getpid() not in _POOLS:
        _POOLS[os.getpid()] = ThreadPoolExecutor(_cores(), "search")
    return _POOLS[os.getpid()]
