"""Pictures whose files carry metadata: EXIF, XMP and IPTC as their writers lay them out."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import Any

import pillow_heif
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF")
"""The formats that carry EXIF and XMP."""

_HEADER = b"Photoshop 3.0\0"


def exif(
    base: Mapping[int, Any] | None = None,
    details: Mapping[int, Any] | None = None,
    gps: Mapping[int, Any] | None = None,
) -> Image.Exif:
    """Return EXIF with these tags in its directories."""
    made = Image.Exif()
    made.update(base or {})
    for number, tags in ((ExifTags.IFD.Exif, details), (ExifTags.IFD.GPSInfo, gps)):
        if tags:
            made.get_ifd(number).update(tags)
            made[number] = 0  # a place holder, without which TIFF's writer overlooks the directory
    return made


def taken(text: str, **details: Any) -> Image.Exif:
    """Return EXIF with a DateTimeOriginal, and further tags of its directory by their names."""
    tags = {getattr(ExifTags.Base, name): value for name, value in details.items()}
    return exif(details={ExifTags.Base.DateTimeOriginal: text, **tags})


def packet(attributes: str = "", elements: str = "") -> bytes:
    """Return an XMP packet whose description has these attributes and elements."""
    spaces = {
        "dc": "http://purl.org/dc/elements/1.1/",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "GCamera": "http://ns.google.com/photos/1.0/camera/",
    }
    declared = " ".join(f'xmlns:{name}="{space}"' for name, space in spaces.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {declared} {attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def keywords(*words: str) -> str:
    """Return the element of a packet that has these keywords."""
    return (
        f"<dc:subject><rdf:Bag>{''.join(f'<rdf:li>{word}</rdf:li>' for word in words)}</rdf:Bag></dc:subject>"
    )


def records(*pairs: tuple[int, bytes]) -> bytes:
    """Return IPTC's records of the application, by their numbers."""
    return b"".join(struct.pack(">BBBH", 0x1C, 2, number, len(value)) + value for number, value in pairs)


def with_metadata(
    kind: str, exif: Image.Exif | None = None, xmp: bytes | None = None, iptc: bytes | None = None
) -> bytes:
    """Return the file of a small picture in one of KINDS; IPTC is for JPEG and TIFF only."""
    image = Image.radial_gradient("L").convert("RGB").resize((64, 48))
    file = io.BytesIO()
    if kind == "HEIF":
        container = pillow_heif.from_pillow(image)
        container.save(file, exif=exif.tobytes() if exif is not None else None, xmp=xmp)
    elif kind == "PNG":
        info = PngInfo()
        if xmp:
            info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        image.save(file, kind, exif=Image.Exif() if exif is None else exif, pnginfo=info)
    elif kind == "TIFF":
        tags = Image.Exif() if exif is None else exif
        if xmp:
            tags[700] = xmp
        if iptc:
            tags[33723] = iptc
        image.save(file, kind, exif=tags)
    elif kind == "JPEG":
        image.save(file, kind, exif=Image.Exif() if exif is None else exif, **({"xmp": xmp} if xmp else {}))
        if iptc:
            return _with_segment(file.getvalue(), _photoshop(iptc))
    else:
        image.save(
            file, kind, exif=exif.tobytes() if exif is not None else b"", **({"xmp": xmp} if xmp else {})
        )
    return file.getvalue()


def _photoshop(iptc: bytes) -> bytes:
    """Return the segment of JPEG in which Photoshop keeps IPTC's records, behind another resource."""
    other = b"8BIM" + struct.pack(">HB", 0x03ED, 3) + b"odd" + struct.pack(">I", 5) + b"12345\0"
    own = b"8BIM" + struct.pack(">HBB", 0x0404, 0, 0) + struct.pack(">I", len(iptc)) + iptc
    body = _HEADER + other + own
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


def _with_segment(jpeg: bytes, segment: bytes) -> bytes:
    return jpeg[:2] + segment + jpeg[2:]
