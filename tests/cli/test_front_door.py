"""The front door: what people type, and that each of it gets an answer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import typer.main

from imgsearch.cli import app, door, output
from imgsearch.errors import UsageError
from support.cli import imgsearch
from support.front_door import INDEX, TYPED, Typed, answers, make_home

COMMANDS = typer.main.get_command(app).commands


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make somebody's folder and an index of its photos, once."""
    home = tmp_path_factory.mktemp("home").resolve()
    make_home(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("IMGSEARCH_INDEX", str(home / ".index"))
        assert imgsearch(*INDEX.split()).code == 0
    return home


@pytest.fixture
def home(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Go to that folder, with an index of one's own."""
    index = tmp_path / "index"
    shutil.copytree(made / ".index", index)
    monkeypatch.setenv("IMGSEARCH_INDEX", str(index))
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have somebody there who can be asked."""
    monkeypatch.setattr(output, "can_ask", lambda: True)


@pytest.mark.parametrize("typed", TYPED, ids=[f"{typed.line}{typed.stdin}" for typed in TYPED])
def test_what_people_type_gets_an_answer(home: Path, typed: Typed) -> None:
    """Each line of the table ends with its exit code and prints what it should; an error is one line."""
    done = imgsearch(*typed.words, stdin=typed.given(home))
    assert not list(answers(done.code, done.out.decode() + done.err, typed)), done
    if done.code == 2:
        assert done.out == b""
        assert done.err.count("\n") == 1


@pytest.mark.usefixtures("terminal")
def test_a_folder_is_indexed_after_a_yes(home: Path) -> None:
    """On a terminal a folder as the first word asks whether to index it, and does so after a yes, or without --yes."""
    (home / "More").mkdir(exist_ok=True)
    shutil.copy(home / "photo.jpg", home / "More" / "d.jpg")
    refused = imgsearch("More", stdin="n\n")
    assert (refused.code, refused.err) == (1, "Index More? [Y/n] ")
    assert imgsearch("list", "More").code == 1
    assert imgsearch("More", stdin="").code == 1  # Ctrl-D
    agreed = imgsearch("More", stdin="\n")
    assert "Index More? [Y/n] " in agreed.err
    assert agreed.code == 0
    assert imgsearch("list", "More").lines == [str(home / "More" / "d.jpg")]
    assert "Index" not in imgsearch("More", "--yes").err


def test_a_folder_is_indexed_without_a_terminal_after_yes(home: Path) -> None:
    """--yes indexes a folder where nobody can be asked."""
    assert imgsearch("Pictures", "--yes").code == 0


def test_a_word_that_is_also_a_folder_stays_a_word_among_words(home: Path) -> None:
    """A folder's name without a slash is a word where other words follow that are no folders."""
    assert door.enter(["Pictures", "of", "cats"], COMMANDS, ()).argv == ("query", "Pictures", "of", "cats")
    assert door.enter(["Pictures", "Empty"], COMMANDS, ()).argv == ("index", "Pictures", "Empty")
    assert door.enter(["Pictures", "--model", "demo"], COMMANDS, ()).offer == "Index Pictures?"


def test_every_other_name_leads_to_a_command_and_is_none_itself() -> None:
    """Aliases name commands; neither they nor what is missing hide one."""
    assert set(door.ALIASES.values()) <= set(COMMANDS)
    assert not (set(door.ALIASES) | set(door.MISSING)) & set(COMMANDS)


def test_what_is_there_but_no_file_is_not_called_missing(home: Path, tmp_path: Path) -> None:
    """A link to nothing and a pipe that are named like images are taken as images, which says what they are."""
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    assert "No such file" in imgsearch(tmp_path / "broken.jpg").err
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "not a regular file" in imgsearch(tmp_path / "pipe.jpg").err


@pytest.mark.parametrize("word", sorted(door.WORDS))
def test_a_real_word_is_no_slip(word: str) -> None:
    """What is nearly a command, but a word that people search for, is searched for; each would be a slip else."""
    assert door.nearest(word, [*COMMANDS, "search"])
    assert door.enter([word, "x"], COMMANDS, ()).reason == "words"


@pytest.mark.parametrize(
    "words",
    ["rain", "important documents", "training session", "queen", "wind turbine", "lost dog", "compass"],
)
def test_ordinary_words_are_searched_for(words: str) -> None:
    """Words that look a little like commands are words."""
    assert door.enter(words.split(), COMMANDS, ()).argv == ("query", *words.split())


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("serach", "search"),
        ("idnex", "index"),
        ("lsit", "list"),
        ("similiar", "similar"),
        ("stauts", "status"),
    ],
)
def test_slips_are_seen(slip: str, meant: str) -> None:
    """Swapped, doubled and missing letters of a command are seen as that."""
    assert door.nearest(slip, [*COMMANDS, "search"]) == meant


def test_a_list_has_one_path_per_line_or_per_nul_or_json(home: Path) -> None:
    """`list` prints paths, with -0 ended by NUL bytes, with --json as objects with size and time."""
    paths = [str(home / "Pictures" / name) for name in ("2023/a.jpg", "2023/b.jpg", "Scans/c.png")]
    assert imgsearch("list").lines == paths
    assert imgsearch("list", "-0").out.decode() == "".join(path + "\0" for path in paths)
    (only,) = imgsearch("list", "Pictures/Scans", "--json").objects
    state = (home / "Pictures/Scans/c.png").stat()
    assert only == {"path": paths[2], "bytes": state.st_size, "modified": state.st_mtime_ns / 1e9}


def test_an_image_on_stdin_is_recognised(home: Path) -> None:
    """An indexed image that comes on stdin is found with a score of one, without the model."""
    first = imgsearch("similar", "-", stdin=(home / "Pictures/2023/b.jpg").read_bytes()).lines[0]
    assert first.split() == ["1.0000", str(home / "Pictures/2023/b.jpg")]


def test_an_address_in_a_bucket_is_an_image_or_a_folder() -> None:
    """One of an image is searched by, any other is offered to be indexed; no server is asked."""
    for address in ("s3://photos/a.jpg", "s3://photos/a.pdf#page=3"):
        assert door.enter([address], COMMANDS, ()).argv == ("similar", address)
    for address in ("s3://photos", "s3://photos/trip", "s3://my.photos.jpg", "s3://photos/a.jpg/"):
        assert door.enter([address], COMMANDS, ()).argv == ("index", address)
    with pytest.raises(UsageError, match=r"query dog \+ s3://photos/a.jpg"):
        door.check_words(["dog", "s3://photos/a.jpg"])
