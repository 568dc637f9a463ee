"""Groups of an index's images: which image is in which, and the few that show best what is in a group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgsearch.index import snapshot
from imgsearch.index.ann.kmeans import MOST, Centres, find_centres
from imgsearch.index.ann.search import SegmentView
from imgsearch.index.metadata.passing import Masks
from imgsearch.index.reader import ImageIndex
from imgsearch.types import Reporter, Vectors

SAMPLE = 12_000
"""Images by which the groups are found; all others go to the nearest."""
SHOWN = 6
"""Images that stand for a group."""
_LEAST, _MOST_GROUPS, _EACH = 12, 60, 4
_CANDIDATES = 150
_DIFFERENT = 0.5
"""How much an image's likeness to one that is shown counts against its likeness to the group."""
_BLOCK = 4096

Labels = Mapping[int, NDArray[np.uint8]]
"""By segment, for each of its rows the number of the group whose centre it is nearest to."""
Place = tuple[int, int]
"""Segment and row of an image."""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """All images in groups: for each its number of images that have a file, and places of images that stand for it.

    ``directions`` (k, dim) are the mean vectors of the groups at unit length, of those images by which they were found.
    """

    centres: Centres
    labels: Labels
    counts: NDArray[np.int64]
    shown: tuple[tuple[Place, ...], ...]
    directions: Vectors


def groups_for(images: int, count: int | None = None) -> int:
    """Return into how many groups so many images are divided, at most: ``count`` if it is given."""
    if count is not None:
        return min(count, MOST)
    usual = max(_LEAST, min(_MOST_GROUPS, round(math.sqrt(images / 2))))
    return max(1, min(usual, images // _EACH))


def group(index: ImageIndex, count: int | None, reporter: Reporter) -> Groups:
    """Divide the images of an index into groups. Two runs over the same index give the same."""
    reporter.wait("Comparing the images")

    def work(views: list[SegmentView]) -> Groups:
        live = snapshot.mask_live(index.catalog, views)
        images = sum(int(mask.sum()) for mask in live)
        sample = _sample(views, live, images)
        centres = find_centres(sample, groups_for(images, count))
        labels, closeness = _assigned(centres, views, live, reporter)
        number = len(centres.directions)
        counts = sum(
            (np.bincount(labels[view.segment.number][mask], minlength=number))
            for view, mask in zip(views, live, strict=True)
        )
        shown = _shown(centres, views, live, labels, closeness)
        return Groups(centres, labels, np.asarray(counts), shown, _directions(centres, sample))

    try:
        return index.with_views(work)
    finally:
        reporter.stop()


def labels_of(index: ImageIndex, centres: Centres, known: Labels) -> tuple[Labels, NDArray[np.int64]]:
    """Return the groups of all rows by the centres, and how many images are in each; ``known`` are not read again."""

    def work(views: list[SegmentView]) -> tuple[Labels, NDArray[np.int64]]:
        labels: dict[int, NDArray[np.uint8]] = {}
        counts = np.zeros(len(centres.directions), np.int64)
        for view, mask in zip(views, snapshot.mask_live(index.catalog, views), strict=True):
            number = view.segment.number
            # A segment only grows: a row that is there stays what it is.
            have = known.get(number, np.zeros(0, np.uint8))[: len(view.segment)]
            rest = [
                centres.nearest(view.segment.read(first, min(first + _BLOCK, len(view.segment))))[0]
                for first in range(len(have), len(view.segment), _BLOCK)
            ]
            labels[number] = np.concatenate([have, *rest])
            counts += np.bincount(labels[number][mask], minlength=len(counts))
        return labels, counts

    return index.with_views(work)


def _sample(views: Sequence[SegmentView], live: Masks, images: int) -> Vectors:
    """Return at most SAMPLE stored vectors, spread evenly over all that have a file: (n, dim) float32."""
    step, begin, taken = max(1, -(-images // SAMPLE)), 0, []
    for view, mask in zip(views, live, strict=True):
        rows = np.flatnonzero(mask)
        taken.append(view.segment.take(rows[-begin % step :: step]).astype(np.float32))
        begin += len(rows)
    return np.concatenate(taken)


def _assigned(
    centres: Centres, views: Sequence[SegmentView], live: Masks, reporter: Reporter
) -> tuple[Labels, list[NDArray[np.float32]]]:
    reporter.start(sum(len(mask) for mask in live), "images")
    labels: dict[int, NDArray[np.uint8]] = {}
    closeness = []
    for view in views:
        parts = []
        for first in range(0, len(view.segment), _BLOCK):
            rows = view.segment.read(first, min(first + _BLOCK, len(view.segment)))
            parts.append(centres.nearest(rows))
            reporter.advance(len(rows))
        labels[view.segment.number] = np.concatenate([label for label, _ in parts])
        closeness.append(np.concatenate([close for _, close in parts]))
    reporter.stop()
    return labels, closeness


def _shown(
    centres: Centres,
    views: Sequence[SegmentView],
    live: Masks,
    labels: Labels,
    closeness: Sequence[NDArray[np.float32]],
) -> tuple[tuple[Place, ...], ...]:
    """Return for each group images near its centre that differ from each other, the nearest one first."""
    segments = np.concatenate([np.full(len(mask), number) for number, mask in enumerate(live)])
    rows = np.concatenate([np.arange(len(mask)) for mask in live])
    of = np.concatenate([labels[view.segment.number] for view in views])
    close = np.where(np.concatenate(live), np.concatenate(closeness), -np.inf)
    found = []
    for number in range(len(centres.directions)):
        mine = np.flatnonzero((of == number) & np.isfinite(close))
        # Near the centre, but with something to choose from.
        most = min(_CANDIDATES, max(4 * SHOWN, len(mine) // 4))
        nearest = mine[np.argsort(-close[mine], kind="stable")[:most]]
        vectors = np.zeros((len(nearest), centres.mean.shape[0]), np.float32)
        for place, view in enumerate(views):
            here = segments[nearest] == place
            if here.any():
                vectors[here] = centres.centred(view.segment.take(rows[nearest[here]]))
        chosen = nearest[_different(vectors, close[nearest])]
        found.append(tuple((views[segments[one]].segment.number, int(rows[one])) for one in chosen.tolist()))
    return tuple(found)


def _different(vectors: Vectors, closeness: NDArray[np.float32]) -> list[int]:
    """Return the places of SHOWN vectors, one by one that which is near the centre and unlike those before.

    This is maximal marginal relevance (Carbonell and Goldstein, 1998).
    """
    chosen: list[int] = []
    likeness = np.full(len(vectors), -1.0)
    while len(chosen) < min(SHOWN, len(vectors)):
        worth = closeness - _DIFFERENT * likeness if chosen else closeness.astype(np.float64)
        worth = np.where(np.isin(np.arange(len(vectors)), chosen), -np.inf, worth)
        chosen.append(int(worth.argmax()))
        likeness = np.maximum(likeness, vectors @ vectors[chosen[-1]])
    return chosen


def _directions(centres: Centres, sample: Vectors) -> Vectors:
    """Return the mean vectors of the groups by a sample, shared part and all: what words are compared with."""
    labels, _ = centres.nearest(sample.astype(np.float16))
    sums = np.zeros(centres.directions.shape, np.float32)
    for number in range(len(sums)):
        sums[number] = sample[labels == number].sum(axis=0)
    lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return np.asarray(sums / lengths, np.float32)
