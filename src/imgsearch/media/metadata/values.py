"""Single values as metadata writes them: dates, texts, places and ratings, each checked before it is believed."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime

MAX_TEXT = 4_000
"""Characters of a text that are kept."""
MAX_KEYWORDS = 500
_DATE = re.compile(
    r"(\d{4})[-:/.](\d\d)[-:/.](\d\d)(?:[ T]+(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?"
    r"\s*(Z|[+-]\d\d:?\d\d)?"
)
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")


def text_of(value: object) -> str:
    """Return a text in Unicode, in one line without control characters, at most MAX_TEXT characters long."""
    if isinstance(value, bytes):
        value = decoded(value)
    if not isinstance(value, str):
        return ""
    shown = "".join(
        " " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char
        for char in value.split("\0")[0][: 2 * MAX_TEXT]
        if unicodedata.category(char) != "Cs"
    )
    return " ".join(shown.split())[:MAX_TEXT]


def decoded(raw: bytes) -> str:
    """Decode the bytes of a text: UTF-8 if they are that, else Latin-1, which old cameras wrote."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def words_of(values: Iterable[object]) -> tuple[str, ...]:
    """Return keywords as texts, each once, MAX_KEYWORDS at most."""
    words = dict.fromkeys(word for value in values if (word := text_of(value)))
    return tuple(words)[:MAX_KEYWORDS]


def date_of(value: object, fraction: object = "", offset: object = "") -> tuple[datetime | None, int | None]:
    """Return the wall clock's time in a text such as "2024:07:14 09:30:00", and its offset from UTC in minutes.

    ``fraction`` are the digits behind its seconds and ``offset`` a text such as "+02:00", where they stand apart. A
    date that no calendar has, such as 0000:00:00, is none: (None, None). One without a time of day is noon, which no
    offset moves into another day.
    """
    found = _DATE.match(text_of(value))
    if not found:
        return None, None
    year, month, day = (int(part) for part in found.groups()[:3])
    hour, minute, second = (
        (12, 0, 0) if found[4] is None else (int(found[4]), int(found[5]), int(found[6] or 0))
    )
    digits = found[7] or text_of(fraction)
    milliseconds = int(digits.ljust(3, "0")[:3]) if digits.isascii() and digits.isdigit() else 0
    try:
        # A leap second is the last one of its minute: calendars have none.
        taken = datetime(year, month, day, hour, minute, min(second, 59), 1000 * milliseconds)
    except ValueError:
        return None, None
    return taken, offset_of(found[8] or offset)


def offset_of(value: object) -> int | None:
    """Return the minutes of an offset from UTC, "Z" or "+02:00"; None if it is none or further than a day's."""
    text = text_of(value)
    if text == "Z":
        return 0
    found = _OFFSET.fullmatch(text)
    if not found:
        return None
    minutes = 60 * int(found[2]) + int(found[3])
    return (-minutes if found[1] == "-" else minutes) if minutes <= 15 * 60 else None


def number_of(value: object) -> float | None:
    """Return a finite number, also of a text such as "35/10"; None if it is none."""
    try:
        if isinstance(value, str) and "/" in value:
            above, _, below = value.partition("/")
            number = float(above) / float(below)
        else:
            number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def place_of(latitude: float | None, longitude: float | None) -> tuple[float | None, float | None]:
    """Return a place in degrees if it is one on the globe; (None, None) if not.

    0° 0′ in the Atlantic is what devices write that know none.
    """
    if latitude is None or longitude is None or not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return None, None
    return (latitude, longitude) if latitude or longitude else (None, None)


def degrees_of(parts: object, reference: object) -> float | None:
    """Return the degrees of (degrees, minutes, seconds) with a reference N, S, E or W; None if they are none."""
    if not isinstance(parts, (tuple, list)):
        parts = (parts,)
    numbers = [number_of(part) for part in parts[:3]]
    if not numbers or None in numbers:
        return None
    degrees = sum((number or 0.0) / 60.0**power for power, number in enumerate(numbers))
    return -degrees if text_of(reference)[:1].upper() in ("S", "W") else degrees


def rating_of(value: object) -> int | None:
    """Return a rating, -1 (rejected) to 5 stars; None if it is none."""
    number = number_of(value)
    return round(number) if number is not None and -1 <= number <= 5 else None
