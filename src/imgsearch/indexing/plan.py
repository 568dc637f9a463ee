"""What a run has to do, before it does any of it: which files are new, changed, unchanged or deleted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from imgsearch import deep
from imgsearch.files import NOT_MOUNTED, RAW, Reached, Walk, kind_of
from imgsearch.fs import is_at_or_below, is_below
from imgsearch.index.catalog import Catalog
from imgsearch.index.rows import TRANSIENT, FileRow, Root, is_current
from imgsearch.indexing.roots import PlannedRoot, Scope
from imgsearch.mounts import Drive, Mounts
from imgsearch.names import owner_of
from imgsearch.types import Reporter, Silent, SourceFile


@dataclass(slots=True)
class Plan:
    """The outcome of the walk. Every file names its root by path, and each path is one of ``roots``.

    ``to_do`` are the files to read, in walking order. ``to_refresh`` are unchanged files of which the catalogue knows
    no inode or change time, or one of another device: as `Catalog.refresh_files` takes them. ``to_prune`` are the row
    ids of files that were deleted;
    ``kept`` counts by reason those that can't be seen and stay. ``other_files`` counts by kind (``files.kinds``) what
    is not read; ``copies`` are folders that are not, with copies that other programs keep. ``left_alone`` are folders
    that could not be listed, or of which it is unknown what to leave out, with the reason. ``empty_paths`` are the
    paths, as they were asked for, at and below which there is no image and none was known: what is no root yet does
    not become one for them.
    """

    roots: list[PlannedRoot]
    to_do: list[SourceFile] = field(default_factory=list)
    to_refresh: list[tuple[int, int, int, int]] = field(default_factory=list)
    to_prune: list[int] = field(default_factory=list)
    unchanged: int = 0
    unchanged_errors: int = 0
    other_files: Counter[str] = field(default_factory=Counter)
    copies: set[str] = field(default_factory=set)
    kept: Counter[str] = field(default_factory=Counter)
    left_alone: dict[str, str] = field(default_factory=dict)
    empty_paths: list[str] = field(default_factory=list)

    @property
    def pictures(self) -> int:
        """Number of files that look like pictures."""
        return len(self.to_do) + self.unchanged + self.unchanged_errors


def make_plan(
    scope: Scope,
    catalog: Catalog | None,
    extensions: Collection[str],
    *,
    prune: bool = True,
    prune_empty: bool = False,
    retry: Collection[str] = TRANSIENT,
    reread: Collection[str] = (),
    is_image: Callable[[str], bool] = lambda path: False,
    named: Mapping[str, Collection[str]] | None = None,
    mounts: Mounts | None = None,
    reporter: Reporter | None = None,
) -> Plan:
    """Walk the scope and compare what is there with the catalogue. Reads no file's contents.

    Files that were skipped for a reason in ``retry`` are to be read again, and all at or below the paths in ``reread``.
    Without a catalogue everything is new.
    ``is_image`` is asked about the contents of a file that was asked for by a name that is no image's, and ``named``
    are such files, by their roots, that an index had which this one replaces.
    """
    plan = Plan(list(scope.roots))
    mounts = mounts or Mounts()
    reporter = reporter or Silent()
    reporter.start(0, "images found")
    known_roots = {root.path: root for root in catalog.roots()} if catalog else {}
    owned = scope.elsewhere.union(*(root.owned_paths() for root in scope.roots))
    reached = Reached(partial(_known_names, scope, catalog) if catalog else tuple)
    for folder in (*(root.path for root in scope.roots if not root.single_files), *scope.elsewhere):
        reached.add(folder)
    non_empty = _NonEmpty(scope.requested)
    for root in scope.roots:
        known = _KnownFiles(catalog, known_roots.get(root.path), root)
        # Not only those inside: a link may lead into any other root.
        skip = owned - root.owned_paths()
        for subpath in root.subpaths:
            others = _Named(known, subpath, extensions, is_image, (named or {}).get(root.path, ()))
            walk = Walk(
                root.path,
                root.options,
                extensions,
                subpath=subpath,
                skip=skip,
                reached=reached,
                named=others,
                mounts=mounts,
            )
            seen: set[int] = set()
            devices: Counter[tuple[int, int]] = Counter()
            for source in walk:
                reporter.advance(where=root.path)
                non_empty.add(os.path.join(root.path, source.path))
                row = known.file(source.path)
                if row:
                    seen.add(row.id)
                    devices[row.device, source.device] += 1
                _sort_in(plan, source, row, retry, reread)
            plan.other_files += walk.other_files
            plan.copies.update(root.absolute(folder) for folder in walk.copies)
            plan.left_alone.update(
                (root.absolute(folder), reason) for folder, reason in walk.left_alone.items()
            )
            # Counting is quick: where all that was known is still there, it need not be read once more.
            look = prune and known.count(subpath) != len(seen)
            missing = [row for row in known.files(subpath) if row.id not in seen] if look else []
            for row, gone, reason in _judge(missing, walk, root.drive, mounts, devices, prune_empty):
                if gone:
                    plan.to_prune.append(row.id)
                else:
                    plan.kept[reason] += 1
    if prune and catalog and plan.to_do:
        plan.to_prune += _known_through_links(plan.to_do, scope, catalog)
    _leave_out_empty(plan, non_empty, scope, catalog)
    reporter.stop()
    return plan


def _judge(
    missing: Sequence[FileRow],
    walk: Walk,
    drive: Drive,
    mounts: Mounts,
    seen: Mapping[tuple[int, int], int],
    prune_empty: bool,
) -> Iterator[tuple[FileRow, bool, str]]:
    """Yield each missing file with whether it was deleted, and why or why not.

    ``drive`` is the one that was walked, and ``seen`` counts the files found by the devices that they had and have.
    """
    if not missing:
        return
    mounts.refresh()
    try:
        mounted = mounts.drive(walk.root) == drive  # still, after the walk
    except OSError:
        mounted = False
    if not mounted:
        yield from ((row, False, NOT_MOUNTED) for row in missing)
        return
    lost: Counter[tuple[int, int]] = Counter()
    for row in missing:
        with suppress(OSError):  # `is_gone` tells
            if (here := walk.device_now(row.path)) is not None:
                lost[row.device, here] += 1
    # A drive whose number has changed, or that was copied, is told by the files on it: most of them are there.
    same = {pair for pair, count in seen.items() if count >= lost[pair]}
    for row in missing:
        yield row, *walk.is_gone(row.path, row.device, prune_empty, same)


def _parts(scope: Scope, catalog: Catalog) -> Iterator[tuple[Root, tuple[str, ...]]]:
    """Yield the known roots of which the run does not walk all, with the parts that it walks."""
    parts = {root.path: root.subpaths for root in scope.roots}
    yield from ((root, walked) for root in catalog.roots() if "" not in (walked := parts.get(root.path, ())))


def _known_names(scope: Scope, catalog: Catalog) -> Iterator[str]:
    """Yield the paths of the known files, and of their folders, of the roots of which the run does not walk all."""
    folders: set[str] = set()
    for root, _ in _parts(scope, catalog):
        for row in catalog.files(root.id):
            yield (path := os.path.join(root.path, row.path))
            while (path := os.path.dirname(path)) not in folders and is_at_or_below(path, root.path):
                folders.add(path)
                yield path


def _known_through_links(sources: Collection[SourceFile], scope: Scope, catalog: Catalog) -> Iterator[int]:
    """Yield the row ids of files that were known through a link, in what the run does not walk, by another name.

    Those ``sources`` are these files by their own names, and from now on they go by them.
    """
    own = {os.path.join(source.root, source.path) for source in sources}
    for root, walked in _parts(scope, catalog):
        for row in catalog.files(root.id) if root.options.get("follow_symlinks") else ():
            path = os.path.join(root.path, row.path)
            real = os.path.realpath(path)
            if real != path and real in own and not any(is_at_or_below(row.path, part) for part in walked):
                yield row.id


def _sort_in(
    plan: Plan, source: SourceFile, row: FileRow | None, retry: Collection[str], reread: Collection[str]
) -> None:
    """Note what is to be done about a file that is there."""
    current, _ = is_current(row, source, retry)
    again = bool(reread) and any(
        is_at_or_below(os.path.join(source.root, source.path), path) for path in reread
    )
    if not current or again or row is None:
        plan.to_do.append(source)
        return
    if row.error:
        plan.unchanged_errors += 1
    else:
        plan.unchanged += 1
    found = source.device, source.inode, source.ctime_ns
    if found != (row.device, row.inode, row.ctime_ns):
        # Device numbers change with every boot; the next run must compare with today's.
        plan.to_refresh.append((*found, row.id))


@dataclass(frozen=True, slots=True)
class _KnownFiles:
    """What the catalogue knows of a root's files, also of those that belonged to another root until now."""

    catalog: Catalog | None
    known: Root | None
    root: PlannedRoot

    def file(self, path: str) -> FileRow | None:
        """Return what is known of a file, by its path in the root, as the root's own."""
        if self.catalog and self.known and (row := self.catalog.file(self.known.id, path)):
            return self._as_now(row, path, self.root.devices)
        if self.catalog and (outer := self.root.split_from):
            within = os.path.relpath(self.root.path, outer.path)
            if row := self.catalog.file(outer.id, os.path.join(within, path)):
                return self._as_now(row, path, self.root.inherited)
        return None

    def named_otherwise(self, subpath: str, extensions: Collection[str]) -> set[str]:
        """Return the paths of those files of a part of the root that end in none of ``extensions``."""
        found: set[str] = set()
        if self.catalog and self.known:
            found.update(self.catalog.named_otherwise(self.known.id, subpath, extensions))
        if self.catalog and (outer := self.root.split_from):
            prefix = os.path.relpath(self.root.path, outer.path)
            names = self.catalog.named_otherwise(outer.id, prefix, extensions)
            found.update(os.path.relpath(name, prefix) for name in names)
        return found

    def files(self, subpath: str) -> Iterator[FileRow]:
        """Yield the files of a part of the root, as the root's own."""
        if self.catalog and self.known:
            for row in self.catalog.files(self.known.id, subpath):
                yield self._as_now(row, row.path, self.root.devices)
        if self.catalog and (outer := self.root.split_from):
            prefix = os.path.relpath(self.root.path, outer.path)
            for row in self.catalog.files(outer.id, prefix):
                yield self._as_now(row, os.path.relpath(row.path, prefix), self.root.inherited)

    def count(self, subpath: str) -> int:
        """Return how many files ``files`` yields."""
        own = self.catalog.count_files(self.known.id, subpath) if self.catalog and self.known else 0
        outer = self.root.split_from
        if not (self.catalog and outer):
            return own
        return own + self.catalog.count_files(outer.id, os.path.relpath(self.root.path, outer.path))

    def _as_now(self, row: FileRow, path: str, devices: Mapping[int, int]) -> FileRow:
        """Return what is known of a file as the run will have it in the catalogue."""
        if path != row.path or row.device in devices:
            row = replace(row, path=path, device=devices.get(row.device, row.device))
        return replace(row, inode=0, ctime_ns=0) if self.root.moved else row


class _Named:
    """Tells which files of a part of a root are indexed by their contents, whatever they are called.

    These are the file that is asked for now, if it is an image, and those that were before: they are known. A RAW
    file never is: most begin like a TIFF, and what a TIFF decoder finds in them is not the photo.
    """

    def __init__(
        self,
        known: _KnownFiles,
        subpath: str,
        extensions: Collection[str],
        is_image: Callable[[str], bool],
        replaced: Collection[str],
    ) -> None:
        self._known, self._subpath, self._extensions = known, subpath, extensions
        self._is_image, self._replaced = is_image, replaced

    def __call__(self, path: str) -> bool:
        """Tell it of a file, relative to the root, that isn't called like an image."""
        taken = path in self._before or path in self._replaced
        if not taken and path == self._subpath:
            taken = self._is_image(os.path.join(self._known.root.path, path))
        return taken and kind_of(path) != RAW

    @cached_property
    def _before(self) -> set[str]:
        # Only where there is a file to tell of: this reads the list of all files.
        return self._known.named_otherwise(self._subpath, self._extensions)


class _NonEmpty:
    """Which folders, and which of the paths that were asked for, hold a picture."""

    def __init__(self, requested: Collection[str]) -> None:
        self._requested = requested
        self.paths: set[str] = set()

    def add(self, path: str) -> None:
        """Take note of a picture."""
        if path in self._requested:
            self.paths.add(path)
        folder = os.path.dirname(path)
        while folder not in self.paths:
            self.paths.add(folder)
            folder = os.path.dirname(folder)


def _leave_out_empty(plan: Plan, non_empty: _NonEmpty, scope: Scope, catalog: Catalog | None) -> None:
    """Name the requested paths that hold nothing, and let none of them become a root."""
    known = catalog.roots() if catalog else []
    empty = {
        path: name
        for path, name in scope.requested.items()
        if path not in non_empty.paths and not (catalog and _known_below(path, known, catalog))
    }
    plan.empty_paths = list(empty.values())
    known_paths = {root.path for root in known}
    roots = []
    for root in plan.roots:
        names = tuple(name for name in root.single_files if os.path.join(root.path, name) not in empty)
        is_empty = root.path in empty or (root.single_files and not names)
        if not is_empty or root.path in known_paths:
            roots.append(replace(root, single_files=names or root.single_files))
    plan.roots = roots


def _known_below(path: str, roots: list[Root], catalog: Catalog) -> bool:
    """Whether the catalogue has a file at or below a path."""
    if not deep.isdir(path):
        # A root of that path was a folder; the file is its parent's.
        roots = [root for root in roots if not is_at_or_below(root.path, path)]
    owner = owner_of(path, roots)
    within = [(root.id, "") for root in roots if is_below(root.path, path)]
    if owner:
        within.append((owner.id, "" if owner.path == path else os.path.relpath(path, owner.path)))
    return any(next(catalog.files(root, below), None) for root, below in within)
