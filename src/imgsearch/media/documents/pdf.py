"""PDF by PDFium: pages drawn at the size that is asked for, their text, and what the document tells of itself.

PDFium is not safe between threads, and parses what anybody wrote: this runs in the process for that alone. The build in
pypdfium2's wheels has no JavaScript, and it opens no other file and no address.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pypdfium2
from pypdfium2 import raw

from imgsearch.errors import PictureError
from imgsearch.media.documents.contract import Corners, DocumentOptions, Place
from imgsearch.media.metadata.values import date_of, text_of, words_of
from imgsearch.media.splice import length
from imgsearch.types import MAX_ASPECT, RGB, Metadata, Picture, PixelBudget

DPI = 150
"""A page has no pixels. It counts as what a scan of it has that people take for reading; no more are ever drawn."""
MAX_PAGES = 50_000
"""Pages of one file that are read, at most; some files claim to have a million."""
_COST = 64_000_000
"""Bytes that drawing a page takes, most often; an image on it is unpacked whole, and none says so before."""
_GetBlock = dict(raw.FPDF_FILEACCESS._fields_)["m_GetBlock"]
"""The type of what reads for PDFium."""
_LINE = re.compile("[^\r\n]+")
_UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f\ufffe\uffff]")
"""What is no text; 2 stands where PDFium has taken away a hyphen at the end of a line."""
_MOST_CHARACTERS = 200_000
"""Of a page that are read."""
_UNIT = 1_000_000
_OUTSIDE: Corners = (0.0,) * 8
_DATE = re.compile(r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(?:(\d\d)(\d\d)(\d\d)?)?(?:(Z)|([+-]\d\d)'?(\d\d)?)?")
"""ISO 32000-1, 7.9.4; the month may be the last that is said."""


def open_reader(stream: BinaryIO, name: str, options: DocumentOptions) -> _Pdf:
    """Open a PDF. Raises PictureError, also "encrypted", or what pypdfium2 raises."""
    return _Pdf(stream, options.passwords)


class _Pdf:
    """A ``contract.Reader`` of a PDF."""

    def __init__(self, stream: BinaryIO, passwords: tuple[str, ...]) -> None:
        self._access = _access(stream)  # PDFium reads by it for as long as the document is open
        self._document = pypdfium2.PdfDocument(_opened(self._access, passwords))
        self._document.init_forms()  # PDFium wants it before any page
        count = len(self._document)
        if not count:
            raise PictureError("corrupt", "it has no page")
        self.places = [Place(number) for number in range(min(count, MAX_PAGES))]
        notes = [f"only its first {MAX_PAGES:,} pages are read"] if count > MAX_PAGES else []
        if self._document.get_formtype() == raw.FORMTYPE_XFA_FULL:
            notes.append("its form (XFA) can't be shown")
        self.note = "; ".join(notes)
        self.cost = _COST

    def picture(self, place: Place, budget: PixelBudget) -> Picture:
        """Draw a page as a viewer shows it: its crop box, turned, forms and annotations on it, on white."""
        page = self._page(place)
        try:
            wide, high = (side * DPI / 72 for side in _size(page))
            scale = min(1.0, math.sqrt(budget.max_pixels / (wide * high)))
            scale *= max(1.0, math.sqrt(budget.min_pixels / (wide * high)))
            pixels = _drawn(page, _whole(scale * wide), _whole(scale * high))
        finally:
            page.close()
        return Picture(pixels, _whole(wide), _whole(high), place.page)

    def text(self, place: Place) -> str:
        """Return the text that is on a page within its crop box, in the file's order, a line a line."""
        return "\n".join(line for line, _ in self.lines(place))

    def lines(self, place: Place) -> list[tuple[str, Corners | None]]:
        """Return the lines of that text with their corners; a word that is broken at a line's end joins two lines."""
        page = self._page(place)
        try:
            return list(_lines(page, page.get_textpage()))
        finally:
            page.close()  # and its text

    def _page(self, place: Place) -> pypdfium2.PdfPage:
        """Return a page; what has been filled in and annotated is part of it, for its text is what people look for."""
        try:
            page = self._document[place.page]
            if raw.FPDFPage_GetAnnotCount(page) > 0:
                raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY)
                page.close()
                page = self._document[place.page]
        except pypdfium2.PdfiumError as error:
            raise PictureError("corrupt", "it can't be opened") from error
        return page

    def metadata(self) -> Metadata:
        """Return title, subject, keywords, the program and the date it was made; Metadata has no place for authors."""
        told = self._document.get_metadata_dict()
        taken, offset = date_of(_date(told["CreationDate"]))
        return Metadata(
            taken=taken,
            offset=offset,
            title=text_of(told["Title"]),
            description=text_of(told["Subject"]),
            keywords=words_of(re.split("[,;]", told["Keywords"])),
            software=text_of(told["Creator"]),
        )

    def close(self) -> None:
        """Let go of the file."""
        self._document.close()


def _access(stream: BinaryIO) -> raw.FPDF_FILEACCESS:
    """Return how PDFium reads a stream."""

    @_GetBlock  # type: ignore[untyped-decorator]
    def read(_: object, place: int, buffer: Any, size: int) -> int:
        stream.seek(place)
        data = stream.read(size)
        ctypes.memmove(buffer, data, len(data))
        return len(data) == size

    return raw.FPDF_FILEACCESS(length(stream), read, None)


def _opened(access: raw.FPDF_FILEACCESS, passwords: tuple[str, ...]) -> raw.FPDF_DOCUMENT:
    """Return the document, opened without a password or with one of these. Raises PictureError.

    By PDFium itself: pypdfium2 refuses a document without pages, with the reason why another could not be opened.
    """
    for password in (None, *passwords):
        # Bytes of a command line that are no text are none of anybody's password either, but may come here.
        given = None if password is None else password.encode(errors="surrogateescape")
        if document := raw.FPDF_LoadCustomDocument(access, given):
            return document
        match raw.FPDF_GetLastError():
            case raw.FPDF_ERR_PASSWORD:
                continue
            case raw.FPDF_ERR_SECURITY:
                raise PictureError("encrypted", "in a way that is not supported")
        raise PictureError("corrupt", "it can't be opened; its end may be missing")
    raise PictureError("encrypted", "none of the passwords opens it" if passwords else "it needs a password")


def _drawn(page: pypdfium2.PdfPage, width: int, height: int) -> RGB:
    """Draw a page on white, as wide and high as is said."""
    bitmap = pypdfium2.PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR, rev_byteorder=True)
    try:
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
        flags = raw.FPDF_ANNOT | raw.FPDF_REVERSE_BYTE_ORDER
        raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, flags)
        return np.array(bitmap.to_numpy())
    finally:
        bitmap.close()


def _lines(page: pypdfium2.PdfPage, text: pypdfium2.PdfTextPage) -> Iterator[tuple[str, Corners | None]]:
    count = min(raw.FPDFText_CountChars(text), _MOST_CHARACTERS)
    characters = "".join(chr(raw.FPDFText_GetUnicode(text, number)) for number in range(count))
    for found in _LINE.finditer(characters):
        # Halves of characters beyond 16 bits, each a character to PDFium, are put together.
        halves = _UNSEEN.sub("", found[0]).encode("utf-16-le", "surrogatepass")
        line = halves.decode("utf-16-le", "replace").strip()
        corners = _corners(page, text, found.start(), len(found[0]))
        if line and corners != _OUTSIDE:
            yield line, corners


def _corners(page: pypdfium2.PdfPage, text: pypdfium2.PdfTextPage, start: int, count: int) -> Corners | None:
    """Return the corners of what some characters take on the upright page; _OUTSIDE where that is cropped away."""
    xs, ys = [], []
    for number in range(raw.FPDFText_CountRects(text, start, count)):
        sides = [ctypes.c_double() for _ in range(4)]
        raw.FPDFText_GetRect(text, number, *sides)
        for across, up in (sides[:2], sides[2:]):
            x, y = ctypes.c_int(), ctypes.c_int()
            raw.FPDF_PageToDevice(page, 0, 0, _UNIT, _UNIT, 0, across, up, x, y)
            xs.append(x.value / _UNIT)
            ys.append(y.value / _UNIT)
    if not xs:
        return None
    if min(xs) >= 1 or max(xs) <= 0 or min(ys) >= 1 or max(ys) <= 0:
        return _OUTSIDE
    left, right, top, bottom = (min(1.0, max(0.0, side)) for side in (min(xs), max(xs), min(ys), max(ys)))
    return left, top, right, top, right, bottom, left, bottom


def _whole(side: float) -> int:
    """Return a side in whole pixels; a fraction of one counts, but for what comes from reckoning."""
    return max(1, math.ceil(side - 1e-6))


def _size(page: pypdfium2.PdfPage) -> tuple[float, float]:
    """Return a page's (width, height) in points, upright. PictureError where there is nothing to draw."""
    wide, high = page.get_size()
    if not (math.isfinite(wide * high) and wide > 0 and high > 0):
        raise PictureError("corrupt", f"its size is {wide:g} × {high:g} points")
    if max(wide, high) > MAX_ASPECT * min(wide, high):
        raise PictureError(f"aspect ratio over {MAX_ASPECT}", f"{wide:.0f} × {high:.0f} points")
    return wide, high


def _date(text: str) -> str:
    """Return a PDF's date as ``date_of`` takes it; "" if it is none."""
    found = _DATE.match(text.strip())
    if not found:
        return ""
    year, month, day, hour, minute, second, utc, hours, minutes = found.groups()
    time = f" {hour}:{minute}:{second or '00'}" if hour else ""
    zone = "+00:00" if utc else f"{hours}:{minutes or '00'}" if hours else ""
    return f"{year}-{month or '01'}-{day or '01'}{time}{zone}"
