"""SVG by resvg: drawn as large as is asked for, from its own elements alone.

resvg has neither scripts nor a network, but it reads images that a drawing names by a path. So the drawing is read
here, loses all that refers to elsewhere, and is handed on; nor does resvg come to see entities.
"""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Iterator
from functools import cache
from typing import BinaryIO
from xml.etree import ElementTree

import resvg_py
from PIL import Image

from imgsearch.errors import PictureError
from imgsearch.media.decoders.raster import finished
from imgsearch.media.documents.contract import DocumentOptions, Place
from imgsearch.media.metadata.values import text_of
from imgsearch.types import MAX_ASPECT, Metadata, Picture, PixelBudget

_MOST_BYTES = 32 << 20
"""Of a drawing, unpacked."""
_MOST_ELEMENTS = 500_000
_MOST_DEEP = 200
"""Elements in elements: resvg follows them on the stack."""
_BLOCK = 1 << 16
_DPI = 96
"""CSS has so many pixels in an inch."""
_UNITS = {
    "": 1.0,
    "px": 1.0,
    "pt": 96 / 72,
    "pc": 16.0,
    "mm": 96 / 25.4,
    "cm": 96 / 2.54,
    "in": 96.0,
    "em": 16.0,
}
_LENGTH = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*([a-z]*|%)\s*", re.IGNORECASE)
_MOST_SIDE = 100_000
"""Pixels of a side that a drawing counts as having: it may claim any number."""
_WITHIN = re.compile(r"\s*(#|data:)", re.IGNORECASE)
"""How an address begins that is in the drawing itself."""
_FAMILIES = ("DejaVu Sans", "Liberation Sans", "Arial", "Noto Sans", "Helvetica", "Ubuntu", "FreeSans")
"""Fonts one of which most systems have."""
_COST = 64_000_000
"""Bytes that drawing takes, most often."""
_SVG = "{http://www.w3.org/2000/svg}"


def open_reader(stream: BinaryIO, name: str, options: DocumentOptions) -> _Svg:
    """Open a drawing. Raises PictureError: "not an image", "corrupt", "too large a file", "decompression bomb"."""
    return _Svg(_parsed(stream))


class _Svg:
    """A ``contract.Reader`` of a drawing, which is one image."""

    def __init__(self, root: ElementTree.Element) -> None:
        self._root = root
        self._size = _size_of(root)
        self._texts = [
            text for one in root.iter(f"{_SVG}text") if (text := " ".join("".join(one.itertext()).split()))
        ]
        self.places = [Place(0)]
        self.note = ""
        self.cost = _COST

    def picture(self, place: Place, budget: PixelBudget) -> Picture:
        """Draw it with the budget's pixels, on white, or on black where nothing could be told from that."""
        width, height = self._size or (1.0, 1.0)
        scale = math.sqrt(budget.max_pixels / (width * height))
        # Of a drawing without a size resvg finds out what there is, and fits that in.
        drawn = _drawn(
            self._root, max(1, round(scale * width)), max(1, round(scale * height)), bool(self._texts)
        )
        width, height = self._size or drawn.size
        least = min(1.0, _MOST_SIDE / max(width, height))
        size = max(1, math.ceil(least * width)), max(1, math.ceil(least * height))
        return finished(drawn, budget, orientation=1, full=size, page=place.page)

    def metadata(self) -> Metadata:
        """Return title and description."""
        title, description = (self._root.findtext(f"{_SVG}{name}") or "" for name in ("title", "desc"))
        return Metadata(title=text_of(title), description=text_of(description))

    def text(self, place: Place) -> str:
        """Return the drawing's texts, each a line."""
        return "\n".join(self._texts)

    def close(self) -> None:
        """There is nothing to let go of."""


def _drawn(root: ElementTree.Element, width: int, height: int, has_text: bool) -> Image.Image:
    """Draw within a width and height, in pixels, in the drawing's proportions."""
    family = (_family() if has_text else "") or None
    data = resvg_py.svg_to_bytes(
        ElementTree.tostring(root, encoding="unicode"),
        width=width,
        height=height,
        dpi=_DPI,
        skip_system_fonts=family is None,  # to look for them takes a tenth of a second
        font_family=family,
        serif_family=family,
        sans_serif_family=family,
        cursive_family=family,
        fantasy_family=family,
        monospace_family=family,
    )
    image = Image.open(io.BytesIO(bytes(data)), formats=["PNG"])
    image.load()
    return image


@cache
def _family() -> str:
    """Return a font that is there, for what names none that is: resvg would leave such text out. "" if none is."""
    for family in _FAMILIES:
        probe = (
            '<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16">'
            f'<text y="16" font-family="{family}">M</text></svg>'
        )
        with Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(probe, dpi=_DPI)))) as image:
            if image.getbbox():
                return family
    return ""


class _Limited:
    """Builds the tree of a drawing, within limits, without what refers to elsewhere."""

    def __init__(self) -> None:
        self._builder = ElementTree.TreeBuilder()
        self._count = self._deep = self._text = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count, self._deep = self._count + 1, self._deep + 1
        if self._count > _MOST_ELEMENTS or self._deep > _MOST_DEEP:
            what = "elements" if self._deep <= _MOST_DEEP else "elements in elements"
            most = _MOST_ELEMENTS if self._deep <= _MOST_DEEP else _MOST_DEEP
            raise PictureError("unsupported", f"a drawing of over {most:,} {what}")
        if self._count == 1 and tag.rpartition("}")[2] != "svg":
            raise PictureError("not an image", "XML of another kind")
        own = {name: value for name, value in attributes.items() if not _is_elsewhere(name, value)}
        self._builder.start(tag, own)

    def end(self, tag: str) -> None:
        self._deep -= 1
        self._builder.end(tag)

    def data(self, text: str) -> None:
        self._text += len(text)
        if self._text > _MOST_BYTES:
            raise PictureError("decompression bomb", f"its entities stand for over {_MOST_BYTES >> 20} MB")
        self._builder.data(text)

    def close(self) -> ElementTree.Element:
        return self._builder.close()


def _is_elsewhere(name: str, value: str) -> bool:
    """Whether an attribute names something that is not in the drawing."""
    return name.rpartition("}")[2] in ("href", "src", "base") and not _WITHIN.match(value)


def _parsed(stream: BinaryIO) -> ElementTree.Element:
    """Return a drawing's root. Raises PictureError."""
    parser = ElementTree.XMLParser(target=_Limited())
    try:
        for block in _unpacked(stream):
            parser.feed(block)
        root: ElementTree.Element = parser.close()
    except ElementTree.ParseError as error:
        raise PictureError("corrupt", f"it is not valid XML: {error}") from error
    except zlib.error as error:
        raise PictureError("corrupt", f"it can't be unpacked: {error}") from error
    return root


def _unpacked(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of a drawing, which may be packed by gzip. Raises PictureError for too many, or zlib.error."""
    stream.seek(0)
    is_packed = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    inflate = zlib.decompressobj(wbits=31)
    total = 0
    while block := stream.read(_BLOCK):
        while block:
            data = inflate.decompress(block, _BLOCK) if is_packed else block
            block = inflate.unconsumed_tail if is_packed else b""
            total += len(data)
            if total > _MOST_BYTES:
                reason = "decompression bomb" if is_packed else "too large a file"
                raise PictureError(reason, f"a drawing of over {_MOST_BYTES >> 20} MB")
            yield data
    if is_packed and not inflate.eof:
        raise PictureError("corrupt", "its end is missing")


def _size_of(root: ElementTree.Element) -> tuple[float, float] | None:
    """Return a drawing's (width, height) in CSS pixels; None where it gives none. Raises PictureError."""
    box = [
        float(one)
        for one in re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?", root.get("viewBox", ""), re.I)
    ]
    sides = [
        _length(root.get(name, "100%"), of)
        for name, of in zip(("width", "height"), box[2:] if len(box) == 4 else (None, None), strict=True)
    ]
    width, height = sides
    if width is None or height is None:
        return None
    if not (math.isfinite(width * height) and width > 0 and height > 0):
        raise PictureError("corrupt", f"its size is {width:g} × {height:g}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PictureError(f"aspect ratio over {MAX_ASPECT}", f"{width:g} × {height:g}")
    return width, height


def _length(text: str, whole: float | None) -> float | None:
    """Return a length in CSS pixels, a share of ``whole`` where it is in per cent; None if that is unknown."""
    found = _LENGTH.fullmatch(text)
    if not found:
        return whole
    number, unit = float(found[1]), found[2].lower()
    if unit == "%":
        return None if whole is None else number / 100 * whole
    return number * _UNITS[unit] if unit in _UNITS else None
