"""The local index as a VectorStore: the authority from which every other store can be fed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import UsageError
from imgsearch.fs import is_at_or_below
from imgsearch.index.metadata import moment
from imgsearch.index.metadata.filters import Filter
from imgsearch.index.metadata.named import CAMERA, TOLD, file_name, is_screenshot
from imgsearch.index.metadata.passing import ask
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import FileState, IndexedFile
from imgsearch.index.snapshot import below as below_filter
from imgsearch.index.writer import IndexWriter
from imgsearch.names import owner_of
from imgsearch.text import display_path
from imgsearch.tools.stores import EVERYTHING, SHARDS, Key, StoredImage, Wanted, check_rows, fields
from imgsearch.types import NO_METADATA, IndexSpec, Metadata, SourceFile, Vectors

_WHAT = (
    "content.id, content.sha256, content.page, content.width, content.height, content.crc, content.kind, "
    "content.name, (SELECT path FROM root WHERE root.id = file.root), file.path, file.size, file.mtime_ns, "
    f"{CAMERA}, {TOLD}, "
    "metadata.taken, metadata.taken_from, metadata.make, metadata.model, metadata.lens, metadata.latitude, "
    "metadata.longitude, metadata.rating, metadata.title, metadata.keywords"
)
_AT_ONCE = 200  # keys of one statement


class LocalStore:
    """An ImageIndex as a store. Without a ``writer``, which holds the index's lock, nothing can be put in.

    What is put in needs files that lie in a known root. A deleted image keeps its vector for a while, as one whose
    files are gone does.
    """

    def __init__(self, index: ImageIndex, writer: IndexWriter | None = None) -> None:
        """Take an open index; with its writer, that one's own."""
        self.index, self._writer = index, writer

    @property
    def spec(self) -> IndexSpec:
        """What the index was made with."""
        return self.index.spec

    def upsert(self, images: Sequence[StoredImage], vectors: NDArray[Any]) -> None:
        """Commit images whose contents are new with their vectors, and the files of all of them."""
        check_rows(self.spec, images, vectors)
        writer, roots = self._writing(), self.index.catalog.roots()
        states: list[FileState] = []
        here: dict[bytes, set[str]] = {}
        for image in images:
            for file in image.files:
                root = owner_of(file.path, roots)
                if root is None:
                    raise UsageError(f"{display_path(file.path)} is outside of the indexed folders")
                inside = os.path.relpath(file.path, root.path)
                source = SourceFile(root.path, inside, file.size, file.mtime_ns)
                states.append(FileState(root.id, source, image.sha256, metadata=image.metadata))
            here.setdefault(image.sha256, set()).update(file.path for file in image.files)
        new = [number for number, image in enumerate(images) if writer.catalog.locate(*image.key) is None]
        chosen = [images[number] for number in new]
        writer.commit(
            [(*image.key, image.width, image.height) for image in chosen],
            np.asarray(vectors, np.float32)[new],
            states,
            kinds=[(image.kind, image.name) for image in chosen],
        )
        self._drop_files(lambda path, sha256: path not in here[sha256], list(here))

    def delete(self, keys: Sequence[Key]) -> None:
        """Take images out: the files of a content all of whose pages go, else only the pages."""
        writer = self._writing()
        gone: dict[bytes, set[int]] = {}
        for sha256, page in keys:
            gone.setdefault(sha256, set()).add(page)
        whole = [sha256 for sha256, pages in gone.items() if writer.catalog.page_numbers(sha256) <= pages]
        some = [key for key in keys if key[0] not in whole]
        if some:
            with writer.catalog.transaction() as db:
                db.executemany("DELETE FROM content WHERE sha256 = ? AND page = ?", some)
        self._drop_files(lambda path, sha256: True, whole)

    def _writing(self) -> IndexWriter:
        if self._writer is None:
            raise UsageError("this index is open for reading only")
        return self._writer

    def _drop_files(self, is_gone: Any, contents: Sequence[bytes]) -> None:
        """Drop files of some contents by their absolute path."""
        catalog, dropped = self._writing().catalog, []
        for sha256 in contents:
            found = catalog.database.query(
                lambda id, root, path: (int(id), os.path.join(os.fsdecode(root), os.fsdecode(path))),
                "SELECT file.id, root.path, file.path FROM file JOIN root ON root.id = file.root WHERE content = ?",
                sha256,
            )
            dropped += [id for id, path in found if is_gone(path, sha256)]
        if dropped:
            catalog.drop_files(dropped)

    def search(
        self, vectors: Vectors, k: int, wanted: Wanted = EVERYTHING
    ) -> list[list[tuple[StoredImage, float]]]:
        """Search the index: every score is the exact one."""
        found = self.index.search(vectors, k, below=wanted.below, filters=wanted.filters)
        keys = {(record.sha256, record.page) for hits in found for record, _ in hits}
        images = {image.key: image for image in self.images(sorted(keys))}
        return [
            [
                (images[record.sha256, record.page], score)
                for record, score in hits
                if (record.sha256, record.page) in images
            ]
            for hits in found
        ]

    def count(self, wanted: Wanted = EVERYTHING) -> int:
        """Count the images that have a file."""
        if not wanted:
            return self.index.catalog.picture_count()
        found = ask(
            self.index.catalog.database, lambda id: int(id), "DISTINCT content.id", self._asked(wanted)
        )
        return sum(1 for _ in found)

    def iterate(self, wanted: Wanted = EVERYTHING) -> Iterator[StoredImage]:
        """Yield the images that have a file, of one moment."""
        if not wanted:
            for shard in range(SHARDS):
                yield from self.shard(shard)
            return
        keys = ask(
            self.index.catalog.database,
            lambda sha256, page: (bytes(sha256), int(page)),
            "DISTINCT content.sha256, content.page",
            self._asked(wanted),
        )
        yield from self.images(sorted(keys))

    def _asked(self, wanted: Wanted) -> tuple[Filter, ...]:
        if not wanted.below:
            return wanted.filters
        roots = self.index.catalog.roots()
        if not any(
            is_at_or_below(path, root.path) or is_at_or_below(root.path, path)
            for root in roots
            for path in wanted.below
        ):
            raise UsageError(f"{display_path(wanted.below[0])} is not in an indexed folder")
        folders = below_filter(self.index.catalog, wanted.below)
        return (*wanted.filters, folders) if folders else wanted.filters

    def digests(self, shard: int) -> Iterator[tuple[Key, int]]:
        """Yield keys and digests of the images that have a file."""
        for image in self.shard(shard):
            yield image.key, fields.digest(fields.about(image))

    def shard(self, shard: int) -> Iterator[StoredImage]:
        """Yield the images of a shard that have a file, in the order of their keys."""
        where = "content.sha256 >= ? AND content.sha256 < ?"
        first, end = bytes([shard << 4]), bytes([shard + 1 << 4]) if shard < SHARDS - 1 else b"\xff" * 33
        yield from self._images("", "content", where, first, end)

    def images(self, keys: Sequence[Key]) -> Iterator[StoredImage]:
        """Yield the images with some keys, as far as they have a file, in the order of their keys."""
        for some in (keys[first : first + _AT_ONCE] for first in range(0, len(keys), _AT_ONCE)):
            wanted = f"WITH wanted (sha256, page) AS (VALUES {', '.join(['(?, ?)'] * len(some))}) "
            source = "wanted CROSS JOIN content USING (sha256, page)"
            yield from self._images(wanted, source, "TRUE", *(value for key in some for value in key))

    def _images(self, given: str, source: str, where: str, *values: object) -> Iterator[StoredImage]:
        database = self.index.catalog.database
        rows = database.stream(
            _row,
            f"{given}SELECT {_WHAT} FROM {source} CROSS JOIN file ON file.content = content.sha256 "
            f"LEFT JOIN metadata ON metadata.sha256 = content.sha256 WHERE {where} "
            "ORDER BY content.sha256, content.page",
            *values,
        )
        for _, several in groupby(rows, key=itemgetter(0)):
            yield database.made(_image, tuple(row for _, row in several))

    def vectors(self, keys: Sequence[Key]) -> Vectors:
        """Return the stored rows."""
        ids = [self.index.catalog.content_id(*key) for key in keys]
        return self.index.vectors_of(ids)

    def flush(self) -> None:
        """Do nothing: what was committed is on the disk."""

    def close(self) -> None:
        """Close the index, and its writer."""
        if self._writer is not None:
            self._writer.close()
        else:
            self.index.close()


def _row(id: int, *rest: Any) -> tuple[int, tuple[Any, ...]]:
    return int(id), (id, *rest)


def _image(*rows: tuple[Any, ...]) -> StoredImage:
    """Make an image of one row for each of its files."""
    id, sha256, page, width, height, crc, kind, name = rows[0][:8]
    files: list[IndexedFile] = []
    screenshots: list[str] = []
    for root, path, size, mtime_ns, camera, told in (row[8:14] for row in rows):
        whole = os.fsdecode(os.path.join(root, path))
        files.append(IndexedFile(whole, int(size), int(mtime_ns), bytes(sha256)))
        if is_screenshot(file_name(path), str(camera or ""), str(told or ""), int(width), int(height)):
            screenshots.append(whole)
    files.sort(key=lambda file: os.fsencode(file.path))
    return StoredImage(
        int(id),
        bytes(sha256),
        int(page),
        int(width),
        int(height),
        int(crc),
        tuple(files),
        _metadata(*rows[0][14:]),
        str(kind),
        str(name),
        frozenset(screenshots),
    )


def _moment(number: int) -> datetime | None:
    """Return a date; None for one that no calendar has."""
    try:
        return moment(number)
    except OverflowError:
        return None


def _metadata(taken: int | None, taken_from: str | None, *rest: Any) -> Metadata:
    if taken_from is None:
        return NO_METADATA  # nobody has looked
    make, model, lens, latitude, longitude, rating, title, keywords = rest
    return fields.kept(
        Metadata(
            taken=None if taken is None else _moment(int(taken)),
            taken_from=str(taken_from),
            make=str(make),
            model=str(model),
            lens=str(lens),
            latitude=None if latitude is None else float(latitude),
            longitude=None if longitude is None else float(longitude),
            rating=None if rating is None else int(rating),
            title=str(title),
            keywords=tuple(map(str, json.loads(keywords))) if keywords else (),
        )
    )
