"""Use case: how an index is doing: where it lies, what it needs, and what a person could do for it."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass

from imgsearch.errors import ImgsearchError, IndexMissing
from imgsearch.index import generations, manifest
from imgsearch.index.ann import rabitq
from imgsearch.index.ann import search as ann
from imgsearch.index.ann.builder import plan_builds
from imgsearch.index.database import sqlite_version
from imgsearch.index.layout import advice, kind_of
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import LOST
from imgsearch.index.segments import SEGMENT_BYTES, rows_per_segment
from imgsearch.index.writer import DELETED_SHARE, GRACE_SECONDS
from imgsearch.indexing.places import place_of, samples_of
from imgsearch.machine import cores
from imgsearch.mounts import Mounts
from imgsearch.text import Call, Message, format_bytes, plural


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One thing looked at: ``well`` says whether there is nothing to do; ``text`` says what it is, or what to do."""

    topic: str
    well: bool
    text: str


def examine(folder: str) -> list[HealthCheck]:
    """Look at the index in ``folder`` from all sides; takes no lock, reads no vectors. Raises IndexMissing."""
    folder = os.path.abspath(folder)
    if not manifest.exists(folder):
        manifest.load(folder)  # raises IndexMissing with what to do
    checks = [_location(folder), _writable(folder)]
    try:
        with ImageIndex(folder) as index:
            checks += [_room(index), _format(index), _rebuild(index), *_gone(index), _fast(index)]
            checks += [*_waiting(index), *_roots(index)]
    except IndexMissing:
        raise
    except ImgsearchError as error:
        checks.append(HealthCheck("index", False, error.as_message))
    libraries = f"Python {platform.python_version()}, SQLite {sqlite_version()}, FAISS {rabitq.version()}"
    used = cores.usable()
    checks.append(HealthCheck("cores", True, Message(f"{plural(used.count, 'core')} used: ", used.reason)))
    checks.append(HealthCheck("libraries", True, libraries))
    return checks


def _location(folder: str) -> HealthCheck:
    kind = kind_of(folder)
    if warning := advice(folder):
        return HealthCheck("place", False, warning)
    return HealthCheck("place", True, f"{folder}, {kind.name or 'an unknown file system'} ({kind.reason})")


def _writable(folder: str) -> HealthCheck:
    data = generations.in_use(folder) or folder
    for path in (folder, data, os.path.join(data, "catalog.sqlite"), os.path.join(data, "vectors")):
        if os.path.exists(path) and not os.access(path, os.W_OK):
            return HealthCheck(
                "writing", False, f"{path} is not writable: you can search the index but not update it"
            )
    return HealthCheck("writing", True, "the index is writable")


def _room(index: ImageIndex) -> HealthCheck:
    """Compaction writes a segment anew before the old one goes, and ANN files are written beside."""
    catalog = os.path.getsize(index.catalog.path)
    segments = [rows for _, rows in index.catalog.segments()]
    ann_bytes = sum(file.bytes for file in index.catalog.ann_files().values())
    segment = min(SEGMENT_BYTES, max(segments, default=0) * 2 * index.spec.dim)
    need = segment + catalog + ann_bytes + (16 << 20)
    free = shutil.disk_usage(index.data).free
    text = f"{format_bytes(free)} free, {format_bytes(need)} needed for maintenance"
    return HealthCheck("disk", free >= need, text if free >= need else f"{text}: free some disk space")


def _format(index: ImageIndex) -> HealthCheck:
    text = (
        f"manifest {manifest.FORMAT}, catalogue {index.catalog.database.version}, {index.spec.dim} dimensions"
    )
    segments = index.catalog.segments()
    text += f", {plural(len(segments), 'segment')}"
    return HealthCheck("format", True, f"{text} of up to {rows_per_segment(index.spec.dim):,} embeddings")


def _rebuild(index: ImageIndex) -> HealthCheck:
    if not generations.unfinished(index.folder):
        return HealthCheck("rebuild", True, "no unfinished rebuild")
    what_now = Message("a rebuild was started but is not complete; ", generations.go_on_or_drop(index.folder))
    return HealthCheck("rebuild", False, what_now)


def _gone(index: ImageIndex) -> Iterator[HealthCheck]:
    rows = sum(count for _, count in index.catalog.segments())
    deleted = index.catalog.deleted_counts()
    due = index.catalog.deleted_counts(time.time() - GRACE_SECONDS)
    total = sum(deleted.values())
    text = f"{total:,} of {rows:,} embeddings belong to deleted images ({total / max(rows, 1):.0%})"
    if any(due.get(number, 0) >= DELETED_SHARE * count > 0 for number, count in index.catalog.segments()):
        yield HealthCheck(
            "gone",
            True,
            Message(f"{text}; the next '", Call("index_pictures"), "' reclaims their disk space"),
        )
    elif total:
        days = GRACE_SECONDS / 86_400
        when = (
            f"{text}; their disk space is reclaimed when they are a quarter of a segment for {days:.0f} days"
        )
        at_once = Call("compact_index", {"everything": True, "folder": index.folder})
        yield HealthCheck("gone", True, Message(when, ", or now with: ", at_once))
    else:
        yield HealthCheck("gone", True, text)


def _waiting(index: ImageIndex) -> Iterator[HealthCheck]:
    if count := index.catalog.counts()[2].get(LOST, 0):
        have = plural(count, "image has", "images have")
        what_now = Message(
            f"{have} no embedding since a repair; run: ", Call("index_pictures", {"folder": index.folder})
        )
        yield HealthCheck("embeddings", False, what_now)


def _fast(index: ImageIndex) -> HealthCheck:
    rows = sum(count for _, count in index.catalog.segments())
    if rows < ann.EXACT_ROWS:
        return HealthCheck("search", True, f"exact: {rows:,} embeddings are few enough to compare them all")
    counts = dict(index.catalog.segments())
    builds = plan_builds(index.catalog, index.data, index.spec.dim)
    unusable = {build.segment for build in builds if not build.reason.startswith("it covers")}
    covered = sum(
        min(file.rows, counts[file.segment])
        for file in index.catalog.ann_files().values()
        if file.segment in counts and file.segment not in unusable
    )
    text = f"fast: {covered:,} of {rows:,} embeddings covered"
    if not builds:
        return HealthCheck("search", True, text)
    reasons = "; ".join(f"segment {build.segment}: {build.reason}" for build in builds)
    what_now = Message(
        f"{text} ({reasons}); the next run of '",
        Call("index_pictures"),
        "' fixes this, or do it now with: ",
        Call("compact_index", {"folder": index.folder}),
    )
    return HealthCheck("search", False, what_now)


def _roots(index: ImageIndex) -> Iterator[HealthCheck]:
    mounts, known = Mounts(), index.catalog.roots()
    places = [place_of(root, mounts, lambda root: samples_of(root, index.catalog)) for root in known]
    for place in places:
        if place.reason:
            yield HealthCheck("folder", place.state == "moved", place.reason)
    here = sum(place.state != "away" for place in places)
    yield HealthCheck("folders", True, f"{here} indexed and available")
