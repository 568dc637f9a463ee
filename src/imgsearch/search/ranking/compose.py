"""A question of several parts becomes one vector: a weighted sum, so that its scores are cosines again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import InputError
from imgsearch.types import Vectors

SAMPLE = 2_000
"""Stored vectors by which the scales of words and images are compared; so many tell a spread to within 2 %."""
_LEAST_LENGTH = 1e-3
"""What is left of unit vectors that take each other away; the direction of less is chance."""
_LEAST_SPREAD = 1e-3


def combined(
    vectors: Vectors, weights: Sequence[float], of_images: Sequence[bool], sample: Vectors
) -> Vectors:
    """Return the unit vector (1, dim) of a question's parts: the sum of their ``vectors`` by their ``weights``.

    ``vectors`` are (n, dim) float32 of unit length. Words and images score on different scales: a fitting caption far
    lower than a similar image. Where parts of both kinds meet, each is divided by the spread that its scores have over
    ``sample``, (m, dim) stored vectors: the standard deviation, so that one step above chance counts the same for all.
    Raises InputError if the parts take each other away.
    """
    scales: NDArray[np.float64] = np.asarray(weights, np.float64)
    if len(set(of_images)) > 1 and len(sample) > 1:
        spread = (sample @ vectors.T).std(axis=0, dtype=np.float64)
        scales = scales / np.maximum(spread, _LEAST_SPREAD)
    total = scales @ vectors.astype(np.float64)
    length = float(np.linalg.norm(total))
    if length < _LEAST_LENGTH * float(np.abs(scales).max()):
        raise InputError("the parts of the query cancel each other out; leave one of them out")
    return (total / length)[None].astype(np.float32)
