"""Queries of several parts: words and images that are added and taken away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, paint, run

fake_model = fakes.fake_model


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> str:
    """Give an index of images in one colour, and of two colours."""
    for colour in ("red", "green", "blue"):
        paint(tmp_path / "photos" / f"{colour}.png", colour)
    paint(tmp_path / "photos" / "red-green.png", "red", "red", "green", "green")
    paint(tmp_path / "photos" / "red-blue.png", "red", "red", "blue", "blue")
    run(tmp_path / "ix", tmp_path / "photos")
    return str(tmp_path / "ix")


def found(index: str, *argv: object, stdin: bytes | None = None) -> list[str]:
    """Return the names of the images that a command finds, best first."""
    done = imgsearch(*argv, "--index", index, "--json", stdin=stdin)
    assert done.code == 0, done.err
    return [Path(json.loads(line)["path"]).stem for line in done.out.splitlines()]


def test_words_are_added_and_taken_away(index: str) -> None:
    """What either part describes comes first, and what is taken away goes last."""
    assert set(found(index, "query", "red", "+", "green")[:3]) == {"red", "green", "red-green"}
    assert found(index, "query", "red", "-", "green")[-1] == "green"
    assert found(index, "query", "red + green") == found(index, "query", "red", "+", "green")


def test_a_weight_decides_what_counts_more(index: str) -> None:
    """Ten times red and once green is nearer to red than to both."""
    assert found(index, "query", "10:red", "+", "green")[0] == "red"
    assert found(index, "query", "red", "+", "10:green")[0] == "green"


def test_words_and_an_image_are_combined(index: str, tmp_path: Path) -> None:
    """A file among the words is an example; it is left out of the answer, unless that is asked for."""
    example = tmp_path / "photos" / "red.png"
    names = found(index, "query", "green", "+", example)
    assert set(names[:2]) == {"green", "red-green"}
    assert "red" not in names
    assert "red" in found(index, "query", "green", "+", example, "--include-examples")
    assert found(index, "query", "green", "+", "-", stdin=example.read_bytes()) == names


def test_several_images_are_one_example(index: str, tmp_path: Path) -> None:
    """`similar` with two images finds what is like both, without these two; with one it has itself first."""
    photos = tmp_path / "photos"
    assert found(index, "similar", photos / "red.png", photos / "blue.png")[0] == "red-blue"
    assert found(index, "similar", photos / "red.png")[0] == "red"


def test_as_many_are_found_as_are_asked_for(index: str, tmp_path: Path) -> None:
    """Examples that are left out make no answer shorter."""
    photos = tmp_path / "photos"
    assert len(found(index, "similar", photos / "red.png", photos / "blue.png", "-k", 3)) == 3


def test_one_argument_with_a_dash_says_how_to_undo_it(index: str) -> None:
    """What was read out of one argument is said with how to search for the words; --literal does."""
    done = imgsearch("query", "red - green", "--index", index)
    assert done.err.splitlines()[0] == (
        'searching for "red", without "green"; to search for the words as they are: --literal'
    )
    assert "--literal" not in imgsearch("query", "red", "-", "green", "--index", index).err
    literal = imgsearch("query", "red + green", "--literal", "--index", index)
    assert "searching for" not in literal.err


def test_lines_on_stdin_are_taken_as_they_are(index: str) -> None:
    """A dash in a caption that is piped in is a dash."""
    done = imgsearch("query", "-", "--index", index, stdin="red - green\n")
    assert "without" not in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+"], "nothing before"),
        (["red", "+"], "nothing after"),
        (["red", "-", "red"], "cancel each other out"),
        (["red", "+", "./missing.jpg"], "no such file"),
        (["0:red", "+", "blue"], "a number above 0"),
        (["red", "+", "-", "+", "-"], "one image on stdin"),
    ],
)
def test_a_part_that_makes_no_sense_is_one_line(index: str, words: list[str], message: str) -> None:
    """Each mistake is one line that names the part, and exit code 2."""
    done = imgsearch("query", *words, "--index", index)
    assert done.code == 2
    assert message in done.err
    assert done.err.splitlines()[-1].startswith("imgsearch: ")
    assert done.out == b""


def test_words_beside_an_image_say_how_to_combine_them(index: str, tmp_path: Path) -> None:
    """An image file without a plus before it is an error that shows the plus; several alone show `similar`."""
    image = str(tmp_path / "photos" / "red.png")
    assert f"imgsearch query green + {image}" in imgsearch("query", "green", image, "--index", index).err
    assert f"imgsearch similar {image} {image}" in imgsearch("query", image, image, "--index", index).err
