"""In which order hits are shown, and from which on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from imgsearch.index import metadata
from imgsearch.index.reader import ImageIndex
from imgsearch.types import Hit

SORTS = ("score", "newest", "oldest", "path")


def arranged(index: ImageIndex, hits: Sequence[Hit], sort: str) -> list[Hit]:
    """Return hits in another order, with their ranks anew; those without a date stand behind the others."""
    if sort == "score" or not hits:
        return list(hits)
    first = min(hit.rank for hit in hits)
    if sort == "path":
        ordered = sorted(hits, key=lambda hit: os.fsencode(hit.path))
    else:
        taken = metadata.dates(index.catalog.database, [hit.content for hit in hits])
        sign = -1 if sort == "newest" else 1
        dated = sorted(
            (hit for hit in hits if hit.content in taken), key=lambda hit: sign * taken[hit.content]
        )
        ordered = dated + [hit for hit in hits if hit.content not in taken]
    return [replace(hit, rank=rank) for rank, hit in enumerate(ordered, first)]
