"""A query as it was typed becomes what it asks for: one text or several parts, and the filters that its words hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from imgsearch.search.language.question import Part, is_combined, parse_question

KINDS = ("date", "place")
"""What is read out of the words of a query, in this order."""
_LONGEST = 10_000
"""So many characters of a query are read; a longer one was not typed, and is one text: a megabyte would take 15 s."""


@dataclass(frozen=True, slots=True)
class Read:
    """What some words of a query mean beside what to look for.

    ``kind`` is one of KINDS, ``label`` says it to a person ("taken 2023-07"), ``filters`` is what ``filters_of``
    takes.
    """

    kind: str
    label: str
    filters: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"kind": self.kind, "label": self.label, "filters": self.filters}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a query asks for: its ``text``, or in place of it its ``parts``; and what was ``read`` out of the text."""

    text: str
    parts: tuple[Part, ...] = ()
    read: tuple[Read, ...] = ()

    @property
    def filters(self) -> dict[str, Any]:
        """The filters that were read, by the names of ``filters_of``."""
        return {name: value for one in self.read for name, value in one.filters.items()}


def read_query(
    words: Sequence[str],
    given: Collection[str] = (),
    *,
    literal: bool = False,
    whole: bool = False,
    unread: Collection[str] = (),
    relative: bool = True,
    files: bool = True,
) -> Reading:
    """Read a query, as a shell gives its words or a box its one line.

    It has several parts where a plus or minus stands alone in it. Else a date or a place at its end or beginning
    becomes a filter, unless a filter of that kind was ``given`` (by the names of ``filters_of``) or the kind is one of
    ``unread``. With ``whole`` it has one part whatever stands in it, and with ``literal`` nothing is read out of that
    either. A part may be a file's path, without ``relative`` only an
    absolute one, without ``files`` none. Raises InputError as ``parse_question`` does.
    """
    text = " ".join(words)
    if literal or len(text) > _LONGEST:
        return Reading(text)
    if not whole and is_combined(words, relative=relative, files=files):
        return Reading("", parse_question(words, relative=relative, files=files))
    read: list[Read] = []
    if "date" not in unread and not {"after", "before", "on"} & set(given):
        from imgsearch.search.language.dates import date_in  # on use: its patterns take some milliseconds

        if (date := date_in(text, datetime.now())) and date.rest:
            text = date.rest
            ends = {"after": date.interval.start, "before": date.interval.end}
            days = {name: end.date().isoformat() for name, end in ends.items() if end}
            read.append(Read("date", f"taken {date.interval}", days))
    if "place" not in unread and not {"near", "within_km"} & set(given):
        from imgsearch.search.language.places import DEFAULT_KM, place_in

        if place := place_in(text):
            text = place.rest
            name = place.place.name
            read.append(Read("place", f"taken within {DEFAULT_KM:g} km of {name}", {"near": name}))
    return Reading(text, (), tuple(read))
