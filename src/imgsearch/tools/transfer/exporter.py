"""Use case: what an index holds, as one parquet file, or as an array with a list of paths beside it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import FolderError, IndexDamaged, UsageError
from imgsearch.fs import AtomicFiles
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import StoredPicture
from imgsearch.index.segments import Segment, SegmentMissing, are_unit, row_crc
from imgsearch.text import Call, Option, display_path, format_duration, plural
from imgsearch.tools.transfer.npy import ArrayWriter
from imgsearch.tools.transfer.parquet import NoText, TableWriter
from imgsearch.tools.transfer.paths import PathWriter
from imgsearch.tools.transfer.source import PROVENANCE, ROOTS, json_beside, provenance, roots_to_json
from imgsearch.types import Reporter, Silent, StoredDtype

_GROUP_BYTES = 8 << 20
_MOST_ROWS = 65_536
_TRIES = 5


@dataclass(slots=True)
class Exported:
    """What was written: ``pictures`` of ``dim`` numbers each, ``files``; ``damaged`` vectors were left out."""

    pictures: int
    dim: int
    files: tuple[str, ...]
    damaged: int = 0
    seconds: float = 0.0

    def summary(self) -> str:
        """Say in one line what was written and where."""
        left_out = f"; {plural(self.damaged, 'damaged embedding')} left out" if self.damaged else ""
        files = ", ".join(map(display_path, self.files))
        took = format_duration(self.seconds)
        written = f"{plural(self.pictures, 'image')}, {plural(self.dim, 'dimension')}"
        return f"{written}, in {files}{left_out}; {took}"


def export(
    out: str,
    folder: str,
    *,
    paths: str | None = None,
    dtype: StoredDtype = "float16",
    skip_bad: bool = False,
    reporter: Reporter | None = None,
) -> Exported:
    """Write every picture of the index in ``folder`` that has a file, one row each, in the order of indexing.

    ``out`` ends in .parquet, or in .npy: then ``paths`` (default: OUT with the ending .paths.txt) is written too,
    and a .json that says what made the vectors. Files that are there give way only to complete ones. All rows are
    of one moment; what is written meanwhile is not among them. A vector that does not match its checksum is
    IndexDamaged, as nobody can tell it from a sound one afterwards; ``skip_bad`` leaves it out and counts it.

    Raises UsageError, FolderError, MissingExtra, DatasetError (a path that a list of lines can't hold), StorageError,
    and whatever opening the index does.
    """
    started, reporter = time.monotonic(), reporter or Silent()
    ending = os.path.splitext(out)[1].lower()
    if ending not in (".parquet", ".npy"):
        raise UsageError(f"{display_path(out)}: the output file must end in .parquet or .npy")
    if ending == ".parquet" and paths is not None:
        raise UsageError(Option("paths"), " is for .npy files; a Parquet file contains the paths itself")
    parent = os.path.dirname(os.path.abspath(out))
    if not os.path.isdir(parent):
        raise FolderError(
            f"{display_path(parent)} is not a folder; can't write {display_path(os.path.basename(out))} there"
        )
    for tries in range(1, _TRIES + 1):
        with ImageIndex(folder) as index, index.catalog.transaction("DEFERRED"):
            try:
                run = _Export(index, dtype, skip_bad, reporter)
            except SegmentMissing:
                # Compaction has just replaced it; the next snapshot knows that.
                if tries == _TRIES:
                    raise
                continue
            try:
                result = run.table(out) if ending == ".parquet" else run.array(out, paths)
            finally:
                reporter.stop()
            break
    result.seconds = time.monotonic() - started
    return result


class _Export:
    """One export, in one snapshot of the index."""

    def __init__(self, index: ImageIndex, dtype: StoredDtype, skip_bad: bool, reporter: Reporter) -> None:
        """Open every segment, so that compaction can't take one away any more."""
        self.index, self.dtype, self.skip_bad, self.reporter = index, dtype, skip_bad, reporter
        self.segments: dict[int, Segment] = {
            view.segment.number: view.segment for view in index.snapshot.views(index.catalog, fast=False)
        }
        self.roots = index.catalog.roots()
        self.damaged = 0

    def table(self, out: str) -> Exported:
        """Write a parquet file."""
        for as_bytes in (False, True):
            try:
                return self._table(out, as_bytes)
            except NoText:
                continue
        raise AssertionError("with columns of bytes every name fits")

    def _table(self, out: str, as_bytes: bool) -> Exported:
        done = 0
        with (
            AtomicFiles() as files,
            TableWriter(files.open(out), self.index.spec, self.roots, self.dtype, as_bytes) as writer,
        ):
            for pictures, rows in self._groups():
                writer.write(pictures, rows)
                done += len(rows)
        return Exported(done, self.index.spec.dim, (out,), self.damaged)

    def array(self, out: str, paths: str | None) -> Exported:
        """Write a .npy file, its list of paths and its .json."""
        paths = paths or os.path.splitext(out)[0] + ".paths.txt"
        about = json_beside(out)
        if len({os.path.realpath(path) for path in (out, paths, about)}) < 3:
            raise UsageError(
                f"{display_path(paths)} is already one of the output files; choose another name for the paths"
            )
        with AtomicFiles() as files:
            names = PathWriter(files.open(paths), paths)
            note = files.open(about)
            writer = ArrayWriter(files.open(out), self.index.spec.dim, self.dtype)
            for pictures, rows in self._groups():
                writer.write(rows)
                for picture in pictures:
                    names.write(picture.paths[0])
            writer.finish()
            made_of = {PROVENANCE: provenance(self.index.spec), ROOTS: roots_to_json(self.roots)}
            record = {**made_of, "rows": writer.rows}
            note.write(json.dumps(record, indent=2).encode() + b"\n")
        return Exported(writer.rows, self.index.spec.dim, (out, paths, about), self.damaged)

    def _groups(self) -> Iterator[tuple[list[StoredPicture], NDArray[np.float16]]]:
        """Yield the pictures and their rows, at most 32 MiB at a time, with every checksum compared."""
        self.damaged = 0
        size = max(1, min(_MOST_ROWS, _GROUP_BYTES // (2 * self.index.spec.dim)))
        self.reporter.start(self.index.catalog.picture_count(), "pictures")
        group: list[StoredPicture] = []
        for picture in self.index.catalog.pictures():
            if group and (len(group) == size or picture.segment != group[0].segment):
                yield from self._checked(group)
                group = []
            group.append(picture)
        if group:
            yield from self._checked(group)

    def _checked(
        self, group: list[StoredPicture]
    ) -> Iterator[tuple[list[StoredPicture], NDArray[np.float16]]]:
        segment = self.segments.get(group[0].segment)
        if segment is None:
            raise self.index.catalog.database.damaged(ValueError(f"there is no segment {group[0].segment}"))
        rows = segment.take(np.array([picture.row for picture in group], np.int64))
        unit = are_unit(rows)
        sound = [
            index
            for index, picture in enumerate(group)
            if unit[index] and row_crc(rows[index]) == picture.crc
        ]
        self.reporter.advance(len(group))
        if len(sound) < len(group):
            if not self.skip_bad:
                first = next(index for index in range(len(group)) if index not in sound)
                raise IndexDamaged(
                    f"{segment.path} is damaged: embedding {group[first].row} does not match its checksum or "
                    "is not of unit length; nothing was written. '",
                    Call("repair_index"),
                    "' repairs the index; ",
                    Option("skip_bad", True),
                    " exports the rest",
                )
            self.damaged += len(group) - len(sound)
            group, rows = [group[index] for index in sound], rows[sound]
        if group:
            yield group, rows
