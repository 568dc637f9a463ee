"""Rows of anybody's making → unit rows, or the reason why not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.exchange.source import Block
from imgsearch.types import Vectors

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
            wrong[row] = "holds NaN"
        elif np.isinf(rows[row]).any():
            wrong[row] = "holds infinity"
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
