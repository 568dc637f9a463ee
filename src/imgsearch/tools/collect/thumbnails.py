"""The thumbnails of results: from their indexes where they are of one, else made of the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from imgsearch.errors import FolderError, ImgsearchError, InputError, PictureError
from imgsearch.files import open_source
from imgsearch.index.reader import ImageIndex
from imgsearch.media.lookahead import look_ahead
from imgsearch.media.pictures import load_picture, recognise
from imgsearch.media.thumbnail import budget_of, make_thumbnail
from imgsearch.search.examples import content_by_path
from imgsearch.search.thumbnails import SMALL, thumbnail
from imgsearch.tools.collect import Result
from imgsearch.types import Record

_AHEAD = 8


def thumbnails_of(results: Sequence[Result]) -> Iterator[bytes | str]:
    """Yield for each result its thumbnail, WebP with a long side of 320 pixels at most, or why there is none."""
    return look_ahead(_thumbnail, zip(results, _records(results), strict=True), _AHEAD)


def _records(results: Sequence[Result]) -> list[Record | None]:
    """Return what the indexes know of the results' images; None for those that are in none, or not any more."""
    found: list[Record | None] = []
    with ExitStack() as stack:
        opened: dict[str, ImageIndex | None] = {}
        for result in results:
            if result.index not in opened:
                opened[result.index] = None
                if result.index:
                    try:
                        opened[result.index] = stack.enter_context(ImageIndex(result.index))
                    except ImgsearchError:  # deleted or damaged since: the files will do
                        pass
            index = opened[result.index]
            found.append(_record(index, result) if index else None)
    return found


def _record(index: ImageIndex, result: Result) -> Record | None:
    try:
        content = content_by_path(index, result.path)
    except FolderError:
        return None
    pages = index.catalog.pages(content) if content else []
    return next((page for page in pages if page.page == result.page), None)


def _thumbnail(one: tuple[Result, Record | None]) -> bytes | str:
    result, record = one
    try:
        if record is not None:
            return thumbnail(result.index, record)
        with open_source(result.path, lambda stream: recognise(stream, result.path)) as opened:
            picture = load_picture(opened.stream, result.path, budget_of(SMALL), result.page)
        return make_thumbnail(picture.pixels, SMALL) if picture else f"it has no page {result.page + 1}"
    except InputError as error:
        return str(error)
    except PictureError as error:
        return "not there now" if error.reason == "vanished" else str(error)
