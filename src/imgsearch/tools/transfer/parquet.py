"""Pictures and vectors in parquet files, by dataset conventions: written a row group at a time, read in batches."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import DatasetError, MissingExtra
from imgsearch.index.rows import Root, StoredPicture
from imgsearch.text import display_path, error_line
from imgsearch.tools.transfer.source import (
    PROVENANCE,
    ROOTS,
    Block,
    Named,
    checked,
    provenance,
    read_provenance,
    read_roots,
    roots_to_json,
)
from imgsearch.types import IndexSpec

_NAMES_AT_ONCE = 8192
_FLOATS = ("halffloat", "float", "double")
_LISTS = ("list<", "large_list<", "fixed_size_list<")
_EXTRAS = ("page", "sha256", "width", "height", "copies", "path_bytes", "copies_bytes")


class NoText(Exception):
    """A path holds bytes that are no UTF-8, and the file has no columns for them."""


def _library() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("reading and writing Parquet files", "eval") from error
    return pyarrow, pyarrow.parquet


class TableWriter:
    """Writes rows of path, page, copies, sha256, width, height and embedding.

    With ``as_bytes`` there are two more columns, path_bytes and copies_bytes: the exact names, in rows where the
    bytes are no UTF-8 and ``path`` and ``copies`` show them with escapes; null in all others.
    """

    def __init__(
        self, file: BinaryIO, spec: IndexSpec, roots: Sequence[Root], dtype: str, as_bytes: bool
    ) -> None:
        """Begin a file with embeddings of ``dtype``, "float16" or "float32". Raises MissingExtra."""
        self._pa, pq = _library()
        pa = self._pa
        self._as_bytes = as_bytes
        self._dtype = np.dtype(dtype)
        self._list = pa.list_(pa.float16() if dtype == "float16" else pa.float32(), spec.dim)
        fields = [
            ("path", pa.string()),
            ("page", pa.int32()),
            ("copies", pa.list_(pa.string())),
            ("sha256", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("embedding", self._list),
        ]
        if as_bytes:
            fields += [("path_bytes", pa.binary()), ("copies_bytes", pa.list_(pa.binary()))]
        about = {PROVENANCE: provenance(spec), ROOTS: roots_to_json(roots)}
        self._schema = pa.schema(fields, metadata={key: json.dumps(value) for key, value in about.items()})
        # Numbers that look like noise don't shrink, and a dictionary of them would only cost memory.
        self._writer = pq.ParquetWriter(
            file,
            self._schema,
            compression={**dict.fromkeys(_columns(self._schema), "ZSTD"), "embedding.list.element": "NONE"},
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )

    def write(self, pictures: Sequence[StoredPicture], rows: NDArray[np.float16]) -> None:
        """Append a row group: a picture a row of ``rows`` (n, dim). Raises NoText."""
        pa = self._pa
        texts = [tuple(map(_text, picture.paths)) for picture in pictures]
        exact = [all(text is not None for text in row) for row in texts]
        if not self._as_bytes and not all(exact):
            raise NoText
        shown_as = [
            [text if text is not None else path.decode(errors="backslashreplace") for text, path in both]
            for both in (
                zip(row, picture.paths, strict=True) for row, picture in zip(texts, pictures, strict=True)
            )
        ]
        flat = np.ascontiguousarray(rows, self._dtype).reshape(-1)
        columns: dict[str, Any] = {
            "path": [row[0] for row in shown_as],
            "page": [picture.page for picture in pictures],
            "copies": [row[1:] for row in shown_as],
            "sha256": [picture.sha256.hex() for picture in pictures],
            "width": [picture.width for picture in pictures],
            "height": [picture.height for picture in pictures],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(flat), self._list.list_size),
        }
        if self._as_bytes:
            names = [None if whole else picture.paths for whole, picture in zip(exact, pictures, strict=True)]
            columns["path_bytes"] = [row and row[0] for row in names]
            columns["copies_bytes"] = [row and list(row[1:]) for row in names]
        self._writer.write_table(pa.table(columns, schema=self._schema), row_group_size=max(1, len(pictures)))

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the file's end; after an error, whatever that gives."""
        try:
            self._writer.close()
        except Exception:
            self._writer.is_open = False  # else it tries once more, and prints, when it is forgotten
            if error is None:
                raise


def _text(path: bytes) -> str | None:
    try:
        return path.decode()
    except UnicodeDecodeError:
        return None


def _columns(schema: Any) -> list[str]:
    lists = {"copies", "copies_bytes", "embedding"}
    return [f"{name}.list.element" if name in lists else name for name in schema.names]


@dataclass(frozen=True, slots=True)
class TableSource:
    """A parquet file with the columns path and embedding; one of ours says more."""

    path: str
    rows: int
    dim: int
    spec: IndexSpec | None
    columns: tuple[str, ...]
    roots: tuple[Root, ...] = ()

    def names(self) -> Iterator[Named]:
        """Yield the paths, and of a file of ours the other columns."""
        row = 0
        for batch in self._batches(_NAMES_AT_ONCE, [name for name in self.columns if name != "embedding"]):
            try:
                named = batch.to_pylist()
            except UnicodeDecodeError as error:
                raise _damaged(self.path, error) from error
            for cells in named:
                try:
                    yield _named(cells)
                except (ValueError, TypeError, AttributeError) as error:
                    raise DatasetError(f"{display_path(self.path)}, row {row + 1}: {error}") from error
                row += 1

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield the embeddings."""
        for batch in self._batches(size, ["embedding"]):
            yield _block(batch.column(0), self.dim)

    def row_label(self, row: int) -> str:
        """Say the row."""
        return f"row {row + 1}"

    def _batches(self, size: int, columns: list[str]) -> Iterator[Any]:
        pa, pq = _library()
        try:
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                # Group by group: pyarrow lets go of what it has read only at the end of what it was asked for.
                for group in range(file.num_row_groups):
                    yield from file.iter_batches(size, row_groups=[group], columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self.path, error) from error


def _named(cells: dict[str, Any]) -> Named:
    """Make sense of one row's cells; ValueError or TypeError where there is none in them."""
    path = cells.get("path_bytes") or cells["path"]
    copies = cells.get("copies_bytes")
    names = [path or "", *((cells.get("copies") if copies is None else copies) or ())]
    sha256 = bytes.fromhex(cells["sha256"]) if cells.get("sha256") else None
    if sha256 is not None and len(sha256) != 32:
        raise ValueError("its sha256 is not valid")
    page, width, height = (_number(cells, name) for name in ("page", "width", "height"))
    return Named(tuple(map(os.fsdecode, names)), page, sha256, width, height)


def _number(cells: dict[str, Any], name: str) -> int:
    """Return a cell that holds a count, 0 if it is empty; ValueError unless an export could hold it (int32)."""
    number = cells.get(name) or 0
    if not 0 <= number < 2**31:
        raise ValueError(f"its {name} is not valid")
    return int(number)


def _block(column: Any, dim: int) -> Block:
    lengths = column.value_lengths().to_pylist() if not _is_fixed(column.type) else None
    wrong = dict.fromkeys(_nulls(column), "is missing")
    if lengths is not None:
        wrong |= {
            row: f"has {length} dimensions, not {dim}"
            for row, length in enumerate(lengths)
            if length is not None and length != dim
        }
    if not wrong:
        return Block(_floats(column.flatten()).reshape(len(column), dim), wrong)
    rows = np.zeros((len(column), dim), np.float32)
    for row in range(len(column)):
        if row not in wrong:
            rows[row] = _floats(column[row].values)
    return Block(rows, wrong)


def _nulls(column: Any) -> list[int]:
    return [row for row, null in enumerate(column.is_null().to_pylist()) if null] if column.null_count else []


def _floats(values: Any) -> NDArray[np.floating[Any]]:
    found: NDArray[np.floating[Any]] = values.to_numpy(zero_copy_only=False)
    return found if found.dtype.kind == "f" else found.astype(np.float32)


def _is_fixed(kind: Any) -> bool:
    return str(kind).startswith("fixed_size_list<")


def open_table(path: str) -> TableSource:
    """Look at a parquet file's schema. Raises DatasetError, MissingExtra."""
    pa, pq = _library()
    name = display_path(path)
    try:
        file = pq.ParquetFile(path)
        schema, rows = file.schema_arrow, file.metadata.num_rows
        about = schema.metadata or {}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error
    for column in ("path", "embedding"):
        if schema.names.count(column) != 1:
            raise DatasetError(
                f"{name} needs one column {column!r}; its columns are: {', '.join(schema.names[:20])}"
            )
    if not rows:
        raise DatasetError(f"{name} has no rows")
    kind = schema.field("path").type
    if str(kind).startswith("dictionary<"):
        kind = kind.value_type
    if str(kind) not in ("string", "large_string", "string_view", "binary", "large_binary", "binary_view"):
        raise DatasetError(f"{name}, column path: it contains {kind}, not text")
    dim = _dim(file, schema.field("embedding").type, name)
    metadata, folders = about.get(PROVENANCE.encode()), about.get(ROOTS.encode())
    spec = checked(read_provenance(metadata, name), dim, path) if metadata else None
    roots = _roots(folders, name) if spec and folders else ()
    # Columns of the same names in anybody else's file may mean anything.
    extras = [extra for extra in _EXTRAS if spec and extra in schema.names]
    return TableSource(path, rows, dim, spec, ("path", *extras, "embedding"), roots)


def _roots(text: bytes, name: str) -> tuple[Root, ...]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    return read_roots(data, name)


def _dim(file: Any, kind: Any, name: str) -> int:
    """Return the length of the embeddings: the type's, or of lists that may differ the first one's."""
    if not str(kind).startswith(_LISTS) or str(kind.value_type) not in _FLOATS:
        raise DatasetError(f"{name}, column embedding: it contains {kind}, not lists of floats")
    if _is_fixed(kind):
        dim = int(kind.list_size)
    else:
        pa, _ = _library()
        try:
            lengths = (
                length
                for batch in file.iter_batches(batch_size=64, columns=["embedding"])
                for length in batch.column(0).value_lengths().to_pylist()
            )
            dim = next((length for length in lengths if length), 0)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(name, error) from error
    if dim < 1:
        raise DatasetError(f"{name}, column embedding: it contains no numbers")
    return dim


def _damaged(path: str, error: Exception) -> DatasetError:
    return DatasetError(f"{display_path(path)} can't be read as Parquet: {error_line(error)}")
