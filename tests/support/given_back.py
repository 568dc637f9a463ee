"""The law of names: what a hit shows can be given back to every command, which knows it by that name."""

from __future__ import annotations

import os
from pathlib import Path

from imgsearch.fs import is_at_or_below
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.edit import Removed, remove_paths
from imgsearch.names import owner_of
from imgsearch.search import SearchRequest, answer
from imgsearch.search.hits import SearchOptions
from imgsearch.types import Hit
from support.fakes import FakeModel, indexed, roots, run

ALL = 1000


def hits(
    folder: str | Path, model: FakeModel, below: str | Path | None = None, like: str | None = None
) -> list[Hit]:
    """Return every picture of an index, or those below a path, best first; ``like`` an image, or for red."""
    options = SearchOptions(n=ALL, below=() if below is None else (str(below),))
    request = SearchRequest("similar" if like else "query", None if like else "red", like, options)
    with ImageIndex(str(folder)) as index:
        return answer(index, request, model.encoder())


def names(hit: Hit) -> list[str]:
    """Return all paths that a hit shows."""
    return [hit.path, *hit.copies]


def changes_nothing(folder: str | Path, *paths: str | Path) -> None:
    """Assert that indexing paths, or everything, finds nothing to do and keeps the same roots."""
    before, kept = indexed(folder), roots(folder)
    result = run(folder, *paths)
    done = (result.indexed, result.reused, result.pruned, dict(result.skipped))
    assert (done, indexed(folder), roots(folder)) == ((0, 0, 0, {}), before, kept), paths


def given_back(folder: str | Path, model: FakeModel) -> list[Hit]:
    """Assert that every path of every hit is known by that name everywhere, and return the hits."""
    found = hits(folder, model)
    with ImageIndex(str(folder)) as index:
        known = index.catalog.roots()
    shown = [name for hit in found for name in names(hit)]
    files = [(status.st_dev, status.st_ino) for status in map(os.stat, filter(os.path.exists, shown))]
    assert len(set(files)) == len(files), "a file is its own copy"
    for where in {os.path.dirname(name) for name in shown}:
        inside = hits(folder, model, where)
        assert all(is_at_or_below(hit.path, where) for hit in inside)
        here = {name for name in shown if os.path.dirname(name) == where}
        assert here <= {name for hit in inside for name in names(hit)}
        if os.path.isdir(where) and owner_of(where, known):
            changes_nothing(folder, where)
    for name in shown:
        if os.path.exists(name):
            changes_nothing(folder, name)
        assert name in names(hits(folder, model, like=name)[0])
        assert name in names(hits(folder, model, name)[0])
        assert hits(folder, model, name)[0].path == name
        assert remove_paths([name], str(folder), dry_run=True) == Removed(1)
    changes_nothing(folder)
    return found
