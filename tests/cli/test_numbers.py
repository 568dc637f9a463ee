"""The images of the last answer by number: similar 3, show 3, open 3, query --more 1 --less 2."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest
from PIL import Image

from imgsearch.cli import output
from support import fakes
from support.cli import Done, imgsearch
from support.fakes import FakeModel, paint, run

fake_model = fakes.fake_model


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give a state folder of the test's own, in which nothing has been searched for, and an empty current folder."""
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder / "imgsearch" / "last-answer.json"


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> str:
    """Give an index of images in one colour, and of two colours."""
    for colour in ("red", "green", "blue"):
        paint(tmp_path / "photos" / f"{colour}.png", colour)
    paint(tmp_path / "photos" / "red-green.png", "red", "red", "green", "green")
    paint(tmp_path / "photos" / "red-blue.png", "red", "red", "blue", "blue")
    run(tmp_path / "ix", tmp_path / "photos")
    return str(tmp_path / "ix")


def names(done: Done) -> list[str]:
    """Return the names of the images that a command with --json has found, best first."""
    assert done.code == 0, done.err
    return [Path(json.loads(line)["path"]).stem for line in done.out.splitlines()]


def search(index: str, *argv: object) -> list[str]:
    """Search, and return the names of what is found."""
    return names(imgsearch("query", *argv, "--index", index, "--json"))


def test_a_number_is_an_image_of_the_last_answer(index: str, fake_model: FakeModel, tmp_path: Path) -> None:
    """`similar 2` and `show 2` take the second image found, say so on stderr, and need no model."""
    second = search(index, "red")[1]
    loads = fake_model.loads
    done = imgsearch("similar", "2", "--json")
    assert names(done)[0] == second
    assert done.err == f"2: {tmp_path / 'photos' / second}.png\n"
    assert fake_model.loads == loads
    search(index, "red")
    assert imgsearch("show", "2").lines[0] == f"{tmp_path / 'photos' / second}.png"


def test_several_numbers_are_several_examples(index: str) -> None:
    """`similar 1,2` finds what is like both."""
    first, second, *_ = search(index, "red")
    found = names(imgsearch("similar", "1,2", "--json"))
    assert len(found) == 3
    assert not {first, second} & set(found)
    search(index, "red")
    assert names(imgsearch("similar", "1-2", "--json")) == found


def test_a_page_is_the_example_that_was_shown(index: str, tmp_path: Path) -> None:
    """Of a file with several pages `similar` takes the page that was found, not the first."""
    colours = [Image.new("RGB", (64, 48), fakes.COLOURS[name]) for name in ("white", "yellow", "black")]
    colours[0].save(tmp_path / "photos" / "pages.tif", save_all=True, append_images=colours[1:])
    paint(tmp_path / "photos" / "dark.png", (10, 10, 10))
    run(index, tmp_path / "photos")
    assert search(index, "black")[:2] == ["pages", "dark"]
    done = imgsearch("similar", "1", "--json")
    assert names(done)[:2] == ["pages", "dark"]
    assert done.err == f"1: {tmp_path / 'photos' / 'pages.tif'}, page 3\n"


def test_similar_is_a_last_answer_too(index: str) -> None:
    """What `similar` found is what the next number counts in."""
    search(index, "red")
    found = names(imgsearch("similar", "3", "--json"))
    assert names(imgsearch("similar", "2", "--json"))[0] == found[1]


def test_a_file_of_that_name_wins_and_is_said(index: str, tmp_path: Path) -> None:
    """With a file "1" in the current folder `similar 1` means it; "./1" always does."""
    search(index, "red")
    paint(Path.cwd() / "blue.png", "blue")
    os.rename("blue.png", "1")
    done = imgsearch("similar", "1", "--index", index, "--json")
    assert names(done)[0] == "blue"
    assert done.err == "1: taken as the file of this name in this folder, not as a number\n"
    assert imgsearch("similar", "./1", "--index", index).err == ""


def test_before_the_first_search_a_number_is_refused(index: str) -> None:
    """A number means nothing yet, and the error shows what to do."""
    for argv in (["similar", "3"], ["show", "3"], ["open", "3"], ["query", "--more", "3"]):
        done = imgsearch(*argv)
        assert done.code == 2
        assert "no search is remembered; search first: imgsearch query" in done.err


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("6", "6: the last search found 5 images; give a number from 1 to 5"),
        ("0", "0: the last search found 5 images; give a number from 1 to 5"),
        ("2-9", "9: the last search found 5 images; give a number from 1 to 5"),
        ("3-2", "3-2: a range begins with the smaller number: 2-3"),
    ],
)
def test_a_number_beyond_the_answer_is_refused(index: str, number: str, message: str) -> None:
    """The error says how many images there are."""
    search(index, "red")
    done = imgsearch("similar", number)
    assert (done.code, done.err) == (2, f"imgsearch: {message}\n")


def test_after_an_empty_answer_there_are_no_numbers(index: str) -> None:
    """A search that found nothing is the last one; a number of the one before would be a surprise."""
    search(index, "red")
    assert imgsearch("query", "red", "--min-score", "2", "--index", index).code == 1
    assert imgsearch("similar", "1").err == "imgsearch: 1: the last search found nothing\n"


def test_a_number_of_another_index_is_refused(index: str, tmp_path: Path) -> None:
    """With --index a number has to be of that index; by another path it is the same one."""
    search(index, "red")
    run(tmp_path / "other", tmp_path / "photos")
    done = imgsearch("similar", "1", "--index", tmp_path / "other")
    assert done.code == 2
    assert f"that was in another index, {index}" in done.err
    os.symlink(index, tmp_path / "link")
    assert imgsearch("similar", "1", "--index", tmp_path / "link").code == 0


def test_an_image_that_is_gone_is_named(index: str, tmp_path: Path) -> None:
    """An image that was deleted since is still known to the index; it can't be opened."""
    first = search(index, "red")[0]
    (tmp_path / "photos" / f"{first}.png").unlink()
    assert names(imgsearch("similar", "1", "--json"))[0] == first
    done = imgsearch("open", "1")
    assert done.code == 2
    assert f"{first}.png is not there now" in done.err


def test_the_answer_is_private_and_replaced(index: str, state: Path) -> None:
    """The file is for this user alone, holds one answer, and no word of the query."""
    search(index, "red", "--literal")
    first = state.read_bytes()
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert json.loads(first)["found"] == 5
    search(index, "cyan", "-n", "1")
    assert json.loads(state.read_bytes())["found"] == 1
    assert b"cyan" not in state.read_bytes()
    assert os.listdir(state.parent) == [state.name]


def test_no_remember_leaves_the_last_answer(index: str, state: Path) -> None:
    """--no-remember keeps nothing, for words and for images."""
    search(index, "red", "--no-remember")
    imgsearch("similar", index[:-2] + "photos/red.png", "--index", index, "--no-remember")
    assert not state.exists()


def test_lines_on_stdin_are_not_remembered(index: str, state: Path) -> None:
    """Of many queries in one run none is the last one."""
    assert imgsearch("query", "-", "--index", index, stdin="red\nblue\n").code == 0
    assert not state.exists()


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", '{"version": 2}', '{"version": 99}', "[" * 100_000, '{"version": 2, "asked": "§"}'],
)
def test_a_damaged_memory_is_none(index: str, state: Path, damage: str) -> None:
    """Whatever the file holds, the search works and a number is refused in one line."""
    search(index, "red")
    state.write_text(damage)
    assert "no search is remembered" in imgsearch("similar", "1").err
    assert len(search(index, "red")) == 5
    assert imgsearch("similar", "1").code == 0


def test_a_state_folder_that_can_not_be_written_costs_nothing(
    index: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where a file stands in the folder's place, a search answers as ever and says nothing."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    done = imgsearch("query", "red", "--index", index)
    assert (done.code, done.err, len(done.lines)) == (0, "", 5)


def test_only_so_many_images_are_remembered(index: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long answer the first images are kept, and the error for others says that."""
    monkeypatch.setattr("imgsearch.search.remembered.MAX_HITS", 3)
    search(index, "red")
    assert len(json.loads(state.read_bytes())["hits"]) == 3
    assert imgsearch("similar", "4").err == (
        "imgsearch: 4: only the first 3 images of the last search are remembered\n"
    )


def test_more_and_less_move_the_query(index: str) -> None:
    """More like the blue one brings blue up; less like the green one leaves that image out; both add up."""
    before = search(index, "red")
    assert before.index("green") < before.index("blue")
    more = names(imgsearch("query", "--more", before.index("blue") + 1, "--json"))
    assert more.index("blue") < more.index("green")
    less = names(imgsearch("query", "--less", more.index("green") + 1, "--json"))
    assert "green" not in less
    assert less.index("blue") < less.index("red-green")
    again = names(imgsearch("query", "--more", less.index("red-green") + 1, "--json"))
    assert "green" not in again, "what was said before still counts"
    back = names(imgsearch("query", "--more", "1", "--json", "--include-examples"))
    assert back.index("blue") < back.index("green")


def test_more_keeps_the_folder_and_the_filters(index: str, tmp_path: Path) -> None:
    """What confined the search confines the next one too."""
    tall = paint(tmp_path / "photos" / "tall" / "tall.png", "green", size=(32, 64))
    paint(tall.parent / "wide.png", "green", size=(64, 32))
    paint(tmp_path / "photos" / "other.png", "red", size=(32, 64))
    run(index, tmp_path / "photos")
    assert search(index, "red", "--shape", "portrait", "--in", tall.parent) == ["tall"]
    assert names(imgsearch("query", "--more", "1", "--json")) == ["tall"]


SHORT = {"query": "AACAPw==", "of_image": False, "more": [], "less": []}


@pytest.mark.parametrize("changed", [{"fingerprint": "0" * 64}, {"asked": SHORT}], ids=["model", "length"])
def test_feedback_on_an_index_that_was_made_again_is_refused(
    index: str, state: Path, changed: dict[str, object]
) -> None:
    """The query's embedding fits no index of another model or length; `similar` still works."""
    search(index, "red")
    state.write_text(json.dumps(json.loads(state.read_text()) | changed))
    done = imgsearch("query", "--more", "1")
    assert done.code == 2
    assert "the index was made again with other settings since the last search; search again" in done.err
    assert imgsearch("similar", "1").code == 0


def test_a_name_that_is_not_utf_8_is_remembered(index: str, tmp_path: Path) -> None:
    """The bytes of a name survive."""
    odd = os.fsencode(tmp_path / "photos") + b"/\xff.png"
    os.rename(tmp_path / "photos" / "red.png", odd)
    run(index, tmp_path / "photos")
    search(index, "red")
    assert imgsearch("similar", "1", "-0", "-n", "1").out == odd + b"\0"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["red", "--more", "1"], "--more and --less refine the last search; leave out the words"),
        (["--more", "1,2", "--less", "2"], "2: give it to --more or to --less, not to both"),
        (["--more", "first"], "first: give numbers of the last search, as in 3, 1,4 or 3-5"),
        (["--more", ""], ": give numbers of the last search"),
        (["--less", "9"], "9: the last search found 5 images"),
    ],
)
def test_feedback_that_makes_no_sense_is_refused(index: str, argv: list[str], message: str) -> None:
    """The error says what to give."""
    search(index, "red")
    done = imgsearch("query", *argv)
    assert done.code == 2
    assert message in done.err


def test_a_terminal_shows_the_numbers(
    index: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person sees the number before each image; a pipe gets what it always got."""
    from imgsearch.types import Hit

    hits = [Hit(n, 0.5, f"/a/{n}.jpg", 0, (), False, 1, 1) for n in range(1, 12)]
    output.hits(hits[:1], "text")
    assert capfd.readouterr().out == " 0.5000  /a/1.jpg\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    output.hits(hits, "text")
    lines = capfd.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == (" 1  0.500  /a/1.jpg   1×1", "11  0.500  /a/11.jpg  1×1")


@pytest.fixture
def opener(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give the file in which a stand-in for the desktop's program notes its arguments."""
    program = tmp_path / "bin" / ("open" if sys.platform == "darwin" else "xdg-open")
    program.parent.mkdir()
    log = tmp_path / "opened"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$#" "$@" >> {log}\ncase "$1" in *bad*) exit 3;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return log


@pytest.mark.slow("starts the program that opens a file")
def test_open_hands_each_image_over_as_one_argument(index: str, opener: Path, tmp_path: Path) -> None:
    """Numbers, ranges and paths are opened, once each, also a name that begins with a dash or has a shell's signs."""
    found = search(index, "red")
    odd = Path.cwd() / "-x; touch hacked $(id).png"
    paint(odd, "red")
    done = imgsearch("open", "1", "1-2", "--", odd.name)
    assert done.code == 0, done.err
    paths = [str(tmp_path / "photos" / f"{name}.png") for name in found[:2]] + [str(odd)]
    assert sorted(opener.read_text().splitlines()) == sorted(["1", "1", "1", *paths])
    assert os.listdir() == [odd.name]


@pytest.mark.slow("starts the program that opens a file")
def test_what_can_not_be_opened_is_one_line(opener: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that fails, one that is missing, a file that is not there, and too many are one line each."""
    paint(Path.cwd() / "bad.png", "red")
    assert "bad.png (exit code 3)" in imgsearch("open", "bad.png").err
    assert "none.png: no such file; to search for words" in imgsearch("open", "none.png").err
    for number in range(21):
        paint(Path.cwd() / f"{number}.png", "red")
    assert "at most 20 at a time" in imgsearch("open", *(f"{number}.png" for number in range(21))).err
    monkeypatch.setenv("PATH", "")
    done = imgsearch("open", "bad.png")
    assert done.code == 2
    assert "which opens files on your desktop, is missing" in done.err
