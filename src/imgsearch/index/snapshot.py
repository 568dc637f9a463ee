"""What a reader has open at one moment: segments and ANN files as the catalogue names them, masks over their rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from imgsearch.fs import is_at_or_below
from imgsearch.index.ann import rabitq
from imgsearch.index.ann import search as ann
from imgsearch.index.catalog import Catalog
from imgsearch.index.metadata.collect import column_files
from imgsearch.index.metadata.columns import Columns, ColumnsError
from imgsearch.index.metadata.columns import load as load_columns
from imgsearch.index.metadata.file_filters import Below, Place
from imgsearch.index.metadata.filters import Filter
from imgsearch.index.metadata.passing import Masks, rows_passing
from imgsearch.index.rows import AnnFile
from imgsearch.index.segments import Segment, are_unit
from imgsearch.types import IndexSpec


class Snapshot:
    """What one reader has open below a data folder. ``problems`` says by name what can't be used, and why."""

    def __init__(self, data: str, spec: IndexSpec) -> None:
        """Open nothing yet."""
        self.data, self.spec = data, spec
        self.problems: dict[str, str] = {}
        self._segments: dict[int, Segment] = {}
        self._codes: dict[str, rabitq.Codes] = {}
        self._columns: dict[str, Columns] = {}
        self._bad_columns: set[str] = set()

    def close(self) -> None:
        """Let go of every file."""
        self._segments, self._codes, self._columns = {}, {}, {}

    def raise_nprobe(self, factor: int) -> None:
        """Let searches look into ``factor`` times as many inverted lists; only of the ANN files that are open now."""
        self._codes = {
            name: replace(file, nprobe=min(factor * file.nprobe, file.nlist))
            for name, file in self._codes.items()
        }

    def segment(self, number: int, rows: int) -> Segment:
        """Return a segment with so many committed rows. Raises IndexDamaged, SegmentMissing if its file is gone."""
        known = self._segments.get(number)
        if known is None or len(known) != rows:
            folder = os.path.join(self.data, "vectors")
            known = Segment(folder, number, rows, self.spec.dim, self.spec.fingerprint)
            self._segments[number] = known
        return known

    def views(self, catalog: Catalog, fast: bool = True) -> list[ann.SegmentView]:
        """Return every segment that has rows, with its codes if ``fast`` and they can be used.

        In one transaction of ``catalog``, what comes back is of one moment. Raises as ``segment`` does.
        """
        counts = [(number, rows) for number, rows in catalog.segments() if rows]
        segments = [self.segment(number, rows) for number, rows in counts]
        self._segments = {segment.number: segment for segment in segments}
        if not fast or sum(rows for _, rows in counts) < ann.EXACT_ROWS:
            return [ann.SegmentView(segment) for segment in segments]
        ann_files = catalog.ann_files()
        current = {file.name for file in ann_files.values()}
        self._codes = {name: loaded for name, loaded in self._codes.items() if name in current}
        self.problems = {name: why for name, why in self.problems.items() if name in current}
        new = [
            file
            for file in ann_files.values()
            if file.name not in self._codes and file.name not in self.problems
        ]
        ann.side_by_side([lambda file=file: self._load(file) for file in new])  # type: ignore[misc]
        views = []
        for segment in segments:
            file = ann_files.get(segment.number)
            fits = file is not None and file.rows <= len(segment)
            views.append(ann.SegmentView(segment, self._codes.get(file.name) if file and fits else None))
        return views

    def columns(self, catalog: Catalog) -> dict[int, Columns]:
        """Return by segment the columns that filters read, as far as they can be used. Of the moment of ``catalog``."""
        files, found, kept = column_files(catalog.database), {}, {}
        for number, rows in catalog.segments():
            file = files.get(number)
            if file is None or file.rows > rows or file.name in self._bad_columns:
                continue
            try:
                kept[file.name] = self._columns.get(file.name) or load_columns(self.data, file)
            except ColumnsError:
                self._bad_columns.add(file.name)
                continue
            found[number] = kept[file.name]
        self._columns = kept
        return found

    def _load(self, file: AnnFile) -> None:
        path = os.path.join(self.data, "faiss", file.name)
        try:
            if file.faiss != rabitq.version():
                raise rabitq.CodesError(
                    f"{path} was written by FAISS {file.faiss}, this is {rabitq.version()}"
                )
            self._codes[file.name] = rabitq.load(
                path, self.spec.dim, file.rows, file.nlist, file.nprobe, file.bytes, file.crc
            )
        except rabitq.CodesError as error:
            self.problems[file.name] = str(error)


# Rows read at once: 16 MB of 2,048 dimensions.
_BLOCK = 4096


def below(catalog: Catalog, paths: Sequence[str]) -> Below | None:
    """Return the filter for files at or below one of some absolute paths; None if every root lies below one."""
    roots = catalog.roots()
    if all(any(is_at_or_below(root.path, path) for path in paths) for root in roots):
        return None
    places = []
    for root in roots:
        for path in paths:
            if is_at_or_below(root.path, path):
                places.append(Place(root.id, ""))
            elif is_at_or_below(path, root.path):
                inside = os.path.relpath(path, root.path)
                file = catalog.file(root.id, inside)
                places.append(Place(root.id, inside, file.id if file else 0))
    return Below(tuple(places), tuple(paths))


def mask_where(
    catalog: Catalog,
    views: Sequence[ann.SegmentView],
    filters: Sequence[Filter],
    columns: dict[int, Columns],
) -> Masks:
    """Return the rows of the pictures that pass all of some filters; ``columns`` are those of ``Snapshot.columns``."""
    segments = [(view.segment.number, len(view.segment)) for view in views]
    return rows_passing(catalog.database, segments, filters, columns)


def mask_live(catalog: Catalog, views: Sequence[ann.SegmentView], allowed: Masks | None = None) -> Masks:
    """Return which of the ``allowed`` rows, or of all, belong to a picture that has a file."""
    masks = _all(views) if allowed is None else allowed
    for view, mask in zip(views, masks, strict=True):
        deleted = catalog.deleted_rows(view.segment.number)
        mask[deleted[deleted < len(mask)]] = False
    return masks


def mask_unit(views: Sequence[ann.SegmentView], allowed: Masks | None = None) -> Masks:
    """Return which of the ``allowed`` rows, or of all, are finite and of unit length; this reads all of them."""
    masks = _all(views) if allowed is None else allowed
    for view, mask in zip(views, masks, strict=True):
        for first in range(0, len(mask), _BLOCK):
            mask[first : first + _BLOCK] &= are_unit(view.segment.read(first, first + _BLOCK))
    return masks


def _all(views: Sequence[ann.SegmentView]) -> Masks:
    return [np.ones(len(view.segment), bool) for view in views]
