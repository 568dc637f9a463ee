"""Queries by place and by name: options, words that are read, and what is told about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from imgsearch.search.language.places import gazetteer
from support import fakes
from support import gazetteer as drawn
from support.cli import imgsearch
from support.fakes import FakeModel, paint, run

fake_model, few_towns = fakes.fake_model, drawn.few_towns


@pytest.fixture
def index(fake_model: FakeModel, few_towns: None, tmp_path: Path) -> str:
    """Give an index of red photos in Lisbon, in Sintra, which is near it, in Paris, and nowhere."""
    photos = tmp_path / "photos"
    for name, place in {
        "lisbon": ((38.0, 43.0, 0.0), (9.0, 8.0, 0.0), "W"),
        "sintra": ((38.0, 48.0, 0.0), (9.0, 23.0, 0.0), "W"),
        "paris": ((48.0, 51.0, 0.0), (2.0, 21.0, 0.0), "E"),
        "nowhere": None,
    }.items():
        path = paint(photos / f"{name}.jpg", "red")
        exif = Image.Exif()
        if place:
            latitude, longitude, side = place
            exif[ExifTags.Base.GPSInfo] = {1: "N", 2: latitude, 3: side, 4: longitude}
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2023:07:14 09:30:00"
        Image.open(path).save(path, exif=exif, quality=95)
    run(tmp_path / "ix", photos)
    return str(tmp_path / "ix")


def found(index: str, *argv: object) -> set[str]:
    """Return the names of the images that a query finds."""
    done = imgsearch("query", *argv, "--index", index, "--json")
    assert done.code in (0, 1), done.err
    return {Path(json.loads(line)["path"]).stem for line in done.out.splitlines()}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--near", "Lisbon"], {"lisbon", "sintra"}),
        (["--near", "38.71,-9.13", "--within-km", "5"], {"lisbon"}),
        (["--near", "lisboa", "--within-km", "2000"], {"lisbon", "sintra", "paris"}),
        (["--near", "0,0"], set()),
        (["--near", "-33.9,151.2"], set()),
    ],
)
def test_near_confines_an_answer_to_a_place(index: str, options: list[str], names: set[str]) -> None:
    """Only photos that tell where they were taken, and that was near, are found; 25 km if nothing else is said."""
    assert found(index, "red", *options) == names


def test_similar_and_list_take_a_place(index: str, tmp_path: Path) -> None:
    """Other commands with filters have this one, too."""
    photo = tmp_path / "photos" / "paris.jpg"
    done = imgsearch("similar", photo, "--near", "Lisbon", "--index", index, "--paths")
    assert {Path(line).stem for line in done.out.decode().split()} == {"lisbon", "sintra"}
    listed = imgsearch("list", "--near", "Paris", "--index", index)
    assert [Path(line).stem for line in listed.out.decode().splitlines()] == ["paris"]
    assert "images taken within 25 km of Paris, France" in listed.err


def test_it_is_told_which_town_is_meant(index: str) -> None:
    """A name may be that of several towns: a line on stderr says which one was taken, none for degrees."""
    done = imgsearch("query", "red", "--near", "Lisbon", "--index", index)
    assert "images taken within 25 km of Lisbon, Portugal\n" in done.err
    assert "within" not in imgsearch("query", "red", "--near", "38.7,-9.1", "--index", index).err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--near", ","], "--near: ,: not a place"),
        (["--near", ""], "--near: : not a place"),
        (["--near", "91,0"], "--near: 91,0: a latitude is from -90 to 90"),
        (["--near", "Lisbn"], "did you mean Lisbon, Lisburn or Lisse?"),
        (["--near", "0,0", "--within-km", "-1"], "--within-km: -1: give a number of kilometres above 0"),
        (["--near", "0,0", "--within-km", "nan"], "--within-km: nan: give a number of kilometres above 0"),
        (["--within-km", "3"], "around which place? Give it with --near"),
        (["--names", "-1"], "--names -1"),
        (["--names", "nan"], "--names nan"),
    ],
)
def test_what_is_no_place_distance_or_weight_is_one_line(index: str, options: list[str], words: str) -> None:
    """The error names the option and what to write instead."""
    done = imgsearch("query", "red", *options, "--index", index)
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1


def test_a_name_without_the_extra_tells_how_to_add_it(index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no list of towns is installed, one line says what installs it; degrees still work."""
    monkeypatch.setattr(gazetteer, "_version", lambda: "")
    done = imgsearch("query", "red", "--near", "Lisbon", "--index", index)
    assert done.code == 2
    assert "[places]" in done.err
    assert done.err.count("\n") == 1
    assert found(index, "red", "--near", "38.71,-9.13") == {"lisbon", "sintra"}
    assert found(index, "red near Lisbon") == {"lisbon", "sintra", "paris", "nowhere"}


def test_a_place_and_a_date_are_read_out_of_a_query(index: str) -> None:
    """Both are told in one line with how to undo it, and every line of JSON carries what was read."""
    done = imgsearch("query", "red near Lisbon July 2023", "--index", index, "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert {Path(line["path"]).stem for line in lines} == {"lisbon", "sintra"}
    read = {"text": "red", "after": "2023-07-01", "before": "2023-08-01", "near": "Lisbon, Portugal"}
    assert [line["read"] for line in lines] == [read, read]
    assert done.err == (
        'searching for "red", taken 2023-07, taken within 25 km of Lisbon, Portugal; '
        "to search for all words: --literal\n"
    )


def test_json_has_nothing_more_where_nothing_was_read(index: str) -> None:
    """A query without a date and a place, or with --literal, has the fields that it always had."""
    for argv in (["red"], ["red near Lisbon", "--literal"], ["red", "--near", "Lisbon"]):
        done = imgsearch("query", *argv, "--index", index, "--json")
        assert all("read" not in json.loads(line) for line in done.out.splitlines())


def test_a_place_that_was_typed_is_not_read_again(index: str) -> None:
    """With --near, the words of the query stay as they are."""
    assert found(index, "red near Lisbon", "--near", "Paris") == {"paris"}


def test_names_have_a_say_when_asked(index: str) -> None:
    """With --names, the image that is called as the query says comes first, with the same score."""
    plain = imgsearch("query", "red paris", "--index", index, "--json")
    named = imgsearch("query", "red paris", "--names", "1", "--index", index, "--json")
    lines = [json.loads(line) for line in named.out.splitlines()]
    assert Path(lines[0]["path"]).stem == "paris"
    scores = {json.loads(line)["path"]: json.loads(line)["score"] for line in plain.out.splitlines()}
    assert {line["path"]: line["score"] for line in lines} == scores
    assert lines[0].keys() == json.loads(plain.out.splitlines()[0]).keys()
