"""Paths and what an index knows: by which name it knows a file or folder, and which root owns it.

One file has many names: through links, bind mounts, and file systems to which "Trip" and "trip" are one. The index
knows it by one of them, the one that its hits show.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from imgsearch import deep
from imgsearch.addresses import is_remote, normal
from imgsearch.fs import is_at_or_below, is_below
from imgsearch.index.catalog import Catalog
from imgsearch.index.rows import Root
from imgsearch.mounts import Mounts


@dataclass(frozen=True, slots=True)
class Name:
    """The absolute ``path`` that a path stands for; ``known`` is whether the index has anything at or below it."""

    path: str
    known: bool


def known_as(path: str, roots: Sequence[Root], catalog: Catalog | None) -> Name:
    """Return as what the index knows a path that somebody gives; it need not exist.

    The path as it was given comes first, then with ever more of its links resolved, then by the identity
    (st_dev, st_ino) of the folders on the way and by the mount table. A path that is not known is the one that its root
    would give it; outside of every root, its real path. Without a ``catalog`` only the roots are known.
    """
    if is_remote(path):
        try:
            path = normal(path)
        except ValueError:
            return Name(path, False)
        return Name(path, _is_known(path, roots, catalog))
    readings = _readings(path)
    for reading in readings:
        if _is_known(reading, roots, catalog):
            return Name(reading, True)
    real = readings[-1]
    same = [*_by_identity(readings, roots, catalog), *Mounts().other_names(real)]
    for reading in same:
        if _is_known(reading, roots, catalog):
            return Name(reading, True)
    for reading in (real, *map(os.path.realpath, same)):
        if owner_of(reading, roots):
            return Name(reading, False)
    for reading in readings:
        if (owner := owner_of(reading, roots)) and owner.options.get("follow_symlinks"):
            return Name(reading, False)
    return Name(real, False)


def owner_of(path: str, roots: Sequence[Root]) -> Root | None:
    """Return the deepest known root that is ``path`` or lies above it, and stands for its whole folder."""
    whole = [root for root in roots if not single_files(root)]
    above = [root for root in whole if is_at_or_below(path, root.path)]
    return max(above, key=lambda root: len(root.path), default=None)


def single_files(root: Root) -> tuple[str, ...]:
    """Return the names of the files that a known root stands for; none if it stands for its whole folder."""
    return tuple(map(str, cast("list[str]", root.options.get("only") or [])))


def _is_known(path: str, roots: Sequence[Root], catalog: Catalog | None) -> bool:
    """Whether the index has a root, a single file's name or a file at or below an absolute path."""
    for root in roots:
        if is_at_or_below(root.path, path):
            return True
        if is_below(path, root.path):
            inside = os.path.relpath(path, root.path)
            if inside in single_files(root):
                return True
            if catalog and next(catalog.files(root.id, inside), None) is not None:
                return True
    return False


def _readings(path: str) -> list[str]:
    """Return what absolute path is meant: first as it was given, then with ever more of its links resolved.

    The last one is the real path. The index has followed a root's own links, and those above it, but not those inside.
    """
    literal = _literal(path)
    readings = [literal]
    head, parts = os.sep, literal.split(os.sep)[1:]
    for number, part in enumerate(parts, 1):
        head = os.path.join(head, part)
        if deep.islink(head):
            reading = os.path.normpath(os.path.join(os.path.realpath(head), *parts[number:]))
            if reading not in readings:
                readings.append(reading)
    real = os.path.realpath(literal)
    return [reading for reading in readings if reading != real] + [real]


def _literal(path: str) -> str:
    """Return a path as an absolute one, with its links as they are."""
    # What ".." leads to is for the disk to say: the folder above a link is not where the link leads.
    parts = path.split(os.sep)
    if os.pardir in parts:
        rest = len(parts) - parts[::-1].index(os.pardir)
        return os.path.normpath(os.path.join(os.path.realpath(os.sep.join(parts[:rest])), *parts[rest:]))
    return os.path.abspath(path if os.path.isabs(path) else os.path.join(_working_folder(), path))


def _working_folder() -> str:
    """Return the current folder by the name that the shell shows, if that is true, else by its real one."""
    shown = os.environ.get("PWD", "")
    if os.path.isabs(shown) and (there := deep.identity(shown)) and there == deep.identity(os.curdir):
        return shown
    return os.getcwd()


def _by_identity(readings: Sequence[str], roots: Sequence[Root], catalog: Catalog | None) -> Iterator[str]:
    """Yield the names that the index could have for what some paths lead to, by roots and the folders above them."""
    folders: dict[tuple[int, int], str] = {}
    for root in roots:
        for folder in _with_those_above(root.path) if not is_remote(root.path) else ():
            if identity := deep.identity(folder):
                folders.setdefault(identity, folder)
    for reading in readings:
        for folder in _with_those_above(reading):
            known = (identity := deep.identity(folder)) and folders.get(identity)
            if known:
                inside = os.path.relpath(reading, folder).split(os.sep) if folder != reading else []
                yield _respelled(known, inside, roots, catalog)
                break


def _respelled(folder: str, names: Sequence[str], roots: Sequence[Root], catalog: Catalog | None) -> str:
    """Return what the index calls what is reached from a folder by ``names``, as far as it knows it."""
    path = folder
    for name in names:
        here, path = path, os.path.join(path, name)
        if not owner_of(here, roots) or _is_known(path, roots, catalog):
            continue
        path = next((other for other in _same(here, path) if _is_known(other, roots, catalog)), path)
    return path


def _same(folder: str, path: str) -> Iterator[str]:
    """Yield the entries of a folder that are the same file or folder as ``path`` is, in the order of their names."""
    identity = deep.identity(path)
    try:
        names = sorted(os.listdir(folder)) if identity else []
    except OSError:
        return
    for name in names:
        if deep.identity(entry := os.path.join(folder, name)) == identity:
            yield entry


def _with_those_above(path: str) -> Iterator[str]:
    """Yield an absolute path and every folder above it, the nearest first."""
    yield path
    while path != os.sep:
        yield (path := os.path.dirname(path))
