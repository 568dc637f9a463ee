"""Decode ahead of the model: files are read, hashed, decoded and made ready in threads, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO

from imgsearch.budgets import PAGE, Chosen, grid_of, of_image, of_member, of_place
from imgsearch.errors import PictureError
from imgsearch.files import open_source, source_file
from imgsearch.files.open import open_regular
from imgsearch.files.sidecars import read_sidecars
from imgsearch.files.walk import TILES
from imgsearch.indexing.documents.live_photos import as_part
from imgsearch.indexing.documents.opened import OpenDocument, format_of, may_be_document
from imgsearch.indexing.documents.raw_pairs import as_pair
from imgsearch.media import formats, tiles
from imgsearch.media.documents import DocumentOptions, Place, chosen
from imgsearch.media.lookahead import look_ahead
from imgsearch.media.metadata import MAX_BLOCK, with_sidecars
from imgsearch.media.pictures import load_picture
from imgsearch.media.pixelhash import pixel_hash
from imgsearch.media.tiles import Grid
from imgsearch.types import (
    Metadata,
    Picture,
    PixelBudget,
    PixelBudgets,
    PixelHash,
    Prepare,
    Prepared,
    Skipped,
    SourceFile,
)

EMPTY = "contains no image"
"""Why a file is skipped that can be read, and has nothing in it."""
_OPENED = 3
"""Documents that are opened ahead of the one that is read."""


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """One picture of a file, ready for the model; width and height of the original, in pixels, and ``Picture.note``.

    ``kind`` and ``name`` are those of a Record. ``weight`` is how many photos of the largest size it takes the model as
    long as, at least 1; ``as_page`` says why it has the pixel budget of pages, "" if it has that of photos.
    """

    page: int
    width: int
    height: int
    prepared: Prepared
    hash: PixelHash
    note: str = ""
    kind: str = ""
    name: str = ""
    weight: float = 1.0
    as_page: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A file's pages, at least one, under the hash of its bytes.

    ``is_paged``: it may have others, and some of these may be indexed. ``note`` is what its owner should know.
    """

    source: SourceFile
    sha256: bytes
    pages: tuple[Page, ...]
    metadata: Metadata
    is_paged: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file that was not decoded: ``known`` says that this was not needed.

    Else nobody asked for it, or it is a copy of a document that came before.

    ``metadata`` is None where nobody has looked.
    """

    source: SourceFile
    sha256: bytes
    known: bool
    metadata: Metadata | None


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One place of a document, in order: its ``page``, or why there is none, or neither where it is indexed.

    ``tiles`` are parts of the page that are images of their own.
    """

    document: OpenDocument
    place: Place
    page: Page | None = None
    failure: PictureError | None = None
    tiles: tuple[Page, ...] = ()

    @property
    def is_last(self) -> bool:
        """Whether no other of this document follows."""
        return self.place == self.document.places[-1]


@dataclass(frozen=True, slots=True)
class DocumentWork:
    """How documents are read, and images of several pages.

    ``options`` gives a file's options, ``is_known`` whether all that is asked for of a content, by sha256 and the
    file's ``reading``, is indexed, and ``pages`` which of its pages are. All are called from several threads.
    """

    options: Callable[[SourceFile], DocumentOptions] = lambda source: DocumentOptions()
    is_known: Callable[[bytes, str], bool] = lambda sha256, reading: False
    pages: Callable[[bytes], Collection[int]] = lambda sha256: ()


_USUAL = DocumentWork()


def is_image(path: str) -> bool:
    """Whether a file holds an image, or is a document, that can be read, by its first bytes. Raises OSError."""
    with open_regular(path) as file:
        try:
            format_of(file, path)
        except PictureError:
            return False
        return True


def ignore(sha256: bytes, picture: Picture) -> None:
    """Do nothing with a picture that was decoded."""


def decode_ahead(
    sources: Iterable[SourceFile],
    prepare: Prepare | None,
    is_known: Callable[[bytes], bool],
    budgets: PixelBudget | PixelBudgets,
    max_megapixels: float,
    ahead: int,
    decoding: Callable[[SourceFile], AbstractContextManager[None]] = lambda source: nullcontext(),
    seen: Callable[[bytes, Picture], None] = ignore,
    documents: DocumentWork = _USUAL,
) -> Generator[Decoded | Hashed | Skipped | Part, None, None]:
    """Yield each file decoded, or skipped with the reason, in order, at most ``ahead`` photos in memory.

    A document comes in parts, one a page, of which at most so many are in memory, however many there are; it is closed
    with the last one, or skipped in the place of that where it has changed meanwhile.

    ``is_known`` says whether a content's sha256 needs no decoding; it is called from several threads. Without
    ``prepare`` files are only read and hashed. An image file is in work during the block that ``decoding`` gives for
    it; what a document does ends no run, for it is read in a process of its own.
    ``seen`` gets every picture that is decoded, with its file's sha256, in the thread that has decoded it; no error.
    """
    both = budgets if isinstance(budgets, PixelBudgets) else PixelBudgets(budgets)
    sources = list(sources)
    opened: list[OpenDocument] = []
    begun: set[tuple[bytes, str]] = set()

    def image(source: SourceFile) -> Decoded | Hashed | Skipped:
        with decoding(source):
            return _decode(source, prepare, is_known, both, max_megapixels, seen, documents)

    def part(document: OpenDocument, place: Place) -> Part:
        try:
            kind = document.kind(place)
            chosen = of_place(kind, both)
            picture = document.picture(place, chosen.budget)
            if kind == "member" and (of_this := of_member(place.name, picture, both)) != chosen:
                chosen, picture = of_this, document.picture(place, of_this.budget)
            assert prepare is not None
            page = _page(picture, prepare, both, chosen, kind, place.name)
            cut: tuple[Page, ...] = ()
            if kind == "page" and TILES in document.source.reading:
                grid = grid_of(picture.width, picture.height, PAGE)
                cut = _tiles(
                    lambda budget: document.picture(place, budget), picture, grid, prepare, both, kind
                )
        except PictureError as error:
            return Part(document, place, failure=error)
        seen(document.sha256, picture)
        return Part(document, place, page, tiles=cut)

    def work() -> Iterator[Callable[[], Decoded | Hashed | Skipped | Part]]:
        """Yield what there is to do, in order; a document's pages are known once it has been opened."""
        open_one = partial(_open, prepare is not None, documents)
        ahead_of_us = look_ahead(open_one, (one for one in sources if may_be_document(one.path)), _OPENED)
        with closing(ahead_of_us):
            for source in sources:
                found = next(ahead_of_us) if may_be_document(source.path) else None
                if found is None:
                    yield partial(image, source)
                elif not isinstance(found, OpenDocument):
                    yield partial(_given, found)
                elif (key := (found.sha256, source.reading)) in begun:
                    found.leave()
                    yield partial(_given, Hashed(found.source, found.sha256, False, found.metadata))
                else:
                    begun.add(key)
                    opened.append(found)
                    there = documents.pages(found.sha256)
                    for place in found.places:
                        # Whether a page has tiles, it shows when it is drawn.
                        known = place.page in there and TILES not in source.reading
                        yield partial(_given, Part(found, place)) if known else partial(part, found, place)

    try:
        with closing(look_ahead(lambda one: one(), work(), ahead, _weight)) as results:
            for done in results:
                if isinstance(done, Part) and done.is_last:
                    opened.remove(done.document)
                    try:
                        done.document.close()
                    except PictureError as error:
                        yield Skipped(done.document.source, error.reason, error.detail)
                        continue
                yield done
    finally:
        for document in opened:
            document.leave()


def _given(done: Hashed | Skipped | Part) -> Hashed | Skipped | Part:
    return done


def _open(read: bool, documents: DocumentWork, source: SourceFile) -> OpenDocument | Hashed | Skipped | None:
    """Open a file that may be a document; None if it is an image. If it is not to be ``read``, it is only hashed."""
    if part := as_part(source) or as_pair(source):
        return part
    try:
        known = False

        def is_known(sha256: bytes) -> bool:
            nonlocal known
            known = documents.is_known(sha256, source.reading)
            return known or not read

        document = OpenDocument(source, documents.options(source), is_known)
        if document.places:
            return document
        document.close()
    except PictureError as error:
        return Skipped(source, error.reason, error.detail)
    if document.format is None:
        return None
    if document.known:
        return Hashed(document.source, document.sha256, known, None)
    return Skipped(source, EMPTY)


def read_metadata(source: SourceFile, stream: BinaryIO) -> Metadata:
    """Return what a file, open as ``stream``, and its sidecars tell of the image besides its pixels: no error."""
    path = os.path.join(source.root, source.path)
    own = formats.load_metadata(stream, path)
    return with_sidecars(own, read_sidecars(path, source.sidecars, MAX_BLOCK), source.mtime_ns)


def _decode(
    source: SourceFile,
    prepare: Prepare | None,
    is_known: Callable[[bytes], bool],
    budgets: PixelBudgets,
    max_megapixels: float,
    seen: Callable[[bytes, Picture], None],
    documents: DocumentWork,
) -> Decoded | Hashed | Skipped:
    try:
        path = os.path.join(source.root, source.path)
        found: list[formats.Format] = []
        with open_source(path, lambda stream: found.append(formats.recognise(stream, path))) as opened:
            # What counts is the file as it is read, which may be newer than what the walk saw.
            beside = source.sidecars, source.sidecar_state
            source = source_file(
                source.root, source.path, opened.status, source.device, *beside, reading=source.reading
            )
            tiling = TILES in source.reading
            is_paged = found[0].paged or tiling
            known = is_known(opened.sha256)
            if known and is_paged:  # but perhaps not all of its pages
                known = documents.is_known(opened.sha256, source.reading)
            if known or prepare is None:
                return Hashed(source, opened.sha256, known, read_metadata(source, opened.stream))
            metadata = read_metadata(source, opened.stream)
            seen_with = of_image(opened.stream, source.path, metadata, budgets, max_megapixels)
            wanted = chosen(documents.options(source).pages) if source.reading else formats.ALL_PAGES
            pages, notes = [], []
            for picture in formats.load_pictures(
                opened.stream, source.path, seen_with.budget, max_megapixels=max_megapixels, pages=wanted
            ):
                pages.append(_page(picture, prepare, budgets, seen_with))
                if tiling:
                    whole, grid = picture, grid_of(picture.width, picture.height, seen_with.reason, metadata)
                    again = partial(_again, opened.stream, source.path, picture.page, max_megapixels)
                    pages += _tiles(again, whole, grid, prepare, budgets)
                notes += [picture.note] if picture.note else []
                seen(opened.sha256, picture)
            if not pages:
                return Skipped(source, EMPTY)
            return Decoded(source, opened.sha256, tuple(pages), metadata, is_paged, "; ".join(notes))
    except PictureError as error:
        return Skipped(source, error.reason, error.detail)


def _page(
    picture: Picture,
    prepare: Prepare,
    budgets: PixelBudgets,
    chosen: Chosen,
    kind: str = "",
    name: str = "",
) -> Page:
    if chosen.budget == budgets.image:
        prepared, weight = prepare(picture.pixels), 1.0
    else:
        prepared = prepare(picture.pixels, chosen.budget)
        pixels = min(picture.width * picture.height, chosen.budget.max_pixels)
        weight = max(1.0, pixels / budgets.image.max_pixels)
    size, hash = (picture.width, picture.height), pixel_hash(picture.pixels)
    as_page = chosen.reason if budgets.page else ""
    return Page(picture.page, *size, prepared, hash, picture.note, kind, name, weight, as_page)


def _again(stream: BinaryIO, path: str, page: int, max_megapixels: float, budget: PixelBudget) -> Picture:
    """Return a page of an image file with another budget."""
    found = load_picture(stream, path, budget, page, max_megapixels=max_megapixels)
    if found is None:
        raise PictureError("vanished")
    return found


def _tiles(
    load: Callable[[PixelBudget], Picture],
    whole: Picture,
    grid: Grid | None,
    prepare: Prepare,
    budgets: PixelBudgets,
    kind: str = "",
) -> tuple[Page, ...]:
    """Return the tiles of a page, which ``load`` gives with another budget; they count as large as the page.

    A tile's name is the ``kind`` of its page.
    """
    if grid is None:
        return ()
    seen_with = Chosen(budgets.largest, "a tile")
    cut = tiles.numbers(whole.page, grid)
    large = load(tiles.budget_of(cut[0], seen_with.budget))
    return tuple(
        _page(
            replace(whole, page=number, pixels=tiles.cut(large.pixels, number), note=""),
            prepare,
            budgets,
            seen_with,
            tiles.KIND,
            kind,
        )
        for number in cut
    )


def _weight(done: Decoded | Hashed | Skipped | Part) -> float:
    """Return how many photos a result takes the memory of."""
    pages = done.pages if isinstance(done, Decoded) else (done.page,) if isinstance(done, Part) else ()
    cut = [page for page in pages if page and page.kind == tiles.KIND]
    cut += done.tiles if isinstance(done, Part) else ()
    weight = max((page.weight for page in pages if page and page.kind != tiles.KIND), default=1.0)
    return weight + sum(page.weight for page in cut)
