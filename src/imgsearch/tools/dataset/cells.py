"""Reads parquet and Arrow files a cell at a time."""

from __future__ import annotations

import bisect
import itertools
import os
import threading
from collections import OrderedDict
from functools import lru_cache
from typing import Any

from imgsearch.errors import DatasetError, MissingExtra
from imgsearch.text import error_line

_CACHE_BYTES = 256 << 20
_Key = tuple[int, int, str]


class _Cache:
    """The row groups that were read last, over all files, of at most so many bytes (the last one always)."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._kept: OrderedDict[_Key, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: _Key) -> Any:
        """Return a column of a row group, or None."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: _Key, chunk: Any) -> None:
        """Keep a column of a row group, and forget those that were not asked for the longest."""
        size = chunk.nbytes  # counted once: Arrow adds it up each time
        with self._lock:
            self._held += size - self._kept.pop(key, (None, 0))[1]
            self._kept[key] = chunk, size
            while len(self._kept) > 1 and self._held > self._most:
                self._held -= self._kept.popitem(last=False)[1][1]


_cache = _Cache(_CACHE_BYTES)
_numbers = itertools.count()


def open_cells(path: str) -> Cells:
    """Open a parquet, Arrow or Feather file, or return it as it is open; reopened when the file has changed.

    Raises DatasetError if it is none of these, MissingExtra without pyarrow.
    """
    try:
        state = os.stat(path)
    except OSError as error:
        raise DatasetError(f"{path}: can't be read: {error_line(error)}") from error
    return _open(path, state.st_mtime_ns, state.st_size)


class Cells:
    """An open file of columns. ``types`` maps each column's name to its Arrow type, ``rows`` counts the rows.

    Parquet is read a row group's column at a time; Arrow files are memory-mapped. (Only a compressed Arrow
    *stream*, which ``datasets`` never writes, is held as a whole.) May be used from many threads.
    """

    def __init__(self, path: str) -> None:
        """Open the file at ``path``; see open_cells."""
        self.path = path
        self._lock = threading.Lock()
        self._number = next(_numbers)  # a file that changed is opened anew, under another number
        self._parquet: Any = None
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise MissingExtra("reading Parquet and Arrow files", "eval") from error
        try:
            with open(path, "rb") as file:
                head = file.read(6)
            # Only Arrow is mapped: of parquet, mapped pages would stay in memory beside what was unpacked.
            mapped = os.path.getsize(path) and head[:4] != b"PAR1"
            self._source = pa.memory_map(path) if mapped else pa.OSFile(path)
            if head[:4] == b"PAR1":
                self._parquet = pq.ParquetFile(self._source)
                schema = self._parquet.schema_arrow
                meta = self._parquet.metadata
                counts = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
            elif head == b"ARROW1":
                self._readers: dict[str, Any] = {}
                schema = pa.ipc.open_file(self._source).schema
                # Of a compressed file only the columns asked for are unpacked; to count, the texts will do.
                counts = []
                if schema.names:
                    column = "query" if "query" in schema.names else schema.names[0]
                    reader = self._reader(schema.get_field_index(column))
                    groups = range(reader.num_record_batches)
                    counts = [reader.get_batch(group).num_rows for group in groups]
            else:
                self._batches = pa.ipc.open_stream(self._source).read_all().to_batches()
                schema = self._batches[0].schema if self._batches else pa.ipc.open_stream(self._source).schema
                counts = [batch.num_rows for batch in self._batches]
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{path}: not a valid Parquet or Arrow file: {error_line(error)}") from error
        self._kind = "parquet" if self._parquet else "file" if head == b"ARROW1" else "stream"
        self._names: list[str] = list(schema.names)
        self.types: dict[str, Any] = dict(zip(schema.names, schema.types, strict=True))
        *self._starts, self.rows = itertools.accumulate(counts, initial=0)

    def texts(self, column: str) -> list[str]:
        """Return a text column. Raises DatasetError at a cell that is null or blank."""
        found: list[str] = []
        for group in range(len(self._starts)):
            for value in self._chunk(group, column).to_pylist():
                if value is None or not str(value).strip():
                    content = "null" if value is None else "an empty text"
                    raise DatasetError(
                        f"{self.path}, row {len(found) + 1}, column {column}: the cell is {content}"
                    )
                found.append(str(value))
        return found

    def named_files(self, column: str) -> dict[int, str]:
        """Return row → path for the cells of a picture column that name a file instead of holding its bytes.

        Raises DatasetError at a cell that is null, or holds neither.
        """
        named: dict[int, str] = {}
        for group, start in enumerate(self._starts):
            if self._all_hold_bytes(group, column):
                continue
            for offset, (data_is_null, path) in enumerate(_bytes_and_paths(self._chunk(group, column))):
                if not data_is_null:
                    continue
                if not path:
                    raise DatasetError(
                        f"{self.path}, row {start + offset + 1}, column {column}: the cell is null; "
                        "every row needs an image in every image column"
                    )
                named[start + offset] = path
        return named

    def picture(self, column: str, row: int) -> bytes:
        """Return the bytes that a picture cell holds; ``row`` counts from 0. Raises DatasetError."""
        if column not in self.types or not 0 <= row < self.rows:
            raise DatasetError(
                f"{self.path}: row {row + 1} or column {column} is missing; was the file changed?"
            )
        group = bisect.bisect_right(self._starts, row) - 1
        value = self._chunk(group, column)[row - self._starts[group]].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise DatasetError(f"{self.path}, row {row + 1}, column {column}: the cell has no bytes")
        return data

    def _all_hold_bytes(self, group: int, column: str) -> bool:
        """Say from a parquet file's statistics, without reading the column, that no cell of it is without bytes."""
        if self._parquet is None:
            return False
        row_group = self._parquet.metadata.row_group(group)
        for number in range(row_group.num_columns):
            leaf = row_group.column(number)
            if leaf.path_in_schema in (column, f"{column}.bytes") and leaf.physical_type == "BYTE_ARRAY":
                if str(self.types[column]) in ("string", "large_string", "string_view"):
                    return False
                counted = leaf.statistics
                return bool(counted is not None and counted.has_null_count and counted.null_count == 0)
        return False

    def _chunk(self, group: int, column: str) -> Any:
        """Return one column of one row group (or record batch), from memory if it was read lately."""
        key = (self._number, group, column)
        if (chunk := _cache.get(key)) is not None:
            return chunk
        import pyarrow as pa

        try:
            with self._lock:
                # Of several threads that want it, the first reads it.
                if (chunk := _cache.get(key)) is not None:
                    return chunk
                chunk = self._load(group, column)
                _cache.put(key, chunk)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(
                f"{self.path}, column {column}: the file is damaged: {error_line(error)}"
            ) from error
        return chunk

    def _load(self, group: int, column: str) -> Any:
        if self._kind == "parquet":
            return self._parquet.read_row_group(group, columns=[column], use_threads=False).column(0)
        if self._kind == "file":
            return self._reader(self._names.index(column)).get_batch(group).column(0)
        return self._batches[group].column(self._names.index(column))

    def _reader(self, column: int) -> Any:
        import pyarrow as pa

        key = str(column)
        if key not in self._readers:
            options = pa.ipc.IpcReadOptions(included_fields=[column])
            self._readers[key] = pa.ipc.open_file(self._source, options=options)
        return self._readers[key]


@lru_cache(maxsize=64)
def _open(path: str, mtime_ns: int, size: int) -> Cells:
    return Cells(path)


def _bytes_and_paths(chunk: Any) -> list[tuple[bool, str | None]]:
    """Return for each cell whether it has no bytes, and the path that it names."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(chunk.type):
        names = {chunk.type.field(number).name for number in range(chunk.type.num_fields)}
        none = [None] * len(chunk)
        paths = pc.struct_field(chunk, "path").to_pylist() if "path" in names else none
        if "bytes" not in names:
            return [(True, path) for path in paths]
        return list(zip(pc.is_null(pc.struct_field(chunk, "bytes")).to_pylist(), paths, strict=True))
    if str(chunk.type) in ("string", "large_string", "string_view"):
        return [(True, path) for path in chunk.to_pylist()]
    return [(missing, None) for missing in chunk.is_null().to_pylist()]
