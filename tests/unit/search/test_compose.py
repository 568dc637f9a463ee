"""How the parts of a question become one vector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imgsearch.errors import InputError
from imgsearch.search.ranking.compose import combined

NONE = np.zeros((0, 8), np.float32)


def unit(seed: int, n: int = 1, dim: int = 8) -> np.ndarray:
    """Return n random vectors of unit length."""
    rows = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@given(
    seed=st.integers(0, 1000),
    weights=arrays(np.float64, 3, elements=st.floats(0.01, 100)),
    factor=st.floats(0.01, 100),
)
def test_the_sum_has_unit_length_and_its_scale_does_not_matter(
    seed: int, weights: np.ndarray, factor: float
) -> None:
    """Whatever the weights, the result is a unit vector, and weights ten times as large give the same."""
    vectors = unit(seed, 3)
    found = combined(vectors, list(weights), [False] * 3, NONE)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    assert np.allclose(found, combined(vectors, list(factor * weights), [False] * 3, NONE), atol=1e-5)


def test_one_part_is_itself() -> None:
    """A question of one part, whatever its weight, is the vector of that part."""
    vectors = unit(1)
    assert np.allclose(combined(vectors, [3.0], [True], unit(2, 50)), vectors, atol=1e-6)


def test_what_is_taken_away_scores_lower() -> None:
    """An image like the part that is taken away scores lower than without it, one like the other part higher."""
    horse, saddle = np.eye(8, dtype=np.float32)[:2]
    found = combined(np.stack([horse, saddle]), [1.0, -1.0], [False, False], NONE)[0]
    assert found @ saddle < 0 < found @ horse


def test_words_count_as_much_as_an_image_in_a_mixed_question() -> None:
    """Where words and an image meet, each counts by its spread over the index: a narrow scale is not drowned."""
    axes = np.eye(8, dtype=np.float32)
    chance = np.random.default_rng(3)
    # The words' scores spread over a tenth of what the image's do.
    sample = np.stack(
        [0.05 * chance.normal(size=500), 0.5 * chance.normal(size=500)] + [np.zeros(500)] * 6, 1
    )
    found = combined(axes[:2], [1.0, 1.0], [False, True], sample.astype(np.float32))[0]
    scores = sample @ found
    words, image = (np.corrcoef(scores, sample[:, column])[0, 1] for column in (0, 1))
    assert words == pytest.approx(image, abs=0.1)
    same = combined(axes[:2], [1.0, 1.0], [False, False], sample.astype(np.float32))[0]
    assert np.allclose(same[:2], [2**-0.5] * 2)


def test_parts_that_take_each_other_away_are_refused() -> None:
    """A part minus itself asks for nothing."""
    vectors = np.concatenate([unit(1), unit(1)])
    with pytest.raises(InputError, match="cancel"):
        combined(vectors, [1.0, -1.0], [False, False], NONE)
