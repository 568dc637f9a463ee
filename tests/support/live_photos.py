"""Draws the halves of Live Photos: stills with an iPhone's maker note, and films that name the same identifier."""

from __future__ import annotations

import struct
from typing import Any

from PIL import ExifTags

from support.films import film, scenes
from support.pictures import encode, scene
from support.tagged_files import exif, with_metadata

BASE = ExifTags.Base
TAKEN = "2024:07:14 11:30:00"


def note(identifier: str) -> bytes:
    """Return an iPhone's maker note."""
    value = identifier.encode() + b"\0"
    return b"Apple iOS\0\0\x01MM" + struct.pack(">HHHIII", 1, 0x0011, 2, len(value), 32, 0) + value


def still(format: str = "HEIF", taken: str = TAKEN, offset: str = "+02:00", identifier: str = "") -> bytes:
    """Return a photo, HEIF or JPEG, with its date and the identifier that it shares with its film."""
    details: dict[Any, Any] = {BASE.DateTimeOriginal: taken} if taken else {}
    if offset:
        details[BASE.OffsetTimeOriginal] = offset
    if identifier:
        details[BASE.MakerNote] = note(identifier)
    if format == "HEIF":
        return encode(scene(1, (64, 48)), ".heic", exif=exif(details=details).tobytes())
    return with_metadata("JPEG", exif(details=details))


def moving(
    identifier: str = "", created: str = "2024-07-14T09:30:00Z", local: str = "", frames: int = 20
) -> bytes:
    tags = {"creation_time": created} if created else {}
    if identifier:
        tags["com.apple.quicktime.content.identifier"] = identifier
    if local:
        tags["com.apple.quicktime.creationdate"] = local
    muxer = {"movflags": "use_metadata_tags"}
    return film(scenes(1, frames, (32, 16)), "mov", "mpeg4", tags=tags, muxer=muxer)
