"""Use case: how many of the ten nearest pictures a search of this index finds, measured, and what would find more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import UsageError
from imgsearch.index.ann import search as ann
from imgsearch.index.ann.scan import Best, exact_scores, normalize, scan_rows
from imgsearch.index.reader import SHORTLIST, ImageIndex
from imgsearch.index.segments import are_unit
from imgsearch.index.snapshot import mask_live
from imgsearch.index.writer import IndexWriter
from imgsearch.text import Option
from imgsearch.types import Reporter, Silent, Vectors

K = 10
ENOUGH = 0.99
"""Recall at which nothing needs to be done."""

# Scores that differ by less are ties.
_TIE = 1e-6
# Rows beyond K that the float32 pass keeps, so that their float64 scores can put them in order.
_SPARE = 8
_BLOCK = 16_384
_SEED = 20_240_502


@dataclass(frozen=True, slots=True)
class Recall:
    """Shares of the ten nearest that searches found: for ``stored`` vectors and for ``text_like`` queries.

    ``worst`` is that of a single query; ``milliseconds`` is the median time of a search.
    """

    stored: float
    text_like: float
    worst: float
    milliseconds: float

    @property
    def enough(self) -> bool:
        """Whether nothing needs to be done."""
        return min(self.stored, self.text_like) >= ENOUGH


@dataclass(frozen=True, slots=True)
class Trial:
    """Recall with a setting changed: "shortlist" or "nprobe" times ``value``, or "exact"."""

    setting: str
    value: int
    recall: Recall


@dataclass(frozen=True, slots=True)
class RecallReport:
    """The outcome: ``recall`` as the index is, by which ``strategy``, and what each change would do.

    ``best`` is the fastest of the trials with enough recall, None if nothing needs to be done or nothing helps.
    """

    vectors: int
    questions: int
    strategy: ann.SearchStrategy
    recall: Recall
    trials: tuple[Trial, ...] = ()
    best: Trial | None = None


def measure_recall(
    index: ImageIndex, sample: int = 200, reporter: Reporter | None = None
) -> RecallReport | None:
    """Compare searches of an open index with the exact answers to ``sample`` queries; None if it holds no picture.

    Half of the queries are stored vectors. The other half are as words are: the picture's own part without what
    all pictures have in common, and away from every picture. Raises UsageError, IndexDamaged.
    """
    if sample < 2:
        raise UsageError(Option("sample", sample), ": must be at least 2, one query of each kind")
    reporter = reporter or Silent()
    vectors, drawn = index.with_views(lambda views: _draw(index, views, sample))
    if not len(drawn):
        return None
    queries = np.concatenate([drawn[::2], _text_like(drawn, 1)])
    kinds = np.arange(len(queries)) < len(drawn[::2])
    reporter.start(vectors, "embeddings compared")
    try:
        truth = index.with_views(lambda views: _exact(index, views, queries, reporter.advance))
    finally:
        reporter.stop()
    recall = _ask(index, queries, kinds, truth)
    strategy = index.strategy or ann.SearchStrategy("exact", "there is nothing to search")
    trials = () if recall.enough else _try_all(index, queries, kinds, truth)
    helping = [trial for trial in trials if trial.recall.enough and trial.setting != "exact"]
    best = min(helping, key=lambda trial: trial.recall.milliseconds, default=None)
    return RecallReport(vectors, len(queries), strategy, recall, trials, best)


def keep(folder: str, trial: Trial) -> None:
    """Let the index in ``folder`` always be searched as in ``trial``. Raises IndexLocked, StorageError."""
    with IndexWriter(folder) as writer:
        if trial.setting == "shortlist":
            writer.catalog.put_meta(SHORTLIST, str(trial.value))
        elif trial.setting == "nprobe":
            for file in writer.catalog.ann_files().values():
                writer.catalog.put_ann_file(replace(file, nprobe=min(file.nlist, trial.value * file.nprobe)))


def _draw(index: ImageIndex, views: list[ann.SegmentView], sample: int) -> tuple[int, Vectors]:
    """Return the number of pictures that a search may find, and vectors of some of them: (n, dim) float32."""
    masks = [np.flatnonzero(mask) for mask in mask_live(index.catalog, views)]
    total = sum(map(len, masks))
    picked = np.random.default_rng(_SEED).choice(total, min(sample, total), replace=False)
    ends = np.cumsum([0, *map(len, masks)])
    found = [np.empty((0, index.spec.dim), np.float32)]
    for view, rows, start in zip(views, masks, ends, strict=False):
        mine = np.sort(picked[(picked >= start) & (picked < start + len(rows))]) - start
        stored = view.segment.take(rows[mine])
        found.append(stored[are_unit(stored)].astype(np.float32))
    return total, np.concatenate(found)


def _text_like(drawn: Vectors, start: int) -> Vectors:
    """Return queries (n, dim) that are as far from any picture as words are."""
    own = normalize(drawn[start % len(drawn) :: 2] - drawn.mean(axis=0))
    away = np.random.default_rng(_SEED).standard_normal(own.shape, dtype=np.float32)
    return normalize(own + 0.8 * normalize(away))


def _exact(
    index: ImageIndex, views: list[ann.SegmentView], queries: Vectors, advance: Callable[[int], None]
) -> NDArray[np.float64]:
    """Return the exact scores of the ten nearest of each query, best first: (n, 10), fewer if there are fewer."""
    best = Best(len(queries), K + _SPARE)
    start = 0
    for view, mask in zip(views, mask_live(index.catalog, views), strict=True):
        for first in range(0, len(mask), _BLOCK):
            rows = view.segment.read(first, first + _BLOCK)
            scores, ids = scan_rows(rows, queries, K + _SPARE, mask[first : first + _BLOCK] & are_unit(rows))
            best.take(scores, np.where(ids >= 0, ids + start + first, -1))
            advance(len(rows))
        start += len(mask)
    starts = np.cumsum([0, *(len(view.segment) for view in views)])
    exact = []
    for query, ids in zip(queries, best.ids, strict=True):
        true = []
        for id in ids[ids >= 0]:
            at = int(np.searchsorted(starts, id, side="right")) - 1
            row = views[at].segment.take(np.array([id - starts[at]]))
            true.append(float(exact_scores(row, query)[0]))
        exact.append(sorted(true, reverse=True)[:K])
    return np.array(exact, np.float64)


def _ask(
    index: ImageIndex,
    queries: Vectors,
    kinds: NDArray[np.bool_],
    truth: NDArray[np.float64],
    exact: bool = False,
) -> Recall:
    shares, times = [], []
    index.search(queries[:1], K, exact=exact)  # what is read once is not what a search takes
    for query, scores in zip(queries, truth, strict=True):
        began = time.perf_counter()
        hits = index.search(query[None], K, exact=exact)[0]
        times.append(time.perf_counter() - began)
        # Of pictures that tie for the tenth place any is right.
        right = sum(score >= scores[-1] - _TIE for _, score in hits)
        shares.append(right / len(scores))
    found = np.array(shares)
    text_like = found[~kinds] if (~kinds).any() else found
    return Recall(
        float(found[kinds].mean()),
        float(text_like.mean()),
        float(found.min()),
        1000 * float(np.median(times)),
    )


def _try_all(
    index: ImageIndex, queries: Vectors, kinds: NDArray[np.bool_], truth: NDArray[np.float64]
) -> tuple[Trial, ...]:
    """Measure what would help: longer shortlists, then more of the inverted lists; last, every vector compared."""
    trials = []
    factor = index.effective_shortlist_factor()
    try:
        for value in (2 * factor, 4 * factor, 8 * factor):
            index.shortlist_factor = value
            found = _ask(index, queries, kinds, truth)
            if index.strategy is None or index.strategy.name != "codes":
                break  # so long that it is the exact search
            trials.append(Trial("shortlist", value, found))
            if found.enough:
                break
    finally:
        index.shortlist_factor = None
    if any(file.nprobe < file.nlist for file in index.catalog.ann_files().values()):
        for value in (2, 4):
            index.snapshot.raise_nprobe(2)
            trials.append(Trial("nprobe", value, _ask(index, queries, kinds, truth)))
            if trials[-1].recall.enough:
                break
    few = slice(None, None, max(1, len(queries) // 6))
    trials.append(Trial("exact", 1, _ask(index, queries[few], kinds[few], truth[few], exact=True)))
    return tuple(trials)
