"""The scan over the segments answers as plain arithmetic over all rows does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.index import ann
from imgsearch.index.vectors import Rows
from imgsearch.types import Vectors

from fakes import unit


def brute(rows: Rows, queries: Vectors, dim: int) -> np.ndarray:
    """Return the cosines (queries, rows) in float64."""
    a, b = queries[:, :dim].astype(np.float64), rows[:, :dim].astype(np.float64)
    return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


def cut(rows: Rows, cuts: list[int]) -> list[Rows]:
    """Split rows into segments; some may be empty."""
    return np.split(rows, sorted(min(place, len(rows)) for place in cuts))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 60),
    dim=st.sampled_from([2, 8, 13, 64]),
    prefix=st.integers(1, 64) | st.none(),
    k=st.integers(1, 70),
    cuts=st.lists(st.integers(0, 60), max_size=3),
    seed=st.integers(0, 1000),
)
def test_the_nearest_rows_are_those_of_a_full_comparison(
    n: int, dim: int, prefix: int | None, k: int, cuts: list[int], seed: int
) -> None:
    """Over any segments, the scan finds the k rows with the largest cosines, or all if there are fewer."""
    prefix = min(prefix, dim) if prefix else None
    rows, queries = unit(n, seed, dim).astype(np.float16), unit(3, seed + 1, dim)
    segments = cut(rows, cuts)
    scores, segment, row = ann.nearest(segments, queries, k, prefix)
    assert scores.shape == segment.shape == row.shape == (3, min(k, n))
    wanted = brute(rows, queries, prefix or dim)
    starts = np.cumsum([0, *map(len, segments)])
    for q in range(3):
        places = starts[segment[q]] + row[q]
        assert len(set(places.tolist())) == len(places)
        best = np.sort(wanted[q])[::-1][: min(k, n)]
        np.testing.assert_allclose(wanted[q][places], best, atol=2e-3)
        # The reported score is over rows as they are stored, whose length is 1 up to float16.
        np.testing.assert_allclose(scores[q], best, atol=2e-3)


@pytest.mark.parametrize("codes", [2, 5, 4096])
@pytest.mark.parametrize("prefix", [None, 5])
@pytest.mark.parametrize("k", [1, 3, 7, 40])
def test_ties_push_nothing_better_out(
    monkeypatch: pytest.MonkeyPatch, codes: int, prefix: int | None, k: int
) -> None:
    """Among many equal rows the best kinds come first, each row once, the same ones every time."""
    monkeypatch.setattr(ann, "_CODES", codes)
    monkeypatch.setattr(ann, "_BLOCK", codes)
    kinds = unit(3, 5, 8).astype(np.float16)
    choice = np.random.default_rng(3).integers(0, 3, 40)
    rows = kinds[choice]
    query = kinds[1:2].astype(np.float32)
    order = np.lexsort((np.arange(40), -brute(kinds, query, prefix or 8)[0][choice]))
    _, segment, row = ann.nearest(cut(rows, [7, 7, 30]), query, k, prefix)
    places = np.array([0, 7, 7, 30])[segment[0]] + row[0]
    assert choice[places].tolist() == choice[order[:k]].tolist()
    assert len(set(places.tolist())) == k
    again = ann.nearest(cut(rows, [7, 7, 30]), query, k, prefix)
    assert np.array_equal(segment, again[1])
    assert np.array_equal(row, again[2])


@pytest.mark.parametrize("prefix", [None, 8])
def test_blocks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch, prefix: int | None) -> None:
    """Handing the rows over in small blocks finds the same as all at once."""
    rows, queries = unit(500, 1, 32).astype(np.float16), unit(4, 2, 32)
    whole = ann.nearest([rows], queries, 9, prefix)
    monkeypatch.setattr(ann, "_CODES", 7)
    monkeypatch.setattr(ann, "_BLOCK", 7)
    parts = ann.nearest([rows], queries, 9, prefix)
    assert np.array_equal(whole[2], parts[2])
    np.testing.assert_allclose(whole[0], parts[0], atol=1e-6)


def test_nothing_stored_is_nothing_found() -> None:
    """No segment, or only empty ones, gives an empty answer for each query."""
    for segments in ([], [np.empty((0, 8), np.float16)]):
        scores, segment, row = ann.nearest(segments, unit(2, dim=8), 5)
        assert scores.shape == segment.shape == row.shape == (2, 0)


def test_exact_scores_are_cosines_in_double_precision() -> None:
    """The figure beside a hit is the cosine of the stored row with the question, also of prefixes."""
    rows, query = unit(20, 1, 16).astype(np.float16), unit(1, 2, 16)
    for dim in (None, 16, 5, 1):
        np.testing.assert_allclose(
            ann.exact_scores(rows, query[0], dim), brute(rows, query, dim or 16)[0], atol=1e-12
        )


def test_equal_rows_have_equal_scores_wherever_they_stand() -> None:
    """The same picture has the very same score in any row and beside any other."""
    rows = np.repeat(unit(1, 1, 64).astype(np.float16), 5, axis=0)
    query = unit(1, 2, 64)[0]
    together = ann.exact_scores(rows, query)
    alone = ann.exact_scores(rows[3:4], query)
    assert set(together.tolist()) == set(alone.tolist())


def test_a_zero_row_scores_nothing() -> None:
    """A row of zeros, or a prefix of zeros, has cosine 0 and never NaN."""
    rows = np.zeros((2, 8), np.float16)
    rows[1, 7] = 1
    query = unit(1, 1, 8)
    assert ann.exact_scores(rows, query[0], 4).tolist() == [0, 0]
    scores, _, _ = ann.nearest([rows], query, 2, 4)
    assert scores.tolist() == [[0, 0]]
