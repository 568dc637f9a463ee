"""Which rows a search may find: those below some paths, those whose pictures still have files. A mask a segment."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imgsearch.index import ann
from imgsearch.index.catalog import Catalog

Masks = list[NDArray[np.bool_]]
"""For each part of a search, (rows,): whether a row may be found."""


def below(catalog: Catalog, parts: Sequence[ann.Part], paths: Sequence[str]) -> Masks | None:
    """Return the rows that have a file at or below one of some absolute paths; None if every root lies below one."""
    masks = {part.segment.number: np.zeros(len(part.segment), bool) for part in parts}
    roots = catalog.roots()
    if all(any(_within(root.path, path) for path in paths) for root in roots):
        return None
    for root in roots:
        for path in paths:
            if _within(root.path, path):
                places = catalog.rows_below(root.id)
            elif _within(path, root.path):
                places = catalog.rows_below(root.id, os.path.relpath(path, root.path))
            else:
                continue
            found = np.array(places, np.int64).reshape(-1, 2)
            for number, mask in masks.items():
                rows = found[found[:, 0] == number, 1]
                mask[rows[rows < len(mask)]] = True
    return list(masks.values())


def alive(catalog: Catalog, parts: Sequence[ann.Part], allowed: Masks | None) -> Masks:
    """Return which of the ``allowed`` rows, or of all, belong to a picture that has a file."""
    masks = [np.ones(len(part.segment), bool) for part in parts] if allowed is None else allowed
    for part, mask in zip(parts, masks, strict=True):
        dead = catalog.dead_rows(part.segment.number)
        mask[dead[dead < len(mask)]] = False
    return masks


def _within(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies below it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
