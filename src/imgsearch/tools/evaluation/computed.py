"""Embeddings that were computed elsewhere: two NumPy files, checked, and scored on a dataset without a model."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import numpy as np

from imgsearch.errors import DatasetError, UsageError
from imgsearch.text import Message, Option, error_line, plural
from imgsearch.tools.dataset.retrieval import RetrievalDataset
from imgsearch.tools.evaluation import EvalRow, default_dims, metrics
from imgsearch.types import Vectors

_BLOCK = 4096  # rows that are checked at a time
_BY_CHANCE = 100  # images from which on a score that is no better than chance says that something is wrong


def score_vectors(
    dataset: RetrievalDataset,
    queries: str,
    documents: str,
    *,
    dims: Sequence[int] | None = None,
    whole: RetrievalDataset | None = None,
) -> EvalRow:
    """Score the embeddings in two .npy files; the row bears the name of the file of documents.

    ``queries`` holds (number of queries, dim), ``documents`` (number of images, dim), floating-point numbers, rows in
    the order of the dataset (the order that ``write_inputs`` shows). They need not be of unit length. ``whole`` is
    the dataset that the files are of where ``dataset`` is a part of it. ``dims`` are Matryoshka dimensions; without
    them the full length and its halves are scored.

    Raises DatasetError for a file that does not hold this, UsageError for a dim that the embeddings don't have.
    """
    began = time.monotonic()
    whole = whole or dataset
    asked = _read(queries, list(whole.queries), list(dataset.queries), "query", "queries", documents)
    shown = _read(documents, list(whole.corpus), list(dataset.corpus), "image", "images", queries)
    full = asked.shape[1]
    if full != shown.shape[1]:
        raise DatasetError(
            f"{queries} has embeddings of {full:,} dimensions, {documents} of {shown.shape[1]:,}; "
            "they must come from the same model"
        )
    for dim in dims or ():
        if not 1 <= dim <= full:
            raise UsageError(Option("dims", dim), f": the embeddings have {full:,} dimensions")
    wanted = dims or default_dims(full)
    return EvalRow(
        model=documents,
        peer=True,
        parameters=None,
        full_dim=full,
        pixels=None,
        dtype=None,
        instruction=None,
        scores=metrics.score(asked, shown, dataset, sorted({full, *wanted}, reverse=True)),
        computed=(0, 0),
        seconds=time.monotonic() - began,
        vectors=(queries, documents),
    )


def doubt(row: EvalRow, dataset: RetrievalDataset) -> str | None:
    """Return what to say of scores that chance alone would reach: rows in another order look like that."""
    images = len(dataset.corpus)
    found = row.scores[row.full_dim].metrics["accuracy@10"]
    if images < _BY_CHANCE or found > 30 / images:
        return None
    return Message(
        f"{row.model}: no better than chance; are the rows in the order of the dataset? To see that order: ",
        Option("inputs", metavar="DIR"),
    )


def _read(path: str, ids: list[str], wanted: list[str], one: str, many: str, other: str) -> Vectors:
    """Return the wanted rows of a file as float32, checked."""
    array = _open(path)
    if array.ndim != 2 or not array.shape[1]:
        shape = " × ".join(f"{size:,}" for size in array.shape) or "a single number"
        raise DatasetError(f"{path}: needs one row per {one}, but its shape is {shape}")
    if not np.issubdtype(array.dtype, np.floating):
        raise DatasetError(
            f"{path}: holds {array.dtype}, but embeddings are floating-point numbers; save them as float32"
        )
    if len(array) != len(ids):
        raise DatasetError(
            f"{path}: {plural(len(array), 'row')}, but the dataset has {plural(len(ids), one, many)}; "
            f"it needs one row for each, in the order of the dataset{_swapped(len(ids), other)}"
        )
    position = {name: number for number, name in enumerate(ids)}
    rows = [position[name] for name in wanted]
    found = np.empty((len(rows), array.shape[1]), np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        with np.errstate(over="ignore"):  # what float32 can't hold becomes infinity, which is refused below
            part = np.asarray(array[block], np.float32)
        lengths = np.linalg.norm(part.astype(np.float64), axis=1)
        if len(bad := np.flatnonzero(~np.isfinite(lengths))):
            raise DatasetError(f"{path}, row {block[bad[0]] + 1:,}: contains NaN or infinity")
        if len(bad := np.flatnonzero(lengths == 0)):
            raise DatasetError(f"{path}, row {block[bad[0]] + 1:,}: all zeros")
        found[start : start + len(block)] = part
    return found


def _open(path: str) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """Map the array of a .npy file; DatasetError for anything else. No pickle is loaded: it could run code."""
    full = os.path.expanduser(path)
    if not os.path.isfile(full):
        raise DatasetError(f"{path}: no such file; give two files that numpy.save wrote")
    try:
        array = np.load(full, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
        if "pickle" in str(error) or "Python object" in str(error):
            raise DatasetError(
                f"{path}: not an array of numbers, or not a .npy file; imgsearch loads no pickled objects. "
                "Save it with numpy.save, as float32"
            ) from error
        raise DatasetError(f"{path}: can't be read as a .npy file: {error_line(error)}") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise DatasetError(f"{path}: an archive of arrays (.npz); save each array with numpy.save")
    return array


def _swapped(count: int, other: str) -> str:
    """Return what to add where the other file has as many rows as this one should have."""
    try:
        rows = _open(other).shape
    except DatasetError:
        return ""
    return ". Are the two files swapped? Queries come first" if rows[:1] == (count,) else ""
