"""Stores for tests: invented images with their vectors, and a store of each kind to put them in."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.index.rows import IndexedFile
from imgsearch.index.writer import IndexWriter
from imgsearch.tools.stores import StoredImage
from imgsearch.tools.stores.local import LocalStore
from imgsearch.types import Metadata
from support.fakes import DIM, sha, spec, unit

CAMERAS = (("FUJIFILM", "X-T5", "XF35mm"), ("Canon", "EOS R5", "RF50mm"), ("", "", ""))


def image(number: int, **changed: Any) -> StoredImage:
    """Return an invented image: every number has its own file, date, camera, size and place."""
    key = sha(f"stored {number}")
    make, model, lens = CAMERAS[number % 3]
    year, month = 2015 + number % 10, 1 + number % 12
    told = Metadata(
        taken=None if number % 7 == 0 else datetime(year, month, 1 + number % 28, 12, 30),
        taken_from="" if number % 7 == 0 else "image",
        make=make,
        model=model,
        lens=lens,
        latitude=None if number % 4 == 0 else float(number % 80),
        longitude=None if number % 4 == 0 else float(number % 170),
        rating=None if number % 5 == 0 else number % 5,
        title="a title" if number % 6 == 0 else "",
        keywords=("Holiday", f"day {number % 9}") if number % 2 else (),
    )
    name = f"IMG_{number:04d}.{('jpg', 'png')[number % 2]}"
    path = f"/pictures/{('a', 'b')[number % 2]}/{number % 5}/{name}"
    size = ((640, 480), (480, 640), (500, 500), (3000, 1000))[number % 4]
    made = {"width": size[0], "height": size[1], "metadata": told}
    made["files"] = (IndexedFile(path, 1000 + number, 10**18 + number, key),)
    row = _row(number)
    made |= changed
    return StoredImage(number, key, made.pop("page", 0), crc=zlib.crc32(row.tobytes()), **made)


def rows(numbers: Sequence[int], dim: int = DIM) -> NDArray[np.float16]:
    """Return the vectors of invented images: (n, dim) float16."""
    return np.array([_row(number, dim) for number in numbers], np.float16).reshape(-1, dim)


@cache
def _row(number: int, dim: int = DIM) -> NDArray[np.float16]:
    return unit(1, number, dim)[0].astype(np.float16)


def local_store(folder: Path) -> LocalStore:
    """Return a new local index, whose only root is /pictures."""
    writer = IndexWriter(str(folder), spec())
    writer.catalog.put_root("/pictures", {})
    return LocalStore(writer.index, writer)
