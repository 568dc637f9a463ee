"""One picture of any file that can be read: of an image file, or of a document at a place."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

from imgsearch.errors import PictureError
from imgsearch.media import documents, formats, tiles
from imgsearch.media.documents import DocumentOptions, Place
from imgsearch.types import MAX_MEGAPIXELS, Picture, PixelBudget

HEAD_BYTES = 64


def recognise(stream: BinaryIO, name: str) -> bool:
    """Whether a file is a document, by its first bytes, and not an image. PictureError for what is neither."""
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    if head and documents.document_format(head, name) is not None:
        return True
    formats.recognise(stream, name)
    return False


def load_picture(
    stream: BinaryIO,
    name: str,
    budget: PixelBudget,
    page: int | None = None,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Picture | None:
    """Return a file's picture at a page, of a film at so many milliseconds; without one, its first.

    A tile is cut out of its page. None if there is no such page. Raises PictureError as ``formats.load_pictures`` and
    ``documents.open_document`` do.
    """
    if page is not None and tiles.is_tile(page):
        larger = tiles.budget_of(page, budget)
        whole = load_picture(stream, name, larger, tiles.page_of(page), max_megapixels=max_megapixels)
        return whole and replace(whole, page=page, pixels=tiles.cut(whole.pixels, page))
    if not recognise(stream, name):
        pages = formats.ALL_PAGES if page is None else slice(page, page + 1)
        pictures = formats.load_pictures(stream, name, budget, max_megapixels=max_megapixels, pages=pages)
        return next((one for one in pictures if page is None or one.page == page), None)
    # Where the frame is known, frames=-1 skips the search for the best ones.
    options = DocumentOptions(frames=0 if page is None else -1, max_megapixels=max_megapixels)
    with documents.open_document(stream, name, options) as document:
        places = document.places
        if page is None:
            place = places[0] if places else None
        else:
            place = next((one for one in places if one.page == page), None)
            if place is None and (not places or places[0].time is not None):
                place = Place(page, page / 1000)
        if place is None:
            return None
        try:
            return document.picture(place, budget)
        except PictureError as error:
            if not places and error.reason == "not an image":
                return None
            raise
