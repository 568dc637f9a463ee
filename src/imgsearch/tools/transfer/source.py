"""Vectors to be imported with the names of their pictures, whatever kind of file they come in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import DatasetError, FolderError, UsageError
from imgsearch.files import check_root
from imgsearch.files.open import open_regular
from imgsearch.index.manifest import spec_from_json, spec_to_json
from imgsearch.text import Option, display_path, error_line
from imgsearch.tools.transfer import npy
from imgsearch.tools.transfer.paths import read_paths
from imgsearch.types import IndexSpec


class Named(NamedTuple):
    """What is said of one row: its picture's paths, and what an export of ours adds; sizes are 0 if unknown."""

    paths: tuple[str, ...]
    page: int = 0
    sha256: bytes | None = None
    width: int = 0
    height: int = 0


class Block(NamedTuple):
    """Some rows: (n, dim) floats of any precision, and what is wrong with rows that are no vectors at all."""

    rows: NDArray[np.floating[Any]]
    wrong: dict[int, str]


class VectorSource(Protocol):
    """Vectors and names, both read as often as asked for, in the same order."""

    @property
    def path(self) -> str:
        """The file of the vectors."""

    @property
    def rows(self) -> int:
        """How many vectors there are."""

    @property
    def dim(self) -> int:
        """How long they are."""

    @property
    def spec(self) -> IndexSpec | None:
        """What they were made with, if the file says so."""

    def names(self) -> Iterator[Named]:
        """Yield what is said of each row; there may be more or fewer than rows. Raises DatasetError."""

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield the rows, ``size`` at a time. Raises DatasetError."""

    def place(self, row: int) -> str:
        """Say where the name of a row (from 0) stands."""


@dataclass(frozen=True, slots=True)
class ArraySource:
    """A .npy file with a list of paths beside it."""

    array: npy.Array
    list: str
    spec: IndexSpec | None

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
        with reading(self.list), _opened(self.list) as file:
            for path in read_paths(self.list, file):
                yield Named((path,))

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield the rows of the array."""
        with reading(self.path):
            for rows in self.array.blocks(size):
                yield Block(rows, {})

    def place(self, row: int) -> str:
        """Say the line."""
        return f"line {row + 1}"


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Put what a disk or a network says while a file is read into one line: DatasetError."""
    try:
        yield
    except OSError as error:
        raise DatasetError(f"{display_path(path)} can't be read: {error_line(error)}") from error


def open_vectors(vectors: str, paths: str | None) -> VectorSource:
    """Look at a file of vectors, which its first bytes tell, and at the list of paths that a .npy file needs.

    Raises FolderError (not there, or no regular file), UsageError, DatasetError, MissingExtra.
    """
    name = display_path(vectors)
    with _opened(vectors) as file:
        head = file.read(8)
        file.seek(0)
        if head.startswith(npy.MAGIC):
            if paths is None:
                raise UsageError(
                    f"{name} holds vectors without names; give their paths, a line each: ",
                    Option("paths", metavar="FILE"),
                )
            with _opened(paths):
                pass
            array = npy.open_array(vectors, file)
            return ArraySource(array, paths, _spec_beside(array))
    if head.startswith(b"PAR1"):
        if paths is not None:
            raise UsageError(
                f"{name} is a parquet file, which holds the paths itself; leave ", Option("paths"), " out"
            )
        from imgsearch.tools.transfer.parquet import open_table  # on use: it loads pyarrow

        return open_table(vectors)
    if head.startswith(b"PK"):
        raise DatasetError(f"{name} is an archive (.npz?); save one array: np.save('vectors.npy', vectors)")
    raise DatasetError(f"{name} is neither a .npy file nor a parquet file (pickles are never read)")


def _opened(path: str) -> Any:
    if not os.path.isfile(check_root(path)):
        raise FolderError(f"{display_path(path)} is a folder; give a file")
    return open_regular(path)


def _spec_beside(array: npy.Array) -> IndexSpec | None:
    """Return what the .json file that export writes beside a .npy file says, if there is one."""
    path = json_beside(array.path)
    try:
        with open_regular(path) as file:
            about = json.loads(file.read(1 << 20))
            kept = about[PROVENANCE]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # none, or somebody else's
    if about.get("rows") != array.rows:
        raise DatasetError(
            f"{display_path(path)} is about {about.get('rows')} vectors, {display_path(array.path)} holds "
            f"{array.rows}: they do not belong together; take the .json away if it has nothing to do with these vectors"
        )
    return checked(read_provenance(json.dumps(kept), display_path(path)), array.dim, path)


PROVENANCE = "imgsearch"
"""The key of parquet metadata, and the field of a .json file, under which stands what made the vectors."""
_PROVENANCE_FORMAT = 1


def provenance(spec: IndexSpec) -> dict[str, Any]:
    """Return what made vectors as it is written beside them: the fields of an index's manifest."""
    return {"format": _PROVENANCE_FORMAT, **spec_to_json(spec)}


def read_provenance(text: str | bytes, name: str) -> IndexSpec:
    """Read what ``provenance`` gave; ``name`` is the file that it stands in. Raises DatasetError."""
    try:
        data = json.loads(text)
        if int(data["format"]) > _PROVENANCE_FORMAT:
            raise DatasetError(f"{name} was written by a newer imgsearch; update this one to read it")
        return spec_from_json(data)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DatasetError(f"{name}: what it says of the vectors' model can't be read: {error!r}") from error


def json_beside(vectors: str) -> str:
    """Return where what is to be known of a .npy file's vectors stands: beside it, with the ending .json."""
    return os.path.splitext(vectors)[0] + ".json"


def checked(spec: IndexSpec, dim: int, path: str) -> IndexSpec:
    """Return the spec if vectors of ``dim`` can be its own; else DatasetError."""
    if spec.dim != dim:
        raise DatasetError(
            f"{display_path(path)} says that the vectors have {spec.dim} dimensions; they have {dim}"
        )
    return spec
