"""The end of an answer: how many of the nearest images stand out from what is near by chance, and why.

Images that have nothing to do with a query lie around it by a power law: within the distance d there are about d ** k
of them. The law is fitted to the images behind a place of the answer, down to the middle of the index, and tells how
many images chance alone brings as near as that place. The cut is at the last place at which that is at most half of
those before it, or a fifth if the query is an image.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.index.reader import ImageIndex
from imgsearch.types import Vectors

SAMPLE = 1_000
"""Stored vectors that are compared with each query."""
TAIL = 200
"""Places of the answer that are judged, at least."""
FEWEST = 50
"""In an index of fewer images no answer is cut: so few don't tell what chance is."""
BY_CHANCE = {"words": 0.5, "images": 0.2}
"""The part of the hits that may be expected by chance. The law has room for images as near as a copy, but no image is
so near to words: it expects too many there."""
SINGLE_BY_CHANCE = {"words": 0.8, "images": 0.3}
"""How many images may be expected by chance as near as a single hit."""
_BEHIND = 1.5
"""The law is fitted behind this many times the place: no place is part of what it is judged by."""
_FIRST = 10
"""The first rank that it is fitted to: those before it scatter."""
_SPAN = 1000
"""The last rank is so many times the first, but not behind the middle."""
_LAST_FIRST = 0.6
_POINTS = 20
_PLACES = 60
_SAME = 0.9995
"""From this score on it is the example itself, or its copy: near for a reason that nobody needs to test."""

_ROUNDING = 1e-9
"""Of a score that is turned into a distance and back."""

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Background:
    """What chance scores for one query.

    ``scores`` are those of a sample of the index's images, best first; ``images`` is the size of the index.
    """

    scores: Scores
    images: int

    @property
    def floor(self) -> float:
        """The mean score: what any image has."""
        return float(self.scores.mean()) if len(self.scores) else 0.0

    @property
    def spread(self) -> float:
        """The standard deviation of the scores."""
        return float(self.scores.std()) if len(self.scores) else 0.0


@dataclass(frozen=True, slots=True)
class Cut:
    """Where an answer ends: the ``count`` nearest images stand out, and score at least ``score``.

    ``more`` tells that all places which were judged do, so that there may be others. ``expected`` is how many images
    chance alone brings so near, or, if none stands out, as near as the best one. ``judged`` is false for
    an index that is too small.
    """

    count: int
    score: float
    more: bool
    expected: float
    judged: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it: a score that there is none for is null."""
        score = round(self.score, 6) if np.isfinite(self.score) else None
        return {**asdict(self), "score": score, "expected": round(self.expected, 4)}


EVERYTHING = Cut(count=0, score=-np.inf, more=True, expected=0.0, judged=False)


def background_of(index: ImageIndex, vector: Vectors, dim: int | None = None) -> Background:
    """Return what chance scores in an index for a query's vector (1, dim), or for its prefix of another ``dim``."""
    return background_in(index.background(SAMPLE), index.rows, vector, dim)


def background_in(sample: Vectors, images: int, vector: Vectors, dim: int | None = None) -> Background:
    """Return what chance scores among so many ``images``, of which ``sample`` has the vectors of some."""
    query = vector[0]
    if dim is not None:
        sample, query = sample[:, :dim], query[:dim] / max(float(np.linalg.norm(query[:dim])), 1e-9)
        sample = sample / np.maximum(np.linalg.norm(sample, axis=1, keepdims=True), 1e-9)
    # On this thread alone: for so little a BLAS starts threads that wait for each other.
    scores = np.einsum("ij,j->i", sample, query).astype(np.float64)
    sound = np.abs(scores) <= 1 + 1e-3  # of damaged vectors there is no telling
    return Background(np.sort(scores[sound])[::-1], images)


def find_cut(
    scores: Scores, background: Background, searched: int | None = None, *, of_image: bool = False
) -> Cut:
    """Return where an answer ends, whose ``scores`` are those of its nearest images, best first.

    ``searched`` is how many images a filter has left, None without a filter: then the scores themselves are the best of
    the whole index, and tell more of chance than the sample alone. ``of_image``: the query has no words.
    """
    if background.images < FEWEST or not len(scores):
        return EVERYTHING
    same = int((scores >= _SAME).sum())
    known = scores[same:]
    images = background.images if searched is None else searched
    part, near = _curve(known if searched is None else known[:0], background)
    if searched is None:
        # Behind the last of the scores, every so many of the sample is a place that is judged.
        behind = np.unique(np.geomspace(len(known) + 1, len(part), _PLACES).astype(int)) - 1
        judged = np.concatenate([np.arange(len(known)), behind[behind < len(part)]])
        places, distances, nearer = part[judged] * images, near[judged], part[judged]
    else:
        places, distances = np.arange(1.0, len(known) + 1), _nearness(known)
        nearer = np.searchsorted(-near, -distances, side="right") / max(len(near), 1)
    first = np.maximum(_FIRST / max(images if searched is None else len(near), 1), _BEHIND * nearer)
    tested = first <= _LAST_FIRST
    places, distances, first = places[tested], distances[tested], first[tested]
    if not len(places):
        return EVERYTHING
    expected = images * _by_law(distances, first, part, near)
    kind = "images" if of_image else "words"
    good = np.flatnonzero(expected <= BY_CHANCE[kind] * places)
    single = not same and bool(expected[0] <= SINGLE_BY_CHANCE[kind])
    last = int(good[-1]) if len(good) else 0 if single else -1
    count = same + round(float(places[last])) if last >= 0 else same
    return Cut(
        count=min(count, len(scores)),
        score=1 - float(np.exp(-distances[last])) - _ROUNDING if last >= 0 else _SAME if same else np.inf,
        more=len(scores) <= count and len(scores) < images,
        expected=float(expected[max(last, 0)]),
    )


def _nearness(scores: Scores) -> Scores:
    """Return minus the logarithm of the squared distance, but for its unit: in these a power law is a straight line."""
    return np.asarray(-np.log(np.maximum(1 - scores, 1 - _SAME)), np.float64)


def _curve(best: Scores, background: Background) -> tuple[Scores, Scores]:
    """Return which part of the index is how near, nearest first: by its ``best`` scores, then by the sample."""
    sample = background.scores[background.scores < _SAME]
    ranks = np.arange(1, len(best) + 1) / background.images
    sampled = np.arange(1, len(sample) + 1) / max(len(sample), 1)
    behind = sampled > (ranks[-1] if len(ranks) else 0)
    part = np.concatenate([ranks, sampled[behind]])
    # The sample says of the best no more than they do.
    scores = np.minimum.accumulate(np.concatenate([best, sample[behind]]))
    return part, _nearness(scores)


def _by_law(distances: Scores, first: Scores, part: Scores, near: Scores) -> Scores:
    """Return which part of the index is expected at each of ``distances``, by the law behind ``first``."""
    if not len(distances):
        return distances
    last = np.minimum(np.maximum(0.5, 2 * first), np.minimum(_SPAN * first, 0.95))
    steps = np.linspace(0, 1, _POINTS)
    y = np.log(first)[:, None] + np.log(last / first)[:, None] * steps
    x = np.interp(y, np.log(part), near)
    dx, dy = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    slope = (dx * dy).sum(axis=1) / np.maximum((dx * dx).sum(axis=1), 1e-12)
    logarithms = y.mean(axis=1) + slope * (distances - x.mean(axis=1))
    return np.asarray(np.exp(np.minimum(logarithms, 0)), np.float64)
