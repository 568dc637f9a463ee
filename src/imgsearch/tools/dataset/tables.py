"""Reads the layout of one row per query from Parquet and Arrow files."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from imgsearch.errors import DatasetError
from imgsearch.text import Option
from imgsearch.tools.dataset.cells import open_cells
from imgsearch.tools.dataset.retrieval import PictureRef, RetrievalDataset

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
    cell = f"{file}, row {row + 1}, column {column}"
    full = os.path.join(os.path.dirname(file), path)
    if not os.path.isfile(full):
        raise DatasetError(
            f"{cell}: {full} does not exist; paths are relative to the folder of the dataset's file"
        )
    return PictureRef(full, named_in=cell)


def _check_columns(files: list[str]) -> list[str]:
    """Return the columns of hard negatives, in order; DatasetError where a file's columns are not the ones needed."""
    first: list[str] | None = None
    for file in files:
        types = open_cells(file).types
        have = ", ".join(types) or "none"
        for column in ("query", "image"):
            if column not in types:
                raise DatasetError(
                    f"{file}: there is no column {column}; needed: query and image, optional: "
                    f"negative_0, negative_1 …; the file's columns are: {have}"
                )
        negatives = sorted(filter(_NEGATIVE.fullmatch, types), key=lambda name: int(name.split("_")[1]))
        for column, wanted in [("query", _is_text), *((name, _is_picture) for name in ("image", *negatives))]:
            if not wanted(types[column]):
                kind = "texts" if wanted is _is_text else "images (bytes, a path, or both in a struct)"
                raise DatasetError(f"{file}, column {column}: it contains {types[column]}, not {kind}")
        if first is not None and negatives != first:
            raise DatasetError(
                f"{file}: its hard negatives are {negatives}, but those of {files[0]} are {first}"
            )
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
            f"{folder}: not a dataset: it has neither corpus.jsonl (the BEIR layout) nor Parquet or Arrow files"
        )
    splits = ", ".join(sorted(filter(None, by_split)))
    if list(by_split) == [""]:
        return by_split[""], base  # one dataset that is not divided
    chosen = split or ("test" if "test" in by_split or len(by_split) > 1 else next(iter(by_split)))
    if chosen not in by_split:
        raise DatasetError(
            f"{folder}: there is no split {chosen}; choose one with ", Option("split"), f": {splits}"
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
        raise DatasetError(f"{listing}: not written by datasets.save_to_disk: {error!r}") from error
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
