"""Answers that are confined by date, camera and other metadata, by options or by the words of the query."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from imgsearch.errors import UsageError
from imgsearch.index.metadata.filters import Keyword, Taken
from imgsearch.search.language.filtering import filters_of
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, paint, run
from support.tagged_files import keywords, packet

fake_model = fakes.fake_model


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> str:
    """Give an index of three red photos of other years and cameras, and a blue one."""
    photos = tmp_path / "photos"
    for name, colour, date, model in (
        ("old", "red", "2019:05:04 10:00:00", "X-T5"),
        ("july", "red", "2023:07:14 09:30:00", "NIKON Z 8"),
        ("august", "red", "2023:08:01 00:00:00", "NIKON Z 8"),
        ("blue", "blue", "2023:07:20 12:00:00", "X-T5"),
    ):
        path = paint(photos / f"{name}.jpg", colour)
        exif = Image.Exif()
        exif[ExifTags.Base.Model] = model
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = date
        Image.open(path).save(path, exif=exif, quality=95)
    (photos / "old.xmp").write_bytes(packet('xmp:Rating="5"', keywords("Ärger")))
    run(tmp_path / "ix", photos)
    return str(tmp_path / "ix")


def found(index: str, *argv: object) -> list[str]:
    """Return the names of the images that a query finds, best first."""
    done = imgsearch("query", *argv, "--index", index, "--json")
    return [Path(json.loads(line)["path"]).stem for line in done.out.splitlines()]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--on", "2023-07"], {"july", "blue"}),
        (["--on", "July 2023", "--camera", "nikon"], {"july"}),
        (["--after", "2023-08"], {"august"}),
        (["--before", "2020"], {"old"}),
        (["--after", "2019", "--before", "2023-07-15"], {"old", "july"}),
        (["--rating", "4"], {"old"}),
        (["--keyword", "ärger"], {"old"}),
        (["--has", "rating"], {"old"}),
        (["--shape", "landscape"], {"old", "july", "august", "blue"}),
        (["--landscape"], {"old", "july", "august", "blue"}),
        (["--portrait"], set()),
        (["--type", "JPEG"], {"old", "july", "august", "blue"}),
        (["--type", "png,.heic"], set()),
        (["--name", "*U*"], {"july", "august", "blue"}),
        (["--name", "?u*.jpg", "--on", "2023-07"], {"july"}),
        (["--min-size", "10x20"], {"old", "july", "august", "blue"}),
        (["--min-size", "12 MP"], set()),
        (["--no-screenshots"], {"old", "july", "august", "blue"}),
        (["--screenshots"], set()),
    ],
)
def test_options_confine_the_answer(index: str, options: list[str], names: set[str]) -> None:
    """Only images that pass every filter are found, and all of them."""
    assert set(found(index, "red", *options)) == names


def test_as_many_are_found_as_pass(index: str) -> None:
    """A filter is applied before the best are chosen: the second best of all is found where the best is left out."""
    assert set(found(index, "red", "--on", "2023", "-k", 2)) == {"july", "august"}
    assert found(index, "red", "--camera", "X-T5", "-k", 2) == ["old", "blue"]


def test_a_date_in_the_query_is_a_filter(index: str) -> None:
    """A month and year among the words confine the answer, and a line says so and how to undo it."""
    done = imgsearch("query", "red", "July", "2023", "--index", index, "--paths")
    assert [Path(line).stem for line in done.out.decode().splitlines()] == ["july", "blue"]
    assert done.err.splitlines() == ['searching for "red", taken 2023-07; to search for all words: --literal']
    literal = imgsearch("query", "red", "July", "2023", "--literal", "--index", index, "--paths")
    assert len(literal.out.splitlines()) == 4
    assert literal.err == ""


def test_a_date_alone_and_one_beside_an_option_stay_words(index: str) -> None:
    """A query that is nothing but a date is searched for as words; so is one beside an option that tells the date."""
    assert len(found(index, "2023")) == 4
    assert found(index, "red", "2019", "--on", "2023-08") == ["august"]


def test_lines_on_stdin_are_taken_as_they_are(index: str) -> None:
    """A date in a line that is piped in confines nothing."""
    done = imgsearch("query", "-", "--index", index, "--paths", stdin="red July 2023\n")
    assert len(done.out.splitlines()) == 4


def test_a_filter_that_empties_the_answer_is_named(index: str) -> None:
    """Where nothing is found, the line says which filter no image passes, and the exit code is 1."""
    done = imgsearch("query", "red", "--on", "2023", "--camera", "Leica", "--index", index)
    assert (done.code, done.err) == (1, "nothing found: no image taken with Leica is indexed\n")
    done = imgsearch("query", "red", "--on", "2019", "--camera", "nikon", "--index", index)
    assert "taken with nikon" in done.err
    assert "2019-01-01" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--type", "gif,png"], "no image of the type gif or png is indexed"),
        (["--name", "IMG_*"], "no image named IMG_* is indexed"),
        (["--min-size", "2mp"], "no image of 2 megapixels or more is indexed"),
        (["--min-size", "9000x50"], "no image of 9000 × 50 pixels or more is indexed"),
        (["--screenshots"], "no image that is a screenshot is indexed"),
        (["--panorama", "--on", "2023"], "no image of the shape panorama is indexed"),
    ],
)
def test_each_filter_says_when_it_empties_the_answer(index: str, options: list[str], message: str) -> None:
    """The line names the filter that no image passes, in words."""
    done = imgsearch("query", "red", *options, "--index", index)
    assert (done.code, done.err) == (1, f"nothing found: {message}\n")


def test_a_copy_is_shown_by_the_name_that_passes(index: str, tmp_path: Path) -> None:
    """Of files with the same bytes, the one that the filter lets pass is the hit; the others are its copies."""
    shutil.copy(tmp_path / "photos" / "old.jpg", tmp_path / "photos" / "zebra.jpeg")
    run(index, tmp_path / "photos")
    assert found(index, "red", "--name", "zebra*") == ["zebra"]
    assert found(index, "red", "--name", "old.jpg") == ["old"]
    assert found(index, "red", "--name", "zebra*", "--in", tmp_path / "photos" / "old.jpg") == []


def test_similar_takes_the_same_filters(index: str, tmp_path: Path) -> None:
    """What looks like an image can be confined like a query."""
    done = imgsearch(
        "similar", tmp_path / "photos" / "old.jpg", "--on", "2023-08", "--index", index, "--paths"
    )
    assert [Path(line).stem for line in done.out.decode().splitlines()] == ["august"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--on", "3/4/2024"], "2024-03-04 or 2024-04-03"),
        (["--on", "soon"], "--on: soon: not a date"),
        (["--after", "2023-02-30"], "--after: 2023-02-30: there is no such date"),
        (["--after", "2024", "--before", "2023"], "--after 2024 and --before 2023"),
        (["--rating", "9"], "--rating: 9"),
        (["--shape", "round"], "--shape: round"),
        (["--has", "soul"], "--has: soul"),
        (["--camera", " "], "--camera: the name is empty"),
        (["--type", "jpg,xyz"], "--type: xyz: there is no such type; these are: jpg, png"),
        (["--type", ","], "--type: the name is empty"),
        (["--name", ""], "--name: the pattern is empty"),
        (["--name", "2024/*"], "for folders: --in FOLDER"),
        (["--min-size", "large"], "--min-size large: not a size"),
        (["--min-size", "0x9"], "as in 12mp or 2000x1000"),
        (["--min-size", "0mp"], "--min-size 0mp: not a size"),
        (["--landscape", "--portrait"], "--landscape and --portrait exclude each other"),
    ],
)
def test_a_filter_that_makes_no_sense_is_one_line(index: str, options: list[str], message: str) -> None:
    """Each mistake is one line that names the option, and exit code 2."""
    done = imgsearch("query", "red", *options, "--index", index)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_the_library_and_the_server_have_the_same_names() -> None:
    """Filters are made of texts and numbers by name; what makes no sense names the option as Python has it."""
    taken, keyword = filters_of(on="2024-07", keyword=["sea"])
    assert isinstance(taken, Taken)
    assert keyword == Keyword("sea")
    with pytest.raises(UsageError, match="on: soon: not a date"):
        filters_of(on="soon")
