"""A look at all vectors and names before anything of them is written; rows of anybody's making become unit rows."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import DatasetError
from imgsearch.text import Message, Option, display_path
from imgsearch.tools.transfer.paths import PathResolver
from imgsearch.tools.transfer.source import Block, Named, VectorSource
from imgsearch.types import Reporter, Vectors

# A unit row that was rounded to float16 is this close to unit length, and normalised it would be rounded anew.
_NEARLY_UNIT = 2.0**-10


def check_rows(block: Block) -> dict[int, str]:
    """Return by row (from 0) what keeps it from being a vector."""
    rows = block.rows
    wrong = dict(block.wrong)
    for row in np.flatnonzero(_doubtful(_norms(_wide(rows)))).tolist():
        if row in wrong:
            continue
        if np.isnan(rows[row]).any():
            wrong[row] = "contains NaN"
        elif np.isinf(rows[row]).any():
            wrong[row] = "contains infinity"
        elif not rows[row].any():
            wrong[row] = "is all zeros"
    return wrong


def unit_rows(rows: NDArray[np.floating[Any]]) -> Vectors:
    """Return rows (n, dim) of any precision as float32 rows of unit length; what is no vector stays what it is.

    A row that float16 holds exactly and whose length is within 2^-10 of 1 stays bit by bit what it is, so that
    vectors that were exported come back as they were.
    """
    wide = _wide(rows)
    norms = _norms(wide)
    if (doubtful := _doubtful(norms)).any():
        # Too large or too small for sums of squares in float32.
        norms = norms.astype(np.float64)
        exact = wide[doubtful].astype(np.float64)
        largest = np.abs(exact).max(axis=1)
        largest[(largest == 0) | ~np.isfinite(largest)] = 1
        norms[doubtful] = largest * np.sqrt(np.square(exact / largest[:, None]).sum(axis=1))
    keep = np.abs(norms - 1) <= _NEARLY_UNIT
    if rows.dtype.itemsize > 2 and keep.any():
        kept = rows[keep]
        keep[keep] = (kept.astype(np.float16) == kept).all(axis=1)
    norms = np.where(keep | (norms == 0) | ~np.isfinite(norms), 1, norms)
    if keep.all():
        return np.asarray(wide, np.float32)
    return np.asarray(wide / norms[:, None].astype(np.result_type(wide, norms)), np.float32)


def _wide(rows: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return rows in the machine's byte order, as float32 or float64."""
    return rows.astype(np.float64 if rows.dtype.itemsize == 8 else np.float32, copy=False)


def _norms(rows: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows)))


def _doubtful(norms: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    return ~((norms > 1e-15) & (norms < np.inf))


_MAX_NAMED = 5
# A commit has its price, above all in the catalogue's indexes over keys that look random: with 500,000 pictures in
# them 13,000 rows a second by 2,048, 20,000 by 8,192.
_BLOCK_BYTES = 64 << 20


def block_rows(source: VectorSource) -> int:
    """Return how many rows are looked at together: 64 MiB of them as float32, and at most 8,192."""
    return max(1, min(8192, _BLOCK_BYTES // (4 * source.dim)))


@dataclass(slots=True)
class Faults:
    """Rows (from 0) that can't be imported; the first few stand in ``examples``."""

    source: VectorSource
    rows: set[int] = field(default_factory=set)
    examples: list[Message] = field(default_factory=list)

    def add(self, row: int, what: str) -> None:
        """Take note of a row; of several faults the first one counts."""
        if row in self.rows:
            return
        self.rows.add(row)
        if len(self.examples) < _MAX_NAMED:
            self.examples.append(Message(f"{self.source.row_label(row)}: ", what))

    def text(self) -> Message:
        """Say how many there are, and name the first."""
        more = (
            f"; and {len(self.rows) - len(self.examples):,} more"
            if len(self.rows) > len(self.examples)
            else ""
        )
        count = f"{len(self.rows):,} of {self.source.rows:,} can't be imported: "
        return Message(count, Message.joined("; ", self.examples), more)


def check(source: VectorSource, resolver: PathResolver, reporter: Reporter) -> Faults:
    """Read all vectors and names once, show ``resolver`` every file, and return what is wrong with which rows.

    Raises DatasetError if there are not as many names as vectors.
    """
    faults = Faults(source)
    hashes = array("q")
    names = source.names()
    start = 0
    reporter.start(source.rows, "embeddings checked")
    try:
        for block in source.blocks(block_rows(source)):
            for row, what in check_rows(block).items():
                faults.add(start + row, f"its embedding {what}")
            for row, named in enumerate(islice(names, len(block.rows)), start):
                _look(row, named, resolver, faults, hashes)
            start += len(block.rows)
            reporter.advance(len(block.rows))
    finally:
        reporter.stop()
    _count(source, len(hashes), names)
    _find_doubles(source, resolver, faults, hashes)
    return faults


def _look(row: int, named: Named, resolver: PathResolver, faults: Faults, hashes: array[int]) -> None:
    file, wrong = resolver.file(named.paths[0])
    if not wrong and row not in faults.rows and not resolver.add(file):
        wrong = Message(
            "it is outside the folder given with ", Option("root"), " and outside all indexed folders"
        )
    if wrong:
        name = display_path(named.paths[0]) if named.paths[0] else "the path"
        faults.add(row, Message(f"{name}: ", wrong))
    # Two bytes-equal names have equal hashes; the other way round is looked into afterwards.
    hashes.append(hash((file, named.page)) if file else row)


def _count(source: VectorSource, seen: int, rest: Iterator[Named]) -> None:
    names = seen + sum(1 for _ in rest)
    if names != source.rows:
        raise DatasetError(
            f"{display_path(source.path)} contains {source.rows:,} embeddings, but there are {names:,} paths; "
            "give one path per embedding, in the same order"
        )


def _find_doubles(source: VectorSource, resolver: PathResolver, faults: Faults, hashes: array[int]) -> None:
    """Find rows that name the same picture as an earlier one, in 8 bytes a row and, if need be, a second look."""
    values, counts = np.unique(np.frombuffer(hashes, np.int64), return_counts=True)
    suspects = set(values[counts > 1].tolist())
    if not suspects:
        return
    first: dict[tuple[str, int], int] = {}
    for row, named in enumerate(source.names()):
        if hashes[row] not in suspects or row in faults.rows:
            continue
        key = resolver.file(named.paths[0])[0], named.page
        before = first.setdefault(key, row)
        if before != row:
            faults.add(row, f"{display_path(key[0])} is already named by {source.row_label(before)}")
