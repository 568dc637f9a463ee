"""Filters from what somebody types or sends: texts and numbers by name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from imgsearch import deep
from imgsearch.addresses import absolute, is_remote
from imgsearch.errors import InputError, UsageError
from imgsearch.index.metadata.file_filters import Named, Screenshot, Typed
from imgsearch.index.metadata.filters import (
    SHAPES,
    Camera,
    Filter,
    Has,
    Keyword,
    Lens,
    Near,
    Rated,
    Shape,
    Sized,
    Taken,
)
from imgsearch.names import known_as, owner_of
from imgsearch.text import Message, Option, display_path

if TYPE_CHECKING:
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search.language.dates import Interval

NAMES = (
    *(
        "after",
        "before",
        "on",
        "camera",
        "lens",
        "rating",
        "keyword",
        "shape",
        "has",
        "type",
        "name",
        "min_size",
        "near",
        "within_km",
    ),
    *("screenshots", *SHAPES),
)
"""What ``filters_of`` takes."""
_MEGAPIXELS = re.compile(r"(\d{1,6}(?:\.\d+)?) ?mp?", re.IGNORECASE | re.ASCII)
_SIDES = re.compile(r"(\d{1,7}) ?[x×] ?(\d{1,7})", re.IGNORECASE | re.ASCII)
_SOLD_AS = 0.97
"""A camera that is sold with 20 megapixels has 19.96 million pixels, one with 61 has 60.2."""


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
    type: str | None = None,
    name: str | None = None,
    min_size: str | None = None,
    near: str | None = None,
    within_km: float | None = None,
    screenshots: bool | None = None,
    landscape: bool = False,
    portrait: bool = False,
    square: bool = False,
    panorama: bool = False,
) -> tuple[Filter, ...]:
    """Return the filters that the options ask for. Raises UsageError that names the option.

    ``type`` are names of types and extensions, with commas between them; ``name`` is a pattern; ``min_size`` is 12mp or
    2000x1000, whichever side is which; ``near`` is what ``places.find_place`` reads, with ``within_km`` the kilometres
    around it; ``screenshots`` says whether only these are found, or none of them.
    """

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
    if camera is not None:
        found.append(Camera(_text("camera", camera)))
    if lens is not None:
        found.append(Lens(_text("lens", lens)))
    found += [Keyword(_text("keyword", word)) for word in keyword or ()]
    if type is not None:
        found.append(_typed(type))
    if min_size is not None:
        found.append(_sized(min_size))
    if near is not None:
        found.append(_near(near, within_km))
    elif within_km is not None:
        raise UsageError(
            Option("within_km", within_km), ": around which place? Give it with ", Option("near")
        )
    if screenshots is not None:
        found.append(Screenshot(screenshots))
    if landscape and portrait:
        raise UsageError(
            Option("landscape"), " and ", Option("portrait"), " exclude each other; give one of them"
        )
    flags = {"landscape": landscape, "portrait": portrait, "square": square, "panorama": panorama}
    found += [Shape(flag) for flag, given in flags.items() if given]
    for option, make in (
        ("rating", lambda: [] if rating is None else [Rated(rating)]),
        ("shape", lambda: [] if shape is None else [Shape(shape)]),
        ("name", lambda: [] if name is None else [Named(name)]),
        ("has", lambda: [Has(fact) for fact in has or ()]),
    ):
        try:
            found += make()
        except UsageError as error:
            raise UsageError(Message(Option(option), ": ", error.as_message)) from error
    return tuple(found)


def _begin(option: str, text: str | None) -> datetime | None:
    return None if text is None else _interval(option, text).start


def _interval(option: str, text: str) -> Interval:
    from imgsearch.search.language.dates import read_date  # on use: its patterns take some milliseconds

    try:
        return read_date(text, datetime.now())
    except InputError as error:
        raise UsageError(Message(Option(option), ": ", error.as_message)) from error


def _text(option: str, text: str) -> str:
    if not text.strip():
        raise UsageError(Option(option), ": the name is empty")
    return text.strip()


def _near(text: str, km: float | None) -> Near:
    from imgsearch.search.language.places import DEFAULT_KM, find_place

    try:
        place = find_place(text)
    except InputError as error:
        raise UsageError(Message(Option("near"), ": ", error.as_message)) from error
    try:
        return Near(place.latitude, place.longitude, DEFAULT_KM if km is None else km, place.name)
    except UsageError as error:
        raise UsageError(Message(Option("within_km"), ": ", error.as_message)) from error


def _typed(text: str) -> Typed:
    """Read names of types: any extension of an image format stands for all of them, "raw" and "video" for many."""
    from imgsearch.files.kinds import EXTENSIONS, VIDEO
    from imgsearch.media.formats import FORMATS

    groups = {kind: names.split() for kind, names in EXTENSIONS.items()}
    groups["film"] = groups[VIDEO]
    others = {extension for extensions in groups.values() for extension in extensions}

    names = [name.strip().removeprefix(".").casefold() for name in text.split(",") if name.strip()]
    extensions: list[str] = []
    for name in names:
        known = [kind.extensions.split() for kind in FORMATS]
        same = [
            kind
            for kind, row in zip(known, FORMATS, strict=True)
            if name in kind or name == row.name.casefold()
        ]
        if not same and (name in groups or name in others):
            same = [groups.get(name, [name])]
        if not same:
            usual = ", ".join([*(kind[0] for kind in known), "pdf", "raw", "video"])
            raise UsageError(Option("type"), f": {name}: there is no such type; these are: {usual}")
        extensions += same[0]
    if not names:
        raise UsageError(Option("type"), ": the name is empty")
    return Typed(tuple(dict.fromkeys(extensions)), tuple(dict.fromkeys(names)))


def _sized(text: str) -> Sized:
    """Read a size: megapixels, as cameras are sold by, or two sides in pixels."""
    given = text.strip()
    if found := _MEGAPIXELS.fullmatch(given):
        megapixels = float(found[1])
        if 0 < megapixels <= 100_000:
            return Sized(round(megapixels * 1_000_000 * _SOLD_AS), name=f"{megapixels:g} megapixels")
    elif found := _SIDES.fullmatch(given):
        shorter, longer = sorted((int(found[1]), int(found[2])))
        if shorter:
            return Sized(longer=longer, shorter=shorter, name=f"{longer} × {shorter} pixels")
    raise UsageError(
        Option("min_size", text), ": not a size; write megapixels or sides in pixels, as in 12mp or 2000x1000"
    )


def below_of(index: ImageIndex, given: str) -> str:
    """Return the absolute path by which the index knows a file or folder that a search is confined to.

    One that is known need not be there: its drive may be unmounted now. Raises UsageError for what is not there and
    not known, and for what is outside of the index's folders.
    """
    path = os.path.expanduser(given)
    roots = index.catalog.roots()
    place = known_as(path, roots, index.catalog)
    if place.known:
        return place.path
    if not owner_of(place.path, roots):
        names = ", ".join(display_path(root.path) for root in roots[:10]) + (", …" if len(roots) > 10 else "")
        shown = display_path(absolute(path))
        if place.path != absolute(path):
            shown = f"{shown} leads to {display_path(place.path)}, which"
        raise UsageError(
            Option("below"), f": {shown} is not in an indexed folder; these are: {names or 'none'}"
        )
    if not (is_remote(path) or deep.lexists(path)):
        raise UsageError(Option("below"), f": {display_path(given)} does not exist")
    return place.path


def below_parts(indexes: Sequence[ImageIndex], given: Sequence[str]) -> tuple[str, ...]:
    """Return the paths by which an index and its part know some files or folders; one of the two is enough.

    Raises UsageError, as ``below_of`` does, for one that neither knows.
    """
    found: list[str] = []
    for path in given:
        refused: list[UsageError] = []
        for index in indexes:
            try:
                found.append(below_of(index, path))
            except UsageError as error:
                refused.append(error)
        if len(refused) == len(indexes):
            raise refused[0]
    return tuple(dict.fromkeys(found))
