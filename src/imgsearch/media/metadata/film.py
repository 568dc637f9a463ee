"""The tags of a film, by the names that FFmpeg gives them: those of QuickTime, MP4, Matroska and AVI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise

from imgsearch.media.metadata.values import date_of, place_of, rating_of, text_of, words_of
from imgsearch.types import Metadata

_APPLE = "com.apple.quicktime."
_UNSET = (datetime(1904, 1, 1), datetime(1970, 1, 1))
"""When the clocks of containers begin: what a recorder writes that knows no date."""
_POINT = re.compile(r"([+-])(\d{2,6}(?:\.\d+)?)([+-])(\d{3,7}(?:\.\d+)?)", re.ASCII)


def from_tags(tags: Mapping[str, str]) -> Metadata:
    """Return what a film's tags tell.

    The date is Apple's, with the offset of where it was taken, else the container's: that is in UTC if it ends in Z,
    as those of QuickTime, MP4 and Matroska do by their standards, and else the camera's clock.
    """
    known = {name.lower(): value for name, value in tags.items()}

    def first(*names: str) -> str:
        return next((text for name in names if (text := text_of(known.get(name)))), "")

    taken, offset = None, None
    for name in (f"{_APPLE}creationdate", "date_recorded", "creation_time", "date"):
        if taken is None:
            taken, offset = date_of(first(name))
            if taken and any(abs(taken - unset).days < 1 for unset in _UNSET):
                taken, offset = None, None
    latitude, longitude = place_of(*_point(first(f"{_APPLE}location.iso6709", "location", "location-eng")))
    android = first("com.android.version")
    return Metadata(
        taken=taken,
        offset=offset,
        make=first(f"{_APPLE}make", "com.android.manufacturer", "make", "manufacturer"),
        model=first(f"{_APPLE}model", "com.android.model", "model"),
        lens=first(f"{_APPLE}camera.lens_model"),
        latitude=latitude,
        longitude=longitude,
        rating=rating_of(known.get(f"{_APPLE}rating.user")),
        title=first(f"{_APPLE}displayname", f"{_APPLE}title", "title"),
        description=first(f"{_APPLE}description", "description", "comment"),
        keywords=words_of(first(f"{_APPLE}keywords", "keywords").split(",")),
        software=first(f"{_APPLE}software", "software") or (f"Android {android}" if android else ""),
    )


def _point(text: str) -> tuple[float | None, float | None]:
    """Return latitude and longitude of ISO 6709's short form, such as +48.8577+002.295+036.1/, (None, None) of others.

    Whole digits are degrees, degrees and minutes, or degrees, minutes and seconds.
    """
    found = _POINT.match(text)
    if not found:
        return None, None
    return _degrees(found[1], found[2], 2), _degrees(found[3], found[4], 3)


def _degrees(sign: str, digits: str, width: int) -> float | None:
    """Return the degrees of digits, the first ``width`` of which are whole degrees."""
    more = len(digits.partition(".")[0]) - width
    if more not in (0, 2, 4):
        return None
    # All but the last part are whole: two digits each behind the degrees.
    ends = [0, *range(width, width + more, 2), len(digits)]
    parts = [float(digits[start:end]) for start, end in pairwise(ends)]
    degrees = sum(part / 60.0**power for power, part in enumerate(parts))
    return -degrees if sign == "-" else degrees
