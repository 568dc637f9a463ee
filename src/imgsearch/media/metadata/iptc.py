"""IPTC's records (IIM 4.2), which Photoshop and agencies put into JPEG and TIFF."""

from __future__ import annotations

import struct
from collections import defaultdict

from imgsearch.media.metadata.values import date_of, text_of, words_of
from imgsearch.types import Metadata

# Ours, since no library that is kept up reads them: a marker, a record, a number, a size, the bytes.
_MARKER, _APPLICATION, _EXTENDED = 0x1C, 2, 0x8000
_TITLE, _KEYWORD, _DATE, _TIME, _PROGRAM, _HEADLINE, _CAPTION = 5, 25, 55, 60, 65, 105, 120
_RESOURCE, _IIM = b"8BIM", 0x0404
_MAX_RECORDS = 5_000


def from_iptc(records: bytes) -> Metadata:
    """Return what the records tell: object name or headline, caption, keywords, date and program."""
    found: dict[int, list[bytes]] = defaultdict(list)
    at = 0
    for _ in range(_MAX_RECORDS):
        if at + 5 > len(records) or records[at] != _MARKER:
            break
        record, number, size = struct.unpack_from(">BBH", records, at + 1)
        at += 5
        if size & _EXTENDED:
            break  # longer than 32 KiB: no word that anybody searches for
        if record == _APPLICATION:
            found[number].append(records[at : at + size])
        at += size

    def first(number: int) -> str:
        return text_of(found[number][0]) if found[number] else ""

    taken, offset = date_of(_spaced(first(_DATE), first(_TIME)))
    return Metadata(
        taken=taken,
        offset=offset,
        title=first(_TITLE) or first(_HEADLINE),
        description=first(_CAPTION),
        keywords=words_of(found[_KEYWORD]),
        software=first(_PROGRAM),
    )


def in_photoshop(resources: bytes) -> bytes:
    """Return the IPTC records among Photoshop's image resources; b"" if there are none."""
    at = 0
    for _ in range(_MAX_RECORDS):
        if resources[at : at + 4] != _RESOURCE or len(resources) < at + 12:
            break
        number, name = struct.unpack_from(">HB", resources, at + 4)
        at += 6 + 1 + name + (name + 1) % 2  # the name's length and bytes, padded to an even number
        if len(resources) < at + 4:
            break
        size = struct.unpack_from(">I", resources, at)[0]
        at += 4
        if number == _IIM:
            return resources[at : at + size]
        at += size + size % 2
    return b""


def _spaced(date: str, time: str) -> str:
    """Return a date as others write it: 20240714 and 093000+0200 as 2024-07-14 09:30:00+0200."""
    if len(date) != 8 or not date.isdigit():
        return ""
    day = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    if len(time) < 6 or not time[:6].isdigit():
        return day
    return f"{day} {time[:2]}:{time[2:4]}:{time[4:6]}{time[6:]}"
