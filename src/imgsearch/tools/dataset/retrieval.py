"""What a retrieval dataset is: queries, pictures and which answers which; its pictures checked and decoded ahead."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from imgsearch.errors import DatasetError, PictureError
from imgsearch.media import formats
from imgsearch.media.lookahead import look_ahead
from imgsearch.text import error_line
from imgsearch.tools.dataset.cells import open_cells
from imgsearch.types import RGB, PixelBudget, Reporter, Silent


@dataclass(frozen=True, slots=True)
class PictureRef:
    """Where a picture of a dataset lies; nothing of it is read before ``read``.

    ``path`` is the picture's own file, or, with ``column`` and ``row`` (from 0, within this file), the parquet
    or Arrow file whose cell holds its bytes. ``named_in`` says which line or cell of the dataset named a file.
    """

    path: str
    column: str | None = None
    row: int | None = None
    named_in: str = ""

    @property
    def where(self) -> str:
        """Where it lies in words, with rows from 1 as a person counts them."""
        if self.column is not None and self.row is not None:
            return f"{self.path}, row {self.row + 1}, column {self.column}"
        return f"{self.path} (named in {self.named_in})" if self.named_in else self.path

    def read(self) -> bytes:
        """Return the picture file's bytes, still encoded. Raises DatasetError that names where it lies."""
        if self.column is not None and self.row is not None:
            return open_cells(self.path).picture(self.column, self.row)
        try:
            with open(self.path, "rb") as file:
                return file.read()
        except (OSError, ValueError) as error:
            raise DatasetError(f"{self.where}: the image can't be read: {error_line(error)}") from error


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to learn: a query, a picture that answers it, and pictures that nearly do."""

    query: str
    positive: PictureRef
    negatives: tuple[PictureRef, ...] = ()


@dataclass(frozen=True, slots=True)
class RetrievalDataset:
    """Queries by id, pictures by id, and for each query the pictures that answer it with a score from 1 up.

    ``name`` is the file's or folder's, with the split where there is one. ``hard_negatives`` holds, for the
    queries that brought some, the ids of their own. ``labels`` is the column ``attribute`` by query id, None
    where the dataset has no such column. ``left_out`` counts queries that the split does not judge.
    Every query has at least one relevant picture, and every id that is used exists.
    """

    name: str
    path: str
    queries: dict[str, str]
    corpus: dict[str, PictureRef]
    relevant: dict[str, dict[str, int]]
    hard_negatives: dict[str, tuple[str, ...]] = field(default_factory=dict)
    labels: dict[str, str] | None = None
    left_out: int = 0

    @property
    def examples(self) -> tuple[Example, ...]:
        """The pairs to train on: every query with every picture that answers it, and its hard negatives."""
        return tuple(self._examples())

    def _examples(self) -> Iterator[Example]:
        for query, text in self.queries.items():
            negatives = tuple(self.corpus[doc] for doc in self.hard_negatives.get(query, ()))
            for doc in self.relevant[query]:
                yield Example(text, self.corpus[doc], negatives)

    def first(self, queries: int) -> RetrievalDataset:
        """Return the dataset with its first ``queries`` queries only, against the pictures they judge.

        What the others brought to the corpus leaves with them, so scores are easier than on the whole.
        """
        kept = dict(list(self.queries.items())[:queries])
        wanted = {
            doc for query in kept for doc in (*self.relevant[query], *self.hard_negatives.get(query, ()))
        }
        return RetrievalDataset(
            name=f"{self.name}, first {len(kept):,} queries",
            path=self.path,
            queries=kept,
            corpus={doc: ref for doc, ref in self.corpus.items() if doc in wanted},
            relevant={query: self.relevant[query] for query in kept},
            hard_negatives={q: self.hard_negatives[q] for q in kept if q in self.hard_negatives},
            labels=None if self.labels is None else {query: self.labels[query] for query in kept},
            left_out=self.left_out + len(self.queries) - len(kept),
        )


T = TypeVar("T")
FULL = PixelBudget(1, 1 << 60)
"""A budget that lets a decoder skip nothing."""


def check_pictures(dataset: RetrievalDataset, reporter: Reporter | None = None) -> dict[str, bytes]:
    """Read every picture once; return document id → sha256 of its bytes.

    What a picture's first bytes and header tell is checked, which is cheap beside decoding it. Raises
    DatasetError that names the file, or the row and column, of the first one that is no picture.
    """
    reporter = reporter or Silent()
    hashes: dict[str, bytes] = {}
    reporter.start(len(dataset.corpus), "images checked")
    try:
        for doc, ref in dataset.corpus.items():
            data = ref.read()
            with located_errors(ref):
                formats.check_picture(io.BytesIO(data), ref.path)
            hashes[doc] = hashlib.sha256(data).digest()
            reporter.advance()
    finally:
        reporter.stop()
    return hashes


def decode(ref: PictureRef, budget: PixelBudget = FULL, content: bytes | None = None) -> RGB:
    """Decode one picture: (h, w, 3) uint8. ``content`` are its bytes where they have been read already.

    Raises DatasetError that names its file, or its row and column.
    """
    data = ref.read() if content is None else content
    with located_errors(ref):
        for picture in formats.load_pictures(io.BytesIO(data), ref.path, budget):
            return picture.pixels
    raise DatasetError(f"{ref.where}: contains no image")


def decode_each(
    refs: Iterable[PictureRef], budget: PixelBudget, prepare: Callable[[RGB], T], ahead: int = 16
) -> Iterator[T]:
    """Yield ``prepare`` of each picture, in order, at most ``ahead`` of them in memory; made in threads."""

    def work(ref: PictureRef) -> T:
        with located_errors(ref):  # the model, too, may refuse a picture, for its shape
            return prepare(decode(ref, budget))

    return look_ahead(work, refs, ahead)


@contextmanager
def located_errors(ref: PictureRef) -> Iterator[None]:
    """Turn a PictureError into a DatasetError that names the picture's file, or its row and column."""
    try:
        yield
    except PictureError as error:
        raise DatasetError(f"{ref.where}: ", error.as_message) from error
