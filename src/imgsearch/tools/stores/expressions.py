"""Filters as Milvus has them: the typed fields of an image, and the expression over them that a filter becomes.

An expression lets every image through that passes, and some that don't: those are judged again by the filter itself
(``judging``). It is exact where the filter asks numbers alone.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from imgsearch.index.metadata import milliseconds
from imgsearch.index.metadata.file_filters import Screenshot, Typed
from imgsearch.index.metadata.filters import (
    FACTS,
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
from imgsearch.index.metadata.globe import EARTH_RADIUS_KM
from imgsearch.index.metadata.named import file_name, file_type
from imgsearch.tools.stores import StoredImage, Wanted
from imgsearch.tools.stores.judging import columns_of

NUMBERS = ("taken", "rating", "width", "height", "pixels")
DEGREES = ("latitude", "longitude")
TEXTS = {"camera": 512, "lens": 512}
"""Field → its longest value in bytes; casefolded."""
LISTS = {"facts": (32, 32), "keywords": (256, 256), "folders": (1_024, 512), "types": (64, 64)}
"""Field → the longest value in bytes, and how many there may be."""
UNKNOWN = -(2**62)
_NOWHERE = 999.0
_MORE = "more"
"""The fact that something did not fit: such an image passes every expression over a list."""
_ANY_MORE = f'array_contains(facts, "{_MORE}")'
_ONE_FILE, _OTHER_FILE = "screenshot", "no screenshot"


def fields_of(images: Sequence[StoredImage]) -> list[dict[str, Any]]:
    """Return each image's values by field."""
    columns = columns_of(images)
    facts = {name: Shape(name).passing(columns) for name in SHAPES}
    facts |= {name: Has(name).passing(columns) for name in FACTS}
    return [
        _fields(image, [name for name, passes in facts.items() if passes[number]])
        for number, image in enumerate(images)
    ]


def _fields(image: StoredImage, facts: list[str]) -> dict[str, Any]:
    told = image.metadata
    paths = [file.path for file in image.files]
    facts += [_ONE_FILE] if image.screenshots else []
    facts += [_OTHER_FILE] if any(path not in image.screenshots for path in paths) else []
    texts = {"camera": f"{told.make} {told.model}".casefold(), "lens": told.lens.casefold()}
    lists = {
        "keywords": [word.casefold() for word in told.keywords],
        "folders": sorted(
            {place for path in paths for place in (path, *_ancestors(os.path.dirname(path)))}, key=len
        ),
        "types": sorted({file_type(file_name(os.fsencode(path))) for path in paths}),
    }
    if any(len(text.encode()) > TEXTS[name] for name, text in texts.items()) or any(
        len(found) > LISTS[name][1] for name, found in lists.items()
    ):
        facts.append(_MORE)
    return {
        "taken": UNKNOWN if told.taken is None else milliseconds(told.taken),
        "rating": UNKNOWN if told.rating is None else told.rating,
        "width": image.width,
        "height": image.height,
        "pixels": min(image.width * image.height, 2**63 - 1),
        "latitude": _NOWHERE if told.latitude is None else told.latitude,
        "longitude": _NOWHERE if told.longitude is None else told.longitude,
        "facts": facts,
        **{name: clipped(text, TEXTS[name]) for name, text in texts.items()},
        **{
            name: [clipped(text, LISTS[name][0]) for text in found[: LISTS[name][1]]]
            for name, found in lists.items()
        },
    }


def clipped(text: str, longest: int) -> str:
    """Return a text of so many bytes of UTF-8 at most; bytes of a file's name that are not UTF-8 become "?"."""
    if text.isascii():
        return text[:longest]
    return text.encode(errors="replace")[:longest].decode(errors="ignore")


@lru_cache(1_000)
def _ancestors(folder: str) -> tuple[str, ...]:
    """Return a folder, and every one that it is in."""
    above = os.path.dirname(folder)
    return (folder,) if above == folder else (folder, *_ancestors(above))


def expression(wanted: Wanted, *, patterns: bool) -> tuple[str, bool]:
    """Return what Milvus is asked for the images that are wanted, "" for all, and whether that is exact.

    ``patterns`` says that the server can look for a part of a text: from 2.4 on.
    """
    parts = [_of(one, patterns) for one in wanted.filters]
    if wanted.below:
        parts.append((_any_of("folders", wanted.below), False))
    texts = [f"({text})" for text, _ in parts if text]
    return " and ".join(texts), all(exact for _, exact in parts)


def _of(one: Filter, patterns: bool) -> tuple[str, bool]:
    match one:
        case Taken(start, end):
            texts = [f"taken > {UNKNOWN}" if start is None else f"taken >= {milliseconds(start)}"]
            texts += [] if end is None else [f"taken < {milliseconds(end)}"]
            return " and ".join(texts), True
        case Rated(least):
            return f"rating >= {least}", True
        case Sized(pixels, longer, shorter):
            texts = ["width > 0", f"pixels >= {pixels}", f"(width >= {longer} or height >= {longer})"]
            return " and ".join([*texts, f"width >= {shorter}", f"height >= {shorter}"]), True
        case Shape(name) | Has(name):
            return f"array_contains(facts, {quoted(name)})", True
        case Camera(name):
            return _part_of("camera", name.casefold()) if patterns else "", False
        case Lens(name):
            return _part_of("lens", name.casefold()) if patterns else "", False
        case Keyword(word):
            return _any_of("keywords", [word.casefold()]), False
        case Typed(extensions):
            return _any_of("types", extensions), False
        case Screenshot(is_wanted):
            return f"array_contains(facts, {quoted(_ONE_FILE if is_wanted else _OTHER_FILE)})", False
        case Near(latitude, longitude, km):
            return _box(latitude, longitude, km), False
    return "", False  # a pattern of names, say: all images are judged


def _any_of(field: str, values: Iterable[str]) -> str:
    longest, _ = LISTS[field]
    texts = ", ".join(quoted(clipped(value, longest)) for value in values)
    return f"array_contains_any({field}, [{texts}]) or {_ANY_MORE}"


def _part_of(field: str, part: str) -> str:
    """Look for a part; what has a meaning in a pattern stands for any character, and a long text may be cut."""
    safe = "".join("_" if char in '%_\\"' else char for char in clipped(part, TEXTS[field] // 2))
    return f"{field} like {quoted(f'%{safe}%')} or {_ANY_MORE}"


def _box(latitude: float, longitude: float, km: float) -> str:
    """Return the latitudes around a circle, and the longitudes where no pole and no date line is near."""
    angle = math.degrees(km / EARTH_RADIUS_KM) + 1e-6
    texts = [f"latitude >= {latitude - angle!r}", f"latitude <= {min(latitude + angle, 90.0)!r}"]
    widest = max(abs(latitude - angle), abs(latitude + angle))
    if widest < 89:
        reach = 1.01 * angle / math.cos(math.radians(widest))
        if longitude - reach >= -180 and longitude + reach <= 180:
            texts += [f"longitude >= {longitude - reach!r}", f"longitude <= {longitude + reach!r}"]
    return " and ".join(texts)


def quoted(text: str) -> str:
    """Return a text as a constant of an expression."""
    return json.dumps(text, ensure_ascii=False)
