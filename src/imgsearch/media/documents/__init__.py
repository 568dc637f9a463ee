"""Files that hold more than an image: which there are, and the way to read them, in a process that may crash."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import BinaryIO, NamedTuple

from imgsearch.errors import PictureError
from imgsearch.media import formats
from imgsearch.media.documents.contract import (
    AS_USUAL,
    Document,
    DocumentOptions,
    Place,
    Reader,
    choose,
    chosen,
    said,
)

__all__ = [
    "AS_USUAL",
    "DOCUMENTS",
    "Document",
    "DocumentFormat",
    "DocumentOptions",
    "Place",
    "Reader",
    "choose",
    "chosen",
    "close_readers",
    "document_format",
    "is_installed",
    "open_document",
    "said",
]


class DocumentFormat(NamedTuple):
    """A kind of documents: who reads it, under which names it comes, how it begins, and what reading it may take."""

    name: str
    """In a person's words, as a noun: "a PDF"."""
    module: str
    """The module with ``open_reader``, by its whole name; only the process that reads imports it."""
    extensions: str
    """Lower case, without the dot, separated by spaces."""
    head: bytes
    """A regular expression that the file's first bytes match from the start."""
    by_name: bool = False
    """True where the head is that of images, too: it is then a document only under its own extensions."""
    extra: str = ""
    """The extra that brings its library, and ...."""
    library: str = ""
    """... the name to import that library by; "" where none is needed."""
    memory: int = 1 << 30
    """Bytes that its process may have beyond what it starts with. macOS does not keep to such a limit."""
    is_image: bool = False
    """True where a file is one image, like those of ``formats.FORMATS``."""
    seconds: float = 10.0
    """Of the processor that one answer may take; opening a file over 64 MiB may take more in proportion."""


# Its own limits end a film sooner than this: these are for a decoder that hangs.
_FILM = DocumentFormat(
    "a video",
    "imgsearch.media.documents.film",
    "mp4 m4v mov 3gp 3g2 mkv webm avi mpg mpeg wmv ogv",
    rb"....(?:ftyp(?!crx )|moov|mdat|wide|free|skip|pnot)|\x1aE\xdf\xa3|RIFF....AVI |\0\0\x01\xba|0&\xb2u|OggS",
    extra="video",
    library="av",
    seconds=25.0,
)
DOCUMENTS: tuple[DocumentFormat, ...] = (
    # Illustrator's files are PDF. Some programs write something before the head; PDFium looks for it further on, too.
    DocumentFormat(
        "a PDF",
        "imgsearch.media.documents.pdf",
        "pdf ai",
        rb".{0,59}%PDF-",
        extra="pdf",
        library="pypdfium2",
        memory=800 << 20,
    ),
    # Most begin like a TIFF, and what is found in them as one is a thumbnail.
    DocumentFormat(
        "a RAW photo",
        "imgsearch.media.documents.raw",
        "3fr arw cr2 cr3 crw dcr dng erf fff iiq k25 kdc mdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw "
        "x3f",
        rb"II[*RU]|II\x1a\0\0\0HEAP|MM\0[*O]|MMOR|FUJIFILMCCD-RAW|....ftypcrx |\0MRM|FOVb",
        by_name=True,
        extra="raw",
        library="rawpy",
        memory=2 << 30,
        seconds=20.0,
    ),
    DocumentFormat(
        "an archive",
        "imgsearch.media.documents.archive",
        "cbz zip epub docx docm dotx pptx pptm ppsx xlsx odt odp ods odg",
        rb"PK\x03\x04|PK\x05\x06",
        by_name=True,
    ),
    # What tells a tar stands behind the first member's name, further on than a look at the head goes.
    DocumentFormat(
        "a tar",
        "imgsearch.media.documents.tar",
        "tar cbt",
        rb"[^\0]",
        by_name=True,
    ),
    DocumentFormat(
        "a JPEG XL image",
        "imgsearch.media.documents.jxl",
        "jxl",
        rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
        extra="jxl",
        library="pillow_jxl",
        memory=3 << 30,
        seconds=18.0,
        is_image=True,
    ),
    DocumentFormat(
        "an SVG drawing",
        "imgsearch.media.documents.svg",
        "svg svgz",
        rb"[\s\0\xef\xbb\xbf\xff\xfe]*<|\x1f\x8b",
        by_name=True,
        extra="svg",
        library="resvg_py",
        is_image=True,
    ),
    _FILM,
    _FILM._replace(extensions="mts m2ts", head=rb"(?:.{4})?G", by_name=True),
)


def document_format(head: bytes, name: str) -> DocumentFormat | None:
    """Return the kind of document that a file is by its first 64 bytes and its name; None if it is none."""
    extension = os.path.splitext(name)[1][1:].lower()
    found = None
    for row in DOCUMENTS:
        if (not row.by_name or extension in row.extensions.split()) and re.match(row.head, head, re.DOTALL):
            found = row
            break
    # A film begins as HEIF does, but for brands that only the table of images knows.
    if found and not found.by_name and formats.is_supported(head, name):
        return None
    return found


def is_installed(format: DocumentFormat) -> bool:
    """Whether the library that reads a kind of documents is there."""
    return not format.library or find_spec(format.library) is not None


@contextmanager
def open_document(stream: BinaryIO, name: str, options: DocumentOptions = AS_USUAL) -> Iterator[Document]:
    """Open a document in a process of its own, until the end of the block.

    ``stream`` is seekable and is not closed; a file is handed over as it is, anything else is copied. ``name`` counts
    as for ``formats.load_pictures``. Raises PictureError: "not an image" for what is no document, "needs
    imgsearch-vl[…]" where its library is missing, "encrypted", "crashed the reader", "takes too long", "out of
    memory", and what its reader makes of the file; UsageError for ``options.pages`` that mean nothing.
    """
    chosen(options.pages)
    stream.seek(0)
    head = stream.read(64)
    if not head:
        raise PictureError("empty file")
    format = document_format(head, name)
    if format is None:
        raise PictureError("not an image", "nor a document")
    if not is_installed(format):
        from imgsearch.installation import how_to_add  # on use: it takes a moment

        raise PictureError(f"needs imgsearch-vl[{format.extra}]", how_to_add(format.extra))
    from imgsearch.media.documents import child  # on use: the process that reads needs none of it

    with child.opened(format, stream, name, options) as document:
        yield document


def close_readers() -> None:
    """End the processes that wait for documents to read; those at work end with what they are reading."""
    child = sys.modules.get("imgsearch.media.documents.child")
    if child is not None:  # else none has been started
        child.READERS.close()
