"""The pixels of what a preview shows: an image's thumbnail beside its index, else its decoded file."""

from __future__ import annotations

from PIL import Image

from imgsearch import deep
from imgsearch.cli.terminal.preview.grid import Loaded
from imgsearch.errors import ImgsearchError, PictureError
from imgsearch.types import Record

MISSING, UNREADABLE = "missing", "no preview"
"""What stands in the frame of an image that can't be shown."""


def load(path: str, image: Record | None, index: str, longest: int) -> Loaded:
    """Return an image upright, with all detail that is seen at sides of ``longest`` pixels; else why there is none.

    ``image`` is what the ``index`` in a folder knows of the file at ``path``: then its thumbnail there is used, or
    made. None: the file is decoded.
    """
    from imgsearch.media.thumbnail import SIDES, read_thumbnail
    from imgsearch.search.thumbnails import LARGE, SMALL, thumbnail

    size = SMALL if longest <= SIDES[SMALL] else LARGE
    try:
        if image is not None and index:
            return Image.fromarray(read_thumbnail(thumbnail(index, image, size)))
        return _decoded(path, size)
    except (ImgsearchError, ValueError):
        return UNREADABLE if deep.exists(path) or deep.lexists(path) else MISSING


def _decoded(path: str, size: str) -> Image.Image:
    """Return the first image of a file, by a decoder that may skip detail. Raises as ``load_picture`` does."""
    from imgsearch.files import open_source
    from imgsearch.media.pictures import load_picture
    from imgsearch.media.thumbnail import budget_of

    with open_source(path) as opened:
        picture = load_picture(opened.stream, path, budget_of(size))
    if picture is None:
        raise PictureError("unsupported", "contains no image")
    return Image.fromarray(picture.pixels)
