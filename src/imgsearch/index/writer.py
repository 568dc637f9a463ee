"""IndexWriter: the directory open for writing, the only owner of the order in which things reach the disk.

Order of a commit: rows appended and durable, then one catalogue transaction that names them. A reader takes no
lock; what a killed writer left behind is invisible to it and cleared away by the next writer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np

from imgsearch.errors import IndexDamaged, IndexLocked, IndexMismatch, StorageError
from imgsearch.fs import FileLock, LockHeld, make_folder, storage_error
from imgsearch.index import generations, manifest
from imgsearch.index.catalog import Catalog
from imgsearch.index.image_text import search as image_words
from imgsearch.index.metadata import fulltext
from imgsearch.index.metadata.collect import column_files
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import FileState, NewContent
from imgsearch.index.segments import Segment, SegmentWriter, row_crc, rows_per_segment
from imgsearch.text import Call
from imgsearch.types import IndexSpec, PixelHash, Vectors

NAME = "writer.lock"


DELETED_SHARE = 0.25
"""Share of a segment's rows that may be deleted before compaction is worth its writing."""

GRACE_SECONDS = 30 * 86_400.0
"""How long a picture whose files are gone keeps its vector when compaction happens by itself.

A folder may come back under another name weeks later, and its pictures need not be embedded again then.
"""

# Rows that compaction moves in one transaction: 32 MB of 2,048 dimensions.
_MOVED = 8192


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did: ``segments`` given up, ``moved`` rows written anew, ``dropped`` rows gone for good."""

    segments: int = 0
    moved: int = 0
    dropped: int = 0


class IndexWriter:
    """An index open for writing; holds the writer lock until it is closed. Use it as a context manager.

    ``index`` is the ImageIndex that it writes to, which can be searched meanwhile. ``unpublished`` says that it is a
    new generation, which no other search sees yet.
    """

    def __init__(self, folder: str, spec: IndexSpec | None = None, *, rebuild: bool = False) -> None:
        """Open the index in ``folder`` to write to it; with ``spec``, make it if there is none.

        With ``rebuild``, open a new generation beside the index that is there, which stays in use until
        ``publish``; one that was begun with the same spec and not finished is gone on with.
        Raises IndexLocked (who holds it), IndexMissing, IndexDamaged, IndexMismatch, StorageError.
        """
        folder = os.path.abspath(folder)
        if spec is None:
            manifest.read(folder)  # no lock file appears where there is no index
        else:
            try:
                make_folder(folder)
            except OSError as error:
                raise storage_error(error, folder) from error
        with ExitStack() as opened:
            self._lock = opened.enter_context(lock_index(folder))
            self.unpublished = spec is not None and rebuild and manifest.exists(folder)
            self.index = opened.enter_context(
                _open_generation(folder, spec) if spec and self.unpublished else _open_in_use(folder, spec)
            )
            self._segments = SegmentWriter(
                os.path.join(self.data, "vectors"), self.spec.dim, self.spec.fingerprint
            )
            self._number = self._rows = 0
            self._keep_manifest(self.data if self.unpublished else self.folder)
            with suppress(StorageError):  # a full disk: rows that are retained wait a little longer
                self.catalog.keep_time(time.time())
            self.clear_away()
            opened.pop_all()  # nothing has failed: all stays open until ``close``

    @property
    def folder(self) -> str:
        """The index's folder."""
        return self.index.folder

    @property
    def data(self) -> str:
        """The folder in it where catalogue, vectors and ANN files lie."""
        return self.index.data

    @property
    def spec(self) -> IndexSpec:
        """What the index is made with."""
        return self.index.spec

    @property
    def catalog(self) -> Catalog:
        """The catalogue, open for writing."""
        return self.index.catalog

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the index, with its full text complete if nothing has failed, and let the next writer in."""
        try:
            if kind is None:
                self.make_words()
        finally:
            self.close()

    def make_words(self, advance: Callable[[int], None] = lambda images: None) -> None:
        """Make the full text of the images that are due again, some in a transaction; what can't be stored waits."""
        with suppress(StorageError):
            while due := self._words_due():
                with self.catalog.transaction():
                    pass  # which ends with making some
                advance(due - self._words_due())

    def _words_due(self) -> int:
        """Return of how many images the words of names, or of the text in them, are to be made again."""
        return fulltext.count_due(self.catalog.database) + image_words.count_due(self.catalog.database)

    def clear_away(self) -> None:
        """Remove what a killed writer left: files that the catalogue does not name, generations out of use."""
        if not self.unpublished:
            generations.drop_older(self.folder, self.data)
        segments = {number for number, _ in self.catalog.segments()}
        names = {one.name for one in self.catalog.ann_files().values()}
        names |= {one.name for one in column_files(self.catalog.database).values()}
        generations.clear_away(self.data, segments, names)

    def publish(self) -> None:
        """Let the generation that ``rebuild`` began take the place of the index that was there, in one step."""
        if self.unpublished:
            self._check_there()
            self._keep_manifest(self.folder)
            manifest.write(self.folder, self.spec, self.data)
            self.unpublished = False
            generations.drop_older(self.folder, self.data)

    def commit(
        self,
        contents: Sequence[tuple[bytes, int, int, int]],
        vectors: Vectors,
        states: Iterable[FileState],
        hashes: Sequence[PixelHash] = (),
        kinds: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Store pictures and what was found out about files; when it returns, all of it survives a power cut.

        ``contents`` are (sha256, page, width, height), one a row of ``vectors`` (n, dim) float32 unit rows; ``hashes``
        are those of their pixels, and ``kinds`` their (kind, name), as many, or none at all.
        Raises StorageError with the index as it was at the last commit.
        """
        if (
            not np.isfinite(vectors).all()
            or len({len(contents), len(vectors), len(hashes or contents), len(kinds or contents)}) > 1
        ):
            raise ValueError("one finite row a content")  # a caller's bug: the indexer has filtered them
        try:
            self._check_there()
            nothing = [None] * len(contents), [("", "")] * len(contents)
            self._commit(contents, vectors, list(states), hashes or nothing[0], kinds or nothing[1])
            self._check_there()
        except BaseException:
            self._number = 0  # where the rows end is now for the catalogue to say
            raise

    @property
    def is_there(self) -> bool:
        """Whether the index is still where it was: what is written to one that was removed ends with this process."""
        return self._lock.is_named()

    def _check_there(self) -> None:
        if not self.is_there:
            raise StorageError(
                f"the index in {self.folder} was removed or replaced while this run was writing to it; to make it "
                "again: ",
                Call("index_pictures", {"paths": ["FOLDER"], "folder": self.folder}),
            )

    def _commit(
        self,
        contents: Sequence[tuple[bytes, int, int, int]],
        vectors: Vectors,
        states: list[FileState],
        hashes: Sequence[PixelHash | None],
        kinds: Sequence[tuple[str, str]],
    ) -> None:
        done = 0
        while done < len(contents):
            room = self._make_room()
            fitting = slice(done, done + room)
            rows = np.ascontiguousarray(vectors[fitting], dtype="<f2")
            self._segments.append(self._rows, rows)
            new = [
                NewContent(*content, row_crc(row), hash, *kind)
                for content, row, hash, kind in zip(
                    contents[fitting], rows, hashes[fitting], kinds[fitting], strict=True
                )
            ]
            done += len(rows)
            # The files wait for the last segment, so that none names a content that is not there yet.
            self.catalog.commit(self._number, self._rows, new, states if done == len(contents) else [])
            self._rows += len(rows)
        if not contents:
            self.catalog.commit(self._number, self._rows, [], states)

    def segments_to_compact(self, share: float = DELETED_SHARE, before: float | None = None) -> list[int]:
        """Return the segments of whose rows at least this share, and at least one, is deleted (since ``before``)."""
        deleted = self.catalog.deleted_counts(before)
        return [
            number
            for number, rows in self.catalog.segments()
            if deleted.get(number, 0) and deleted[number] >= share * rows
        ]

    def retained_before(self) -> float:
        """Return since when, in seconds since 1970, an embedding must have been retained to be dropped now."""
        now = time.time()
        self.catalog.keep_time(now)  # the clock may have been set right since this writer was opened
        return now - GRACE_SECONDS

    def compact(
        self,
        share: float = DELETED_SHARE,
        before: float | None = None,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> Compaction:
        """Write the live rows of segments with many deleted ones anew and give those segments' room back.

        That is the segments of which at least ``share``, and at least a row, is deleted. With ``before``, in seconds
        since 1970, pictures whose last file went later than that count as live. It may be broken off at any
        time; what was done stays done. Raises StorageError, IndexDamaged.
        """
        moved = dropped = 0
        victims = self.segments_to_compact(share, before)
        for victim in victims:
            try:
                # Nothing goes to the last one of them, from where it would be moved once more.
                count, rows = self._empty(victim, victims[-1], before, advance)
            except BaseException:
                self._number = 0
                raise
            moved, dropped = moved + count, dropped + rows - count
        return Compaction(len(victims), moved, dropped)

    def _empty(
        self, victim: int, last: int, before: float | None, advance: Callable[[int], None]
    ) -> tuple[int, int]:
        """Move the live rows of a segment to the end, behind ``last``; drop it; return moved rows and all it had."""
        rows = dict(self.catalog.segments())[victim]
        source = Segment(
            os.path.join(self.data, "vectors"), victim, rows, self.spec.dim, self.spec.fingerprint
        )
        moved, first = 0, 0
        while live := self.catalog.live_rows(victim, first, _MOVED, before):
            first = live[-1][1] + 1
            while live:
                room = self._make_room(but_not=last)
                now, live = live[:room], live[room:]
                stored = source.take(np.array([row for _, row, _ in now]))
                for (_, row, crc), vector in zip(now, stored, strict=True):
                    self.index.check_row(vector, crc, victim, row)
                self._segments.append(self._rows, stored)
                moves = [(id, row) for row, (id, _, _) in enumerate(now, self._rows)]
                self.catalog.move(moves, self._number, self._rows + len(now))
                self._rows += len(now)
                moved += len(now)
                advance(len(now))
        self._make_room(but_not=last)
        self.catalog.drop_segment(victim, self._number)
        self.clear_away()
        return moved, rows

    def move_model(self, model: str) -> None:
        """Remember that the checkpoint lies elsewhere now; it is the same one, so the rest of the spec stays."""
        if model != self.spec.model:
            self.index.spec = replace(self.spec, model=model)
            manifest.write(self.folder, self.spec, self.data)
            self._keep_manifest(self.folder)

    def _keep_manifest(self, folder: str) -> None:
        """Keep a copy of the manifest in ``folder``, so that it can be restored if it is damaged."""
        wanted = manifest.text(folder, self.spec, self.data)
        try:
            if self.catalog.meta(generations.MANIFEST_COPY) != wanted:
                self.catalog.put_meta(generations.MANIFEST_COPY, wanted)
        except StorageError:
            pass  # only a damaged manifest would want it

    def _make_room(self, but_not: int = 0) -> int:
        """Open the segment that takes the next row, and is not ``but_not``; return how many rows still fit."""
        most = rows_per_segment(self.spec.dim)
        number, rows = self._number, self._rows
        if number == 0:
            number, rows = (self.catalog.segments() or [(1, 0)])[-1]
        if rows >= most or number == but_not:
            number, rows = number + 1, 0
        if (number, rows) != (self._number, self._rows):
            self._segments.open(number, rows)
            self._number, self._rows = number, rows
        return most - rows

    def close(self) -> None:
        """Close the index and let the next writer in."""
        self._segments.close()
        self.index.close()
        self._lock.release()


def lock_index(folder: str) -> FileLock:
    """Take the writer lock of the index in ``folder``. Raises IndexLocked, naming the holder, or StorageError."""
    path = os.path.join(folder, NAME)
    try:
        return FileLock(path, follow=False)
    except LockHeld as held:
        whose = f" ({held.holder})" if held.pid is not None else ""
        raise IndexLocked(
            f"another imgsearch{whose} is updating the index in {folder}. Searching still works; "
            "try again when it has finished"
        ) from held
    except OSError as error:
        raise storage_error(error, path) from error


def _open_in_use(folder: str, spec: IndexSpec | None) -> ImageIndex:
    """Open the index in ``folder``; with ``spec``, make it if there is none. Raises IndexMismatch if it has another."""
    if spec is not None and not manifest.exists(folder):
        generations.create(folder, spec, folder)
    index = ImageIndex(folder, write=True)
    if spec is not None and (found := manifest.differences(index.spec, spec)):
        index.close()
        raise IndexMismatch(
            f"another process has just made an index in {folder} with {'; '.join(found)}; try again"
        )
    return index


def _open_generation(folder: str, spec: IndexSpec) -> ImageIndex:
    """Open a new generation of the index in ``folder``, or the one that was begun with the same ``spec``."""
    try:
        return ImageIndex(folder, write=True, generation=(spec, generations.begin(folder, spec)))
    except IndexDamaged:  # what was begun can't be gone on with
        return ImageIndex(folder, write=True, generation=(spec, generations.begin(folder, spec, anew=True)))
