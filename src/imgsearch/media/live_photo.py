"""Live Photos: whether a short film is the moving part of a still beside it, and so no item of its own.

The film of a motion photo needs no such rule: it lies behind the still in the same file, where nobody looks for it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import BinaryIO, NamedTuple

from imgsearch.media import formats
from imgsearch.media.metadata.film import from_tags
from imgsearch.types import MAX_MEGAPIXELS

SAME_ID = "same content identifier"
SAME_SECOND = "same name and time"
"""Why a film is part of a still."""
FILMS = (".mov", ".mp4")
_STILLS = (".heic", ".jpg", ".jpeg", ".heif")
_LONGEST = 10.0
"""Seconds of a film that can be part of a still by its time: a Live Photo has three, a motion photo up to six."""
_APART = timedelta(seconds=2)
"""Clocks are told in whole seconds, and the film begins before the still is taken."""
_ZONE = timedelta(minutes=15)
"""Zones differ by multiples of this."""
_FURTHEST = timedelta(hours=14)
_EPOCH = datetime(1904, 1, 1)
_MOST_BOXES = 1_000
_MOST_MOOV = 16 << 20
_IDENTIFIER = "com.apple.quicktime.content.identifier"
_CREATED = "com.apple.quicktime.creationdate"


class _Film(NamedTuple):
    """What a film tells of itself: the id that it shares with its still, when it was taken, and how long it is."""

    identifier: str
    taken: datetime | None
    offset: int | None
    seconds: float


def stills_of(film: str) -> list[str]:
    """Return the names that a still may have which the film of this name belongs to; none if it can't."""
    stem, extension = os.path.splitext(film)
    if extension.lower() not in FILMS:
        return []
    return [stem + spelled for still in _STILLS for spelled in (still, still.upper())]


def why_part(film: BinaryIO, still: BinaryIO, still_name: str) -> str:
    """Return why a film is part of the still of the same stem, SAME_ID or SAME_SECOND; "" if it is a film of its own.

    Both are seekable streams, which are read at the places that tell. What is damaged tells nothing: no error but
    OSError.
    """
    told = _film_told(film)
    identifier = _identifier(still, still_name)
    if told.identifier and identifier:
        return SAME_ID if told.identifier == identifier else ""
    metadata = formats.load_metadata(still, still_name)
    if told.taken is None or metadata.taken is None or not 0 < told.seconds <= _LONGEST:
        return ""
    return SAME_SECOND if _is_same(told.taken, told.offset, metadata.taken, metadata.offset) else ""


def _is_same(film: datetime, film_offset: int | None, still: datetime, still_offset: int | None) -> bool:
    """Tell whether two clocks show the same time; where one of them has no zone, in any zone that there is."""
    if film_offset is not None and still_offset is not None:
        apart = (film - timedelta(minutes=film_offset)) - (still - timedelta(minutes=still_offset))
        return abs(apart) <= _APART
    apart = film - still
    zone = round(apart / _ZONE) * _ZONE
    return abs(zone) <= _FURTHEST and abs(apart - zone) <= _APART


def _identifier(still: BinaryIO, name: str) -> str:
    from imgsearch.media.metadata.exif import live_photo_of

    most = int(MAX_MEGAPIXELS * 1_000_000)
    with suppress(Exception):  # bytes of anybody: what they don't tell is not known
        match formats.recognise(still, name).name:
            case "JPEG":
                from imgsearch.media.decoders import jpeg

                return live_photo_of(jpeg.exif_of(still, most))
            case "HEIF":
                from imgsearch.media.decoders import heif

                return live_photo_of(heif.exif_of(still, most))
    return ""


def _film_told(stream: BinaryIO) -> _Film:
    """Return what a QuickTime film or MP4 tells, as far as it is one (ISO 14496-12, 8.2; QuickTime's metadata atom)."""
    moov = _moov(stream)
    identifier, taken, offset, seconds = "", None, None, 0.0
    with suppress(struct.error, ValueError, IndexError, OverflowError):
        boxes = list(_inside(moov))
        # Apple has its tags in the index itself, others among the user's data.
        others = [inner for kind, body in boxes if kind == b"udta" for inner in _inside(body)]
        for kind, body in boxes + others:
            if kind == b"mvhd":
                created, scale, duration = struct.unpack_from(
                    ">QxxxxxxxxIQ" if body[0] else ">IxxxxII", body, 4
                )
                seconds = duration / scale if scale else 0.0
                if created and taken is None:
                    taken, offset = _EPOCH + timedelta(seconds=created), 0
            elif kind == b"meta":
                tags = _tags(body)
                identifier = identifier or tags.get(_IDENTIFIER, "")
                apple = from_tags({_CREATED: tags.get(_CREATED, "")})
                if apple.taken is not None:
                    taken, offset = apple.taken, apple.offset
    return _Film(identifier, taken, offset, seconds)


def _moov(stream: BinaryIO) -> bytes:
    """Return the contents of a film's index, b"" if there is none or it is too large for a film of some seconds."""
    at = 0
    for _ in range(_MOST_BOXES):
        stream.seek(at)
        head = stream.read(16)
        if len(head) < 8:
            break
        size, kind = struct.unpack_from(">I4s", head)
        start = 8
        if size == 1 and len(head) == 16:
            size, start = struct.unpack_from(">Q", head, 8)[0], 16
        if kind == b"moov":
            stream.seek(at + start)
            return stream.read(size - start) if start <= size <= _MOST_MOOV else b""
        if size < start:
            break
        at += size
    return b""


def _inside(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and contents of each box among some bytes."""
    at = 0
    for _ in range(_MOST_BOXES):
        if at + 8 > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:
            return
        yield kind, data[at + 8 : at + size]
        at += size


def _tags(meta: bytes) -> dict[str, str]:
    """Return the texts of a metadata atom by their keys; MP4's has four bytes before its boxes, QuickTime's none."""
    boxes = dict(_inside(meta[4:] if meta[:4] == bytes(4) else meta))
    keys, names = boxes.get(b"keys", b""), []
    for _, name in _inside(keys[8:]):
        names.append(name.decode("utf-8", "replace"))
    found = {}
    for kind, item in _inside(boxes.get(b"ilst", b"")):
        number = int.from_bytes(kind)
        for inner, value in _inside(item):
            if inner == b"data" and 1 <= number <= len(names):
                # Behind the kind of the value and its language.
                found[names[number - 1]] = value[8:].decode("utf-8", "replace")
    return found
