"""`--cut`, `--all` and `--explain`: what a person, a pipe and a program are shown of where an answer ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgsearch.cli import output
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, run

fake_model = fakes.fake_model
NOTHING = "green blue green blue"
"""A query that no image of the index fits."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw 80 images of noise, and 4 red ones."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(80):
        cells = np.clip(rng.normal(128, 60, (2, 2, 3)), 0, 255).astype(np.uint8)
        image = Image.fromarray(np.kron(cells, np.ones((32, 32, 1), np.uint8)))
        image.save(folder / f"noise{number:03}.png")
    for number in range(4):
        Image.new("RGB", (64, 64), (230 - number, 20 + number, 20)).save(folder / f"red{number}.png")
    return folder


@pytest.fixture
def index(fake_model: FakeModel, photos: Path, tmp_path: Path) -> Path:
    """Give an index of them."""
    run(tmp_path / "ix", photos)
    return tmp_path / "ix"


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let somebody read the answers, without stacks of what looks alike."""
    monkeypatch.setattr(output, "for_person", lambda style: style == "text")


def name(line: str) -> str:
    """Return the name of the file that a line is about."""
    return next(Path(word).name for word in line.split() if word.endswith(".png"))


def test_a_person_gets_what_stands_out_and_how_many(index: Path, person: None) -> None:
    """On a terminal the four red images are the answer, with a line of where it ends; --all lists ten."""
    shown = imgsearch("query", "red", "--no-stacks", "--index", index)
    assert len(shown.lines) == 4
    assert "4 stand out; the next best are no closer than chance (--all shows them)" in shown.err
    every = imgsearch("query", "red", "--no-stacks", "--all", "--index", index)
    assert len(every.lines) == 10
    assert "stand out" not in every.err


def test_a_person_is_told_of_more_than_the_screen_shows(index: Path, person: None) -> None:
    """With -n 2 of four, the line names all four and how to see them."""
    shown = imgsearch("query", "red", "--no-stacks", "-n", "2", "--index", index)
    assert len(shown.lines) == 2
    assert "4 stand out; 2 of them are shown (-n 4 shows more)" in shown.err


def test_a_person_is_offered_the_nearest_where_nothing_stands_out(index: Path, person: None) -> None:
    """The three nearest are shown as "nearest, but not near"; the exit code is 1, and they have numbers."""
    shown = imgsearch("query", NOTHING, "--no-stacks", "--index", index)
    assert shown.code == 1
    assert len(shown.lines) == 3
    assert "Nearest, but not near" in shown.err
    again = imgsearch("similar", "1", "--all", "-n", "1", "--no-stacks")
    assert name(again.lines[0]) == name(shown.lines[0])


def test_an_example_alone_is_no_answer(index: Path, photos: Path, person: None) -> None:
    """Where nothing but the example stands out, a person gets it and the nearest images, which have numbers too."""
    shown = imgsearch("similar", photos / "noise000.png", "--no-stacks", "--index", index)
    assert (shown.code, len(shown.lines)) == (0, 4)
    assert "nothing else stands out. Nearest, but not near (--all shows more):" in shown.err
    assert name(shown.lines[0]) == "noise000.png"
    assert name(imgsearch("show", "3", "--index", index).lines[0]) == name(shown.lines[2])


def test_pipes_are_not_cut_unless_they_ask(index: Path) -> None:
    """A pipe and --json get ten lines as ever; with --cut auto what stands out, and nothing where nothing does."""
    for more in ((), ("--json",), ("--paths",)):
        assert len(imgsearch("query", "red", *more, "--index", index).lines) == 10
        assert len(imgsearch("query", "red", *more, "--cut", "auto", "--index", index).lines) == 4
        none = imgsearch("query", NOTHING, *more, "--cut", "auto", "--index", index)
        assert none.code == 1
        assert none.lines == []
        assert "the nearest images are no closer than chance" in none.err


def test_all_results_tell_where_chance_begins(index: Path) -> None:
    """With --all a person sees by the bars which results are no closer than others: theirs are dim."""
    for limit in ("--all", "--min-score=0", "--cut=off"):
        done = imgsearch("query", "red", "--no-stacks", limit, "--color", "always", "--index", index)
        assert [line.partition("m")[0] for line in done.lines] == [
            f"{number:2}  \x1b[{36 if number <= 4 else 2}" for number in range(1, 11)
        ]


def test_limits_of_their_own_take_the_place_of_the_cut(index: Path, person: None) -> None:
    """With --min-score or --within a person gets all that these let through."""
    assert len(imgsearch("query", "red", "--no-stacks", "--min-score", "0", "--index", index).lines) == 10
    assert len(imgsearch("query", "red", "--no-stacks", "--within", "100%", "--index", index).lines) > 4


def test_several_queries_are_cut_only_if_asked(index: Path, person: None) -> None:
    """Queries on stdin get ten results each; with --cut auto each has its own end."""
    lines = f"red\n{NOTHING}\n"
    many = imgsearch("query", "-", "--no-stacks", "--index", index, stdin=lines)
    assert len(many.lines) == 22
    cut = imgsearch("query", "-", "--no-stacks", "--cut", "auto", "--index", index, stdin=lines)
    assert len(cut.lines) == 6


def test_options_that_contradict_each_other_are_refused(index: Path) -> None:
    """--cut auto with --all, and a cut that there is not, are errors of one line."""
    both = imgsearch("query", "red", "--cut", "auto", "--all", "--index", index)
    assert both.code == 2
    assert "--all does not; give one of them" in both.err
    unknown = imgsearch("query", "red", "--cut", "0.4", "--index", index)
    assert unknown.code == 2
    assert "--cut 0.4: choose one of auto, mark, off" in unknown.err


def test_an_explanation_stands_below_each_result(index: Path) -> None:
    """--explain prints the distance from chance below each result, and in JSON as the field "why"."""
    lines = imgsearch("query", "red", "--explain", "-n", "5", "--index", index).lines
    assert len(lines) == 10
    assert all("spreads above chance (" in line for line in lines[1::2])
    assert [("no closer than others by chance" in line) for line in lines[1::2]] == [False] * 4 + [True]
    hits = imgsearch("query", "red", "--explain", "-n", "5", "--json", "--index", index).objects
    assert [hit["why"]["stands_out"] for hit in hits] == [True] * 4 + [False]
    assert "why" not in imgsearch("query", "red", "--json", "--index", index).objects[0]
