"""The pictures of a dataset, checked before anything is embedded, and decoded in threads ahead of the model."""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from imgsearch import media
from imgsearch.dataset import PictureRef, RetrievalDataset
from imgsearch.errors import DatasetError, PictureError
from imgsearch.types import RGB, PixelBudget, Reporter, Silent

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
            try:
                media.check_picture(io.BytesIO(data), ref.path)
            except PictureError as error:
                raise DatasetError(f"{ref.where}: {error}") from error
            hashes[doc] = hashlib.sha256(data).digest()
            reporter.advance()
    finally:
        reporter.stop()
    return hashes


def decode(ref: PictureRef, budget: PixelBudget = FULL) -> RGB:
    """Decode one picture: (h, w, 3) uint8. Raises DatasetError that names its file, or its row and column."""
    try:
        for picture in media.load_pictures(io.BytesIO(ref.read()), ref.path, budget):
            return picture.pixels
    except PictureError as error:
        raise DatasetError(f"{ref.where}: {error}") from error
    raise DatasetError(f"{ref.where}: holds no picture")


def decode_each(
    refs: Iterable[PictureRef], budget: PixelBudget, prepare: Callable[[RGB], T], ahead: int = 16
) -> Iterator[T]:
    """Yield ``prepare`` of each picture, in order, at most ``ahead`` of them in memory; made in threads."""

    def work(ref: PictureRef) -> T:
        try:
            return prepare(decode(ref, budget))
        except PictureError as error:  # the model, too, may refuse a picture, for its shape
            raise DatasetError(f"{ref.where}: {error}") from error

    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1), thread_name_prefix="decode") as pool:
        try:
            for ref in refs:
                waiting.append(pool.submit(work, ref))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
