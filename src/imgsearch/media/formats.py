"""A file → upright RGB pictures inside a pixel budget: the table of formats and the way through it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import BinaryIO, NamedTuple, Protocol, cast

from imgsearch.errors import PictureError
from imgsearch.media.limits import timed
from imgsearch.media.splice import length
from imgsearch.text import error_line, format_bytes
from imgsearch.types import MAX_MEGAPIXELS, NO_METADATA, Metadata, Picture, PixelBudget


class Format(NamedTuple):
    """A picture format: who decodes it, under which names it comes, and how its first bytes look."""

    name: str
    """As its decoder knows it."""
    module: str
    """The module of this package that decodes it; imported on use, so that the table costs nothing."""
    extensions: str
    """Lower case, without the dot, separated by spaces."""
    head: bytes
    """A regular expression that the file's first bytes match from the start."""
    by_name: bool = False
    """True where the head is too weak to tell: the format is then tried only under its own extensions."""
    paged: bool = False
    """True where a file may have several pages: its module is a PagedDecoder."""


class Decoder(Protocol):
    """What a module of this package offers."""

    def decode(
        self, stream: BinaryIO, format: str, budget: PixelBudget, max_pixels: int
    ) -> Iterator[Picture]:
        """Yield the pictures of a file, or raise PictureError or whatever the library under it raises."""

    def check(self, stream: BinaryIO, format: str, max_pixels: int) -> tuple[int, int]:
        """Return (width, height) of the first upright picture by the header, or raise what decode would for it."""

    def metadata(self, stream: BinaryIO, format: str, max_pixels: int) -> Metadata:
        """Return what the file tells of its first picture besides the pixels, or raise what decode would."""


ALL_PAGES = slice(None)


class PagedDecoder(Decoder, Protocol):
    """What a module offers whose format has pages."""

    def decode(
        self,
        stream: BinaryIO,
        format: str,
        budget: PixelBudget,
        max_pixels: int,
        pages: slice = ALL_PAGES,
    ) -> Iterator[Picture]:
        """Yield some pages of a file, numbered from 0; of a file that has only one, that one in any case."""


FORMATS = (
    Format("JPEG", "jpeg", "jpg jpeg jpe jfif mpo", rb"\xff\xd8\xff"),
    Format("PNG", "png", "png apng", rb"\x89PNG\r\n\x1a\n"),
    Format("GIF", "raster", "gif", rb"GIF8[79]a"),
    Format("WEBP", "raster", "webp", rb"RIFF....WEBP"),
    Format("TIFF", "tiff", "tif tiff", rb"II[*+]\0|MM\0[*+]", paged=True),
    Format("BMP", "raster", "bmp", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    Format("JPEG2000", "raster", "jp2 j2k jpx jpf jpc j2c", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    Format("PPM", "raster", "pnm pbm pgm ppm pfm", rb"P[1-7Ff][\s#]"),
    # mif1 and msf1 say only "some pictures": the brands that follow tell AVIF from HEIF.
    Format("AVIF", "raster", "avif avifs", rb"....ftyp(?:avi[fs]|m[is]f1.{4}(?:.{4})*?avi[fs])"),
    Format("PSD", "raster", "psd psb", rb"8BPS\0[\x01\x02]"),
    # Pillow decodes it in Python, about two seconds a megapixel; `limits.timed` ends what takes too long.
    Format("QOI", "raster", "qoi", rb"qoif"),
    Format("HEIF", "heif", "heic heif hif heics heifs", rb"....ftyp(?:he[iv][cxms]|m[is]f1)"),
    Format("TGA", "raster", "tga", rb".[\0\x01][\x01-\x03\x09-\x0b]", by_name=True),
)

# Kinds of images that are known and not read, so that nobody is told that they are none.
_UNREAD = (
    ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
    ("JPEG XR", rb"II\xbc"),
    ("OpenEXR", rb"v/1\x01"),
    ("Radiance HDR", rb"#\?(RADIANCE|RGBE)"),
    ("DDS", rb"DDS \x7c\0\0\0"),
    ("DjVu", rb"AT&TFORM"),
    ("PCX", rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]"),
    ("SGI", rb"\x01\xda[\0\x01][\x01\x02]\0[\x01-\x03]"),
    ("GIMP's own format (XCF)", rb"gimp xcf"),
    ("an icon (ICNS)", rb"icns"),
    ("DPX", rb"SDPX|XPDS"),
    ("FITS", rb"SIMPLE  = "),
    ("BPG", rb"BPG\xfb"),
)

EXTENSIONS: frozenset[str] = frozenset(f".{ext}" for row in FORMATS for ext in row.extensions.split())
"""The file names that are candidates: lower case, with the dot."""

_OTHERS = {
    "a PDF document": rb"%PDF-",
    "a web page": rb"\s*<(!doctype html|html)",
    "a drawing in SVG": rb"\s*<svg",
    "a ZIP archive": rb"PK\x03\x04",
    "a RAW photo": rb"....ftypcrx|FUJIFILMCCD-RAW|IIRO|IIU\0",
    "a video": rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI|....(moov|mdat|wide)",
    "all zeros": rb"\0{64}",
}
"""What a file is that is not an image → its first bytes: those that are often found among images."""

_HEAD_BYTES = 64
_MOST_BYTES = 16_000_000_000
"""Of a file: a hundred pages of 20 megapixels without compression are less, and to read more takes minutes."""
_BYTES = re.compile(r"""\bb(['"]).*(?:\1|…)""")
"""Bytes of the file that a decoder quotes: what is said of a file that is no image holds none of it."""
# What a decoder can't read though nothing is broken, where the header has not told before: so that an intact file
# isn't called corrupt.
_UNSUPPORTED = re.compile(
    r"unsupported|not yet supported|is not supported|unknown (pixel mode|data organi)", re.IGNORECASE
)


def load_pictures(
    stream: BinaryIO,
    name: str,
    budget: PixelBudget,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
    pages: slice = ALL_PAGES,
) -> Iterator[Picture]:
    """Decode a file's pictures: upright, sRGB, on a ground where transparent; all ``pages`` of a TIFF.

    Of an animation the first frame counts, or the most telling one if that is empty. A light drawing on nothing is
    set on black, any other on white. ``Picture.note`` is not empty where something is missing that its owner should
    know of.

    ``stream`` is seekable; it is read while the iterator runs and neither kept nor closed. The contents
    decide what it is, not ``name``, of which only the extension counts, and only for formats without a
    signature. A picture may come out smaller than the original where its decoder can skip detail that
    ``budget`` would throw away, but never with less than twice the sides that the budget leaves.

    Raises PictureError, while iterating, with one of these reasons: "empty file", "not an image",
    "unsupported", "corrupt", "too many pixels" (over ``max_megapixels`` million) and "aspect ratio over
    200" (both from the header, before anything is decoded), "decompression bomb" and "too large for the memory"
    (also from the header), "takes too long", "unreadable" (the disk, not the picture), "out of memory", "needs
    pillow-heif". Can be called from many threads, each with a stream of its own.
    """
    with picture_errors():
        found = recognise(stream, name)
        given = timed(stream), found.name, budget, int(max_megapixels * 1_000_000)
        if found.paged:
            yield from cast("PagedDecoder", _module(found)).decode(*given, pages)
        else:
            yield from _module(found).decode(*given)


def check_picture(stream: BinaryIO, name: str, *, max_megapixels: float = MAX_MEGAPIXELS) -> tuple[int, int]:
    """Return the (width, height) of a file's first picture, upright, by its header: a small part of decoding it.

    Raises PictureError as load_pictures does, for what can be told from there; a picture that is broken
    further on passes.
    """
    with picture_errors():
        decoder, format = _decoder(stream, name)
        return decoder.check(timed(stream), format, int(max_megapixels * 1_000_000))


def load_metadata(stream: BinaryIO, name: str, *, max_megapixels: float = MAX_MEGAPIXELS) -> Metadata:
    """Return what a picture's file tells of it besides the pixels, by its header: no pixel is decoded.

    No error: metadata that is damaged, lies about its size or is none at all tells nothing. ``stream`` is as for
    load_pictures.
    """
    with suppress(Exception):  # decoders of other people, fed with bytes of anybody
        from imgsearch.media.decoders import raster

        raster.prepare_pillow(int(max_megapixels * 1_000_000))  # else it warns of damaged EXIF
        decoder, format = _decoder(stream, name)
        return decoder.metadata(timed(stream), format, int(max_megapixels * 1_000_000))
    return NO_METADATA


def is_supported(head: bytes, name: str) -> bool:
    """Whether a file that begins with ``head``, its first 64 bytes or more, is of one of FORMATS."""
    try:
        _recognise(head, name)
    except PictureError:
        return False
    return True


def recognise(stream: BinaryIO, name: str) -> Format:
    """Return a file's format by its first bytes, and go back to its start; PictureError for one that is not read."""
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    found = _recognise(head, name)
    if (size := length(stream)) > _MOST_BYTES:
        most = format_bytes(_MOST_BYTES)
        raise PictureError("too large a file", f"{format_bytes(size)}; a file of up to {most} is read")
    stream.seek(0)
    return found


def _decoder(stream: BinaryIO, name: str) -> tuple[Decoder, str]:
    """Return who decodes this file, and the format's name for that."""
    found = recognise(stream, name)
    return _module(found), found.name


def _module(format: Format) -> Decoder:
    return cast("Decoder", import_module(f"imgsearch.media.decoders.{format.module}"))


@contextmanager
def picture_errors() -> Iterator[None]:
    """Turn whatever a decoder raises into a PictureError."""
    try:
        yield
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureError("out of memory", "not enough memory to decode it") from error
    # Decoders of other people, fed with bytes of anybody: struct.error, SyntaxError, KeyError, zlib.error and
    # more have all been seen, so here, and nowhere else, every exception means that the file is no good.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise PictureError("unreadable", error_line(error, most=160)) from error
        detail = _BYTES.sub("…", error_line(error, most=160)).strip("…") or "its header can't be read"
        # A KeyError is a value that some table of the decoder lacks: 16-bit Photoshop, a TIFF's compression.
        if isinstance(error, KeyError) or isinstance(error.__cause__, KeyError):
            raise PictureError(
                "unsupported", f"the decoder does not support this variant ({detail})"
            ) from error
        raise PictureError("unsupported" if _UNSUPPORTED.search(detail) else "corrupt", detail) from error


def _recognise(head: bytes, name: str) -> Format:
    """Return the format that a file's first bytes show."""
    if not head:
        raise PictureError("empty file")
    extension = os.path.splitext(name)[1][1:].lower()
    for row in FORMATS:
        if row.by_name and extension not in row.extensions.split():
            continue
        if re.match(row.head, head, re.DOTALL):
            return row
    for kind, signature in _UNREAD:
        if re.match(signature, head, re.DOTALL):
            raise PictureError("unsupported", kind)
    raise PictureError("not an image", f"its content is {_content(head)}")


def _content(head: bytes) -> str:
    """Put into words what a file holds that is not an image, as far as its first bytes show."""
    for name, start in _OTHERS.items():
        if re.match(start, head, re.DOTALL | re.IGNORECASE):
            return name
    text = head.decode("utf-8", errors="ignore")  # the last character may be cut
    if len(text.encode()) > len(head) - 4 and all(char.isprintable() or char in "\t\r\n\f" for char in text):
        return "plain text"
    return "of another kind"
