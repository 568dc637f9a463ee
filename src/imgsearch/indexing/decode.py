"""Decode ahead of the model: files are read, hashed, decoded and cut into patches in threads, in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from imgsearch.errors import PictureError
from imgsearch.files import open_source
from imgsearch.media import formats
from imgsearch.types import RGB, Patches, PixelBudget, Skipped, SourceFile


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """One picture of a file, ready for the model; width and height of the original, in pixels."""

    page: int
    width: int
    height: int
    patches: Patches


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A file's pages under the hash of its bytes.

    No pages where the index already has that content; None where it does not and nobody asked to decode it.
    """

    source: SourceFile
    sha256: bytes
    pages: tuple[Page, ...] | None


def decode_ahead(
    todo: Iterable[tuple[int, SourceFile]],
    prepare: Callable[[RGB], Patches] | None,
    known: Callable[[bytes], bool],
    budget: PixelBudget,
    max_megapixels: float,
    ahead: int,
) -> Generator[tuple[int, Decoded | Skipped], None, None]:
    """Yield each file of ``todo`` decoded, or skipped with the reason, in order, at most ``ahead`` in memory.

    ``known`` says whether a content's sha256 needs no decoding; it is called from several threads. Without
    ``prepare`` files are only read and hashed.
    """

    def work(source: SourceFile) -> Decoded | Skipped:
        return _decode(source, prepare, known, budget, max_megapixels)

    waiting: deque[tuple[int, Future[Decoded | Skipped]]] = deque()
    with ThreadPoolExecutor(
        max_workers=min(8, (os.cpu_count() or 1) + 1), thread_name_prefix="decode"
    ) as pool:
        try:
            for number, source in todo:
                waiting.append((number, pool.submit(work, source)))
                if len(waiting) >= ahead:
                    number, future = waiting.popleft()
                    yield number, future.result()
            while waiting:
                number, future = waiting.popleft()
                yield number, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _decode(
    source: SourceFile,
    prepare: Callable[[RGB], Patches] | None,
    known: Callable[[bytes], bool],
    budget: PixelBudget,
    max_megapixels: float,
) -> Decoded | Skipped:
    try:
        with open_source(os.path.join(source.root, source.path)) as opened:
            # What counts is the file as it is read, which may be newer than what the walk saw.
            source = replace(source, size=opened.size, mtime_ns=opened.mtime_ns)
            if known(opened.sha256):
                return Decoded(source, opened.sha256, ())
            if prepare is None:
                return Decoded(source, opened.sha256, None)
            pages = tuple(
                Page(picture.page, picture.width, picture.height, prepare(picture.pixels))
                for picture in formats.load_pictures(
                    opened.stream, source.path, budget, max_megapixels=max_megapixels
                )
            )
            return Decoded(source, opened.sha256, pages) if pages else Skipped(source, "holds no picture")
    except PictureError as error:
        return Skipped(source, error.reason, error.detail)
