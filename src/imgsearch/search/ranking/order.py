"""In which order hits are shown, and from which on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from imgsearch.index import metadata
from imgsearch.index.reader import ImageIndex
from imgsearch.types import Hit

SORTS = ("score", "newest", "oldest", "path")


def arranged(index: ImageIndex, hits: Sequence[Hit], sort: str) -> list[Hit]:
    """Return hits of an index in another order, ranked by it; those without a date are the last."""
    return arranged_all({"": index}, hits, sort)


def arranged_all(indexes: Mapping[str, ImageIndex], hits: Sequence[Hit], sort: str) -> list[Hit]:
    """Return hits of some indexes, which they name, in another order, as ``arranged`` does."""
    if sort == "score" or not hits:
        return list(hits)
    first = min(hit.rank for hit in hits)
    if sort == "path":
        ordered = sorted(hits, key=lambda hit: os.fsencode(hit.path))
    else:
        taken = dates_of(indexes, hits)
        sign = -1 if sort == "newest" else 1
        dated = [hit for hit in hits if (hit.index, hit.content) in taken]
        dated.sort(key=lambda hit: sign * taken[hit.index, hit.content])
        ordered = dated + [hit for hit in hits if (hit.index, hit.content) not in taken]
    return [replace(hit, rank=rank) for rank, hit in enumerate(ordered, first)]


def dates_of(indexes: Mapping[str, ImageIndex], hits: Sequence[Hit]) -> dict[tuple[str, int], int]:
    """Return when the images of hits were taken, as ``metadata.dates`` has it, by the hits' index and content."""
    return {
        (name, content): time
        for name, index in indexes.items()
        for content, time in metadata.dates(
            index.catalog.database, [hit.content for hit in hits if hit.index == name]
        ).items()
    }
