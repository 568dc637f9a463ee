"""Use case: take files and folders out of an index. The files themselves are never touched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from imgsearch.files import shown
from imgsearch.index.catalog import Catalog
from imgsearch.index.image_index import IndexWriter
from imgsearch.index.rows import Root
from imgsearch.targets import inside, owner_of
from imgsearch.types import Reporter, Silent


@dataclass(frozen=True, slots=True)
class Removed:
    """What was forgotten: ``files``, indexed or skipped, and ``roots``, folders that are no longer kept indexed.

    It is false where nothing was.
    """

    files: int = 0
    roots: int = 0

    def __bool__(self) -> bool:
        """Whether anything was forgotten."""
        return bool(self.files or self.roots)


def remove_paths(paths: Sequence[str], folder: str, reporter: Reporter | None = None) -> Removed:
    """Forget everything at or below ``paths`` in the index in ``folder``; return how much that was.

    A root that lies in a path is forgotten too; a part of a root comes back with its next refresh, which is
    said. Paths need not exist; a link is itself if the index knows it by that name, else what it leads to.
    Raises IndexMissing, IndexLocked, IndexDamaged, StorageError.
    """
    reporter = reporter or Silent()
    files = roots = 0
    with IndexWriter(folder) as writer:
        for path in paths:
            for reading in _readings(path):
                removed = _remove(reading, writer.catalog, reporter)
                if removed:
                    files, roots = files + removed.files, roots + removed.roots
                    break
    return Removed(files, roots)


def _readings(path: str) -> list[str]:
    """Return what absolute path is meant: first as it was given, then with ever more of its links resolved.

    The index has followed a root's own links, and those above it, but not those inside.
    """
    if not path:
        return []
    # What ".." leads to is for the disk to say: the folder above a link is not where the link leads.
    given = os.path.realpath(path) if ".." in path.split(os.sep) else os.path.abspath(path)
    readings = [given]
    parts = given.split(os.sep)[1:]
    for number in range(1, len(parts) + 1):
        head = os.path.realpath(os.sep + os.sep.join(parts[:number]))
        reading = os.path.join(head, *parts[number:])
        if reading not in readings:
            readings.append(reading)
    return readings


def _remove(path: str, catalog: Catalog, reporter: Reporter) -> Removed:
    files = roots = 0
    known = catalog.roots()
    for root in known:
        if root.path == path or inside(root.path, path):
            files += _drop(catalog, root, "")
            roots += _drop_root(catalog, root, reporter)
        elif inside(path, root.path):
            dropped = _drop(catalog, root, os.path.relpath(path, root.path))
            only = cast("list[str]", root.options.get("only") or [])
            if only:
                kept = [name for name in only if os.path.join(root.path, name) != path]
                files += max(dropped, len(only) - len(kept))
                if not kept:
                    roots += _drop_root(catalog, root, reporter)
                elif kept != only:
                    catalog.put_root(root.path, {**root.options, "only": kept}, root.mount)
            else:
                files += dropped
    left = catalog.roots()
    owner = owner_of(path, left)
    if (files or roots) and owner and not owner.options.get("only") and os.path.lexists(path):
        reporter.say(
            f"{shown(path)} comes back when {shown(owner.path)} is indexed again, unless an --exclude or a "
            ".imgsearchignore file names it"
        )
    return Removed(files, roots)


def _drop(catalog: Catalog, root: Root, below: str) -> int:
    ids = [row.id for row in catalog.files(root.id, below)]
    catalog.drop_files(ids, contents=True)
    return len(ids)


def _drop_root(catalog: Catalog, root: Root, reporter: Reporter) -> int:
    # Files that only lack their name in ``only`` go as well.
    _drop(catalog, root, "")
    catalog.drop_root(root.id)
    reporter.say(f"{shown(root.path)} is no longer kept indexed")
    return 1
