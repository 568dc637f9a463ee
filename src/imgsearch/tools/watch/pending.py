"""Changed paths that wait until they stay as they are, and what is indexed for them then."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from imgsearch import deep
from imgsearch.files.ignore import IGNORE_FILE, is_hidden
from imgsearch.files.kinds import extension
from imgsearch.files.sidecars import sidecars_among
from imgsearch.fs import is_at_or_below
from imgsearch.index.catalog import Catalog
from imgsearch.index.rows import Root
from imgsearch.media import formats
from imgsearch.names import owner_of

SETTLED_SECONDS = 3.0
"""A file that has kept its size and time for so long is complete."""
GROWING_SECONDS = 600.0
"""After so long a file is indexed as it is; if it still grows, its next changes index it again."""
_TOGETHER_SECONDS = 15.0  # that a settled file waits for others of its burst
_MOST = 20_000  # paths; beyond, all folders are checked instead
_MOST_IN_FOLDER, _MOST_PATHS = 10, 300  # beyond, their folders are checked instead


@dataclass(slots=True)
class _Change:
    """A changed path: when it was first and last seen to change, and its size and time then; None if not there."""

    first: float
    last: float
    state: tuple[int, int] | None


class Pending:
    """Changed paths. Times are seconds of any clock."""

    def __init__(self) -> None:
        """Begin without any."""
        self._changes: dict[str, _Change] = {}
        self.overflowed = False
        """Whether there were too many to remember."""

    def add(self, paths: Collection[str], now: float) -> None:
        """Take note of paths that have changed."""
        for path in paths:
            if known := self._changes.get(path):
                known.last = now
            elif len(self._changes) < _MOST:
                self._changes[path] = _Change(now, now, _state(path))
            else:
                self.overflowed = True

    def ready(self, now: float) -> list[str]:
        """Return, and forget, the paths that stay as they are; none while others of their burst still change."""
        found = []
        for path, change in self._changes.items():
            if (state := _state(path)) != change.state:
                change.state, change.last = state, now
            if now - change.last >= SETTLED_SECONDS or now - change.first >= GROWING_SECONDS:
                found.append(path)
        oldest = min((self._changes[path].first for path in found), default=now)
        if len(found) < len(self._changes) and now - oldest < SETTLED_SECONDS + _TOGETHER_SECONDS:
            return []
        for path in found:
            del self._changes[path]
        return found


def _state(path: str) -> tuple[int, int] | None:
    try:
        status = deep.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def paths_to_index(changed: Sequence[str], roots: Sequence[Root], index: str, catalog: Catalog) -> list[str]:
    """Return the paths, all there, that bring the index up to date with what has changed; few for many changes.

    Whether they are excluded is for the walk to say. ``index`` is the index's folder, whose own changes do not count.
    """
    found: set[str] = set()
    for path in changed:
        root = owner_of(path, roots)
        if root is None or is_at_or_below(path, index) or _is_hidden(path, root):
            continue
        if deep.isdir(path):
            found.add(path)
        elif not deep.lexists(path):
            if _is_known(path, root, catalog):
                found.add(_nearest(path, root))
        elif extension(path) in formats.EXTENSIONS:
            found.add(path)
        elif os.path.basename(path) == IGNORE_FILE or sidecars_among([path]):
            found.add(os.path.dirname(path))
    in_folder: defaultdict[str, set[str]] = defaultdict(set)
    for path in found:
        in_folder[os.path.dirname(path)].add(path)
    for folder, paths in in_folder.items():
        if (len(paths) > _MOST_IN_FOLDER or len(found) > _MOST_PATHS) and owner_of(folder, roots):
            found = (found - paths) | {folder}
    return sorted(path for path in found if not _has_above(path, found))


def _has_above(path: str, folders: Collection[str]) -> bool:
    """Whether one of some folders lies above a path."""
    while (folder := os.path.dirname(path)) != path:
        if (path := folder) in folders:
            return True
    return False


def _is_hidden(path: str, root: Root) -> bool:
    """Whether a path is hidden in its root; what other programs keep there changes all the time."""
    include = bool(root.options.get("include_hidden"))
    names = [] if path == root.path else os.path.relpath(path, root.path).split(os.sep)
    return any(is_hidden(name, include) for name in names if name != IGNORE_FILE)


def _is_known(path: str, root: Root, catalog: Catalog) -> bool:
    """Whether the index has a file at or below a path."""
    inside = os.path.relpath(path, root.path)
    return next(catalog.files(root.id, "" if inside == os.curdir else inside), None) is not None


def _nearest(path: str, root: Root) -> str:
    """Return the nearest folder above a path that is there; the root if none is."""
    while path != root.path and not deep.isdir(path := os.path.dirname(path)):
        pass
    return path
