"""XMP packets, inside a picture or in a sidecar beside it, parsed with defusedxml."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from imgsearch.media.metadata.values import (
    date_of,
    number_of,
    place_of,
    rating_of,
    text_of,
    words_of,
)
from imgsearch.types import Metadata

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_XML_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_NAMESPACES = {
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://cipa.jp/exif/1.0/": "exifEX",
    "http://ns.adobe.com/exif/1.0/aux/": "aux",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.google.com/photos/1.0/camera/": "GCamera",
    "http://ns.adobe.com/lightroom/1.0/": "lr",
}
_UTF16 = (
    (b"\xfe\xff", "utf-16-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\0<\0", "utf-16-be"),
    (b"<\0?\0", "utf-16-le"),
    (b"<\0x\0", "utf-16-le"),
)
"""How a packet in UTF-16 begins, with a byte order mark or without."""
_MAX_ELEMENTS = 50_000
_DATES = ("exif:DateTimeOriginal", "photoshop:DateCreated", "exif:DateTimeDigitized", "xmp:CreateDate")


def from_xmp(packet: bytes | str) -> Metadata:
    """Return what a packet tells (XMP specification, parts 1 and 2; EXIF in XMP, CIPA DC-010).

    Raises an error of the parser for what is no XML, and for entities and document types, which no packet has.
    """
    properties = _properties(packet)

    def first(*names: str) -> str:
        return next((text for name in names for value in properties[name] if (text := text_of(value))), "")

    taken, offset = next(
        (found for name in _DATES if (found := date_of(first(name)))[0] is not None), (None, None)
    )
    latitude, longitude = place_of(
        _coordinate(first("exif:GPSLatitude")), _coordinate(first("exif:GPSLongitude"))
    )
    return Metadata(
        taken=taken,
        offset=offset,
        make=first("tiff:Make"),
        model=first("tiff:Model"),
        lens=first("exifEX:LensModel", "aux:Lens"),
        latitude=latitude,
        longitude=longitude,
        rating=rating_of(first("xmp:Rating")),
        title=first("dc:title", "photoshop:Headline"),
        description=first("dc:description"),
        keywords=words_of(properties["dc:subject"]),
        software=first("xmp:CreatorTool"),
        burst=first("GCamera:BurstID", "GCamera:CameraBurstID"),
    )


def _properties(packet: bytes | str) -> dict[str, list[str]]:
    """Return the texts of each property by its usual name, such as "dc:subject": those of its list, or its own."""
    from defusedxml.ElementTree import fromstring

    if isinstance(packet, bytes):
        packet = _decoded(packet)
    properties: dict[str, list[str]] = defaultdict(list)
    root: Element = fromstring(packet, forbid_dtd=True)
    for count, node in enumerate(root.iter(f"{_RDF}Description")):
        if count == _MAX_ELEMENTS:
            break
        for key, value in node.attrib.items():
            if name := _name(key):
                properties[name].append(value)
        for child in node:
            if name := _name(child.tag):
                properties[name] += _texts(child)
    return properties


def _decoded(packet: bytes) -> bytes | str:
    """Return a packet without what fills its block; one in UTF-16 as text, for a zero is half a character there."""
    for start, coding in _UTF16:
        if packet.startswith(start):
            return packet.decode(coding, "replace").strip("\ufeff\0 \t\r\n")
    return packet.strip(b"\0 \t\r\n")


def _name(tag: str) -> str:
    space, _, name = tag.removeprefix("{").partition("}")
    return f"{_NAMESPACES[space]}:{name}" if space in _NAMESPACES else ""


def _texts(element: Element) -> list[str]:
    """Return the items of a list, of alternative languages the default first; the element's own text if it is none."""
    items = list(element.iter(f"{_RDF}li"))
    if not items:
        return [element.text or ""]
    items.sort(key=lambda item: item.get(_XML_LANGUAGE, "x-default") != "x-default")
    return [item.text or "" for item in items]


def _coordinate(text: str) -> float | None:
    """Return the degrees of a coordinate such as "48,51.5N", "48,51,30N" or "-48.85"; None if it is none."""
    sign = -1 if text[-1:] in "SWsw" and text else 1
    parts = [number_of(part) for part in text.rstrip("NSEWnsew").split(",")]
    if None in parts:
        return None
    return sign * sum((number or 0.0) / 60.0**power for power, number in enumerate(parts[:3]))
