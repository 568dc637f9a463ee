"""What can't be parsed, and the options that all commands have."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer.core
import typer.main

from imgsearch.cli import app
from imgsearch.cli.parsing import SYNONYMS, Commands
from support.cli import imgsearch
from support.pictures import scene

GROUP = typer.main.get_command(app)


def test_only_the_command_that_is_asked_for_is_made() -> None:
    """All commands are known by name, in the order in which they were registered, before any of them is made."""
    made: list[str] = []

    class Noted(typer.core.TyperCommand):
        def __init__(self, name: str, **rest: object) -> None:
            made.append(name)
            super().__init__(name, **rest)  # type: ignore[arg-type]

    registered = typer.Typer()
    for name in ("query", "index"):
        registered.command(name, cls=Noted)(lambda: None)
    commands = Commands(registered)
    assert ([*commands], len(commands), "index" in commands, made) == (["query", "index"], 2, True, [])
    assert commands["index"] is commands.get("index")
    assert made == ["index"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("query cat --unheard", "unknown option --unheard; see: imgsearch help query"),
        ("query cat --limt 5", "unknown option --limt; did you mean --limit? (see: imgsearch help query)"),
        ("query cat --top-k 5", "unknown option --top-k; did you mean --limit? (see: imgsearch help query)"),
        ("index --no-prun", "unknown option --no-prun; did you mean --no-prune? (see: imgsearch help index)"),
        ("status --top-k 5", "unknown option --top-k; see: imgsearch help status"),
        ("query -Z", "unknown option -Z; see: imgsearch help query"),
        ("--foo", "unknown option --foo; see: imgsearch help"),
        ("query cat --limit", "--limit needs a value; see: imgsearch help query"),
        ("query cat --json=1", "--json takes no value; see: imgsearch help query"),
        ("query cat --limit five", "--limit five: not a whole number, nor all"),
        ("query cat --min-score high", "--min-score high: not a number"),
        ("query cat --within a%", "--within a%: not a number of percent"),
        ("query cat --device gpu", "--device gpu: choose one of auto, cuda, mps, cpu"),
        ("similar", "IMAGE is missing; see: imgsearch help similar"),
        ("train .", "--out is missing; see: imgsearch help train"),
        (
            "status . y",
            "unexpected argument '.': imgsearch status takes no arguments; see: imgsearch help status",
        ),
        ("status -q -v", "--quiet and --verbose contradict each other; give one of them"),
    ],
)
def test_what_can_not_be_parsed_is_one_line(words: str, line: str) -> None:
    """An option, a value or an argument that a command can't take is one line that says what to do, and exit code 2."""
    done = imgsearch(*words.split())
    assert (done.code, done.out, done.err) == (2, b"", f"imgsearch: {line}\n")


def test_a_flag_of_another_program_leads_to_one_of_ours() -> None:
    """Each synonym names an option that some command has, and is none itself where it is offered."""
    flags = {name: {opt for p in cmd.params for opt in p.opts} for name, cmd in GROUP.commands.items()}
    for synonym, ours in SYNONYMS.items():
        assert any(ours in options for options in flags.values())
        assert not any({synonym, ours} <= options for options in flags.values())


def test_every_command_has_quiet_and_verbose() -> None:
    """-q and -v are options of each command, and -y of those that may ask."""
    for command in GROUP.commands.values():
        assert {"-q", "--quiet", "-v", "--verbose"} <= {opt for p in command.params for opt in p.opts}
    for name in ("index", "download", "remove"):
        assert "--yes" in {opt for p in GROUP.commands[name].params for opt in p.opts}


def test_quiet_leaves_the_result_alone(tiny_checkpoint: str, tmp_path: Path) -> None:
    """--quiet prints no message but an error; the next command without it is as talkative as before."""
    scene(1).save(tmp_path / "a.png")
    at = ("--index", tmp_path / "index")
    done = imgsearch("index", tmp_path, "--model", tiny_checkpoint, "--quiet", *at)
    assert (done.code, done.out, done.err) == (0, b"", "")
    assert "unchanged" in imgsearch("index", *at).err
    assert imgsearch("status", "--quiet", *at).lines
    assert imgsearch("index", "-q", tmp_path / "none", *at).err.startswith("imgsearch: ")


@pytest.mark.parametrize("flag", ["-k", "-n", "--limit", "--top"])
def test_the_number_of_hits_has_the_usual_names(flag: str, tmp_path: Path) -> None:
    """-k, -n, --limit and --top are one option."""
    done = imgsearch("query", "x", flag, 0, "--index", tmp_path)
    assert done.err.startswith("imgsearch: --limit 0: ")


def test_a_percent_sign_is_taken(tmp_path: Path) -> None:
    """--within takes its number with a percent sign or without."""
    for given in ("101", "101%"):
        assert imgsearch("query", "x", "--within", given, "--index", tmp_path).err.startswith(
            "imgsearch: --within 101: "
        )
