"""The files behind the images, for the page: the very bytes that were indexed, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from imgsearch import deep
from imgsearch.errors import PictureError
from imgsearch.files import open_source
from imgsearch.files.open import OpenedFile
from imgsearch.media import formats
from imgsearch.media.pictures import recognise
from imgsearch.text import display_path
from imgsearch.tools.web.keys import NoImage
from imgsearch.types import Record

MOST_BYTES = 64 << 20
"""A larger file is not sent as it is: it would be held in memory."""
SHOWN_BY_BROWSERS = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "AVIF": "image/avif",
}
"""Formats that a browser shows and that nothing in them can be carried out → their types. SVG is none of them."""


class Changed(NoImage):
    """The files of an image are there no more, or hold other bytes than when they were indexed."""

    def __init__(self, message: str = "the file of this image is no longer there") -> None:
        """Say what is wrong."""
        super().__init__(message)


@contextmanager
def opened(record: Record) -> Iterator[tuple[str, OpenedFile]]:
    """Open the first of an image's files that still holds what was indexed: (path, the open file). Raises Changed.

    What is opened is a regular file, and its bytes have the hash that the catalogue has: so it does not matter what
    somebody may have put in its place, a link to another file among it.
    """
    failure = Changed()
    for path in record.paths:
        given = False
        try:
            with open_source(path, partial(recognise, name=path)) as found:
                if found.sha256 == record.sha256:
                    given = True
                    yield path, found
                    return
                failure = Changed(f"{display_path(path)} has changed since it was indexed")
        except PictureError as error:
            reason = "no such file" if error.reason == "vanished" else str(error)
            failure = Changed(f"{display_path(path)}: {reason}")
            if given:
                raise failure from error
    raise failure


def original(record: Record) -> tuple[bytes, str] | None:
    """Return an image's file and its type, if a browser shows it; None for another one. Raises Changed.

    The type is that of the bytes, whatever the file's name says.
    """
    if record.page or record.kind:
        return None  # a browser shows the first page alone, and no document as an image
    with opened(record) as (path, found):
        if recognise(found.stream, path):
            return None  # an image that is read as documents are: SVG may hold scripts
        kind = SHOWN_BY_BROWSERS.get(formats.recognise(found.stream, path).name)
        if kind is None or found.status.st_size > MOST_BYTES:
            return None
        return found.stream.read(), kind


def type_by_name(path: str) -> str | None:
    """Return the type that ``original`` will probably have, by the file's name alone; None where it is rendered."""
    extension = path.rpartition(".")[2].lower()
    for row in formats.FORMATS:
        if extension in row.extensions.split():
            return SHOWN_BY_BROWSERS.get(row.name)
    return None


def exists(record: Record) -> bool:
    """Whether one of an image's files is there."""
    return any(deep.exists(path) for path in record.paths)
