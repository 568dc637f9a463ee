"""EXIF, as Pillow has parsed it."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING

from PIL import ExifTags, TiffImagePlugin

from imgsearch.media.metadata.values import (
    date_of,
    degrees_of,
    place_of,
    rating_of,
    text_of,
    words_of,
)
from imgsearch.types import Metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image

_BASE, _GPS = ExifTags.Base, ExifTags.GPS
_RATING, _XP_TITLE, _XP_COMMENT, _XP_KEYWORDS = 0x4746, 0x9C9B, 0x9C9C, 0x9C9E
"""What Windows writes, in UTF-16 but for the rating."""
_APPLE = b"Apple iOS\0\0\1MM"
_APPLE_BURST, _APPLE_PAIR = 0x000B, 0x0011
"""In Apple's maker note, whose directory begins behind ``_APPLE``; its places count from the note's start."""
_MAX_NOTE = 1 << 20


def from_exif(exif: Image.Exif) -> Metadata:
    """Return what EXIF tells. The date is DateTimeOriginal with its fraction, else DateTimeDigitized (EXIF 2.32).

    DateTime is when the file was changed and no date of the picture.
    """
    details = _directory(exif, ExifTags.IFD.Exif)
    taken, offset = date_of(
        details.get(_BASE.DateTimeOriginal),
        details.get(_BASE.SubsecTimeOriginal),
        details.get(_BASE.OffsetTimeOriginal),
    )
    if taken is None:
        taken, offset = date_of(
            details.get(_BASE.DateTimeDigitized),
            details.get(_BASE.SubsecTimeDigitized),
            details.get(_BASE.OffsetTimeDigitized),
        )
    gps = _directory(exif, ExifTags.IFD.GPSInfo)
    latitude, longitude = place_of(
        degrees_of(gps.get(_GPS.GPSLatitude), gps.get(_GPS.GPSLatitudeRef)),
        degrees_of(gps.get(_GPS.GPSLongitude), gps.get(_GPS.GPSLongitudeRef)),
    )
    return Metadata(
        taken=taken,
        offset=offset,
        make=text_of(exif.get(_BASE.Make)),
        model=text_of(exif.get(_BASE.Model)),
        lens=text_of(details.get(_BASE.LensModel)),
        latitude=latitude,
        longitude=longitude,
        rating=rating_of(exif.get(_RATING)),
        title=_utf16(exif.get(_XP_TITLE)),
        description=text_of(exif.get(_BASE.ImageDescription)) or _utf16(exif.get(_XP_COMMENT)),
        keywords=words_of(_utf16(exif.get(_XP_KEYWORDS)).split(";")),
        software=text_of(exif.get(_BASE.Software)),
        burst=_apple(details, _APPLE_BURST),
    )


def live_photo_of(exif: Image.Exif) -> str:
    """Return the id that the still and the film of a Live Photo share, from an iPhone's maker note; "" if none."""
    return _apple(_directory(exif, ExifTags.IFD.Exif), _APPLE_PAIR)


def _directory(exif: Image.Exif, number: int) -> Mapping[int, object]:
    """Return one of EXIF's directories; an empty one if it is damaged, which costs none of the others."""
    with suppress(Exception):  # parsed by Pillow from bytes of anybody
        return exif.get_ifd(number)
    return {}


def _utf16(value: object) -> str:
    if isinstance(value, tuple) and all(isinstance(number, int) and 0 <= number < 256 for number in value):
        value = bytes(value)
    return text_of(value.decode("utf-16-le", errors="replace")) if isinstance(value, bytes) else ""


def _apple(details: Mapping[int, object], tag: int) -> str:
    """Return a text from the maker note of an iPhone; "" if there is none."""
    note = details.get(_BASE.MakerNote)
    if not isinstance(note, bytes) or not note.startswith(_APPLE) or len(note) > _MAX_NOTE:
        return ""
    directory = TiffImagePlugin.ImageFileDirectory_v2(b"MM\0\x2a" + len(_APPLE).to_bytes(4))
    file = io.BytesIO(note)
    file.seek(len(_APPLE))
    with suppress(Exception):  # as above
        directory.load(file)
        return text_of(directory.get(tag))
    return ""
