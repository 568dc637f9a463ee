"""Places as people write them: degrees, or the name of a town; also read out of a query that ends in "near Lisbon"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from imgsearch.errors import InputError
from imgsearch.index.metadata.fulltext import fold
from imgsearch.search.language.places import gazetteer
from imgsearch.search.language.places.gazetteer import Place
from imgsearch.text import is_blank

DEFAULT_KM = 25.0
"""Kilometres that are near: a city and what lies around it."""
_DEGREES = re.compile(r"\s*([+-]?\d+(?:\.\d*)?)\s*[,;]\s*([+-]?\d+(?:\.\d*)?)\s*")
_READ = 15_000
"""Inhabitants of the smallest town that is read out of a query: smaller ones are often called like other things."""


def find_place(text: str) -> Place:
    """Return the place that is meant: "48.85,2.35", "Lisbon", or "Paris, Texas"; of several towns the largest one.

    Raises InputError for degrees that are not on the globe and for a town that nobody knows, with names that are
    written like it; MissingExtra for a name where no gazetteer is installed.
    """
    if degrees := _DEGREES.fullmatch(text):
        latitude, longitude = map(float, degrees.groups())
        if abs(latitude) > 90 or abs(longitude) > 180:
            raise InputError(f"{text}: a latitude is from -90 to 90, a longitude from -180 to 180")
        return Place(latitude, longitude)
    name, *regions = text.split(",")
    if is_blank(name) or not re.search(r"[^\W\d_]", text):
        raise InputError(
            f"{text}: not a place; write it as 48.85,2.35 (latitude, longitude) or as a town's name"
        )
    if found := gazetteer.towns(name, regions):
        return found[0]
    if regions and (found := gazetteer.towns(name)):
        known = _either(list(dict.fromkeys(place.name for place in found))[:3])
        raise InputError(f"{text.strip()}: no such town is known there; known are {known}")
    alike = gazetteer.similar(name)
    hint = f"did you mean {_either(alike)}?" if alike else "give its latitude and longitude, as in 48.85,2.35"
    raise InputError(f"{text.strip()}: no town of that name is known; {hint}")


def _either(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


# ---- places in a question ------------------------------------------------------------------------------------

_CAPITAL = r"[^\W\d_a-zß-öø-ÿ][^\W\d_]*(?:['’.-][^\W\d_]+)*\.?"
_BETWEEN = (
    r"(?:am|an|auf|aux|da|de|del|della|den|der|des|di|do|dos|du|el|en|im|la|las|le|les|los|of|on|sur|the|van)"
)
_NAME = rf"{_CAPITAL}(?: (?:{_BETWEEN} ){{0,2}}{_CAPITAL})*"
_AT_END = re.compile(rf"(?P<rest>.*\S),?\s+near (?P<name>{_NAME})(?:, (?P<region>{_NAME}))?[.!?]?")
_AT_START = re.compile(rf"[Nn]ear (?P<name>{_NAME})(?:, (?P<region>{_NAME}))?(?:,\s*|\s+)(?P<rest>[^\s,].*)")
_OTHER_THINGS = frozenset(["airport", "central park", "golden gate", "sunset", "times square", "white house"])
"""Towns whose names mean something else to most people."""


@dataclass(frozen=True, slots=True)
class PlaceRead:
    """A place that was read out of a question: the words left over, those that were taken, and what they mean."""

    rest: str
    phrase: str
    place: Place


def place_in(question: str) -> PlaceRead | None:
    """Return the place that a question is about, if it can be nothing else; None if it names none.

    Read is "near" with all the capitalised words behind it, at the end or the start of a question, where they are a
    town of 15,000 people or more: not "near the exit", "Near Dark poster" or "near London Bridge". Without
    the gazetteer nothing is read.
    """
    text = " ".join(question.split())
    for pattern in (_AT_END, _AT_START):
        found = pattern.fullmatch(text)
        if found is None or len(re.findall(r"\bnear\b", text, re.IGNORECASE)) > 1:
            continue
        rest = found["rest"]
        if pattern is _AT_START and re.match(_CAPITAL, rest):
            continue  # a title, as of a film
        if not gazetteer.is_installed():
            return None
        name, *regions = (part.rstrip(".") for part in (found["name"], found["region"]) if part)
        towns = [town for town in gazetteer.towns(name, regions) if town.population >= _READ]
        if towns and fold(name) not in _OTHER_THINGS:
            return PlaceRead(rest.rstrip(" ,"), f"near {', '.join([name, *regions])}", towns[0])
    return None
