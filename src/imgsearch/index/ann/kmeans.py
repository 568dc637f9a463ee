"""k-means over directions: the centres of the groups that vectors form, and which of them each vector is nearest to.

All images of a model share a part of their direction. It is taken off first, else that is most of what is compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgsearch.index.ann.scan import normalize
from imgsearch.index.segments import Rows
from imgsearch.machine import cores
from imgsearch.types import Vectors

MOST = 250
"""Centres; a label is one byte."""
_ITERATIONS = 20
_BLOCK = 4096
_SAME = 0.3
"""Two groups are one if their centres are no farther apart than this share of how far their vectors spread, both
squared. Cutting one cloud of many dimensions in two gives 0.1; groups that a person tells apart have over 1."""
_CHANCE = 1.5
"""And this much more, times the spread, for each of the vectors that a centre is the mean of: few have theirs apart by
chance, the more so since they were chosen for it."""
_CLOSE = 0.05
"""Squared distance of centres that are the same however little their vectors spread; images have 2 on average."""
_COPY = 1e-3
"""Of images that are the same: none of them begins a group beside the other."""
_TINY = 0.1
"""Of the mean size: a smaller group goes to its neighbours."""


@dataclass(frozen=True, slots=True, eq=False)
class Centres:
    """The shared direction that is taken off, (dim,), and the centres (k, dim) of unit length in what is left."""

    mean: Vectors
    directions: Vectors

    def nearest(self, rows: Rows) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return for stored rows (n, dim) float16 the nearest centre of each, and the cosine with it: (n,) both."""
        labels, closeness = np.zeros(len(rows), np.uint8), np.zeros(len(rows), np.float32)
        for start in range(0, len(rows), _BLOCK):
            block = self.centred(rows[start : start + _BLOCK])
            cosines = block @ self.directions.T
            best = cosines.argmax(axis=1)
            labels[start : start + len(best)] = best
            closeness[start : start + len(best)] = np.take_along_axis(cosines, best[:, None], 1)[:, 0]
        return labels, closeness

    def centred(self, rows: Rows | Vectors) -> Vectors:
        """Return rows (n, dim) without the shared part, at unit length; what is not finite is zeros."""
        block = normalize(np.asarray(rows, np.float32) - self.mean)
        return np.nan_to_num(block, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def find_centres(sample: Vectors, k: int, seed: int = 0) -> Centres:
    """Return at most ``k`` centres of a sample (n, dim) float32: fewer where groups are the same, or tiny.

    The same sample and seed give the same centres.
    """
    sample = np.nan_to_num(np.asarray(sample, np.float32), posinf=0.0, neginf=0.0)
    mean = sample.mean(axis=0) if len(sample) > 1 else np.zeros(sample.shape[1], np.float32)
    begun = Centres(mean.astype(np.float32), np.zeros((0, sample.shape[1]), np.float32))
    points = begun.centred(sample)
    seeds = _seeds(points, min(k, MOST), np.random.default_rng(seed))
    centres = _converged(points, seeds, seed) if len(seeds) > 1 else seeds
    return Centres(begun.mean, _worth_having(points, centres))


def _seeds(points: Vectors, k: int, random: np.random.Generator) -> Vectors:
    """Return at most k points, all different, far from each other by chance: k-means++ (Arthur, Vassilvitskii 2007)."""
    chosen, squares = [int(random.integers(len(points)))], (points * points).sum(axis=1)
    distances = np.full(len(points), np.inf)
    while True:
        last = chosen[-1]
        distances = np.minimum(
            distances, np.maximum(0, squares + squares[last] - 2 * (points @ points[last]))
        )
        distances[distances < _COPY] = 0
        total = distances.sum()
        if len(chosen) == k or total <= 0:
            return points[chosen]
        place = np.searchsorted(np.cumsum(distances), random.random() * total, side="right")
        chosen.append(min(int(place), len(points) - 1))


def _converged(points: Vectors, seeds: Vectors, seed: int) -> Vectors:
    # Imported here: a command that never groups does not pay for loading FAISS.
    import faiss

    kmeans = faiss.Kmeans(
        points.shape[1],
        len(seeds),
        niter=_ITERATIONS,
        spherical=True,
        seed=seed + 1,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points),
    )
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(min(before, cores.usable().count))
    try:
        kmeans.train(np.ascontiguousarray(points), init_centroids=np.ascontiguousarray(seeds))
    finally:
        faiss.omp_set_num_threads(before)
    return normalize(np.asarray(kmeans.centroids, np.float32).reshape(seeds.shape))


def _worth_having(points: Vectors, centres: Vectors) -> Vectors:
    """Return the centres without those that are the same as another's, or of hardly any points."""
    labels, closeness = Centres(np.zeros(points.shape[1], np.float32), centres).nearest(
        points.astype(np.float16)
    )
    counts = np.bincount(labels, minlength=len(centres)).astype(np.float64)
    # Of each group the sum of its points: its length is how many they are, less how far they spread.
    sums = np.zeros(centres.shape, np.float64)
    lengths = np.bincount(labels, weights=np.maximum(closeness, 0), minlength=len(centres))
    sums += centres * lengths[:, None]
    keep = counts > 0
    sums, counts = sums[keep], counts[keep]
    while len(sums) > 1 and (pair := _same(sums, counts)):
        one, other = pair
        sums[one] += sums[other]
        counts[one] += counts[other]
        sums, counts = np.delete(sums, other, axis=0), np.delete(counts, other)
    least = max(2, math.ceil(_TINY * counts.sum() / len(counts)))
    large = counts >= least
    if large.any():
        sums, counts = sums[large], counts[large]
    order = np.argsort(-counts, kind="stable")
    return normalize(sums[order].astype(np.float32))


def _same(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[int, int] | None:
    """Return the two groups that are most the same, the first one first; None if all are different."""
    lengths = np.maximum(np.linalg.norm(sums, axis=1), 1e-12)
    directions = sums / lengths[:, None]
    distances = np.maximum(0, 2 - 2 * directions @ directions.T)
    scatter = np.maximum(0, 2 * (counts - lengths))
    # A group of one has no spread of its own: all groups have their share of that of all.
    usual = scatter.sum() / max(1.0, counts.sum() - len(counts))
    spread = (scatter[:, None] + scatter + 2 * usual) / (counts[:, None] + counts)
    allowed = spread * (_SAME + _CHANCE * (1 / counts[:, None] + 1 / counts)) + _CLOSE
    ratio = distances / allowed
    ratio[np.tril_indices(len(sums))] = np.inf
    one, other = divmod(int(ratio.argmin()), len(sums))
    return (one, other) if ratio[one, other] <= 1 else None
