"""Duplicates for the page: found once, and kept until the catalogue has changed."""

from __future__ import annotations

import os
import threading
from typing import Any

from imgsearch.index import metadata
from imgsearch.index.layout import CATALOGUE
from imgsearch.index.manifest import load
from imgsearch.index.reader import ImageIndex
from imgsearch.text import printable
from imgsearch.tools.maintenance.duplicates import REASONS, RELATIONS, Group, find_duplicates
from imgsearch.tools.web.tiles import records_of_files, tile_of_record

Stamp = tuple[tuple[int, int], ...]
"""What changes whenever a catalogue does."""


class DuplicateGroups:
    """The groups of the index that was asked for last. Safe to use from many threads."""

    def __init__(self) -> None:
        """Find nothing yet."""
        self._turn = threading.Lock()
        self._known: tuple[str, Stamp, list[Group]] | None = None

    def find(self, folder: str) -> list[Group]:
        """Return the groups of an index, duplicates before bursts. Raises IndexMissing, IndexDamaged."""
        with self._turn:
            stamp = stamp_of(folder)
            if self._known is None or self._known[:2] != (folder, stamp):
                self._known = None  # not both in memory
                self._known = folder, stamp, find_duplicates(folder).groups
            return self._known[2]


def told(index: ImageIndex, groups: list[Group]) -> list[dict[str, Any]]:
    """Return groups as the page's JSON has them: the image to keep comes first, each of the others has its relation."""
    found = []
    for group in groups:
        members = [group.keep, *group.others]
        records = records_of_files(index, [member.path for member in members])
        dates = metadata.dates(index.catalog.database, [record.id for record in records.values()])
        images = [
            {
                **tile_of_record(record, dates.get(record.id), member.path),
                "bytes": member.bytes,
                "relation": RELATIONS.get(member.relation),
            }
            for member in members
            if (record := records.get(member.path)) is not None
        ]
        found.append(
            {
                "kind": "burst" if group.burst else "duplicates",
                "reason": _heading(group),
                "keep": REASONS[group.reason],
                "images": images,
            }
        )
    return found


def _heading(group: Group) -> str:
    """Return what the images of a group are to the one to keep."""
    relations = dict.fromkeys(RELATIONS[other.relation] for other in group.others)
    text = printable(", ".join(relations))
    return text[:1].upper() + text[1:]


def stamp_of(folder: str) -> Stamp:
    """Return what changes whenever the catalogue does."""
    _, data = load(folder)
    found = []
    for ending in ("", "-wal"):
        try:
            status = os.stat(os.path.join(data, CATALOGUE + ending))
            found.append((status.st_mtime_ns, status.st_size))
        except OSError:
            found.append((0, 0))
    return tuple(found)
