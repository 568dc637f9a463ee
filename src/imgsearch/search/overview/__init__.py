"""An overview of a collection: its images in groups that look alike, each with a name and a few images.

The groups are kept beside the index (``index/side_db.py``), and computed again once a tenth as many images have come or
gone as there were, or another number of groups is asked for. Until then new images belong to the nearest group.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import CheckpointError, InputError, UsageError
from imgsearch.index import side_db
from imgsearch.index.ann.kmeans import MOST, Centres
from imgsearch.index.reader import ImageIndex
from imgsearch.model.locate import DEMO_MODEL
from imgsearch.search.overview.grouping import SHOWN, Labels, group, labels_of
from imgsearch.search.overview.naming import (
    COLOURS,
    names_by_facts,
    names_by_words,
    shipped_words,
    told_apart,
    word_vectors,
)
from imgsearch.text import Option
from imgsearch.types import QueryEncoder, Record, Reporter, Silent, Vectors, path_json

_KEPT, _KEPT_BY_COUNT = "overview", "overview of a given number"
"""The names of the last one, and of the last one whose number of groups was given."""
_VERSION = 2
_CHANGED = 0.1
"""The share of images that may come or go before groups are computed again."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A group of images: its id, which stays while the groups do, its name, how many it has, and some of them.

    ``named_by`` is "words" where the model has found the name, else "facts": the folder or time of most, or neither.
    """

    id: str
    name: str
    named_by: str
    count: int
    images: tuple[Record, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it; of an image the first of its paths."""
        shown = [{**path_json(one.paths[0]), "page": one.page} for one in self.images if one.paths]
        return {
            "id": self.id,
            "name": self.name,
            "named_by": self.named_by,
            "count": self.count,
            "images": shown,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """The groups of an index, the largest first; ``images`` counts all of them together.

    ``seconds`` is how long it took to find the groups, and ``named`` says that words were compared with them.
    """

    clusters: tuple[Cluster, ...]
    images: int
    seconds: float
    named: bool
    _labels: Labels
    _numbers: tuple[int, ...]

    def rows(self, cluster: str) -> dict[int, NDArray[np.bool_]]:
        """Return which images are in a cluster, as ``timeline.list_contents`` takes it. Raises InputError."""
        for one, number in zip(self.clusters, self._numbers, strict=True):
            if one.id == cluster:
                return {segment: of == number for segment, of in self._labels.items()}
        raise InputError("this group is no longer there; make the overview again")


def overview_of(
    index: ImageIndex,
    load: Callable[[], QueryEncoder] | None,
    reporter: Reporter | None = None,
    count: int | None = None,
    words: Sequence[tuple[str, str]] | None = None,
) -> Overview:
    """Return the overview of an index: the one that is kept, unless much has changed since.

    ``load`` gives the model of the index's queries, which names the groups; once it has seen the words it is not needed
    again. Without it, or if it raises CheckpointError, groups are named by folders and dates. ``count`` is how many
    groups are wanted, of which some may turn out to be one; None leaves it to the number of images. ``words`` take the
    place of those that ship: (name, text for the model). Raises UsageError, and what the model raises.
    """
    if count is not None and not 1 <= count <= MOST:
        raise UsageError(Option("count", count), f": from 1 to {MOST}")
    reporter = reporter or Silent()
    if words is None:
        words = shipped_words()
    images = int(index.catalog.counts()[1])
    if not images:
        return Overview((), 0, 0.0, False, {}, ())
    key = _key(index, count, words)
    name = _KEPT if count is None else _KEPT_BY_COUNT
    kept = _read(side_db.cached_bytes(index.folder, name, key), index.spec.dim)
    changed = False
    if kept is None or abs(images - kept.images) > _CHANGED * kept.images:
        began = time.monotonic()
        groups = group(index, count, reporter)
        shown = tuple(_keys_of(index, places) for places in groups.shown)
        unnamed = ("",) * len(shown), False
        seconds = time.monotonic() - began
        kept = _Kept(groups.centres, groups.directions, groups.labels, *unnamed, shown, images, seconds)
        changed = True
    labels, counts = labels_of(index, kept.centres, kept.labels)
    changed = changed or {n: len(of) for n, of in labels.items()} != {
        n: len(of) for n, of in kept.labels.items()
    }
    kept = replace(kept, labels=labels)
    if not kept.named:
        named = _by_words(index, kept.directions, words, load, reporter)
        if named is not None:
            kept, changed = replace(kept, names=tuple(name or "" for name in named), named=True), True
    if changed:
        if not all(kept.names):
            facts = names_by_facts(index, labels, len(counts))
            kept = replace(kept, facts=tuple(facts))
        side_db.cache_bytes(index.folder, name, key, _written(kept))
    return _overview(index, kept, counts)


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """What is kept: ``names`` are "" where no word fits, ``shown`` (sha256, page), ``images`` how many there were.

    ``facts`` are what groups without a word are called, as ``names_by_facts`` gives them; () if all have one.
    """

    centres: Centres
    directions: Vectors
    labels: Labels
    names: tuple[str, ...]
    named: bool
    shown: tuple[tuple[tuple[bytes, int], ...], ...]
    images: int
    seconds: float
    facts: tuple[str, ...] = ()


def _overview(index: ImageIndex, kept: _Kept, counts: NDArray[np.int64]) -> Overview:
    order = [number for number in np.argsort(-counts, kind="stable").tolist() if counts[number]]
    names = told_apart([kept.names[number] or kept.facts[number] for number in order])
    clusters = []
    for number, name in zip(order, names, strict=True):
        id = hashlib.sha256(kept.centres.directions[number].tobytes()).hexdigest()[:12]
        by = "words" if kept.names[number] else "facts"
        clusters.append(Cluster(id, name, by, int(counts[number]), _images(index, kept, number)))
    told = int(counts.sum()), kept.seconds, kept.named
    return Overview(tuple(clusters), *told, kept.labels, tuple(order))


def _images(index: ImageIndex, kept: _Kept, number: int) -> tuple[Record, ...]:
    """Return the images that stand for a group: those that were chosen and are still there, else any of it."""
    places = []
    for sha256, page in kept.shown[number]:
        if found := index.catalog.locate(sha256, page):
            places.append((found.segment, found.row))
    records = index.catalog.records(places) if places else {}
    if not records:
        for segment, of in kept.labels.items():
            rows = np.flatnonzero(of == number)[:200].tolist()
            places = [(segment, row) for row in rows]
            records = index.catalog.records(places) if places else {}
            if records:
                break
    return tuple(records[place][0] for place in places if place in records)[:SHOWN]


def _keys_of(index: ImageIndex, places: Sequence[tuple[int, int]]) -> tuple[tuple[bytes, int], ...]:
    records = index.catalog.records(places) if places else {}
    return tuple((records[place][0].sha256, records[place][0].page) for place in places if place in records)


def _by_words(
    index: ImageIndex,
    directions: Vectors,
    words: Sequence[tuple[str, str]],
    load: Callable[[], QueryEncoder] | None,
    reporter: Reporter,
) -> list[str | None] | None:
    """Return the names that the model finds; None without a model."""
    if load is None:
        return None
    try:
        vectors = word_vectors(index, words, load, reporter)
    except CheckpointError:
        return None
    only = None
    if index.spec.model == DEMO_MODEL:  # which knows too few of the others
        only = {name for name, _ in shipped_words(COLOURS)}
    return names_by_words(directions, words, vectors, only)


def _key(index: ImageIndex, count: int | None, words: Sequence[tuple[str, str]]) -> str:
    """Return what the groups depend on, but for the images."""
    place = os.path.relpath(index.data, index.folder)
    told = zlib.crc32("\n".join(f"{name}: {text}" for name, text in words).encode())
    return f"{_VERSION} {place} {index.created} {index.spec.dim} {count or 'auto'} {told}"


def _written(kept: _Kept) -> bytes:
    told = {
        "names": kept.names,
        "named": kept.named,
        "shown": [[[sha256.hex(), page] for sha256, page in some] for some in kept.shown],
        "images": kept.images,
        "seconds": kept.seconds,
        "facts": kept.facts,
    }
    arrays: dict[str, Any] = {f"labels {number}": of for number, of in kept.labels.items()}
    arrays |= {"mean": kept.centres.mean, "centres": kept.centres.directions, "directions": kept.directions}
    out = io.BytesIO()
    np.savez(out, told=np.frombuffer(json.dumps(told).encode(), np.uint8), **arrays)
    return out.getvalue()


def _read(data: bytes | None, dim: int) -> _Kept | None:
    """Return what ``_written`` made; None for anything else: it can be made again."""
    if data is None:
        return None
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            told = json.loads(found["told"].tobytes())
            centres = Centres(found["mean"].astype(np.float32), found["centres"].astype(np.float32))
            directions = found["directions"].astype(np.float32)
            labels = {
                int(name.removeprefix("labels ")): found[name].astype(np.uint8)
                for name in found.files
                if name.startswith("labels ")
            }
        shown = tuple(tuple((bytes.fromhex(key), int(page)) for key, page in some) for some in told["shown"])
        names, facts = tuple(map(str, told["names"])), tuple(map(str, told["facts"]))
        k = len(centres.directions)
        shapes = {centres.directions.shape, directions.shape, (k, dim)}
        if len(shapes) > 1 or centres.mean.shape != (dim,) or {len(names), len(shown)} != {k} or not k:
            return None
        if not all(names) and len(facts) != k:
            return None
        if any(len(of) and int(of.max()) >= k for of in labels.values()):
            return None
        rest = bool(told["named"]), shown, int(told["images"]), float(told["seconds"])
        return _Kept(centres, directions, labels, names, *rest, facts)
    except (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile, RecursionError):
        return None
