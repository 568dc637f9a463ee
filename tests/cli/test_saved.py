"""Saved queries: save, list, delete, and @name among the words of a query."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, paint, run

fake_model = fakes.fake_model


@pytest.fixture(autouse=True)
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give the path of the test's own config file, which is not there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "config" / "imgsearch" / "config.toml"


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> str:
    """Give an index of images in one colour, of two colours, and of other shapes and folders."""
    for colour in ("red", "green", "blue"):
        paint(tmp_path / "photos" / f"{colour}.png", colour)
    paint(tmp_path / "photos" / "red-green.png", "red", "red", "green", "green")
    paint(tmp_path / "photos" / "tall.png", "pink", size=(32, 64))
    paint(tmp_path / "photos" / "sub" / "tall-blue.png", "blue", "blue", "cyan", "cyan", size=(32, 64))
    run(tmp_path / "ix", tmp_path / "photos")
    return str(tmp_path / "ix")


def save(*argv: object) -> str:
    """Save a query, and return what is printed on stderr."""
    done = imgsearch("save", *argv)
    assert done.code == 0, done.err
    return done.err


def found(index: str, *argv: object) -> list[str]:
    """Search, and return the names of what is found."""
    done = imgsearch("query", *argv, "--index", index, "--json")
    assert done.code == 0, done.err
    return [Path(json.loads(line)["path"]).stem for line in done.out.splitlines()]


def kept(file: Path) -> dict[str, Any]:
    """Return the saved queries that the file holds."""
    data: dict[str, Any] = tomllib.loads(file.read_text())["saved"]
    return data


def test_a_saved_query_is_used_by_name(index: str, file: Path) -> None:
    """Words, filters and the number of results come from the file, where they are as they were typed."""
    assert save("portraits", "blue", "--shape", "portrait", "-k", "1", "--after", "30 years ago") == (
        "saved; to use it: imgsearch query @portraits\n"
    )
    expected = {"query": "blue", "shape": "portrait", "limit": 1, "after": "30 years ago"}
    assert kept(file) == {"portraits": expected}
    assert found(index, "@portraits") == ["tall-blue"]
    save("everything", "blue", "-k", "all")
    assert kept(file)["everything"] == {"query": "blue", "limit": "all"}
    assert len(found(index, "@everything")) == 6
    assert imgsearch("@portraits", "--index", index, "--paths").lines[0].endswith("tall-blue.png")


def test_what_is_typed_beside_the_name_adds_to_it(index: str, tmp_path: Path) -> None:
    """Another filter confines further, the same one takes its place, one that may be repeated is added."""
    save("portraits", "blue", "--shape", "portrait", "-k", "5")
    assert found(index, "@portraits", "--in", tmp_path / "photos" / "sub") == ["tall-blue"]
    assert "blue" in found(index, "@portraits", "--shape", "landscape")
    assert len(found(index, "@portraits", "-k", "1")) == 1
    save("sub", "blue", "--in", tmp_path / "photos" / "sub")
    both = found(index, "@sub", "--in", tmp_path / "photos" / "red.png")
    assert set(both) == {"tall-blue", "red"}


def test_further_words_are_added_to_the_words(index: str) -> None:
    """The name stands for its words: others may precede and follow, and + and - work."""
    save("first", "red")
    assert found(index, "@first", "red", "green", "green") == found(index, "red", "red", "green", "green")
    assert found(index, "@first + green") == found(index, "red", "+", "green")
    assert found(index, "green", "-", "@first")[0] == "green"
    save("both", "red", "+", "green")
    assert found(index, "@both", "-", "blue") == found(index, "red", "+", "green", "-", "blue")
    done = imgsearch("query", "blue", "-", "@both", "--index", index)
    assert "@both has several parts, so a query has to begin with it" in done.err


def test_the_file_may_be_edited(index: str, file: Path) -> None:
    """Words as a list, a single value for what may be repeated, and names of options as on the command line."""
    file.parent.mkdir(parents=True)
    file.write_text('[saved.mine]\nquery = ["red", "+", "green"]\nin = "photos"\nn = 2\n')
    assert found(index, "@mine") == found(index, "red", "+", "green")[:2]


def test_a_saved_path_is_absolute(index: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image or a folder that was given from one folder is found from any."""
    save("like", "green", "+", "photos/red.png", "--in", "photos")
    here = Path.cwd()
    assert kept(file)["like"] == {"query": ["green", "+", f"{here}/photos/red.png"], "in": [f"{here}/photos"]}
    expected = found(index, "@like")
    monkeypatch.chdir("/")
    assert found(index, "@like") == expected


def test_some_come_with_imgsearch(index: str) -> None:
    """They are listed, may be replaced by one's own, and come back when that is deleted."""
    listed = imgsearch("save").lines
    assert [line.split()[0] for line in listed] == ["@documents", "@receipts", "@screenshots", "@whiteboards"]
    assert "(before: a receipt or invoice)" in save("receipts", "red", "-k", "1")
    assert found(index, "@receipts") == ["red"]
    assert "@receipts     red --limit 1" in imgsearch("saved").lines
    save("--delete", "receipts")
    assert imgsearch("save").lines == listed
    done = imgsearch("save", "receipts", "--delete")
    assert (done.code, done.err) == (
        2,
        "imgsearch: @receipts comes with imgsearch and can't be deleted; save your own under its name\n",
    )


def test_a_name_that_nobody_knows_is_refused_with_a_near_one(index: str) -> None:
    """The error shows the one that was probably wanted, and how to search for the word."""
    done = imgsearch("query", "@reciepts", "--index", index)
    assert done.code == 2
    assert "did you mean @receipts?" in done.err
    assert "To search for the word itself: --literal" in done.err
    assert "there is no saved query 'bils'" in imgsearch("save", "--delete", "bils").err


def test_what_is_no_name_stays_a_word_or_a_file(index: str, tmp_path: Path) -> None:
    """With --literal every word is one, an address of mail always, and "./@red" is a file."""
    paint(tmp_path / "@red.png", "red")
    assert found(index, "./@red.png", "+", "./@red.png")[0] in ("red", "red-green")
    assert "no word of it is a colour" not in imgsearch("query", "@red.png", "--index", index).err
    for words in (["@red", "--literal"], ["me@receipts"], ["@"]):
        assert "saved query" not in imgsearch("query", *words, "--index", index).err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["bills"], "the words are missing, as in: imgsearch save bills a receipt or invoice"),
        (["2024", "red"], "2024: a name is one word of letters, digits, - and _, and begins with a letter"),
        (["a b", "red"], "a b: a name is one word"),
        (["--after", "2024"], "the name is missing"),
        (["bills", "red", "--after", "sometime"], "--after"),
        (["bills", "red", "+", "https://example.org/a.jpg"], "an address is fetched only when it is typed"),
        (["bills", "red", "--image", "https://example.org/a.jpg"], "an address is fetched only when it is"),
        (["bills", "red", "+"], "+: there is nothing after it"),
        (["bills", "red", "--shape", "round"], "--shape"),
        (["--delete"], "--delete takes the name of one saved query"),
        (["--delete", "bills", "red"], "--delete takes the name of one saved query"),
    ],
)
def test_what_can_not_be_saved_is_refused(file: Path, argv: list[str], message: str) -> None:
    """A query that could not be answered is not saved."""
    done = imgsearch("save", *argv)
    assert done.code == 2
    assert message in done.err
    assert not file.exists()


def test_lines_on_stdin_know_no_names(index: str) -> None:
    """They are words, as they always were."""
    done = imgsearch("query", "-", "--index", index, stdin="red @receipts\n")
    assert "saved query" not in done.err
