"""Use case: what an index holds, what it was made with, and what was skipped and why. Loads no model."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from imgsearch.client.connection import ServerState, find_server
from imgsearch.fs import is_at_or_below, is_below
from imgsearch.index import generations, image_text, metadata, side_db
from imgsearch.index.ann import search as ann
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import FileRow, IndexedFile, Root
from imgsearch.index.thumbs import ThumbStore, Used
from imgsearch.names import known_as
from imgsearch.types import IndexSpec


@dataclass(frozen=True, slots=True)
class Status:
    """An index at a glance. ``files`` counts indexed files, ``contents`` the distinct pictures among them.

    ``errors`` counts skipped files by reason; ``bytes_on_disk`` is the size of the index's own files;
    ``created`` is in seconds since 1970; ``last_run`` is the last run that loaded the model, if it is remembered.
    ``vectors`` are all stored rows, ``deleted`` those of pictures that are gone, of which ``retained`` are kept in case
    the files come back; ``covered`` are those that ANN files make fast to search. ``rebuilding`` says that
    an index that is to take this one's place was begun. ``server`` is this user's running server, if there is one.
    ``known`` counts the distinct pictures that have a "date" of their own, a "place" and a "camera". ``thumbnails`` is
    how many are kept, and how large they are. ``text`` is of how many pictures the text has been read, and how many
    have any. ``recomputed`` is how many embeddings of the last run were computed once more in float32, of how many.
    ``not_read`` counts by kind the files that are there and not read.
    """

    folder: str
    spec: IndexSpec
    files: int
    contents: int
    errors: dict[str, int]
    roots: tuple[Root, ...]
    bytes_on_disk: int
    last_run: side_db.Run | None
    created: float
    vectors: int
    deleted: int
    retained: int
    covered: int
    rebuilding: bool
    server: ServerState | None
    known: dict[str, int]
    thumbnails: Used
    text: tuple[int, int] = (0, 0)
    not_read: dict[str, int] = field(default_factory=dict)
    recomputed: tuple[int, int] = (0, 0)

    @property
    def identity(self) -> IndexSpec:
        """``spec`` under its name of the version before."""
        return self.spec

    @property
    def dead(self) -> int:
        """``deleted`` under its name of the version before."""
        return self.deleted

    @property
    def waiting(self) -> int:
        """``retained`` under its name of the version before."""
        return self.retained

    @property
    def fast(self) -> bool:
        """Whether the index is large enough for ANN files."""
        return self.vectors >= ann.EXACT_ROWS


def read_status(folder: str) -> Status:
    """Read the state of the index in ``folder``. Raises IndexMissing, IndexDamaged, IndexMismatch."""
    with ImageIndex(folder) as index:
        files, contents, errors = index.catalog.counts()
        return Status(
            folder=index.folder,
            spec=index.spec,
            files=files,
            contents=contents,
            errors=errors,
            roots=tuple(index.catalog.roots()),
            bytes_on_disk=index.bytes_on_disk(),
            last_run=side_db.last_run(index.folder),
            created=index.created,
            vectors=sum(rows for _, rows in index.catalog.segments()),
            deleted=sum(index.catalog.deleted_counts().values()),
            retained=index.catalog.retained(),
            covered=_covered(index),
            rebuilding=generations.unfinished(index.folder) is not None,
            server=find_server(),
            known=metadata.counts(index.catalog.database),
            recomputed=side_db.recomputed(index.folder),
            thumbnails=ThumbStore(index.folder).used(),
            text=image_text.counts(index.catalog.database),
            not_read=dict(sum(map(Counter, index.catalog.not_read().values()), Counter())),
        )


def _covered(index: ImageIndex) -> int:
    """Return how many vectors have an ANN file, as far as can be told without reading it."""
    counts = dict(index.catalog.segments())
    covered = 0
    for file in index.catalog.ann_files().values():
        try:
            if os.path.getsize(os.path.join(index.data, "faiss", file.name)) == file.bytes:
                covered += min(file.rows, counts.get(file.segment, 0))
        except OSError:
            pass  # it is gone: the next run makes it again
    return covered


def indexed_files(folder: str, below: str | None = None) -> Iterator[IndexedFile]:
    """Yield every file that the index in ``folder`` holds, at or ``below`` a path if one is given; by their paths.

    The path may be any that leads to what is indexed, as through links. No file is opened, and those that are not there
    now are listed too. Raises IndexMissing, IndexDamaged.
    """
    with ImageIndex(folder) as index:
        if below is not None:
            below = known_as(below, index.catalog.roots(), index.catalog).path
        for root, row in rows_below(index, below):
            if row.content is not None:
                path = os.path.join(root.path, row.path)
                yield IndexedFile(path, row.size, row.mtime_ns, row.content)


def rows_below(index: ImageIndex, below: str | None = None) -> Iterator[tuple[Root, FileRow]]:
    """Yield every known file at or ``below`` an absolute path as the index knows it, with its root; by their paths."""
    for root in sorted(index.catalog.roots(), key=lambda root: root.path):
        inside = ""
        if below is not None and is_below(below, root.path):
            inside = os.path.relpath(below, root.path)
        elif below is not None and not is_at_or_below(root.path, below):
            continue
        for row in index.catalog.files(root.id, inside):
            yield root, row


def skipped_files(folder: str) -> Iterator[tuple[str, str, str]]:
    """Yield (absolute path, reason, detail) of every file that the index skipped, grouped by reason."""
    with ImageIndex(folder) as index:
        yield from index.catalog.errors()
