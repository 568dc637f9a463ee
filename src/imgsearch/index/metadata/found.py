"""The files that pass some filters, with what they are sorted and counted by."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.index.metadata.columns import UNKNOWN, UNRATED, Columns, ColumnsError, Mask
from imgsearch.index.metadata.filters import Filter
from imgsearch.index.metadata.named import file_name, file_type
from imgsearch.index.metadata.passing import ask, files_passing, fresh

if TYPE_CHECKING:
    from imgsearch.index.database import Database

_LEAST, _MOST = -62_135_596_800_000, 253_402_300_800_000
"""The milliseconds since 1970 that a calendar has: the years 1 to 9999."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundFiles:
    """Some of the files of columns: ``chosen`` (n,) are their places there. No file is among them twice.

    ``segment`` is the one whose columns they are, 0 if the columns name it for each file.
    """

    columns: Columns
    chosen: NDArray[np.int64]
    segment: int = 0

    @property
    def ids(self) -> NDArray[np.int64]:
        """Their ids in the catalogue, (n,)."""
        return np.asarray(self.columns["file"][self.chosen])

    @property
    def taken(self) -> NDArray[np.int64]:
        """When their images were taken, (n,): as in the catalogue, or UNKNOWN."""
        return np.asarray(self.columns["taken"][self._images])

    @property
    def places(self) -> NDArray[np.int64]:
        """Where the vectors of their images lie: (n, 2), segment and row."""
        if not self.segment:
            named = self.columns["segment"][self.chosen], self.columns["row"][self.chosen]
            return np.column_stack(named).astype(np.int64)
        rows = self._images.astype(np.int64)
        return np.column_stack((np.full(len(rows), self.segment, np.int64), rows))

    @property
    def _images(self) -> NDArray[np.int32]:
        return np.asarray(self.columns["image"][self.chosen])

    def years(self) -> Counter[int | None]:
        """Count them by year; None is unknown."""
        taken = self.taken
        known = taken[(taken >= _LEAST) & (taken < _MOST)]
        years = known.astype("datetime64[ms]").astype("datetime64[Y]").astype(np.int64) + 1970
        counted: Counter[int | None] = Counter()
        for year, count in zip(*np.unique(years, return_counts=True), strict=True):
            counted[int(year)] = int(count)
        if unknown := len(taken) - len(known):
            counted[None] = unknown
        return counted

    def ratings(self) -> Counter[int | None]:
        """Count them by rating, -1 to 5; None is unknown."""
        values, numbers = np.unique(self.columns["rating"][self._images], return_counts=True)
        return Counter(
            {
                None if value == UNRATED else int(value): int(number)
                for value, number in zip(values, numbers, strict=True)
            }
        )

    def counts(self, name: str) -> Counter[Any]:
        """Count them by "type", "camera" (make, model) or "folder" (root's id, path)."""
        texts = self.columns.texts(name)
        at = self._images if name == "camera" else self.chosen
        numbers = np.bincount(self.columns[name][at], minlength=len(texts)).tolist()
        return Counter(
            {
                tuple(text) if isinstance(text, list) else text: number
                for text, number in zip(texts, numbers, strict=True)
                if number
            }
        )


def found_files(
    database: Database,
    filters: Sequence[Filter],
    known: dict[int, Columns],
    counted_by: Sequence[str] = (),
    among: Mapping[int, Mask] | None = None,
) -> list[FoundFiles]:
    """Return the files that pass all of some filters; ``known`` are columns by segment, as for ``rows_passing``.

    What they are ``counted_by`` has been read then. ``among`` leaves only those of the images in some rows: a mask of
    rows for each segment that has any.
    """
    found: list[FoundFiles] = []
    seen = np.zeros(0, np.int64)
    for number, columns, stale in fresh(database, known):
        try:
            files = FoundFiles(columns, np.flatnonzero(files_passing(columns, filters, stale)), number)
            for part in ("file", "taken", "rating"):
                columns[part]
            for part in counted_by:
                columns.texts(part)
            found.append(files)
        except ColumnsError:
            del known[number]
    found.append(_asked(database, filters, known))
    once = []
    for files in found if among is None else (_only(files, among) for files in found):
        ids, first = np.unique(files.ids, return_index=True)  # a file of several pages is in it with each
        new = first[~np.isin(ids, seen, assume_unique=True)] if len(seen) and len(ids) else first
        once.append(FoundFiles(files.columns, files.chosen[np.sort(new)], files.segment))
        seen = np.concatenate([seen, ids])
    return once


def _only(files: FoundFiles, among: Mapping[int, Mask]) -> FoundFiles:
    """Return those of the images in some rows."""
    segments, rows = files.places.T
    kept = np.zeros(len(rows), bool)
    for number, mask in among.items():
        here = np.flatnonzero((segments == number) & (rows < len(mask)))
        kept[here] = mask[rows[here]]
    return FoundFiles(files.columns, files.chosen[kept], files.segment)


@dataclass(frozen=True, slots=True, eq=False)
class FoundImages:
    """Images, each once however many files it has: its first file's id, segment, row, and ``taken``; (n,) each.

    They stand in the order of the ids: of which image was indexed first.
    """

    ids: NDArray[np.int64]
    segments: NDArray[np.int64]
    rows: NDArray[np.int64]
    taken: NDArray[np.int64]


def images_of(found: Sequence[FoundFiles]) -> FoundImages:
    """Return the images of some files; of one with several pages the first that is among them."""
    ids = np.concatenate([files.ids for files in found])
    places = np.concatenate([files.places for files in found])
    taken = np.concatenate([files.taken for files in found])
    order = np.argsort(ids, kind="stable")
    place = (places[:, 0] << 32 | places[:, 1])[order]
    _, first = np.unique(place, return_index=True)
    order = order[np.sort(first)]
    return FoundImages(ids[order], places[order, 0], places[order, 1], taken[order])


def _asked(database: Database, filters: Sequence[Filter], known: dict[int, Columns]) -> FoundFiles:
    """Return the files that the catalogue tells of, as columns of their own with an image for each file."""
    what = (
        "file.id, file.root, file.path, metadata.taken, metadata.make, metadata.model, metadata.rating, "
        "content.segment, content.row"
    )
    rows = list(ask(database, _row, what, filters, known))
    names = ("file", "taken", "folder", "type", "camera", "rating", "segment", "row")
    values = dict(zip(names, zip(*rows, strict=True) if rows else ((),) * len(names), strict=True))
    parts: dict[str, NDArray[Any]] = {"image": np.arange(len(rows))}
    parts |= {
        name: np.array(values[name], np.int64) for name in ("file", "taken", "rating", "segment", "row")
    }
    for name in ("folder", "type", "camera"):
        texts = dict.fromkeys(values[name])
        numbers = {text: number for number, text in enumerate(texts)}
        parts[name] = np.array([numbers[text] for text in values[name]], np.int64)
        parts[f"texts of {name}"] = np.frombuffer(json.dumps(list(texts)).encode(), np.uint8)
    columns = Columns(len(rows), parts.__getitem__)
    return FoundFiles(columns, np.arange(len(rows)))


def _row(
    id: int,
    root: int,
    path: bytes,
    taken: int | None,
    make: str | None,
    model: str | None,
    rating: int | None,
    *place: int,
) -> tuple[int, int, tuple[int, str], str, tuple[str, str], int, int, int]:
    folder = int(root), os.fsdecode(os.path.dirname(path))
    known = UNKNOWN if taken is None else int(taken)
    stars = UNRATED if rating is None or not -1 <= rating <= 5 else int(rating)
    segment, row = map(int, place)
    told = (str(make or ""), str(model or ""))
    return int(id), known, folder, file_type(file_name(path)), told, stars, segment, row
