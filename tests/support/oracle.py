"""What an index must answer, worked out the plain way: every vector of a dictionary compared in float64."""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from imgsearch.index import segments
from imgsearch.index.ann import builder
from imgsearch.index.ann import search as ann
from imgsearch.index.catalog import Catalog
from imgsearch.index.reader import ImageIndex
from imgsearch.index.writer import IndexWriter
from imgsearch.types import Record, Vectors
from support.fakes import sha, state, unit

DIM = 64
ROOT = "/pictures"

World = Mapping[str, str]
"""The content of every file, by name, by its path below ROOT. Contents named alike before "~" have equal vectors."""


@cache
def vector(name: str, dim: int = DIM) -> Vectors:
    """Return the vector (dim,) of a content."""
    return unit(1, zlib.crc32(name.partition("~")[0].encode()), dim)[0]


class Oracle:
    """The answers of a world whose contents have vectors of ``dim`` numbers.

    ``contents`` are names by sha256; ``vectors`` (n, dim), in their order, are taken from the names if not given.
    """

    def __init__(self, world: World, dim: int = DIM, rows: Vectors | None = None) -> None:
        self.world = world
        self.contents = {sha(name): name for name in sorted(set(world.values()))}
        self._places = {content: place for place, content in enumerate(self.contents)}
        files: dict[str, list[str]] = {}
        for path, name in world.items():
            files.setdefault(name, []).append(os.path.join(ROOT, path))
        self._paths = [tuple(sorted(files[name], key=os.fsencode)) for name in self.contents.values()]
        if rows is None:
            rows = np.stack(
                [np.empty(dim, np.float32), *(vector(name, dim) for name in self.contents.values())]
            )
            rows = rows[1:]
        self._rows = rows.astype(np.float16).astype(np.float64)

    def stored(self, content: bytes) -> NDArray[np.float64]:
        """Return the row (dim,) that a content must have on disk."""
        return np.asarray(self._rows[self._places[content]])

    def scores(self, query: Vectors, dim: int | None = None) -> NDArray[np.float64]:
        """Return every content's cosine with ``query`` (dim,)."""
        rows, asked = self._rows[:, :dim], query[:dim].astype(np.float64)
        return np.asarray(rows @ asked / np.linalg.norm(rows, axis=1) / np.linalg.norm(asked))

    def wrong(
        self,
        hits: Sequence[tuple[Record, float]],
        query: Vectors,
        k: int,
        dim: int | None = None,
        below: Sequence[str] = (),
        complete: bool = True,
        ids: Mapping[bytes, int] | None = None,
    ) -> str:
        """Say what is wrong with an answer; "" if nothing is.

        Unless ``complete``, which of the contents are among the hits is the index's choice. ``ids`` are those of
        contents: of equal vectors the one with the smallest comes first.
        """
        scores = self.scores(query, dim)
        allowed = [place for place, paths in enumerate(self._paths) if not below or _within(paths, below)]
        wanted = min(k, len(allowed))
        places = []
        for record, score in hits:
            place = self._places.get(record.sha256)
            if place is None:
                return f"a hit that no file has: {record.paths}"
            if record.paths != self._paths[place]:
                return f"files {record.paths}, not {self._paths[place]}"
            if not abs(score - scores[place]) <= 1e-9:
                return f"score {score}, not {scores[place]}"
            places.append(place)
        if len(set(places)) != len(places) or not set(places) <= set(allowed):
            return "a picture twice, or outside of the filter"
        if len(hits) != wanted:
            return f"{len(hits)} hits, not {wanted}"
        for (first, better), (second, worse) in itertools.pairwise(hits):
            if better < worse or (better == worse and first.id > second.id):
                return f"{second.paths} stands behind {first.paths}"
        if complete and hits:
            last, least = hits[-1]
            for place in set(allowed) - set(places):
                if scores[place] > least + 1e-9:
                    return f"a nearer one was left out: {self._paths[place]}, {scores[place]}"
                tie = np.array_equal(self._rows[place, :dim], self._rows[places[-1], :dim])
                if tie and ids and ids[list(self.contents)[place]] < last.id:
                    return f"an earlier one that ties was left out: {self._paths[place]}"
        return ""


def _within(paths: Sequence[str], below: Sequence[str]) -> bool:
    return any(
        path == folder or path.startswith(folder.rstrip("/") + "/") for path in paths for folder in below
    )


def put(writer: IndexWriter, files: World, dim: int = DIM) -> None:
    """Commit files; of their contents those that the index has no vector of."""
    root = writer.catalog.put_root(ROOT, {})
    new = [name for name in sorted(set(files.values())) if writer.catalog.locate(sha(name)) is None]
    rows = np.stack([np.zeros(dim, np.float32), *(vector(name, dim) for name in new)])[1:]
    states = [state(root, path, sha(name)) for path, name in files.items()]
    writer.commit([(sha(name), 0, 40, 30) for name in new], rows, states)


def drop(writer: IndexWriter, paths: Sequence[str], contents: bool = False) -> None:
    """Take files out in one transaction."""
    root = writer.catalog.put_root(ROOT, {})
    rows = [writer.catalog.file(root, path) for path in paths]
    ids = [row.id for row in rows if row]
    if contents:
        forget(writer.catalog, ids)
    else:
        writer.catalog.drop_files(ids)


def forget(catalog: Catalog, ids: Sequence[int]) -> None:
    """Take files out, and contents that no file has any more, as removing did in indexes that were made before."""
    with catalog.transaction() as db:
        for id in ids:
            row = db.execute("DELETE FROM file WHERE id = ? RETURNING content", (id,)).fetchone()
            if row and row[0] is not None:
                db.execute(
                    "DELETE FROM content WHERE sha256 = ?1 AND NOT EXISTS (SELECT 1 FROM file WHERE content = ?1)",
                    (row[0],),
                )


def world_of(index: ImageIndex | IndexWriter) -> dict[str, bytes | None]:
    """Return the content's sha256 of every file in an index of one root."""
    return {row.path: row.content for root in index.catalog.roots() for row in index.catalog.files(root.id)}


@contextmanager
def small(rows_a_segment: int, exact_rows: int, dim: int = DIM) -> Iterator[None]:
    """Let a few hundred rows take every strategy while the block runs.

    Segments are small, codes are used from ``exact_rows`` rows on and sorted into lists beyond twice as many, and
    shortlists are short.
    """

    def lists(rows: int, total: int) -> int:
        # FAISS wants 39 rows a list, and says so on stderr.
        return max(1, min(4, rows // 39)) if total > 2 * exact_rows else 1

    with (
        patch.object(segments, "SEGMENT_BYTES", segments.HEADER_BYTES + rows_a_segment * dim * 2),
        patch.object(ann, "EXACT_ROWS", exact_rows),
        patch.object(ann, "shortlist_for", lambda k, dim, rows=0: 2 * k + 8),
        patch.object(builder, "lists_for", lists),
    ):
        yield
