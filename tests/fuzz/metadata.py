"""Metadata of anybody, damaged: reading it ends without an error, and what is told is within its bounds."""

from __future__ import annotations

import io
import random
from datetime import datetime
from functools import cache
from pathlib import Path

from fuzz.decoders import damaged
from imgsearch.media.formats import load_metadata
from imgsearch.media.metadata import with_sidecars
from imgsearch.media.metadata.values import MAX_KEYWORDS, MAX_TEXT
from imgsearch.types import NO_METADATA, Metadata
from support.tagged_files import KINDS, exif, keywords, packet, records, with_metadata

_CAMERA = {271: "FUJIFILM", 272: "X-T5", 0x9C9B: "Opera\0".encode("utf-16-le")}
_DETAILS = {36867: "2023:07:14 09:30:05", 37521: "347", 36881: "+02:00", 37500: b"Apple iOS\0\0\1MM\0\1"}
_GPS = {1: "N", 2: (48.0, 51.0, 30.24), 3: "W", 4: (2.0, 17.0, 40.2)}
_XMP = packet(
    'xmp:Rating="4" photoshop:DateCreated="2022-02-19T14:48:13+03:00" exif:GPSLatitude="48,51.504N"',
    keywords("cat", "boat"),
)
_IPTC = records((5, b"Harbour"), (25, b"boat"), (55, b"20240714"), (60, b"093000+0200"))
_TAKEOUT = b"""{"title": "a", "photoTakenTime": {"timestamp": "1689319805"},
"geoData": {"latitude": 48.5, "longitude": 2.25}, "description": "A boat"}"""


@cache
def _whole(kind: str) -> bytes:
    return with_metadata(kind, exif(_CAMERA, _DETAILS, _GPS), _XMP, _IPTC)


def _check(told: Metadata) -> None:
    texts = (told.make, told.model, told.lens, told.title, told.description, told.software, *told.keywords)
    assert all((len(text) <= MAX_TEXT and text.isprintable()) or "\u2028" not in text for text in texts)
    assert len(told.keywords) <= 2 * MAX_KEYWORDS
    assert told.taken is None or datetime.min <= told.taken <= datetime.max
    assert told.latitude is None or abs(told.latitude) <= 90
    assert told.longitude is None or abs(told.longitude) <= 180
    assert told.rating is None or -1 <= told.rating <= 5


def case(random: random.Random, folder: Path) -> None:
    """Have the metadata of one damaged file, or of one damaged sidecar, read."""
    if random.random() < 0.7:
        kind = random.choice(KINDS)
        _check(load_metadata(io.BytesIO(damaged(random, _whole(kind))), f"a.{kind.lower()}"))
        return
    name, data = random.choice(
        (("a.xmp", _XMP), ("a.xmp", _XMP.decode().encode("utf-16")), ("a.json", _TAKEOUT))
    )
    _check(with_sidecars(NO_METADATA, [(name, damaged(random, data))], random.randrange(-(2**63), 2**63)))
