"""Saved queries as a server gets them from the command line: words, and options by their names in Python."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import typer.main

from imgsearch.cli import app
from imgsearch.cli.saved import for_programs
from imgsearch.errors import UsageError
from imgsearch.tools.server.saved import NO_SAVED, SavedQueries

_FILE = """
[saved.boats]
query = "a boat"
after = "2023"
limit = "all"
in = ["/photos/sea"]
stacks = true
[saved.mixed]
query = "a boat + the sea"
"""


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the user's config file, with two saved queries."""
    path = tmp_path / "config.toml"
    path.write_text(_FILE)
    monkeypatch.setattr("imgsearch.cli.config.config_path", lambda: str(path))
    return path


@pytest.fixture
def saved() -> SavedQueries:
    """Give the saved queries as `serve` hands them to the server."""
    return for_programs(typer.main.get_command(app))


@pytest.mark.usefixtures("config_file")
def test_a_name_brings_words_and_options(saved: SavedQueries) -> None:
    """The name among the words becomes the words that were saved, and their options have names and values of Python."""
    words, options = saved.expand(["@boats at night"])
    assert " ".join(" ".join(words).split()) == "a boat at night"
    assert options == {"after": "2023", "n": sys.maxsize, "below": ["/photos/sea"], "stacks": True}


@pytest.mark.usefixtures("config_file")
def test_what_is_given_wins_and_lists_are_joined(saved: SavedQueries) -> None:
    """An option of the request takes the place of the saved one; folders come together."""
    _, options = saved.apply(["@boats"], {"after": "2024", "below": ["/photos/sea", "/lake"], "n": 3})
    assert options == {"after": "2024", "n": 3, "below": ["/photos/sea", "/lake"], "stacks": True}


@pytest.mark.usefixtures("config_file")
def test_a_change_of_the_file_is_seen(saved: SavedQueries, config_file: Path) -> None:
    """A query that is saved while the server runs can be used at once."""
    assert "boats" in saved.listed()
    config_file.write_text('[saved.trams]\nquery = "a tram"\n')
    assert saved.expand(["@trams"])[0] == ["a tram"]
    assert "boats" not in saved.listed()


@pytest.mark.parametrize(
    ("text", "file", "message"),
    [
        ("@bots", _FILE, "did you mean @boats"),
        ("night @mixed", _FILE, "has several parts"),
        ("@boats", '[saved.boats]\nquery = "a"\nrating = "many"\n', "saved.boats.rating"),
        ("@boats", '[saved.boats]\nquery = "https://example.org/a.jpg"\n', "an address is fetched only"),
    ],
)
def test_what_cannot_be_used_is_refused(
    saved: SavedQueries, config_file: Path, text: str, file: str, message: str
) -> None:
    """An unknown name, parts in the wrong place and a broken config file are errors that say what to do."""
    config_file.write_text(file)
    with pytest.raises(UsageError, match=message):
        saved.expand([text])


def test_without_any_the_words_stay() -> None:
    """A server that was given no saved queries takes `@name` for a word."""
    assert NO_SAVED.apply(["@boats"], {"n": 3}) == (["@boats"], {"n": 3})
