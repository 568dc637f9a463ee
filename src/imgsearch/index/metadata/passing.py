"""Which images and files pass some filters: told by columns where they are true, by the catalogue for all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from imgsearch.index.metadata.columns import Columns, ColumnsError, Mask
from imgsearch.index.metadata.filters import Filter
from imgsearch.index.rows import pair_row

if TYPE_CHECKING:
    from imgsearch.index.database import Database

T = TypeVar("T")
Masks = list[Mask]
"""For each segment of a search, (rows,): whether a row may be found."""


def rows_passing(
    database: Database,
    segments: Sequence[tuple[int, int]],
    filters: Sequence[Filter],
    known: dict[int, Columns],
) -> Masks:
    """Return which rows of some segments, (number, rows), belong to an image that passes all of some filters.

    ``known`` are columns by segment, of no more rows than it has; those that turn out to be damaged are taken out.
    """
    masks = {number: np.zeros(rows, bool) for number, rows in segments}
    for number, columns, stale in fresh(database, known):
        if number in masks:
            try:
                masks[number][: columns.images] = passing(columns, filters, stale)[0]
            except ColumnsError:
                del known[number]
    for number, row in ask(database, pair_row, "segment, row", filters, known):
        if number in masks and row < len(masks[number]):
            masks[number][row] = True
    return [masks[number] for number, _ in segments]


def fresh(
    database: Database, known: Mapping[int, Columns]
) -> Iterator[tuple[int, Columns, NDArray[np.int64]]]:
    """Yield segments with their columns, and the rows of which these no longer tell the truth."""
    for number, columns in list(known.items()):
        rows = database.query(int, "SELECT row FROM stale WHERE segment = ?", number)
        yield number, columns, np.array([row for row in rows if 0 <= row < columns.images], np.int64)


def passing(
    columns: Columns, filters: Sequence[Filter], stale: NDArray[np.int64]
) -> tuple[Mask, Mask | None]:
    """Return which images pass; and which files pass those filters that are about files, None without such a filter."""
    images, files = np.ones(columns.images, bool), None
    images[stale] = False
    for filter in filters:
        mask = filter.passing(columns)
        if not filter.of_files:
            images &= mask
        else:
            files = mask if files is None else files & mask
    if files is not None:
        images &= columns.any_of("image", files)
    return images, files


def files_passing(columns: Columns, filters: Sequence[Filter], stale: NDArray[np.int64]) -> Mask:
    """Return which files pass all filters."""
    images, files = passing(columns, filters, stale)
    mask = images[columns["image"]]
    return np.asarray(mask if files is None else mask & files)


def ask(
    database: Database,
    make: Callable[..., T],
    what: str,
    filters: Sequence[Filter],
    known: Mapping[int, Columns] | None = None,
) -> Iterator[T]:
    """Yield ``what``, of the tables content, file and metadata, for each file that passes all filters.

    With ``known`` columns, only for files of which these tell nothing, or no longer the truth.
    """
    conditions = [filter.condition() for filter in filters]
    where = " AND ".join(["TRUE", *(f"({sql})" for sql, _ in conditions)])
    values = [value for _, given in conditions for value in given]
    join = "CROSS JOIN file ON file.content = content.sha256 LEFT JOIN metadata ON metadata.sha256 = content.sha256"
    if not known:
        join = join.removeprefix("CROSS ")
        yield from database.stream(make, f"SELECT {what} FROM content {join} WHERE {where}", *values)
        return
    numbers = ", ".join(map(str, known))
    yield from database.stream(
        make,
        f"SELECT {what} FROM stale CROSS JOIN content USING (segment, row) {join} "
        f"WHERE segment IN ({numbers}) AND {where}",
        *values,
    )
    for (number,) in database.query(lambda number: (int(number),), "SELECT id FROM segment WHERE rows > 0"):
        first = known[number].images if number in known else 0
        yield from database.stream(
            make,
            f"SELECT {what} FROM content {join} WHERE segment = ? AND row >= ? AND {where}",
            number,
            first,
            *values,
        )
