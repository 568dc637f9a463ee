"""Decode ahead of the model: files are read, hashed, decoded and cut into patches in threads, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import BinaryIO

from imgsearch.errors import PictureError
from imgsearch.files import open_source, source_file
from imgsearch.files.open import open_regular
from imgsearch.files.sidecars import read_sidecars
from imgsearch.media import formats
from imgsearch.media.lookahead import look_ahead
from imgsearch.media.metadata import MAX_BLOCK, with_sidecars
from imgsearch.media.pixelhash import pixel_hash
from imgsearch.types import RGB, Metadata, Patches, Picture, PixelBudget, PixelHash, Skipped, SourceFile

_HEAD_BYTES = 64  # of a file, as far as its format shows


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """One picture of a file, ready for the model; width and height of the original, in pixels, and ``Picture.note``."""

    page: int
    width: int
    height: int
    patches: Patches
    hash: PixelHash
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A file's pages, at least one, under the hash of its bytes."""

    source: SourceFile
    sha256: bytes
    pages: tuple[Page, ...]
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file that was not decoded: ``known`` says that this was not needed, else nobody asked for it."""

    source: SourceFile
    sha256: bytes
    known: bool
    metadata: Metadata


def is_image(path: str) -> bool:
    """Whether a file holds an image of a supported format, by its first bytes. Raises OSError."""
    with open_regular(path) as file:
        return formats.is_supported(file.read(_HEAD_BYTES), path)


def ignore(sha256: bytes, picture: Picture) -> None:
    """Do nothing with a picture that was decoded."""


def decode_ahead(
    sources: Iterable[SourceFile],
    prepare: Callable[[RGB], Patches] | None,
    is_known: Callable[[bytes], bool],
    budget: PixelBudget,
    max_megapixels: float,
    ahead: int,
    decoding: Callable[[SourceFile], AbstractContextManager[None]] = lambda source: nullcontext(),
    seen: Callable[[bytes, Picture], None] = ignore,
) -> Generator[Decoded | Hashed | Skipped, None, None]:
    """Yield each file decoded, or skipped with the reason, in order, at most ``ahead`` in memory.

    ``is_known`` says whether a content's sha256 needs no decoding; it is called from several threads. Without
    ``prepare`` files are only read and hashed. A file is in work during the block that ``decoding`` gives for it.
    ``seen`` gets every picture that is decoded, with its file's sha256, in the thread that has decoded it; no error.
    """

    def work(source: SourceFile) -> Decoded | Hashed | Skipped:
        with decoding(source):
            return _decode(source, prepare, is_known, budget, max_megapixels, seen)

    return look_ahead(work, sources, ahead)


def read_metadata(source: SourceFile, stream: BinaryIO) -> Metadata:
    """Return what a file, open as ``stream``, and its sidecars tell of the image besides its pixels: no error."""
    path = os.path.join(source.root, source.path)
    own = formats.load_metadata(stream, path)
    return with_sidecars(own, read_sidecars(path, source.sidecars, MAX_BLOCK), source.mtime_ns)


def _decode(
    source: SourceFile,
    prepare: Callable[[RGB], Patches] | None,
    is_known: Callable[[bytes], bool],
    budget: PixelBudget,
    max_megapixels: float,
    seen: Callable[[bytes, Picture], None],
) -> Decoded | Hashed | Skipped:
    try:
        path = os.path.join(source.root, source.path)
        with open_source(path, lambda stream: formats.recognise(stream, path)) as opened:
            # What counts is the file as it is read, which may be newer than what the walk saw.
            beside = source.sidecars, source.sidecar_state
            source = source_file(source.root, source.path, opened.status, source.device, *beside)
            known = is_known(opened.sha256)
            if known or prepare is None:
                return Hashed(source, opened.sha256, known, read_metadata(source, opened.stream))
            pages = []
            for picture in formats.load_pictures(
                opened.stream, source.path, budget, max_megapixels=max_megapixels
            ):
                patches, hash = prepare(picture.pixels), pixel_hash(picture.pixels)
                pages.append(Page(picture.page, picture.width, picture.height, patches, hash, picture.note))
                seen(opened.sha256, picture)
            if not pages:
                return Skipped(source, "holds no picture")
            return Decoded(source, opened.sha256, tuple(pages), read_metadata(source, opened.stream))
    except PictureError as error:
        return Skipped(source, error.reason, error.detail)
