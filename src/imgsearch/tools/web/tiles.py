"""Tiles: what the page is told of each image of a list, so that it can draw it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from imgsearch import deep
from imgsearch.index import metadata
from imgsearch.index.reader import ImageIndex
from imgsearch.place import label
from imgsearch.text import printable
from imgsearch.tools.web.keys import key_of
from imgsearch.types import Hit, Quote, Record, Stacked


def tile_of_hit(hit: Hit, dates: Mapping[int, int]) -> dict[str, Any]:
    """Return the tile of a hit; ``dates`` are by content, as the catalogue has them."""
    why = hit.why
    return {
        **_named(hit.content, hit.sha256, hit.path),
        "width": hit.width,
        "height": hit.height,
        "page": hit.page,
        "score": round(hit.score, 6),
        "spreads": None if why is None else round(why.spreads, 4),
        "stands_out": None if why is None else why.stands_out,
        "matched": [] if why is None else [printable(line) for line in why.matched],
        "copies": len(hit.copies),
        "missing": hit.missing,
        "taken": iso(dates.get(hit.content)),
        "stack": [_stacked(one) for one in hit.stack or ()],
        "where": label(hit.kind, hit.page),
        **(_quoted(hit.quote) if hit.quote else {}),
    }


def _quoted(quote: Quote) -> dict[str, Any]:
    """Return a quote, once more in parts of which every second one is to be marked, and where its words stand."""
    parts = [printable(part) for part in quote.parts()]
    return {"quote": "".join(parts), "quote_parts": parts, "boxes": quote.as_json()["boxes"]}


def _stacked(one: Stacked) -> dict[str, Any]:
    return {
        **_named(one.content, one.sha256, one.path),
        "width": one.width,
        "height": one.height,
        "page": one.page,
        "where": label(one.kind, one.page),
        "score": round(one.score, 6),
        "reason": one.reason,
    }


def tile_of_record(record: Record, taken: int | None, path: str | None = None) -> dict[str, Any]:
    """Return the tile of an image that no query has found; shown by ``path``, else by a file that is there."""
    found = path or next((path for path in record.paths if deep.exists(path)), record.paths[0])
    return {
        **_named(record.id, record.sha256, found),
        "width": record.width,
        "height": record.height,
        "page": record.page,
        "where": label(record.kind, record.page),
        "spreads": None,
        "stands_out": None,
        "copies": len(record.paths) - 1,
        "missing": not deep.exists(found),
        "taken": iso(taken),
        "stack": [],
    }


def records_of_files(index: ImageIndex, paths: Sequence[str]) -> dict[str, Record]:
    """Return by path the images in files: of a file with several pages the first, and nothing for one not indexed."""
    roots = index.catalog.roots()
    records: dict[str, Record] = {}
    for path in paths:
        for root in roots:
            if not path.startswith(os.path.join(root.path, "")):
                continue
            row = index.catalog.file(root.id, os.path.relpath(path, root.path))
            if row is not None and row.content and (pages := index.catalog.pages(row.content)):
                records[path] = pages[0]
                break
    return records


def _named(content: int, sha256: bytes, path: str) -> dict[str, Any]:
    return {
        "key": key_of(content, sha256),
        "name": printable(os.path.basename(path)),
        "folder": printable(os.path.dirname(path)),
    }


def iso(taken: int | None) -> str | None:
    """Return a date of the catalogue in ISO's form; None for one that no calendar has."""
    if taken is None:
        return None
    try:
        return metadata.moment(taken).isoformat(timespec="seconds")
    except (OverflowError, ValueError):
        return None
