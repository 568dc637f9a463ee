"""Groups by k-means: found again where there are some, the same for the same seed, and none that is another's copy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.index.ann.kmeans import MOST, find_centres
from imgsearch.types import Vectors


def clouds(groups: int, each: int, spread: float, dim: int = 64, seed: int = 0) -> tuple[Vectors, np.ndarray]:
    """Return unit vectors in groups around directions of chance, all with a part in common, and whose each is."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((groups, dim)) + 2 * random.standard_normal(dim)
    of = np.repeat(np.arange(groups), each)
    rows = centres[of] + spread * random.standard_normal((len(of), dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), of


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 12), st.floats(0, 0.5), st.integers(0, 99))
def test_groups_that_are_there_are_found(groups: int, spread: float, seed: int) -> None:
    """As many as there are, though more were allowed, and each vector is in its own."""
    rows, of = clouds(groups, 30, spread, seed=seed)
    centres = find_centres(rows, 25, seed)
    labels, closeness = centres.nearest(rows.astype(np.float16))
    assert len(centres.directions) == groups
    for group in range(groups):
        assert len(set(labels[of == group])) == 1
    assert len(set(labels)) == groups
    assert closeness.min() > 0


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, MOST),
    st.sampled_from(["random", "same", "zeros", "not finite"]),
    st.integers(0, 5),
)
def test_any_sample_gives_groups(n: int, k: int, kind: str, seed: int) -> None:
    """Every vector is in one of at least one and at most k, and all directions are of unit length or nothing."""
    rows = np.random.default_rng(seed).standard_normal((n, 16)).astype(np.float32)
    if kind == "same":
        rows[:] = rows[0]
    elif kind == "zeros":
        rows[:] = 0
    elif kind == "not finite":
        rows[0, 0] = np.nan
        rows[-1, 1] = np.inf
    centres = find_centres(rows, k, seed)
    assert 1 <= len(centres.directions) <= min(k, n)
    assert np.isfinite(centres.directions).all()
    lengths = np.linalg.norm(centres.directions, axis=1)
    assert ((abs(lengths - 1) < 1e-3) | (lengths == 0)).all()
    labels, closeness = centres.nearest(rows.astype(np.float16))
    assert labels.max() < len(centres.directions)
    assert np.isfinite(closeness).all()


def test_the_same_seed_gives_the_same() -> None:
    """Bit for bit, and another seed may not."""
    rows, _ = clouds(8, 40, 2.0)
    one, two = find_centres(rows, 10, seed=3), find_centres(rows, 10, seed=3)
    assert (one.directions == two.directions).all()


def test_a_group_of_hardly_any_goes_to_its_neighbours() -> None:
    """An image that is like no other is no group of its own."""
    rows, _ = clouds(5, 60, 0.2)
    alone = np.zeros((1, rows.shape[1]), np.float32)
    alone[0, 0] = -1
    assert len(find_centres(np.concatenate([rows, alone]), 20).directions) == 5


@pytest.mark.parametrize("copies", [1, 50])
def test_copies_are_one_group(copies: int) -> None:
    """However many centres are allowed."""
    rows, _ = clouds(3, 1, 0.0)
    assert len(find_centres(np.repeat(rows, max(2, copies), axis=0), 30).directions) == 3
