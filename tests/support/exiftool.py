"""What exiftool reads of a picture's file and of its sidecars, as our Metadata, and where that differs from ours."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from imgsearch.files.sidecars import read_sidecars, sidecars_among, sidecars_of
from imgsearch.media import formats
from imgsearch.media.metadata import MAX_BLOCK, with_sidecars
from imgsearch.types import NO_METADATA, Metadata

EXIFTOOL = shutil.which("exiftool")

# By exiftool's families of groups (-G1), in the order that docs/what-is-read.md gives: the camera's date first, for
# everything else XMP, IPTC, EXIF.
_DATES = (
    ("ExifIFD:DateTimeOriginal", "ExifIFD:SubSecTimeOriginal", "ExifIFD:OffsetTimeOriginal"),
    ("ExifIFD:CreateDate", "ExifIFD:SubSecTimeDigitized", "ExifIFD:OffsetTimeDigitized"),
    ("XMP-exif:DateTimeOriginal", "", ""),
    ("XMP-photoshop:DateCreated", "", ""),
    ("XMP-exif:DateTimeDigitized", "", ""),
    ("XMP-xmp:CreateDate", "", ""),
    ("IPTC:DateCreated", "", ""),
)
_TEXTS = {
    "make": ("XMP-tiff:Make", "IFD0:Make"),
    "model": ("XMP-tiff:Model", "IFD0:Model"),
    "lens": ("XMP-exifEX:LensModel", "XMP-aux:Lens", "ExifIFD:LensModel"),
    "title": (
        "XMP-dc:Title",
        "XMP-photoshop:Headline",
        "IPTC:ObjectName",
        "IPTC:Headline",
        "IFD0:XPTitle",
    ),
    "description": (
        "XMP-dc:Description",
        "IPTC:Caption-Abstract",
        "IFD0:ImageDescription",
        "IFD0:XPComment",
    ),
    "software": ("XMP-xmp:CreatorTool", "IPTC:OriginatingProgram", "IFD0:Software"),
    "burst": ("XMP-GCamera:BurstID", "XMP-GCamera:CameraBurstID", "Apple:BurstUUID"),
}
_KEYWORDS = ("XMP-dc:Subject", "IPTC:Keywords", "IFD0:XPKeywords")
_RATINGS = ("XMP-xmp:Rating", "IFD0:Rating")


@dataclass(frozen=True)
class Field:
    """One field of Metadata as both read it."""

    name: str
    ours: Any
    theirs: Any

    @property
    def equal(self) -> bool:
        """Whether both read the same; degrees to a ten-millionth, a centimetre on the ground."""
        if isinstance(self.ours, float) and isinstance(self.theirs, float):
            return abs(self.ours - self.theirs) < 1e-7
        return bool(self.ours == self.theirs)


def compare(path: str) -> list[Field]:
    """Return the fields that either program knows of the picture at a path, its sidecars included."""
    folder, name = os.path.split(path)
    sidecars = sidecars_of(name, sidecars_among(os.listdir(folder or ".")))
    with open(path, "rb") as file:
        own = formats.load_metadata(file, path)
    read = read_sidecars(path, sidecars, MAX_BLOCK)
    xmp = [(beside, data) for beside, data in read if beside.lower().endswith(".xmp")]
    ours = with_sidecars(own, xmp, 0)
    if ours.taken_from == "file":
        ours = replace(ours, taken=None, offset=None)
    theirs = _theirs(path)
    for beside, _ in reversed(xmp):
        theirs = _theirs(os.path.join(folder, beside)).over(theirs)
    found = []
    for field in fields(Metadata):
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        none = getattr(NO_METADATA, field.name)
        if field.name != "taken_from" and (a, b) != (none, none):
            found.append(Field(field.name, a, b))
    return found


def _theirs(path: str) -> Metadata:
    done = subprocess.run(
        [EXIFTOOL or "exiftool", "-j", "-n", "-a", "-G1", "-charset", "filename=utf8", path],
        capture_output=True,
        check=False,
    )
    # Numbers as texts: a version 1.00 is not 1.0.
    tags = json.loads(done.stdout, parse_float=str, parse_int=str)[0] if done.stdout.strip() else {}
    return _metadata(tags)


def _metadata(tags: dict[str, Any]) -> Metadata:
    def text(*names: str) -> str:
        return next((found for name in names if (found := " ".join(str(tags.get(name, "")).split()))), "")

    taken, offset = None, None
    for name, fraction, zone in _DATES:
        date = text(name)
        if name == "IPTC:DateCreated":
            date = f"{date} {text('IPTC:TimeCreated') or '12:00:00'}" if date else ""
        taken, offset = _date(date, text(fraction), text(zone))
        if taken:
            break
    place: list[float | None] = [None, None]
    for group in ("XMP-exif", "GPS"):
        if place == [None, None]:
            place = [_degrees(tags, group, "Latitude", 90), _degrees(tags, group, "Longitude", 180)]
            if None in place or place == [0.0, 0.0]:
                place = [None, None]
    words: list[str] = []
    for name in _KEYWORDS:
        value = tags.get(name, [])
        some = value if isinstance(value, list) else [value]
        if name.endswith("XPKeywords"):
            some = [word for item in some for word in str(item).split(";")]
        words += [word for item in some if (word := " ".join(str(item).split()))]
    rating = next((number for name in _RATINGS if (number := _number(tags.get(name))) is not None), None)
    return Metadata(
        taken=taken,
        offset=offset,
        latitude=place[0],
        longitude=place[1],
        rating=round(rating) if rating is not None and -1 <= rating <= 5 else None,
        keywords=tuple(dict.fromkeys(words)),
        **{field: text(*names) for field, names in _TEXTS.items()},
    )


def _date(text: str, fraction: str, zone: str) -> tuple[datetime | None, int | None]:
    """Return local time and minutes from UTC of exiftool's form of a date."""
    found = re.match(r"(\d{4}:\d\d:\d\d)(?: (\d\d:\d\d)(:\d\d)?(?:\.(\d+))?)?(Z|[+-]\d\d:\d\d)?", text)
    if not found:
        return None, None
    try:
        moment = datetime.strptime(
            f"{found[1]} {found[2] or '12:00'}{found[3] or ':00'}", "%Y:%m:%d %H:%M:%S"
        )
    except ValueError:
        return None, None
    digits = found[4] or (fraction if fraction.isdigit() else "")
    moment = moment.replace(microsecond=1000 * int(digits.ljust(3, "0")[:3]) if digits else 0)
    zone = found[5] or zone
    if zone == "Z":
        return moment, 0
    parts = re.fullmatch(r"([+-])(\d\d):(\d\d)", zone)
    if not parts:
        return moment, None
    return moment, (-1 if parts[1] == "-" else 1) * (60 * int(parts[2]) + int(parts[3]))


def _degrees(tags: dict[str, Any], group: str, axis: str, most: int) -> float | None:
    value = _number(tags.get(f"{group}:GPS{axis}"))
    if value is None or abs(value) > most:
        return None
    negative = str(tags.get(f"{group}:GPS{axis}Ref", ""))[:1] in ("S", "W")
    return -value if negative and value > 0 else value


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
