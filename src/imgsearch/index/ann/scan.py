"""The exact scan: every row compared, block by block, so that nothing is built and memory stays bounded.

The segments' bytes are the codes of FAISS's float16 scalar quantizer, handed to it in blocks that stay in
the processor's cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imgsearch.index.segments import Rows
from imgsearch.types import Vectors

# Rows handed to FAISS at once. Over 50,000 × 2,048 one query took 13-15 ms with 1,024 to 4,096, 65 ms with all.
_CODES = 4096
# Questions from which on a matrix product wins over FAISS's scalar path.
_BATCH = 8


def scan_rows(
    rows: Rows, queries: Vectors, k: int, mask: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the k best scores and rows, each (n, k), of ``queries`` (n, dim) float32 among ``rows`` (m, dim) float16.

    ``mask`` (m,) says which rows may be found. Where there are fewer than k, the rest is -inf and row -1.
    """
    # Imported here: a command that never searches does not pay for loading FAISS.
    import faiss

    best = Best(len(queries), k)
    queries = np.ascontiguousarray(queries, np.float32)
    index = faiss.IndexScalarQuantizer(
        rows.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    for start in range(0, len(rows), _CODES):
        codes, ids = _block(rows, start, _CODES, mask)
        if len(queries) >= _BATCH:
            best.take(queries @ codes.astype(np.float32).T, np.broadcast_to(ids, (len(queries), len(ids))))
        elif len(codes):
            index.reset()
            index.add_sa_codes(np.ascontiguousarray(codes).view(np.uint8))
            scores, columns = index.search(queries, min(k, len(codes)))
            best.take(scores, np.where(columns >= 0, ids[columns], -1))  # -1: nothing that compares
    return best.scores, best.ids


def scan_prefix(
    rows: Rows, queries: Vectors, k: int, mask: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Do the same with the rows cut to the queries' dimension and normalised again (Matryoshka)."""
    best = Best(len(queries), k)
    for start in range(0, len(rows), _CODES):
        codes, ids = _block(rows, start, _CODES, mask)
        cut = normalize(codes[:, : queries.shape[1]].astype(np.float32))
        best.take(queries @ cut.T, np.broadcast_to(ids, (len(queries), len(ids))))
    return best.scores, best.ids


def _block(
    rows: Rows, start: int, count: int, mask: NDArray[np.bool_] | None
) -> tuple[Rows, NDArray[np.int64]]:
    """Return the allowed rows of a block with their numbers."""
    codes = rows[start : start + count]
    ids = np.arange(start, start + len(codes))
    if mask is None:
        return codes, ids
    allowed = mask[start : start + count]
    return (codes, ids) if allowed.all() else (codes[allowed], ids[allowed])


class Best:
    """The k best of everything taken so far, for each query, best first; row -1 where there is none yet."""

    def __init__(self, queries: int, k: int) -> None:
        """Begin with nothing."""
        self.scores = np.full((queries, k), -np.inf, np.float32)
        self.ids = np.full((queries, k), -1, np.int64)

    def take(self, scores: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
        """Take in scores and ids (queries, any number); of equal ones the earlier stay, and what is no number goes."""
        ids = np.where(np.isnan(scores), -1, ids)
        scores = np.where(ids >= 0, scores, -np.inf)
        k = self.scores.shape[1]
        scores, ids = np.concatenate([self.scores, scores], 1), np.concatenate([self.ids, ids], 1)
        if scores.shape[1] > 4 * k:
            # Most can't be among the best: sorting all of them is what would take the time.
            keep = np.argpartition(-scores, k, axis=1)[:, : k + 1]
            keep.sort(axis=1)
            scores, ids = np.take_along_axis(scores, keep, 1), np.take_along_axis(ids, keep, 1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        self.scores, self.ids = np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)


def normalize(vectors: Vectors) -> Vectors:
    """Return the rows at unit length; a row of zeros stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # of what is not finite, and is never found
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
