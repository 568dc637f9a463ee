"""ImageIndex, the directory on disk: opened to search it, or, holding its lock, to write to it in the right order.

Order of a commit: rows appended and durable, then one catalogue transaction that names them. A reader takes no
lock; what a killed writer left behind is invisible to it and cut off by the next writer.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

import numpy as np

from imgsearch.errors import IndexDamaged, IndexMismatch, UsageError, rebuild_hint
from imgsearch.index import ann, manifest
from imgsearch.index.catalog import Catalog
from imgsearch.index.lock import WriterLock
from imgsearch.index.rows import FileState, NewContent, Place
from imgsearch.index.vectors import (
    Rows,
    SegmentWriter,
    map_segment,
    row_crc,
    rows_per_segment,
    segment_name,
    storage_error,
)
from imgsearch.types import Identity, Record, Vectors

# Contents without a file are skipped after the scan; this many are expected before a second, wider scan.
_SPARE = 32

# What an index's folder holds of ours: a rebuild removes nothing else. The catalogue goes first, so that one
# that was broken off is a damaged index and not an empty one.
_DATABASES = tuple(
    name + end for name in ("catalog.sqlite", "queries.sqlite") for end in ("", "-wal", "-shm", "-journal")
)
_SEGMENT = re.compile(r"\d{8}\.f16")


class ImageIndex:
    """A directory of vectors and rows, open for reading.

    ``identity`` says what it was made with, ``catalog`` which files it knows. Use it as a context manager.
    """

    def __init__(self, folder: str) -> None:
        """Open the index in ``folder``.

        Raises IndexMissing, IndexDamaged, IndexMismatch (a newer format) or StorageError.
        """
        self.folder = os.path.abspath(folder)
        self.identity: Identity = manifest.read(self.folder)
        self.catalog = self._open_catalog()
        try:
            # Damage is better said before a model is loaded than after.
            for number, rows in self.catalog.segments():
                self._map(number, rows)
        except BaseException:
            self.catalog.close()
            raise

    def _open_catalog(self) -> Catalog:
        return Catalog(self.folder)

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the index."""
        self.close()

    def close(self) -> None:
        """Close the catalogue."""
        self.catalog.close()

    def search(self, vectors: Vectors, k: int, dim: int | None = None) -> list[list[tuple[Record, float]]]:
        """Return for each of ``vectors`` (n, dim) float32 the at most ``k`` nearest pictures, best first.

        The figure beside a record is the exact cosine with the stored row; equal ones stand in the order in
        which they were indexed. ``dim`` searches a Matryoshka prefix. Raises UsageError for a dim that the
        index does not have, IndexDamaged if a hit's row does not match its checksum.
        """
        self.check_dim(dim)
        if vectors.ndim != 2 or vectors.shape[1] != self.identity.dim:
            raise UsageError(
                f"a vector of shape {vectors.shape[1:]} does not fit this index of {self.identity.dim} dimensions"
            )
        if k < 1 or not len(vectors):
            return [[] for _ in vectors]
        with self.catalog.transaction("DEFERRED"):
            counts = self.catalog.segments()
            segments = [self._map(number, rows) for number, rows in counts]
            total = sum(rows for _, rows in counts)
            answers: list[list[tuple[Record, float]]] = []
            for query in vectors:
                wanted = min(k + _SPARE, total)
                hits = self._hits(segments, counts, query, wanted, dim)
                while len(hits) < k and wanted < total:
                    wanted = min(wanted * 4, total)
                    hits = self._hits(segments, counts, query, wanted, dim)
                answers.append(hits[:k])
        return answers

    def check_dim(self, dim: int | None) -> None:
        """Raise UsageError for a Matryoshka dimension that the index can't be searched at."""
        if dim is not None and not 1 <= dim <= self.identity.dim:
            raise UsageError(f"--dim {dim}: this index holds vectors of {self.identity.dim} dimensions")

    def _hits(
        self, segments: list[Rows], counts: list[tuple[int, int]], query: Vectors, k: int, dim: int | None
    ) -> list[tuple[Record, float]]:
        _, places, rows = ann.nearest(segments, query[None], k, dim)
        hits = []
        for place, row in zip(places[0].tolist(), rows[0].tolist(), strict=True):
            found = self.catalog.record(counts[place][0], row)
            if found is None:
                continue
            record, crc = found
            stored = segments[place][row : row + 1]
            self._check(stored[0], crc, counts[place][0], row)
            hits.append((record, float(ann.exact_scores(stored, query, dim)[0])))
        return sorted(hits, key=lambda hit: (-hit[1], hit[0].id))

    def vector(self, place: Place) -> Vectors:
        """Return a stored vector as (1, dim) float32. Raises IndexDamaged if its checksum does not match."""
        rows = dict(self.catalog.segments()).get(place.segment, 0)
        stored = self._map(place.segment, rows)[place.row]
        self._check(stored, place.crc, place.segment, place.row)
        return np.asarray(stored, np.float32)[None]

    def _map(self, number: int, rows: int) -> Rows:
        folder = os.path.join(self.folder, "vectors")
        return map_segment(folder, number, rows, self.identity.dim, self.identity.fingerprint)

    def _check(self, row: Rows, crc: int, segment: int, number: int) -> None:
        if row_crc(row) != crc:
            path = os.path.join(self.folder, "vectors", segment_name(segment))
            raise IndexDamaged(
                f"{path} is damaged: vector {number} does not match its checksum; {rebuild_hint(self.folder)}"
            )

    @property
    def created(self) -> float:
        """When the index was made, in seconds since 1970; 0 if it no longer says."""
        try:
            kept = float(self.catalog.meta("created") or 0)
        except ValueError:
            return 0.0
        return kept if 0 < kept < 1e11 else 0.0

    def bytes_on_disk(self) -> int:
        """Return the size of everything in the index's folder."""
        total = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_size
                except OSError:
                    pass  # a file that a writer has just replaced
        return total


class IndexWriter(ImageIndex):
    """An index open for writing; holds the writer lock until it is closed."""

    def __init__(self, folder: str, identity: Identity | None = None, *, rebuild: bool = False) -> None:
        """Open the index in ``folder`` to write to it; with ``identity``, make it if there is none.

        ``rebuild`` throws away whatever is there and begins anew with ``identity``.
        Raises IndexLocked (who holds it), IndexMissing, IndexDamaged, IndexMismatch, StorageError.
        """
        folder = os.path.abspath(folder)
        if identity is None:
            manifest.read(folder)  # no lock file appears where there is no index
        else:
            try:
                os.makedirs(folder, exist_ok=True)
            except OSError as error:
                raise storage_error(error, folder) from error
        self._lock = WriterLock(folder)
        try:
            if identity is not None:
                if rebuild:
                    _wipe(folder)
                if rebuild or not manifest.exists(folder):
                    # The catalogue first: a folder with a manifest is an index, and an index has a catalogue.
                    catalog = Catalog(folder, write=True, create=True)
                    catalog.put_meta("created", repr(time.time()))
                    catalog.close()
                    manifest.write(folder, identity)
            super().__init__(folder)
            if identity is not None and (found := manifest.differences(self.identity, identity)):
                self.catalog.close()
                raise IndexMismatch(
                    f"meanwhile an index was made in {folder} with {'; '.join(found)}; run the command again"
                )
        except BaseException:
            self._lock.release()
            raise
        self._segments = SegmentWriter(
            os.path.join(self.folder, "vectors"), self.identity.dim, self.identity.fingerprint
        )
        self._number = self._rows = 0

    def _open_catalog(self) -> Catalog:
        return Catalog(self.folder, write=True)

    def commit(
        self, contents: Sequence[tuple[bytes, int, int, int]], vectors: Vectors, states: Iterable[FileState]
    ) -> None:
        """Store pictures and what was found out about files; when it returns, all of it survives a power cut.

        ``contents`` are (sha256, page, width, height), one a row of ``vectors`` (n, dim) float32 unit rows.
        Raises StorageError with the index as it was at the last commit.
        """
        if not np.isfinite(vectors).all() or len(vectors) != len(contents):
            raise ValueError("one finite row a content")  # a caller's bug: the indexer has filtered them
        try:
            self._commit(contents, vectors, list(states))
        except BaseException:
            self._number = 0  # where the rows end is now for the catalogue to say
            raise

    def _commit(
        self, contents: Sequence[tuple[bytes, int, int, int]], vectors: Vectors, states: list[FileState]
    ) -> None:
        done = 0
        while done < len(contents):
            room = self._make_room()
            part = slice(done, done + room)
            rows = np.ascontiguousarray(vectors[part], dtype="<f2")
            self._segments.append(self._rows, rows)
            new = [
                NewContent(*content, row_crc(row)) for content, row in zip(contents[part], rows, strict=True)
            ]
            done += len(rows)
            # The files wait for the last part, so that none names a content that is not there yet.
            self.catalog.commit(self._number, self._rows, new, states if done == len(contents) else [])
            self._rows += len(rows)
        if not contents:
            self.catalog.commit(self._number, self._rows, [], states)

    def move_model(self, model: str) -> None:
        """Remember that the checkpoint lies elsewhere now; it is the same one, so the identity stays."""
        if model != self.identity.model:
            self.identity = replace(self.identity, model=model)
            manifest.write(self.folder, self.identity)

    def _make_room(self) -> int:
        """Open the segment that takes the next row; return how many rows still fit."""
        most = rows_per_segment(self.identity.dim)
        number, rows = self._number, self._rows
        if number == 0:
            number, rows = (self.catalog.segments() or [(1, 0)])[-1]
        if rows >= most:
            number, rows = number + 1, 0
        if (number, rows) != (self._number, self._rows):
            self._segments.open(number, rows)
            self._number, self._rows = number, rows
        return most - rows

    def close(self) -> None:
        """Close the index and let the next writer in."""
        self._segments.close()
        self.catalog.close()
        self._lock.release()


def _wipe(folder: str) -> None:
    """Remove everything but the manifest, which the new one replaces in one step, and the lock that we hold."""
    vectors = os.path.join(folder, "vectors")
    paths = [os.path.join(folder, name) for name in _DATABASES]
    try:
        if os.path.isdir(vectors):
            paths += [os.path.join(vectors, name) for name in os.listdir(vectors) if _SEGMENT.fullmatch(name)]
        for path in paths:
            if os.path.lexists(path):
                os.unlink(path)
    except OSError as error:
        raise storage_error(error, folder) from error
