"""The command line spells what the library names as data: flags, commands, and the index that they are for."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from imgsearch.cli import app
from imgsearch.cli.spelling import COMMANDS, FLAGS, MINUTES, command, flag, spelled
from imgsearch.errors import rebuild_call, repair_hint
from imgsearch.indexing.options import IndexOptions
from imgsearch.indexing.roots import WalkOverrides
from imgsearch.text import Call, Message, Option
from imgsearch.types import DETAIL, ModelOptions, PixelBudget
from support import ROOT
from support.cli import imgsearch

SOURCE = ROOT / "src" / "imgsearch"
GROUP = typer.main.get_command(app)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (Option("dtype"), "--dtype"),
        (Option("dim", 4096), "--dim 4096"),
        (Option("model", metavar="NAME|DIR"), "--model NAME|DIR"),
        (Option("out", "a b"), "--out 'a b'"),
        (Option("n", 0), "--limit 0"),
        (Option("learning_rate", 1e30), "--lr 1e+30"),
        (Option("below"), "--in"),
        (Option("resume", True), "--resume"),
        (Option("prune", False), "--no-prune"),
        (Option("exclude", ("*.png", "it's *")), "--exclude '*.png' --exclude 'it'\"'\"'s *'"),
        (Option("exclude", ()), "--exclude ''"),
        (Option("idle_seconds", 30.0), "--unload-after 0.5"),
        (Option("pixels", PixelBudget(4096, DETAIL["standard"])), "--detail standard"),
        (Option("pixels", PixelBudget(4096, 9999)), "--max-pixels 9999"),
        (Option("pixels", "checkpoint"), "--detail checkpoint"),
        (Option("pixels"), "--max-pixels"),
        (Option("pixels", metavar="PixelBudget(LEAST, MOST)"), "--max-pixels N"),
    ],
)
def test_an_option_is_spelled_as_its_flag(option: Option, words: str) -> None:
    """A parameter becomes the flag that sets it, with its value quoted for a shell."""
    assert spelled(Message("x ", option, " y")) == f"x {words} y"


def test_a_call_is_spelled_as_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call becomes a command that does the same; the index is named unless it is found without."""
    folder = str(tmp_path / "an index")
    options = IndexOptions(
        ModelOptions(model="demo", dim=5),
        WalkOverrides(include_hidden=False),
        max_megapixels=50.0,
        rebuild=True,
    )
    call = Call("index_pictures", {"paths": ["/a b"], "folder": folder, "options": Call.of(options)})
    rest = "--model demo --dim 5 --no-include-hidden --max-megapixels 50 --rebuild"
    assert command(call) == f"imgsearch index '/a b' --index '{folder}' {rest}"
    assert command(rebuild_call(folder)) == f"imgsearch index --rebuild --index '{folder}'"
    assert spelled(repair_hint(folder)).endswith(f"imgsearch verify --repair --index '{folder}'")
    monkeypatch.setenv("IMGSEARCH_INDEX", folder)
    assert command(rebuild_call(folder)) == "imgsearch index --rebuild"


def test_plain_text_is_left_alone() -> None:
    """A line without data is printed as it is."""
    assert spelled("dim=4: index_pictures()") == "dim=4: index_pictures()"


def test_every_spelling_is_one_of_the_programs() -> None:
    """Each command and each flag with a name of its own exists."""
    flags = {name: {opt for p in cmd.params for opt in p.opts} for name, cmd in GROUP.commands.items()}
    for words in map(str.split, COMMANDS.values()):
        assert {word for word in words[1:] if word.startswith("-")} <= flags[words[0]]
    assert set(FLAGS.values()) <= set().union(*flags.values())


def test_every_option_that_the_library_names_has_a_flag() -> None:
    """Whatever a message of the library names can be given on the command line."""
    named = {
        name for path in SOURCE.rglob("*.py") for name in re.findall(r'\bOption\("(\w+)"', path.read_text())
    }
    flags = {opt for cmd in GROUP.commands.values() for p in cmd.params for opt in p.opts}
    assert len(named) > 20
    assert {flag(name) for name in named - {"pixels", *MINUTES}} | set(MINUTES.values()) <= flags


def test_the_command_line_speaks_of_flags(tmp_path: Path) -> None:
    """The same errors that name parameters to a caller in Python name flags and commands here."""
    index = tmp_path / "none"
    assert imgsearch("index", tmp_path, "--batch-size", 0).err == (
        "imgsearch: --batch-size 0: must be at least 1\n"
    )
    assert imgsearch("query", "x", "--within", 101, "--index", index).err.startswith(
        "imgsearch: --within 101: "
    )
    make = f"imgsearch index FOLDER --index {shlex.quote(str(index))}"
    assert imgsearch("status", "--index", index).err == (
        f"imgsearch: there is no index in {index}; make one with: {make}\n"
    )


def test_what_the_library_says_on_its_way_is_spelled_too(tiny_checkpoint: str) -> None:
    """Not errors alone: the line that says where the model comes from names the flag that gave it."""
    done = imgsearch("embed", "--text", "a cat", "--model", tiny_checkpoint, "--device", "cpu", "--verbose")
    assert f"{tiny_checkpoint} (--model) on cpu" in done.err
