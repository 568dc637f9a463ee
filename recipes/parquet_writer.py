"""Writes a retrieval dataset as one parquet file, a row group at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from imgsearch.errors import DatasetError, MissingExtra, StorageError

_ROWS_A_GROUP = 64  # small groups: a single cell is read by unpacking its group's column


def write_parquet(path: str, rows: Iterable[Mapping[str, str | bytes]]) -> int:
    """Write rows such as {"query": text, "image": bytes, "negative_0": bytes, "attribute": text}; return how many.

    A value of bytes is an encoded picture and becomes a cell {bytes, path} that ``datasets`` knows as an
    Image; a str stays a string. The first row decides the columns; at most 64 rows are in memory. The file
    appears whole or not at all. Raises DatasetError for a row of other columns, StorageError, MissingExtra.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("writing parquet files", "eval") from error
    source, written = iter(rows), 0
    group = list(islice(source, _ROWS_A_GROUP))
    if not group:
        raise DatasetError(f"{path}: there are no rows to write")
    schema = _schema(pa, group[0])
    partial = f"{path}.partial-{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        # Pictures are packed already: packing them once more would only cost time.
        packed = {
            name: "ZSTD" if pa.types.is_string(schema.field(name).type) else "NONE" for name in schema.names
        }
        packed = {leaf: packed[leaf.split(".")[0]] for leaf in _leaves(pa, schema)}
        with pq.ParquetWriter(partial, schema, compression=packed, use_dictionary=False) as writer:
            while group:
                cells = [_cells(path, written + place, row, schema.names) for place, row in enumerate(group)]
                writer.write_table(pa.Table.from_pylist(cells, schema), row_group_size=_ROWS_A_GROUP)
                written += len(group)
                group = list(islice(source, _ROWS_A_GROUP))
        os.replace(partial, path)
    except OSError as error:
        raise StorageError(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        if os.path.exists(partial):
            os.unlink(partial)
    return written


def _schema(pa: Any, row: Mapping[str, str | bytes]) -> Any:
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {
        name: {"_type": "Image"} if isinstance(value, bytes) else {"dtype": "string", "_type": "Value"}
        for name, value in row.items()
    }
    fields = [(name, picture if isinstance(value, bytes) else pa.string()) for name, value in row.items()]
    # What the datasets library looks for, so that it shows pictures and not structs.
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _leaves(pa: Any, schema: Any) -> list[str]:
    return [
        leaf
        for field in schema
        for leaf in (
            [f"{field.name}.bytes", f"{field.name}.path"] if pa.types.is_struct(field.type) else [field.name]
        )
    ]


def _cells(path: str, place: int, row: Mapping[str, str | bytes], names: list[str]) -> dict[str, Any]:
    if list(row) != names:
        raise DatasetError(
            f"{path}, row {place + 1}: its columns are {', '.join(row)}, not {', '.join(names)}"
        )
    return {
        name: {"bytes": value, "path": None} if isinstance(value, bytes) else value
        for name, value in row.items()
    }
