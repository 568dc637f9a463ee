"""Vectors to be imported with the names of their pictures, whatever kind of file they come in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from imgsearch.addresses import is_remote, real
from imgsearch.errors import DatasetError
from imgsearch.files import WalkOptions
from imgsearch.fs import is_at_or_below
from imgsearch.index.manifest import spec_from_json, spec_to_json
from imgsearch.index.rows import Root
from imgsearch.indexing.roots import PlannedRoot
from imgsearch.names import single_files
from imgsearch.text import display_path
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

    @property
    def roots(self) -> tuple[Root, ...]:
        """The folders that the exporting index kept indexed, if the file says so; their ids mean nothing."""

    def names(self) -> Iterator[Named]:
        """Yield what is said of each row; there may be more or fewer than rows. Raises DatasetError."""

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield the rows, ``size`` at a time. Raises DatasetError."""

    def row_label(self, row: int) -> str:
        """Say where the name of a row (from 0) stands."""


PROVENANCE = "imgsearch"
"""The key of parquet metadata, and the field of a .json file, under which stands what made the vectors."""
ROOTS = "imgsearch.roots"
"""The key, beside that one, under which stand the folders that were indexed."""
_PROVENANCE_FORMAT = 1


def provenance(spec: IndexSpec) -> dict[str, Any]:
    """Return what made vectors as it is written beside them: the fields of an index's manifest."""
    return {"format": _PROVENANCE_FORMAT, **spec_to_json(spec)}


def read_provenance(text: str | bytes, name: str) -> IndexSpec:
    """Read what ``provenance`` gave; ``name`` is the file that it stands in. Raises DatasetError."""
    try:
        data = json.loads(text)
        if int(data["format"]) > _PROVENANCE_FORMAT:
            raise DatasetError(f"{name} was written by a newer imgsearch; please upgrade imgsearch")
        return spec_from_json(data)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DatasetError(f"{name}: the model it names can't be read: {error!r}") from error


def roots_to_json(roots: Sequence[Root]) -> list[dict[str, Any]]:
    """Return folders and their options as they are written beside vectors."""
    return [{"path": root.path, "options": root.options} for root in roots]


def read_roots(data: Any, name: str) -> tuple[Root, ...]:
    """Read what ``roots_to_json`` gave; ``name`` is the file that it stands in. Raises DatasetError."""
    try:
        return tuple(_read_root(entry["path"], entry["options"]) for entry in data)
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise DatasetError(f"{name}: the folders it names can't be read: {error!r}") from error


def _read_root(path: str, options: dict[str, object]) -> Root:
    if not (os.path.isabs(path) or is_remote(path)):
        raise ValueError(f"{path!r} is not an absolute path")
    path = real(path)
    known = {**PlannedRoot(path, WalkOptions()).stored_options(), "exclude": []}
    read = {**options}
    for name, value in options.items():
        parts = value if isinstance(value, list) else []
        if type(value) is not type(known.get(name)) or not all(isinstance(part, str) for part in parts):
            raise ValueError(f"the option {name!r} of {path!r} is not valid")
        if name in ("above", "anchor") and isinstance(value, str) and value:
            read[name] = real(value)
            if not is_at_or_below(path, real(value)):
                raise ValueError(f"{value!r} is not above {path!r}")
    root = Root(0, path, read, os.sep)
    if any(os.path.basename(name) != name or not name for name in single_files(root)):
        raise ValueError(f"the files in {path!r} are not valid")
    return root


def json_beside(vectors: str) -> str:
    """Return where what is to be known of a .npy file's vectors stands: beside it, with the ending .json."""
    return os.path.splitext(vectors)[0] + ".json"


def checked(spec: IndexSpec, dim: int, path: str) -> IndexSpec:
    """Return the spec if vectors of ``dim`` can be its own; else DatasetError."""
    if spec.dim != dim:
        raise DatasetError(
            f"{display_path(path)} gives the embeddings {spec.dim} dimensions, but they have {dim}"
        )
    return spec
