"""What confines a search to some of the images: each filter renders itself to SQL, to a mask, to words and to JSON.

Which images pass is said twice, for the catalogue and for the columns made of it; a test proves that both say the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import UsageError
from imgsearch.index.metadata import milliseconds
from imgsearch.index.metadata.columns import UNKNOWN, UNRATED, Columns, Mask
from imgsearch.index.metadata.globe import EARTH_RADIUS_KM, km_from

SHAPES = {
    "landscape": "content.width > content.height",
    "portrait": "content.width < content.height",
    "square": "abs(content.width - content.height) * 50 <= content.height",
    "panorama": "max(content.width, content.height) >= 2 * min(content.width, content.height)",
}
_SHAPED: dict[str, Callable[[NDArray[np.int32], NDArray[np.int32]], NDArray[np.bool_]]] = {
    "landscape": lambda width, height: width > height,
    "portrait": lambda width, height: width < height,
    "square": lambda width, height: np.abs(width - height) <= height // 50,
    "panorama": lambda width, height: np.maximum(width, height) // 2 >= np.minimum(width, height),
}
"""The shapes of images; a square's sides differ by 2 % at most, and a panorama is twice as long as wide, or more."""
FACTS = {
    "date": "metadata.taken_from NOT IN ('', 'file')",
    "gps": "metadata.latitude IS NOT NULL",
    "camera": "metadata.model <> ''",
    "rating": "metadata.rating IS NOT NULL",
    "title": "metadata.title <> ''",
    "keywords": "metadata.keywords <> ''",
}
"""What an image may tell of itself."""

Condition = tuple[str, tuple[object, ...]]
"""An expression over the tables ``content`` and ``metadata``, for some filters ``file``, and its values."""


class Filter(Protocol):
    """One thing that an image, or its file, has to be to be found; of several files one has to be all of it."""

    of_files: ClassVar[bool]
    """Whether it is about files: then it has a condition over ``file``, and a mask of files."""

    def condition(self) -> Condition:
        """Return what SQLite is asked."""

    def passing(self, columns: Columns) -> Mask:
        """Return which images, or files, of the columns pass."""

    def sentence(self) -> str:
        """Return it as a person reads it, to stand behind a comma."""

    def as_json(self) -> dict[str, Any]:
        """Return it as the server's requests have it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Taken from ``start`` on, and before ``end``, by the clock where it was taken; None is open."""

    of_files: ClassVar[bool] = False

    start: datetime | None
    end: datetime | None

    def condition(self) -> Condition:
        """Compare the wall clock's time; a picture without any is not found."""
        bounds = [(">=", self.start), ("<", self.end)]
        given = [(sign, milliseconds(moment)) for sign, moment in bounds if moment is not None]
        texts = ["metadata.taken IS NOT NULL", *(f"metadata.taken {sign} ?" for sign, _ in given)]
        return " AND ".join(texts), tuple(number for _, number in given)

    def passing(self, columns: Columns) -> Mask:
        """Compare the dates."""
        taken = columns["taken"]
        mask = taken >= (UNKNOWN + 1 if self.start is None else milliseconds(self.start))
        if self.end is not None:
            mask &= taken < milliseconds(self.end)
        return np.asarray(mask)

    def sentence(self) -> str:
        """Say the days."""
        start, end = (None if moment is None else f"{moment:%Y-%m-%d}" for moment in (self.start, self.end))
        if start is None:
            return f"taken before {end}"
        return f"taken from {start} on" if end is None else f"taken from {start} and before {end}"

    def as_json(self) -> dict[str, Any]:
        """Give both ends in ISO's form."""
        return {
            "after": None if self.start is None else self.start.isoformat(),
            "before": None if self.end is None else self.end.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Camera:
    """Taken with a camera of whose make and model ``name`` is a part, whatever its case."""

    of_files: ClassVar[bool] = False

    name: str

    def condition(self) -> Condition:
        """Look for the part."""
        return "instr(casefold(metadata.make || ' ' || metadata.model), casefold(?)) > 0", (self.name,)

    def passing(self, columns: Columns) -> Mask:
        """Look for the part in each camera's name."""
        part = self.name.casefold()
        return columns.where("camera", lambda camera: part in " ".join(camera).casefold())

    def sentence(self) -> str:
        """Name the camera."""
        return f"taken with {self.name}"

    def as_json(self) -> dict[str, Any]:
        """Give the name."""
        return {"camera": self.name}


@dataclass(frozen=True, slots=True)
class Lens:
    """Taken with a lens of whose name ``name`` is a part, whatever its case."""

    of_files: ClassVar[bool] = False

    name: str

    def condition(self) -> Condition:
        """Look for the part."""
        return "instr(casefold(metadata.lens), casefold(?)) > 0", (self.name,)

    def passing(self, columns: Columns) -> Mask:
        """Look for the part in each lens's name."""
        part = self.name.casefold()
        return columns.where("lens", lambda lens: part in lens.casefold())

    def sentence(self) -> str:
        """Name the lens."""
        return f"taken with the lens {self.name}"

    def as_json(self) -> dict[str, Any]:
        """Give the name."""
        return {"lens": self.name}


@dataclass(frozen=True, slots=True)
class Rated:
    """Of ``least`` stars or more."""

    of_files: ClassVar[bool] = False

    least: int

    def __post_init__(self) -> None:
        """Raise UsageError for what is no rating."""
        if not 0 <= self.least <= 5:
            raise UsageError(f"{self.least}: a rating is from 0 to 5")

    def condition(self) -> Condition:
        """Compare the stars; an image that nobody has rated is not found."""
        return "metadata.rating >= ?", (self.least,)

    def passing(self, columns: Columns) -> Mask:
        """Compare the stars."""
        return np.asarray(columns["rating"] >= self.least)

    def sentence(self) -> str:
        """Say the stars."""
        return f"rated {self.least} or more"

    def as_json(self) -> dict[str, Any]:
        """Give the number."""
        return {"rating": self.least}


@dataclass(frozen=True, slots=True)
class Keyword:
    """With ``word`` among its keywords, whatever its case."""

    of_files: ClassVar[bool] = False

    word: str

    def condition(self) -> Condition:
        """Compare it with each of them."""
        each = "SELECT 1 FROM json_each(metadata.keywords) WHERE casefold(value) = casefold(?)"
        return f"metadata.keywords <> '' AND EXISTS ({each})", (self.word,)

    def passing(self, columns: Columns) -> Mask:
        """Compare it with each keyword."""
        word = self.word.casefold()
        return columns.any_of("keyword_image", columns.where("keyword", lambda keyword: keyword == word))

    def sentence(self) -> str:
        """Name the keyword."""
        return f"with the keyword {self.word}"

    def as_json(self) -> dict[str, Any]:
        """Give the word."""
        return {"keyword": self.word}


@dataclass(frozen=True, slots=True)
class Shape:
    """Of one of SHAPES."""

    of_files: ClassVar[bool] = False

    name: str

    def __post_init__(self) -> None:
        """Raise UsageError for a shape that nobody knows."""
        if self.name not in SHAPES:
            raise UsageError(f"{self.name}: there is no such shape; these are: {', '.join(SHAPES)}")

    def condition(self) -> Condition:
        """Compare the sides; an image whose size nobody knows is not found."""
        return f"content.width > 0 AND {SHAPES[self.name]}", ()

    def passing(self, columns: Columns) -> Mask:
        """Compare the sides."""
        width, height = columns["width"], columns["height"]
        return np.asarray((width > 0) & _SHAPED[self.name](width, height))

    def sentence(self) -> str:
        """Name the shape."""
        return f"of the shape {self.name}"

    def as_json(self) -> dict[str, Any]:
        """Give the name."""
        return {"shape": self.name}


@dataclass(frozen=True, slots=True)
class Sized:
    """Of ``pixels`` or more, with sides of ``longer`` and ``shorter`` or more; ``name`` is how somebody has put it."""

    pixels: int = 0
    longer: int = 0
    shorter: int = 0
    name: str = ""

    of_files: ClassVar[bool] = False

    def condition(self) -> Condition:
        """Compare the sides; an image whose size nobody knows is not found."""
        return (
            "content.width > 0 AND content.width * content.height >= ? "
            "AND max(content.width, content.height) >= ? AND min(content.width, content.height) >= ?",
            (self.pixels, self.longer, self.shorter),
        )

    def passing(self, columns: Columns) -> Mask:
        """Compare the sides."""
        width, height = columns["width"], columns["height"]
        mask = width > 0
        if self.pixels:
            mask &= width.astype(np.int64) * height >= self.pixels
        if self.longer:
            mask &= (np.maximum(width, height) >= self.longer) & (np.minimum(width, height) >= self.shorter)
        return np.asarray(mask)

    def sentence(self) -> str:
        """Say the size."""
        return f"of {self.name} or more"

    def as_json(self) -> dict[str, Any]:
        """Give the size."""
        return {"min_size": self.name}


@dataclass(frozen=True, slots=True)
class Has:
    """That tells one of FACTS of itself."""

    of_files: ClassVar[bool] = False

    fact: str

    def __post_init__(self) -> None:
        """Raise UsageError for what no image tells."""
        if self.fact not in FACTS:
            raise UsageError(f"{self.fact}: not known of images; these are: {', '.join(FACTS)}")

    def condition(self) -> Condition:
        """Ask whether it is there."""
        return FACTS[self.fact], ()

    def passing(self, columns: Columns) -> Mask:
        """Tell whether it is there."""
        match self.fact:
            case "date":
                return np.asarray(columns["dated"] != 0)
            case "gps":
                return np.asarray(~np.isnan(columns["latitude"]))
            case "camera":
                return columns.where("camera", lambda camera: camera[1])
            case "rating":
                return np.asarray(columns["rating"] != UNRATED)
            case "title":
                return np.asarray(columns["titled"] != 0)
        return columns.any_of("keyword_image", np.ones(len(columns["keyword"]), bool))

    def sentence(self) -> str:
        """Name what is to be there."""
        return {"gps": "with a place", "keywords": "with keywords"}.get(self.fact, f"with a {self.fact}")

    def as_json(self) -> dict[str, Any]:
        """Give its name."""
        return {"has": self.fact}


@dataclass(frozen=True, slots=True)
class Near:
    """Taken at most ``km`` kilometres from a place, given in degrees; ``name`` is what the place is called."""

    of_files: ClassVar[bool] = False

    latitude: float
    longitude: float
    km: float
    name: str = ""

    def __post_init__(self) -> None:
        """Raise UsageError for what is not on the globe, and for a distance that is not above 0."""
        if not (abs(self.latitude) <= 90 and abs(self.longitude) <= 180):
            raise UsageError(
                f"{self.latitude:g},{self.longitude:g}: a latitude is from -90 to 90, a longitude from -180 to 180"
            )
        if not (self.km > 0 and math.isfinite(self.km)):
            raise UsageError(f"{self.km:g}: give a number of kilometres above 0")

    def condition(self) -> Condition:
        """Compare with the box around the circle, which an index answers, and what is in it by its distance."""
        texts, values = _box(self.latitude, self.longitude, self.km / EARTH_RADIUS_KM)
        distance = "km_between(metadata.latitude, metadata.longitude, ?, ?) <= ?"
        return f"{texts} AND {distance}", (*values, self.latitude, self.longitude, self.km)

    def passing(self, columns: Columns) -> Mask:
        """Compare the distances; one that is not a number is none."""
        return km_from(self.latitude, self.longitude, columns["latitude"], columns["longitude"]) <= self.km

    def sentence(self) -> str:
        """Say how far from where."""
        place = self.name or f"{self.latitude:g},{self.longitude:g}"
        return f"taken within {self.km:g} km of {place}"

    def as_json(self) -> dict[str, Any]:
        """Give the place in degrees, and the distance."""
        return {"near": f"{self.latitude!r},{self.longitude!r}", "within_km": self.km}


_HAIR = 1e-9
"""Radians, 6 mm, by which a box is wider than its circle: what rounding leaves out of it is in."""


def _box(latitude: float, longitude: float, angle: float) -> Condition:
    """Return the latitudes and longitudes between which everything lies that is at most ``angle`` radians away."""
    angle += _HAIR
    south, north = latitude - math.degrees(angle), latitude + math.degrees(angle)
    texts, values = "metadata.latitude BETWEEN ? AND ?", (south, north)
    if south <= -90 or north >= 90:
        return texts, values  # a pole is in it, and with it every longitude
    reach = math.degrees(math.asin(min(1.0, math.sin(angle) / math.cos(math.radians(latitude)))) + _HAIR)
    west, east = longitude - reach, longitude + reach
    if west < -180 or east > 180:  # it lies on both sides of the date line
        west, east = (west + 360, east) if west < -180 else (west, east - 360)
        return f"{texts} AND (metadata.longitude >= ? OR metadata.longitude <= ?)", (*values, west, east)
    return f"{texts} AND metadata.longitude BETWEEN ? AND ?", (*values, west, east)
