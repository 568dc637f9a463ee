"""The pictures of a dataset: checked, decoded with their place in every error, and decoded in threads ahead of use."""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from imgsearch import media
from imgsearch.dataset import PictureRef, RetrievalDataset
from imgsearch.errors import DatasetError, PictureError
from imgsearch.types import RGB, PixelBudget, Reporter, Silent

S = TypeVar("S")
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
    reporter.start(len(dataset.corpus), "pictures checked")
    try:
        for doc, ref in dataset.corpus.items():
            data = ref.read()
            with placed(ref):
                media.check_picture(io.BytesIO(data), ref.path)
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
    with placed(ref):
        for picture in media.load_pictures(io.BytesIO(data), ref.path, budget):
            return picture.pixels
    raise DatasetError(f"{ref.where}: holds no picture")


def decode_each(
    refs: Iterable[PictureRef], budget: PixelBudget, prepare: Callable[[RGB], T], ahead: int = 16
) -> Iterator[T]:
    """Yield ``prepare`` of each picture, in order, at most ``ahead`` of them in memory; made in threads."""

    def work(ref: PictureRef) -> T:
        with placed(ref):  # the model, too, may refuse a picture, for its shape
            return prepare(decode(ref, budget))

    return work_ahead(work, refs, ahead)


def work_ahead(work: Callable[[S], T], items: Iterable[S], ahead: int) -> Iterator[T]:
    """Run ``work`` on each item in threads; yield the results in order, at most ``ahead`` of them in memory."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1), thread_name_prefix="decode") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def placed(ref: PictureRef) -> Iterator[None]:
    """Turn a PictureError into a DatasetError that names the picture's file, or its row and column."""
    try:
        yield
    except PictureError as error:
        raise DatasetError(f"{ref.where}: {error}") from error
