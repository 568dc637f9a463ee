"""Reads the layout of one row a query from parquet and Arrow files, a cell at a time."""

from __future__ import annotations

import bisect
import itertools
import json
import os
import re
import threading
from collections import OrderedDict
from functools import lru_cache
from typing import Any

from imgsearch.errors import DatasetError, MissingExtra
from imgsearch.text import Option, error_line
from imgsearch.tools.dataset.retrieval import PictureRef, RetrievalDataset

_KEPT_BYTES = 256 << 20
"""How much of the row groups read last stays in memory, over all files."""


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
            raise MissingExtra("reading parquet and Arrow files", "eval") from error
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
            raise DatasetError(f"{path}: is no whole parquet or Arrow file: {error_line(error)}") from error
        self._kind = "parquet" if self._parquet else "file" if head == b"ARROW1" else "stream"
        self._names: list[str] = list(schema.names)
        self.types: dict[str, Any] = dict(zip(schema.names, schema.types, strict=True))
        self._starts = [sum(counts[:group]) for group in range(len(counts))]
        self.rows: int = sum(counts)

    def texts(self, column: str) -> list[str]:
        """Return a text column. Raises DatasetError at a cell that is null or blank."""
        found: list[str] = []
        for group in range(len(self._starts)):
            for value in self._chunk(group, column).to_pylist():
                if value is None or not str(value).strip():
                    said = "null" if value is None else "an empty text"
                    raise DatasetError(
                        f"{self.path}, row {len(found) + 1}, column {column}: the cell is {said}"
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
                        "every row needs a picture in every picture column"
                    )
                named[start + offset] = path
        return named

    def picture(self, column: str, row: int) -> bytes:
        """Return the bytes that a picture cell holds; ``row`` counts from 0. Raises DatasetError."""
        if column not in self.types or not 0 <= row < self.rows:
            raise DatasetError(f"{self.path}: the file has no row {row + 1} or no column {column} (any more)")
        group = bisect.bisect_right(self._starts, row) - 1
        value = self._chunk(group, column)[row - self._starts[group]].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise DatasetError(f"{self.path}, row {row + 1}, column {column}: the cell holds no bytes")
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
        with _kept_lock:
            if key in _kept:
                _kept.move_to_end(key)
                return _kept[key]
        import pyarrow as pa

        try:
            with self._lock:
                chunk = self._load(group, column)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(
                f"{self.path}, column {column}: the file is damaged: {error_line(error)}"
            ) from error
        with _kept_lock:
            _kept[key] = chunk
            while len(_kept) > 1 and sum(held.nbytes for held in _kept.values()) > _KEPT_BYTES:
                _kept.popitem(last=False)
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


_numbers = itertools.count()
_kept: OrderedDict[tuple[int, int, str], Any] = OrderedDict()
_kept_lock = threading.Lock()


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


_ENDINGS = (".parquet", ".arrow", ".feather")
_NEGATIVE = re.compile(r"negative_(\d+)")
_SHARD = re.compile(r"(?P<split>.+?)(?:[-_.]\d+(?:-of-\d+)?)?")
_NO_SPLIT = re.compile(r"data|part|\d+")  # what writers call shards of no split in particular
_TEXTS = ("string", "large_string", "string_view")
_BYTES = ("binary", "large_binary", "binary_view")


def read_tables(path: str, split: str | None) -> RetrievalDataset:
    """Read a file, or the shards of one split in a folder, as a retrieval dataset.

    Each row is a query, its picture, and any number of hard negatives, which all join the corpus: one document
    a cell, "ROW/COLUMN" with rows counted from 1 over all shards. Raises DatasetError.
    """
    files, name = ([path], os.path.basename(path)) if os.path.isfile(path) else _shards(path, split)
    negatives = _check_columns(files)
    labelled = all("attribute" in open_cells(file).types for file in files)
    queries: dict[str, str] = {}
    corpus: dict[str, PictureRef] = {}
    relevant: dict[str, dict[str, int]] = {}
    hard: dict[str, tuple[str, ...]] = {}
    labels: dict[str, str] = {}
    for file in files:
        cells = open_cells(file)
        named = {column: cells.named_files(column) for column in ("image", *negatives)}
        attributes = cells.texts("attribute") if labelled else []
        for row, text in enumerate(cells.texts("query")):
            number = str(len(queries) + 1)
            queries[number] = text
            for column, paths in named.items():
                corpus[f"{number}/{column}"] = _picture(file, column, row, paths.get(row))
            relevant[number] = {f"{number}/image": 1}
            if negatives:
                hard[number] = tuple(f"{number}/{column}" for column in negatives)
            if labelled:
                labels[number] = attributes[row]
    if not queries:
        raise DatasetError(f"{path}: the dataset has no rows")
    return RetrievalDataset(name, path, queries, corpus, relevant, hard, labels if labelled else None)


def _picture(file: str, column: str, row: int, path: str | None) -> PictureRef:
    if path is None:
        return PictureRef(file, column, row)
    place = f"{file}, row {row + 1}, column {column}"
    full = os.path.join(os.path.dirname(file), path)
    if not os.path.isfile(full):
        raise DatasetError(
            f"{place}: there is no picture {full}; paths count from the folder of the dataset's file"
        )
    return PictureRef(full, named_in=place)


def _check_columns(files: list[str]) -> list[str]:
    """Return the columns of hard negatives, in order; DatasetError where a file's columns are not the ones needed."""
    first: list[str] | None = None
    for file in files:
        types = open_cells(file).types
        have = ", ".join(types) or "none"
        for column in ("query", "image"):
            if column not in types:
                raise DatasetError(
                    f"{file}: there is no column {column}; needed are query, image and, if there are any, "
                    f"negative_0, negative_1 …; the file's columns are: {have}"
                )
        negatives = sorted(filter(_NEGATIVE.fullmatch, types), key=lambda name: int(name.split("_")[1]))
        for column, wanted in [("query", _is_text), *((name, _is_picture) for name in ("image", *negatives))]:
            if not wanted(types[column]):
                kind = "texts" if wanted is _is_text else "pictures (bytes, a path, or both in a struct)"
                raise DatasetError(
                    f"{file}, column {column}: it holds {types[column]} where {kind} are needed"
                )
        if first is not None and negatives != first:
            raise DatasetError(f"{file}: its hard negatives are {negatives}, those of {files[0]} are {first}")
        first = negatives
    return first or []


def _is_text(kind: Any) -> bool:
    if str(kind).startswith("dictionary<"):  # what pandas makes of a category
        kind = kind.value_type
    return str(kind) in _TEXTS


def _is_picture(kind: Any) -> bool:
    if not str(kind).startswith("struct<"):
        return str(kind) in (*_TEXTS, *_BYTES)
    fields = {field.name: str(field.type) for field in kind}
    allowed = {"bytes": (*_BYTES, "null"), "path": (*_TEXTS, "null")}
    known = fields.keys() & allowed
    return bool(known) and all(fields[name] in allowed[name] for name in known)


def _shards(folder: str, split: str | None) -> tuple[list[str], str]:
    """Return the files of the split that is asked for, in order, and the dataset's name."""
    base = os.path.basename(folder.rstrip(os.sep))
    by_split = _saved_splits(folder) or _named_splits(folder)
    if not by_split:
        raise DatasetError(
            f"{folder}: no dataset is there: neither corpus.jsonl (the BEIR layout) nor parquet or Arrow files"
        )
    there = ", ".join(sorted(filter(None, by_split)))
    if list(by_split) == [""]:
        return by_split[""], base  # one dataset that is not divided
    chosen = split or ("test" if "test" in by_split or len(by_split) > 1 else next(iter(by_split)))
    if chosen not in by_split:
        raise DatasetError(
            f"{folder}: there is no split {chosen}; choose with ", Option("split"), f" among: {there}"
        )
    return by_split[chosen], f"{base}, {chosen}"


def _saved_splits(folder: str) -> dict[str, list[str]]:
    """Return the shards of a folder that ``datasets.save_to_disk`` wrote, by split; empty if it is none."""
    try:
        if os.path.exists(listing := os.path.join(folder, "dataset_dict.json")):
            with open(listing, encoding="utf-8") as file:
                splits = json.load(file)["splits"]
            return {split: _saved_splits(os.path.join(folder, split))[""] for split in splits}
        if os.path.exists(listing := os.path.join(folder, "state.json")):
            with open(listing, encoding="utf-8") as file:
                names = [entry["filename"] for entry in json.load(file)["_data_files"]]
            return {"": [os.path.join(folder, name) for name in names]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{listing}: is not what datasets.save_to_disk writes: {error!r}") from error
    return {}


def _named_splits(folder: str) -> dict[str, list[str]]:
    """Return the shards by split: of the folder or its folder data/ by file name, else by folder.

    Subsets that were pushed to a hub lie in folders of their own; one that is divided gives SUBSET/SPLIT.
    """
    found = _by_name(folder) or _by_name(os.path.join(folder, "data"))
    if found:
        return found
    for subset in sorted(os.listdir(folder)):
        inner = _by_name(os.path.join(folder, subset))
        for split, files in inner.items():
            found[subset if len(inner) == 1 else f"{subset}/{split}"] = files
    return found


def _by_name(folder: str) -> dict[str, list[str]]:
    """Return the parquet and Arrow files of a folder by what their names begin with."""
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        stem, ending = os.path.splitext(name)
        if ending.lower() in _ENDINGS and os.path.isfile(os.path.join(folder, name)):
            match = _SHARD.fullmatch(stem)
            split = match["split"] if match else stem
            found.setdefault("" if _NO_SPLIT.fullmatch(split) else split, []).append(
                os.path.join(folder, name)
            )
    return found
