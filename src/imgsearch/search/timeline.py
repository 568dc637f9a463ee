"""Images without a query, each once however many files it has: a part of them in some order, and counted by month."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgsearch.index.metadata.columns import UNKNOWN
from imgsearch.index.metadata.filters import Filter
from imgsearch.index.metadata.found import FoundImages, images_of
from imgsearch.index.reader import ImageIndex
from imgsearch.search.listing import ListOptions, sorted_by
from imgsearch.types import Record

Rows = Mapping[int, NDArray[np.bool_]]
"""Some images of an index: a mask of rows for each segment that has any of them."""
_AT_ONCE = 200
_LEAST, _MOST = -62_135_596_800_000, 253_402_300_800_000
"""The milliseconds since 1970 that a calendar has: the years 1 to 9999."""


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image, and when it was taken: in milliseconds since 1970 on its own clock, None if nobody knows."""

    record: Record
    taken: int | None


@dataclass(frozen=True, slots=True)
class ListedImages:
    """A part of the images that were asked for, in their order, and how many there are in ``total``."""

    images: tuple[ListedImage, ...]
    total: int


def list_contents(index: ImageIndex, options: ListOptions, among: Rows | None = None) -> ListedImages:
    """Return the images that the options ask for; of a file with several pages it is the first.

    ``among`` leaves only some images, as those of a cluster. No file is opened, and missing ones are listed too.
    """
    found = _found(index, options.filters, options.below, among)
    if options.sort == "path":
        order = _by_path(index, found)
    else:
        order = sorted_by(options.sort, found.ids, found.taken, options.seed)
    last = None if options.n is None else options.offset + options.n
    return ListedImages(tuple(_listed(index, found, order[options.offset : last])), len(found.ids))


@dataclass(frozen=True, slots=True)
class Month:
    """How many images were taken in a month, like "2023-07" (None: nobody knows), and before how many it begins.

    That is its ``offset`` in the list of them all, newest first.
    """

    month: str | None
    count: int
    offset: int


def count_months(
    index: ImageIndex, filters: Sequence[Filter] = (), below: Sequence[str] = (), among: Rows | None = None
) -> list[Month]:
    """Count the images that pass all of some filters by the month they were taken in, newest first."""
    taken = _found(index, filters, below, among).taken
    dated = taken[taken != UNKNOWN]
    # A date that no calendar has is counted with the first or the last month of all.
    months = np.clip(dated, _LEAST, _MOST - 1).astype("datetime64[ms]").astype("datetime64[M]")
    numbers, counts = np.unique(months.astype(np.int64), return_counts=True)
    found, offset = [], 0
    for number, count in zip(numbers[::-1].tolist(), counts[::-1].tolist(), strict=True):
        year, month = divmod(number + 1970 * 12, 12)
        found.append(Month(f"{year:04d}-{month + 1:02d}", count, offset))
        offset += count
    if unknown := len(taken) - len(dated):
        found.append(Month(None, unknown, offset))
    return found


def _found(
    index: ImageIndex, filters: Sequence[Filter], below: Sequence[str], among: Rows | None
) -> FoundImages:
    return images_of(index.files(filters, below, among=among))


def _by_path(index: ImageIndex, found: FoundImages) -> NDArray[np.int64]:
    names: list[tuple[bytes, int]] = []
    for start in range(0, len(found.ids), _AT_ONCE):
        ids = found.ids[start : start + _AT_ONCE].tolist()
        files = index.catalog.files_by_id(ids)
        for place, id in enumerate(ids, start):
            root, name = (files[id][0], files[id][1].path) if id in files else ("", "")
            names.append((os.fsencode(os.path.join(root, name)), place))
    return np.array([place for _, place in sorted(names)], np.int64)


def _listed(index: ImageIndex, found: FoundImages, order: NDArray[np.int64]) -> Iterator[ListedImage]:
    for start in range(0, len(order), _AT_ONCE):
        some = order[start : start + _AT_ONCE]
        places = list(zip(found.segments[some].tolist(), found.rows[some].tolist(), strict=True))
        records = index.catalog.records(places)
        for place, taken in zip(places, found.taken[some].tolist(), strict=True):
            if place in records:  # else compaction has just moved it, or its last file went
                yield ListedImage(records[place][0], None if taken == UNKNOWN else taken)
