"""The JSON files that Google Takeout puts beside pictures."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from imgsearch.media.metadata.values import number_of, place_of, text_of
from imgsearch.types import Metadata

_FIRST, _LAST = -62_135_596_800, 253_402_300_800
"""Seconds since 1970 of the years 1 to 9999."""


def from_takeout(data: bytes) -> Metadata:
    """Return what such a file tells. Its times are UTC, so that is the clock that ``taken`` and ``offset`` are of.

    Raises ValueError for what is no such file.
    """
    try:
        found = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(found, dict) or not {"photoTakenTime", "geoData", "title"} & set(found):
        raise ValueError("not a file of Google Takeout")
    seconds = number_of(_inside(found, "photoTakenTime", "timestamp"))
    taken = (
        datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
        if seconds is not None and _FIRST <= seconds < _LAST
        else None
    )
    latitude, longitude = (None, None)
    for place in ("geoDataExif", "geoData"):
        if latitude is None:
            latitude, longitude = place_of(
                number_of(_inside(found, place, "latitude")), number_of(_inside(found, place, "longitude"))
            )
    return Metadata(
        taken=taken,
        offset=None if taken is None else 0,
        latitude=latitude,
        longitude=longitude,
        description=text_of(found.get("description")),
    )


def _inside(found: dict[str, Any], *keys: str) -> object:
    value: object = found
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
