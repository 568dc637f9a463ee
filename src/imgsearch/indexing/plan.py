"""What a run has to do, before it does any of it: which files are new, changed, unchanged or deleted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial

from imgsearch import deep
from imgsearch.addresses import is_remote
from imgsearch.files import NOT_MOUNTED, RAW, Reached, Walk, in_turn, kind_of
from imgsearch.files.bucket_walk import BucketWalk
from imgsearch.files.walk import RAW_TOO
from imgsearch.fs import is_at_or_below, is_below
from imgsearch.index.catalog import Catalog
from imgsearch.index.lookup import FileLookup
from imgsearch.index.rows import TRANSIENT, FileRow, Root, is_current
from imgsearch.indexing.documents.live_photos import PART, has_still
from imgsearch.indexing.documents.raw_pairs import PAIR
from imgsearch.indexing.roots import PlannedRoot, Scope, is_folder
from imgsearch.mounts import Drive, Mounts
from imgsearch.names import owner_of, single_files
from imgsearch.types import Reporter, Silent, SourceFile


@dataclass(slots=True)
class Plan:
    """The outcome of the walk. Every file names its root by path, and each path is one of ``roots``.

    ``to_do`` are the files to read, in walking order. ``to_refresh`` are unchanged files of which the catalogue knows
    no inode or change time, or one of another device: as `Catalog.refresh_files` takes them. ``to_prune`` are the row
    ids of files that were deleted;
    ``kept`` counts by reason those that can't be seen and stay. ``other_files`` counts by kind (``files.kinds``) what
    is not read, and ``others_in`` does so for each root that was walked as a whole; ``copies`` are folders that are
    not, with copies that other programs keep. ``left_alone`` are folders
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
    others_in: dict[str, Counter[str]] = field(default_factory=dict)
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
    elsewhere = _Elsewhere(scope, catalog) if catalog else None
    reached = Reached(
        [*(path for root in scope.roots for path in sorted(root.owned_paths())), *sorted(scope.elsewhere)],
        elsewhere.names if elsewhere else tuple,
        remember_files=any(root.options.follow_symlinks for root in scope.roots),
    )
    parts: dict[Walk, _Part] = {}
    for root in scope.roots:
        known = _KnownFiles(catalog, known_roots.get(root.path), root)
        # Not only those inside: a link may lead into any other root.
        skip = owned - root.owned_paths()
        for subpath in root.subpaths:
            others = _Named(known, subpath, extensions, is_image, (named or {}).get(root.path, ()))
            walk = (BucketWalk if is_remote(root.path) else Walk)(
                root.path,
                root.options,
                extensions,
                subpath=subpath,
                single=bool(root.single_files),
                skip=skip,
                reached=reached,
                named=others,
                mounts=mounts,
            )
            parts[walk] = _Part(root, subpath, known)
    non_empty = _NonEmpty(scope.requested)
    for walk, source in in_turn(parts):
        reporter.advance(where=walk.root)
        non_empty.add(os.path.join(walk.root, source.path))
        row = parts[walk].saw(source)
        _sort_in(plan, source, row, retry, reread)
    for walk, part in parts.items():
        plan.other_files += walk.other_files
        if not part.subpath:
            plan.others_in[walk.root] = walk.other_files
        plan.copies.update(part.root.absolute(folder) for folder in walk.copies)
        plan.left_alone.update(
            (part.root.absolute(folder), reason) for folder, reason in walk.left_alone.items()
        )
        missing = part.missing() if prune else []
        for row, gone, reason in _judge(missing, walk, part.root.drive, mounts, part.devices, prune_empty):
            if gone:
                plan.to_prune.append(row.id)
            else:
                plan.kept[reason] += 1
    if prune and elsewhere and plan.to_do:
        plan.to_prune += elsewhere.given_way(plan.to_do, reached, mounts)
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
        mounted = is_remote(walk.root) or mounts.drive(walk.root) == drive  # still, after the walk
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


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """What the index knows in what a run does not walk, and which of its names count: `files.reached` has the rule."""

    scope: Scope
    catalog: Catalog

    def names(self) -> Iterator[str]:
        """Yield the absolute paths of the files and, before what lies in them, of their folders."""
        for root, is_walked in self._roots():
            # The folder of single files is not the root's.
            folders = {""} if single_files(root) else set[str]()
            for row in self.catalog.files(root.id):
                if is_walked(row.path):
                    continue
                for folder in reversed(_folders_of(row.path)):
                    if folder not in folders:
                        folders.add(folder)
                        yield os.path.join(root.path, folder) if folder else root.path
                yield os.path.join(root.path, row.path)

    def given_way(self, found: Collection[SourceFile], reached: Reached, mounts: Mounts) -> Iterator[int]:
        """Yield the row ids of files behind a link or mount that go by other names from now on.

        Those that were ``found``, and those in a folder that has another name: it shows the file, or leaves it out.
        """
        behind: dict[tuple[int, int], int] = {}
        for root, is_walked in self._roots():
            points = {os.path.relpath(point, root.path) for point in mounts.below(root.path)}
            gives_way = cache(partial(_gives_way, root, reached))
            for below in [""] if root.options.get("follow_symlinks") else points:
                for row in self.catalog.files(root.id, below):
                    path = os.path.join(root.path, row.path)
                    is_behind = _is_in(points, row.path) or os.path.realpath(path) != path
                    if not is_behind or is_walked(row.path):
                        continue
                    if any(map(gives_way, _folders_of(row.path))):
                        yield row.id
                    elif identity := deep.identity(path):
                        behind[identity] = row.id
        for source in found if behind else ():
            identity = deep.identity(os.path.join(source.root, source.path))
            if identity and (row_id := behind.pop(identity, None)) is not None:
                yield row_id

    def _roots(self) -> Iterator[tuple[Root, Callable[[str], bool]]]:
        """Yield the known roots of which not all is walked, each with what tells whether a path in it is."""
        parts: dict[str, set[str]] = {}
        for planned in self.scope.roots:
            parts.setdefault(planned.path, set()).update(planned.subpaths)
            if outer := planned.split_from:
                parts.setdefault(outer.path, set()).add(os.path.relpath(planned.path, outer.path))
        for root in self.catalog.roots():
            walked = parts.get(root.path, set())
            if "" not in walked and not is_remote(root.path):
                yield root, partial(_is_in, walked)


def _gives_way(root: Root, reached: Reached, folder: str) -> bool:
    return bool(folder) and reached.gives_way(os.path.join(root.path, folder))


def _folders_of(path: str) -> list[str]:
    """Return the folders that a relative path lies in, the nearest first and "", the root, last."""
    folders = []
    while path:
        folders.append(path := os.path.dirname(path))
    return folders


def _is_in(parts: Collection[str], path: str) -> bool:
    """Whether a relative path is, or lies in, one of some others."""
    return path in parts or any(folder in parts for folder in _folders_of(path))


def _sort_in(
    plan: Plan, source: SourceFile, row: FileRow | None, retry: Collection[str], reread: Collection[str]
) -> None:
    """Note what is to be done about a file that is there."""
    current, _ = is_current(row, source, retry)
    if current and row and row.error in (PART, PAIR):
        current = has_still(source, str(row.detail)) and source.reading != RAW_TOO
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


@dataclass(slots=True, eq=False)
class _KnownFiles:
    """What the catalogue knows of a root's files, also of those that belonged to another root until now."""

    catalog: Catalog | None
    known: Root | None
    root: PlannedRoot
    _own: FileLookup | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Begin to look up files; while a plan is made nobody writes."""
        if self.catalog and self.known:
            self._own = FileLookup(self.catalog, self.known.id)

    def file(self, path: str) -> FileRow | None:
        """Return what is known of a file, by its path in the root, as the root's own."""
        if self._own and (row := self._own.find(path)):
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

    def is_raw(self, path: str) -> bool:
        """Whether a file was indexed as a RAW photo."""
        row = self.file(path)
        return bool(self.catalog and row and row.content and "raw" in self.catalog.kinds(row.content))

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


@dataclass(slots=True, eq=False)
class _Part:
    """A part of a root that is walked, and what the walk has seen of what is known there.

    ``devices`` counts the files by those that they had and have.
    """

    root: PlannedRoot
    subpath: str
    known: _KnownFiles
    seen: set[int] = field(default_factory=set)
    devices: Counter[tuple[int, int]] = field(default_factory=Counter)

    def saw(self, source: SourceFile) -> FileRow | None:
        """Take note of a file that is there; return what is known of it."""
        row = self.known.file(source.path)
        if row:
            self.seen.add(row.id)
            self.devices[row.device, source.device] += 1
        return row

    def missing(self) -> list[FileRow]:
        """Return the known files that were not seen."""
        # Counting is quick: where all that was known is still there, it need not be read once more.
        if self.known.count(self.subpath) == len(self.seen):
            return []
        return [row for row in self.known.files(self.subpath) if row.id not in self.seen]


class _Named:
    """Tells which files of a part of a root are indexed by their contents, whatever they are called.

    These are the file that is asked for now, if it is an image, and those that were before: they are known. A RAW file
    is one only if it was indexed as such: most begin like a TIFF, and what a TIFF decoder finds in them is not the
    photo.
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
        if taken and kind_of(path) == RAW:
            return self._known.is_raw(path)
        return taken

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
    if not (is_remote(path) or is_folder(path)):
        # A root of that path was a folder; the file is its parent's.
        roots = [root for root in roots if not is_at_or_below(root.path, path)]
    owner = owner_of(path, roots)
    within = [(root.id, "") for root in roots if is_below(root.path, path)]
    if owner:
        within.append((owner.id, "" if owner.path == path else os.path.relpath(path, owner.path)))
    return any(next(catalog.files(root, below), None) for root, below in within)
