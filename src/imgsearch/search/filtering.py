"""Filters from what somebody types or sends: texts and numbers by name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from imgsearch.errors import InputError, UsageError
from imgsearch.index.metadata.filters import Camera, Filter, Has, Keyword, Lens, Rated, Shape, Taken
from imgsearch.search.dates import Interval, read_date
from imgsearch.text import Message, Option

NAMES = ("after", "before", "on", "camera", "lens", "rating", "keyword", "shape", "has")
"""What ``filters_of`` takes."""


def filters_of(
    after: str | None = None,
    before: str | None = None,
    on: str | None = None,
    camera: str | None = None,
    lens: str | None = None,
    rating: int | None = None,
    keyword: Sequence[str] | None = None,
    shape: str | None = None,
    has: Sequence[str] | None = None,
) -> tuple[Filter, ...]:
    """Return the filters that the options ask for. Raises UsageError that names the option."""

    found: list[Filter] = []
    start, end = _begin("after", after), _begin("before", before)
    if start and end and end <= start:
        raise UsageError(
            Option("after", after), " and ", Option("before", before), " leave no day between them"
        )
    if start or end:
        found.append(Taken(start, end))
    if on is not None:
        interval = _interval("on", on)
        found.append(Taken(interval.start, interval.end))
    for name, kind, value in (("camera", Camera, camera), ("lens", Lens, lens)):
        if value is not None:
            found.append(kind(_text(name, value)))
    found += [Keyword(_text("keyword", word)) for word in keyword or ()]
    for name, make in (
        ("rating", lambda: [] if rating is None else [Rated(rating)]),
        ("shape", lambda: [] if shape is None else [Shape(shape)]),
        ("has", lambda: [Has(fact) for fact in has or ()]),
    ):
        try:
            found += make()
        except UsageError as error:
            raise UsageError(Message(Option(name), ": ", error.as_message)) from error
    return tuple(found)


def _begin(option: str, text: str | None) -> datetime | None:
    return None if text is None else _interval(option, text).start


def _interval(option: str, text: str) -> Interval:
    try:
        return read_date(text, datetime.now())
    except InputError as error:
        raise UsageError(Message(Option(option), ": ", error.as_message)) from error


def _text(option: str, text: str) -> str:
    if not text.strip():
        raise UsageError(Option(option), ": the name is empty")
    return text.strip()
