"""FAISS over the segments: which stored rows are nearest to a question.

For now the scan is exact: the segments' mapped bytes are the codes of FAISS's float16 scalar quantizer, handed
to it in blocks that stay in the processor's cache, so that nothing is built and memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imgsearch.index.vectors import Rows
from imgsearch.types import Vectors

# Rows handed to FAISS at once. Over 50,000 × 2,048 one query took 13-15 ms with 1,024 to 4,096, 65 ms with all.
_CODES = 4096
# Rows that the prefix scan turns to float32 at once: 16,384 × 2,048 × 4 bytes is 128 MiB.
_BLOCK = 16_384


def nearest(
    segments: Sequence[Rows], queries: Vectors, k: int, dim: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Find the ``k`` rows with the largest inner product for each of ``queries`` (n, dim) float32, unit length.

    With ``dim`` below the stored one, rows and queries are cut to that Matryoshka prefix and normalised again.
    Returns (scores, segment, row), each (n, min(k, all rows)), best first; of rows that tie for the last place
    it may be any. ``segment`` counts from 0 in ``segments``.
    """
    full = queries.shape[1]
    counts = [len(rows) for rows in segments]
    k = min(k, sum(counts))
    scores = [np.empty((len(queries), 0), np.float32)]
    places = [np.empty((len(queries), 0), np.int64)]
    first = 0
    for rows in segments:
        if len(rows):
            scan = _scan if dim is None or dim == full else _scan_prefix
            found, ids = scan(rows, queries, min(k, len(rows)), dim or full)
            scores.append(found)
            places.append(ids + first)
        first += len(rows)
    score, place = np.concatenate(scores, axis=1), np.concatenate(places, axis=1)
    order = np.lexsort((place, -score))[:, :k]
    score, place = np.take_along_axis(score, order, 1), np.take_along_axis(place, order, 1)
    starts = np.cumsum([0, *counts])
    segment = np.searchsorted(starts, place, side="right") - 1
    return score, segment, place - starts[segment]


def _scan(rows: Rows, queries: Vectors, k: int, dim: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    # Imported here: a command that never searches does not pay for loading FAISS.
    import faiss

    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    queries = np.ascontiguousarray(queries, np.float32)
    best = _Best(len(queries), k)
    for start in range(0, len(rows), _CODES):
        codes = rows[start : start + _CODES]
        index.reset()
        index.add_sa_codes(codes.view(np.uint8))
        scores, ids = index.search(queries, min(k, len(codes)))
        best.take(scores, ids + start)
    return best.scores, best.ids


def _scan_prefix(
    rows: Rows, queries: Vectors, k: int, dim: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    cut = _unit(queries[:, :dim])
    best = _Best(len(cut), k)
    for start in range(0, len(rows), _BLOCK):
        block = _unit(rows[start : start + _BLOCK, :dim].astype(np.float32))
        ids = np.broadcast_to(np.arange(start, start + len(block)), (len(cut), len(block)))
        best.take(cut @ block.T, ids)
    return best.scores, best.ids


class _Best:
    """The k best of everything taken so far, for each query, best first."""

    def __init__(self, queries: int, k: int) -> None:
        self.scores = np.full((queries, k), -np.inf, np.float32)
        self.ids = np.full((queries, k), -1, np.int64)

    def take(self, scores: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
        k = self.scores.shape[1]
        scores, ids = np.concatenate([self.scores, scores], 1), np.concatenate([self.ids, ids], 1)
        keep = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        self.scores, self.ids = np.take_along_axis(scores, keep, 1), np.take_along_axis(ids, keep, 1)


def _unit(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny), np.float32)


def exact_scores(rows: Rows, query: Vectors, dim: int | None = None) -> NDArray[np.float64]:
    """Return the cosines of ``rows`` (n, d) float16 with one query (d,), computed in float64: (n,).

    The same two vectors give the same figure wherever they stand, so that equal pictures tie exactly.
    """
    stored = np.asarray(rows[:, :dim], np.float64)
    asked = np.asarray(query[:dim], np.float64)
    asked = asked / max(float(np.linalg.norm(asked)), np.finfo(np.float64).tiny)
    norms = np.maximum(np.sqrt((stored * stored).sum(axis=1)), np.finfo(np.float64).tiny)
    return np.asarray((stored * asked).sum(axis=1) / norms, np.float64)
