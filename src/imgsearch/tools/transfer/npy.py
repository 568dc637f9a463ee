"""Arrays in .npy files, read and written a block of rows at a time; nothing is ever unpickled."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from imgsearch.errors import DatasetError, FolderError
from imgsearch.files import check_root
from imgsearch.files.open import open_regular
from imgsearch.index.rows import Root
from imgsearch.text import display_path, error_line
from imgsearch.tools.transfer.paths import read_paths
from imgsearch.tools.transfer.source import (
    PROVENANCE,
    ROOTS,
    Block,
    Named,
    checked,
    json_beside,
    read_provenance,
    read_roots,
)
from imgsearch.types import IndexSpec

MAGIC = b"\x93NUMPY"


class Array(NamedTuple):
    """A (rows, dim) array of floats in a file, in C order, from byte ``offset`` on."""

    path: str
    rows: int
    dim: int
    dtype: np.dtype[Any]
    offset: int

    def blocks(self, size: int) -> Iterator[NDArray[np.floating[Any]]]:
        """Yield the rows, ``size`` at a time: (n, dim) of ``dtype``. Read, not mapped: a file may be cut meanwhile."""
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.offset)
            for start in range(0, self.rows, size):
                block = np.empty((min(size, self.rows - start), self.dim), self.dtype)
                view = block.view(np.uint8).reshape(-1).data
                while view:
                    got = file.readinto(view)
                    if not got:
                        raise DatasetError(f"{display_path(self.path)} was truncated while it was being read")
                    view = view[got:]
                yield block


def open_array(path: str, file: BinaryIO) -> Array:
    """Read a file's header and hold it against its size. Raises DatasetError for anything but (n, dim) floats."""
    name = display_path(path)
    try:
        version = npy_format.read_magic(file)
        # Version 3 differs from 2 in field names only, and an array of floats has none.
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    # numpy reads it as a Python literal: any of tokenize's, ast's and its own errors has a file to go with it.
    except Exception as error:
        raise DatasetError(f"{name} is not a valid .npy file: {error_line(error)}") from error
    if dtype.hasobject:
        raise DatasetError(
            f"{name} contains Python objects, which are never unpickled; save an array of floats"
        )
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise DatasetError(f"{name} contains {dtype}; embeddings must be float16, float32 or float64")
    if len(shape) != 2:
        raise DatasetError(f"{name} has the shape {shape}; expected one row per image: (images, dimensions)")
    rows, dim = map(int, shape)
    if rows < 1 or dim < 1:
        raise DatasetError(f"{name} is empty: its shape is {shape}")
    if fortran and rows > 1 and dim > 1:
        raise DatasetError(
            f"{name} is stored column by column; save it row by row: np.save(..., np.ascontiguousarray(x))"
        )
    offset, size = file.tell(), os.fstat(file.fileno()).st_size
    needed = offset + rows * dim * dtype.itemsize
    if size != needed:
        how = "is truncated" if size < needed else "contains more than one array"
        raise DatasetError(
            f"{name} {how}: its header gives {rows} × {dim} {dtype.name}, {needed} bytes, but it has {size}"
        )
    return Array(path, rows, dim, dtype, offset)


@dataclass(frozen=True, slots=True)
class ArraySource:
    """A .npy file with a list of paths beside it."""

    array: Array
    list: str
    spec: IndexSpec | None
    roots: tuple[Root, ...] = ()

    @property
    def path(self) -> str:
        """The .npy file."""
        return self.array.path

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return self.array.rows

    @property
    def dim(self) -> int:
        """How long they are."""
        return self.array.dim

    def names(self) -> Iterator[Named]:
        """Yield the paths of the list."""
        with _reading(self.list), open_file(self.list) as file:
            for path in read_paths(self.list, file):
                yield Named((path,))

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield the rows of the array."""
        with _reading(self.path):
            for rows in self.array.blocks(size):
                yield Block(rows, {})

    def row_label(self, row: int) -> str:
        """Say the line."""
        return f"line {row + 1}"


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Put what a disk or a network says while a file is read into one line: DatasetError."""
    try:
        yield
    except OSError as error:
        raise DatasetError(f"{display_path(path)} can't be read: {error_line(error)}") from error


def open_file(path: str) -> BinaryIO:
    """Open a regular file that was named to the import. Raises FolderError."""
    if not os.path.isfile(check_root(path)):
        raise FolderError(f"{display_path(path)} is a folder; give a file")
    return open_regular(path)


def about_beside(array: Array) -> tuple[IndexSpec | None, tuple[Root, ...]]:
    """Return spec and folders from the .json file that export writes beside a .npy file, if there is one."""
    path = json_beside(array.path)
    try:
        with open_regular(path) as file:
            about = json.loads(file.read(1 << 20))
            kept = about[PROVENANCE]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, ()  # none, or somebody else's
    if about.get("rows") != array.rows:
        raise DatasetError(
            f"{display_path(path)} describes {about.get('rows')} embeddings, but {display_path(array.path)} contains "
            f"{array.rows}; delete the .json file if it does not belong to these embeddings"
        )
    spec = checked(read_provenance(json.dumps(kept), display_path(path)), array.dim, path)
    return spec, read_roots(about.get(ROOTS, []), display_path(path))


class ArrayWriter:
    """Appends rows of ``dim`` to a file; the header is put right at the end, when their number is known."""

    def __init__(self, file: BinaryIO, dim: int, dtype: str) -> None:
        """Write the header; ``dtype`` is "float16" or "float32", stored in little-endian order."""
        self._file, self._dim = file, dim
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._length = file.write(self._header(0))
        self.rows = 0

    def write(self, rows: NDArray[np.floating[Any]]) -> None:
        """Append rows (n, dim)."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self.rows += len(rows)

    def finish(self) -> None:
        """Write the number of rows into the header."""
        header = self._header(self.rows)
        if len(header) != self._length:
            raise AssertionError("numpy pads headers so that the first axis may grow")
        self._file.seek(0)
        self._file.write(header)

    def _header(self, rows: int) -> bytes:
        out = io.BytesIO()
        descr = npy_format.dtype_to_descr(self._dtype)
        npy_format.write_array_header_1_0(
            out, {"descr": descr, "fortran_order": False, "shape": (rows, self._dim)}
        )
        return out.getvalue()
