"""Filters without a query: the files that pass, newest first, and their counts by year, camera and so on."""

from __future__ import annotations

import functools
import heapq
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import groupby, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import UsageError
from imgsearch.index.image_text import files_with_text
from imgsearch.index.metadata import camera_name, kinds_of_files
from imgsearch.index.metadata.columns import UNKNOWN
from imgsearch.index.metadata.filters import Filter
from imgsearch.index.metadata.found import FoundFiles
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import IndexedFile
from imgsearch.media.formats import FORMATS
from imgsearch.text import Option, display_path
from imgsearch.types import path_json

SORTS = ("newest", "oldest", "path", "added", "random")
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Which files are listed: those that pass all ``filters``, below one of some absolute paths.

    They stand in the order of ``sort``, one of SORTS; of these, ``n`` at most (None: all) behind the first ``offset``.
    Files without a date come last, and those of the same time in the order in which they were indexed. "added" is from
    the one that was indexed last; "random" is the same order for the same ``seed``, also when others are indexed.
    """

    filters: tuple[Filter, ...] = ()
    below: tuple[str, ...] = ()
    sort: str = "newest"
    n: int | None = None
    offset: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError for what can't be meant."""
        if self.n is not None and self.n < 1:
            raise UsageError(Option("n", self.n), ": ask for at least one image")
        if self.offset < 0:
            raise UsageError(Option("offset", self.offset), ": must be 0 or more")
        if self.sort not in SORTS:
            raise UsageError(Option("sort", self.sort), f": choose one of {', '.join(SORTS)}")


def list_images(index: ImageIndex, options: ListOptions) -> Iterator[IndexedFile]:
    """Yield the indexed files that the options ask for. No file is opened, and missing ones are listed too."""
    found = index.files(options.filters, options.below)
    ids = np.concatenate([files.ids for files in found])
    last = None if options.n is None else options.offset + options.n
    if options.sort == "path":
        names = [(os.fsencode(file.path), file) for file in _files(index, ids.tolist())]
        yield from (file for _, file in sorted(names, key=lambda named: named[0])[options.offset : last])
        return
    taken = np.concatenate([files.taken for files in found])
    order = sorted_by(options.sort, ids, taken, options.seed)[options.offset : last]
    yield from _files(index, ids[order].tolist())


def list_parts(indexes: Sequence[ImageIndex], options: ListOptions) -> Iterator[IndexedFile]:
    """Yield the files of an index and its part that the options ask for, as ``list_images`` does of one.

    Of "added", files of different indexes stand in the order of their numbers. A file that both have is listed twice.
    """
    if len(indexes) == 1:
        yield from list_images(indexes[0], options)
        return
    last = None if options.n is None else options.offset + options.n
    if options.sort == "path":
        each = (list_images(index, replace(options, n=last, offset=0)) for index in indexes)
        merged = heapq.merge(*each, key=lambda file: os.fsencode(file.path))
        yield from islice(merged, options.offset, last)
        return
    each_found = [index.files(options.filters, options.below) for index in indexes]
    counts = [sum(len(files.ids) for files in found) for found in each_found]
    whose = np.repeat(np.arange(len(indexes)), counts)
    found = [files for some in each_found for files in some]
    ids = np.concatenate([files.ids for files in found])
    taken = np.concatenate([files.taken for files in found])
    order = sorted_by(options.sort, ids, taken, options.seed)[options.offset : last]
    # Stretches of one index are looked up together.
    for number, stretch in groupby(order.tolist(), key=lambda place: int(whose[place])):
        yield from _files(indexes[number], ids[list(stretch)].tolist())


def sorted_by(
    sort: str, ids: NDArray[np.int64], taken: NDArray[np.int64], seed: int = 0
) -> NDArray[np.int64]:
    """Return (n,) in which order files stand, by ids and dates (n,) each, for one of SORTS but "path"."""
    if sort == "added":
        return np.argsort(-ids, kind="stable")
    if sort == "random":
        return np.argsort(_scattered(ids, seed), kind="stable")
    time = -taken if sort == "newest" else taken
    return np.lexsort((ids, time, taken == UNKNOWN))


def _scattered(ids: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Return (n,) a random number for each id: splitmix64 (Steele, Lea and Flood, 2014)."""
    state = np.array([seed & (1 << 64) - 1], np.uint64)
    for numbers in (ids.astype(np.uint64), np.uint64(0)):
        with np.errstate(over="ignore"):
            state = state + numbers + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ state >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ state >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
            state = state ^ state >> np.uint64(31)
    return state


def _files(index: ImageIndex, ids: Sequence[int]) -> Iterator[IndexedFile]:
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        files = index.catalog.files_by_id(some)
        yield from (
            IndexedFile(os.path.join(root, file.path), file.size, file.mtime_ns, file.content or b"")
            for root, file in (files[id] for id in some if id in files)
        )


@dataclass(frozen=True, slots=True)
class Facets:
    """How many ``images`` there are, as files, and how many of them by year, camera, folder, type and rating.

    A folder is one of those at the top of an indexed folder, by its absolute path. What is not known is None of years
    and ratings, and "" of cameras; a rating of -1 is "rejected". ``kinds`` counts documents by what their images are,
    as in types.KINDS, and ``text`` those files in which text was found.
    """

    images: int
    years: Counter[int | None]
    cameras: Counter[str]
    folders: Counter[str]
    types: Counter[str]
    ratings: Counter[int | None]
    kinds: Counter[str] = field(default_factory=Counter)
    text: int = 0

    def __add__(self, other: Facets) -> Facets:
        """Return the counts of both together, as of an index and its part."""
        return Facets(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Facets)))

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it: lists of objects, years from the newest, all others from the most frequent."""
        years = sorted(self.years.items(), key=lambda item: -(item[0] or 0))
        return {
            "images": self.images,
            "year": [{"year": year, "images": count} for year, count in years],
            "camera": [{"camera": name or None, "images": count} for name, count in ordered(self.cameras)],
            "folder": [{**path_json(path), "images": count} for path, count in ordered(self.folders)],
            "type": [{"type": name or None, "images": count} for name, count in ordered(self.types)],
            "rating": [{"rating": stars, "images": count} for stars, count in best_first(self.ratings)],
            "kind": [{"kind": name, "images": count} for name, count in ordered(self.kinds)],
            "text": self.text,
        }


def ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return counts from the largest, equal ones by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def best_first(ratings: Counter[int | None]) -> list[tuple[int | None, int]]:
    """Return counts by rating from five stars down, the unrated last."""
    return sorted(ratings.items(), key=lambda item: -2 if item[0] is None else item[0], reverse=True)


def count_parts(
    indexes: Sequence[ImageIndex], filters: Sequence[Filter] = (), below: Sequence[str] = ()
) -> Facets:
    """Count the files of an index and its part, as ``count_facets`` does of one."""
    first, *others = (count_facets(index, filters, below) for index in indexes)
    return functools.reduce(Facets.__add__, others, first)


def count_facets(
    index: ImageIndex, filters: Sequence[Filter] = (), below: Sequence[str] = (), *, documents: bool = True
) -> Facets:
    """Count the indexed files that pass all of some filters and lie below one of some absolute paths.

    Without ``documents``, neither these nor files with text are counted, which takes a look at all images.
    """
    found = index.files(filters, below, ("camera", "folder", "type"))
    roots = {root.id: root.path for root in index.catalog.roots()}
    known = {extension: row.extensions.split()[0] for row in FORMATS for extension in row.extensions.split()}
    cameras, folders, types = Counter[str](), Counter[str](), Counter[str]()
    years, ratings = Counter[int | None](), Counter[int | None]()
    for files in found:
        years += files.years()
        ratings += files.ratings()
        for (make, model), count in files.counts("camera").items():
            cameras[camera_name(make, model)] += count
        for (root, folder), count in files.counts("folder").items():
            folders[os.path.join(roots.get(root, ""), folder.split("/")[0]).rstrip("/") or "/"] += count
        for extension, count in files.counts("type").items():
            types[known.get(extension, extension)] += count
    chosen = np.concatenate([files.ids for files in found])
    kinds, text = Counter[str](), 0
    if documents:
        for kind, ids in kinds_of_files(index.catalog.database).items():
            if count := int(np.isin(chosen, ids).sum()):
                kinds[kind] = count
        text = int(np.isin(chosen, files_with_text(index.catalog.database)).sum())
    return Facets(len(chosen), years, cameras, folders, types, ratings, kinds, text)


def why_empty(index: ImageIndex, filters: Sequence[Filter], below: Sequence[str] = ()) -> str:
    """Return which of some filters no indexed image passes, or that none passes all; "" if one does."""
    where = " or ".join(map(display_path, below))
    if _any(index.files(filters, below)):
        return ""
    if not _any(index.files()):
        return "the index holds no images"
    for one in filters:
        if not _any(index.files([one])):
            return f"no image {one.sentence()} is indexed"
    if below and not _any(index.files((), below)):
        return f"no image in {where} is indexed"
    every = [one.sentence() for one in filters] + ([f"in {where}"] if below else [])
    return f"no image passes all filters: {'; '.join(every)}"


def _any(found: Sequence[FoundFiles]) -> bool:
    return any(len(files.chosen) for files in found)
