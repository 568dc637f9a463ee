"""What a picture's metadata tells: date, place, camera, words and ratings, from EXIF, IPTC, XMP and sidecars."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from imgsearch.types import NO_METADATA, Metadata

if TYPE_CHECKING:
    from PIL import Image

MAX_BLOCK = 4 << 20
"""Bytes of one block of metadata that are read; a larger one is ignored."""


def merged(
    exif: Image.Exif | None = None, xmp: bytes | str | None = None, iptc: bytes | None = None
) -> Metadata:
    """Return what the blocks of one file tell together; XMP goes before IPTC, and for words before EXIF.

    ``exif`` is Pillow's, ``xmp`` a packet, ``iptc`` the records of IIM (Photoshop's resource 1028). The order is that
    of the Metadata Working Group's guidelines 2.0, but that a date comes from the camera (EXIF) first. A block that
    is damaged, larger than MAX_BLOCK or of anybody's making tells nothing; no error comes out of here.
    """
    from imgsearch.media.metadata.exif import from_exif
    from imgsearch.media.metadata.iptc import from_iptc
    from imgsearch.media.metadata.xmp import from_xmp

    camera = _told(lambda: from_exif(exif)) if exif is not None else NO_METADATA
    packet = _told(lambda: from_xmp(xmp)) if xmp and len(xmp) <= MAX_BLOCK else NO_METADATA
    records = _told(lambda: from_iptc(iptc)) if iptc and len(iptc) <= MAX_BLOCK else NO_METADATA
    words = packet.over(records).over(camera)
    return Metadata(taken=camera.taken, offset=camera.offset).over(words)


def with_sidecars(own: Metadata, sidecars: Iterable[tuple[str, bytes]], mtime_ns: int) -> Metadata:
    """Return what a picture's file, of metadata ``own``, and the sidecars beside it tell together.

    ``sidecars`` are names and contents. What an XMP sidecar tells goes before the file, for it is where programs write
    what a person has changed; Google Takeout's JSON counts only where nothing else tells. A picture that nobody
    dates has the date of its file, in this machine's time zone.
    """
    from imgsearch.media.metadata.takeout import from_takeout
    from imgsearch.media.metadata.xmp import from_xmp

    found = _dated(own, "image")
    for name, data in sidecars:
        if len(data) > MAX_BLOCK:
            continue
        if name.lower().endswith(".json"):
            found = found.over(_dated(_told(partial(from_takeout, data)), "takeout"))
        else:
            found = _dated(_told(partial(from_xmp, data)), "sidecar").over(found)
    if found.taken is None:
        with suppress(ValueError, OverflowError, OSError):  # a file's date may lie beyond the calendar
            here = datetime.fromtimestamp(mtime_ns // 1_000_000 / 1000).astimezone()
            offset = here.utcoffset()
            minutes = None if offset is None else offset // timedelta(minutes=1)
            found = replace(found, taken=here.replace(tzinfo=None), taken_from="file", offset=minutes)
    return found


def _dated(metadata: Metadata, by: str) -> Metadata:
    return metadata if metadata.taken is None else replace(metadata, taken_from=by)


def _told(read: Callable[[], Metadata]) -> Metadata:
    """Return what a reader finds; nothing if the block makes no sense to it."""
    # Blocks of anybody, parsed by others: no metadata is worth a picture, so every error means that it tells nothing.
    with suppress(Exception):
        return read()
    return NO_METADATA
