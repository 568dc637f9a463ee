"""The help screens: what they hold, and that they fit a small terminal."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from imgsearch.cli import app
from imgsearch.cli.help import ADVANCED, contexts, page, program, screen
from support import ROOT
from support.cli import imgsearch

GOLDEN = Path(__file__).parent / "golden"
PROGRAM = program(app)
COMMANDS = {str(ctx.info_name): ctx for ctx in contexts(PROGRAM)}
SCREENS = ["", *COMMANDS]


@pytest.fixture(autouse=True)
def small_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the terminal 80 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")


def _help(command: str, flag: str = "--help") -> list[str]:
    done = imgsearch(*([command] if command else []), flag)
    assert (done.code, done.err) == (0, "")
    return done.lines


def _descriptions(lines: list[str]) -> list[int]:
    """Return where the second column begins, of each line that has two."""
    told = itertools.takewhile(lambda line: not line.startswith(f"{ADVANCED} ("), lines)
    found = (re.match(r"  \S.*?\S? {2,}(?=\S)", line) for line in told if not line.startswith("  imgsearch"))
    return [match.end() for match in found if match]


@pytest.mark.parametrize("command", SCREENS)
def test_help_is_the_text_that_was_read_and_approved(command: str) -> None:
    """Each help text is the golden one; after a change, read the new text and write it with UPDATE_GOLDEN=1."""
    text = "\n".join(_help(command)) + "\n"
    golden = GOLDEN / f"{command or 'imgsearch'}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_there_is_no_golden_text_of_a_command_that_is_gone() -> None:
    """The golden texts are those of the commands that there are."""
    assert {path.stem for path in GOLDEN.iterdir()} == {"imgsearch", *COMMANDS}


@pytest.mark.parametrize("command", SCREENS)
@pytest.mark.parametrize("flag", ["--help", "--help-all"])
def test_a_screen_fits_80_columns(command: str, flag: str) -> None:
    """No line is longer than the terminal, and descriptions have 45 columns or more."""
    if not command and flag == "--help-all":
        return
    lines = _help(command, flag)
    assert max(map(len, lines)) <= 78
    assert all(78 - start >= 45 for start in _descriptions(lines))


@pytest.mark.parametrize(("command", "most"), [("index", 45), ("query", 35), ("similar", 35), ("", 56)])
def test_the_screens_that_newcomers_read_are_short(command: str, most: int) -> None:
    """The screens of the program and of its first commands have few lines."""
    assert len(_help(command)) <= most


def test_a_summary_is_one_line() -> None:
    """Each command is told in one line of the program's screen, of 57 characters at most."""
    lines = _help("")
    for name, ctx in COMMANDS.items():
        summary = page(ctx).summary.rstrip(".")
        assert len(summary) <= 57
        assert any(re.fullmatch(rf"  {name} +{re.escape(summary)}", line) for line in lines)


@pytest.mark.parametrize("command", SCREENS)
def test_a_screen_is_free_of_the_parsers_notation(command: str) -> None:
    """There are no types, no braces, no brackets around defaults, and no abbreviations of names that one would copy."""
    text = "\n".join(_help(command, "--help-all" if command else "--help"))
    assert not re.search(r"<\w|[{}]|\[default|\[required|\w…", text)
    if "--index DIR" in text:
        assert "$IMGSEARCH_INDEX" in text


def test_rare_options_are_named_and_described_on_request() -> None:
    """A screen names rare options in few lines; --help-all describes them, as does `page` for other forms."""
    short, full = _help("index"), _help("index", "--help-all")
    assert not any(line.startswith("  --prune-empty  ") for line in short)
    assert any("--prune-empty" in line for line in short)
    for entry in page(COMMANDS["index"]).groups[ADVANCED]:
        assert any(line.startswith(f"  {entry.name}") for line in full)


def test_an_option_is_told_with_all_that_is_to_know() -> None:
    """A default, a repetition and a negation are told in one form; further spellings are kept for the reference."""
    entries = {
        entry.name: entry
        for ctx in sorted(COMMANDS.values(), key=lambda ctx: ctx.info_name == "query")
        for group in page(ctx).groups.values()
        for entry in group
    }
    assert entries["-k, --limit N"].text == "Number of results, or all (default: 10)"
    assert entries["-k, --limit N"].full == "-k, -n, --limit, --top N"
    assert entries["--in FOLDER"].text.endswith("(repeatable)")
    assert entries["--out DIR"].text.endswith(("(required)", ")"))
    assert "--[no-]follow-symlinks" in entries


def test_other_names_of_a_command_are_told() -> None:
    """A screen has the names by which other programs call the same; `help` takes them too."""
    assert "Also:  imgsearch find, imgsearch search" in _help("query")
    assert imgsearch("help", "search").lines == _help("query")


EXAMPLES = [(name, line) for name, ctx in COMMANDS.items() for line in page(ctx).examples]


def test_every_command_has_an_example() -> None:
    """Whoever reads a screen sees first how the command is used."""
    assert {name for name, _ in EXAMPLES} == set(COMMANDS)


@pytest.mark.parametrize("line", [line for _, line in EXAMPLES] + list(page(PROGRAM).examples))
def test_an_example_is_a_valid_call(line: str) -> None:
    """The parser takes each example as it stands, up to a pipe or a redirection."""
    words = shlex.split(line.split(">")[0].split("|")[0].split("<")[0], comments=True)
    assert words[0] == "imgsearch"
    command = COMMANDS[words[1]].command
    command.make_context(words[1], words[2:], parent=PROGRAM)


def test_headings_are_bold_only_where_colour_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headings are bold for a terminal, unless NO_COLOR or a dumb terminal forbids it; a pipe gets plain text."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    index = page(COMMANDS["index"])
    assert "\x1b[1mExamples:" in screen(index, 78, bold=True)
    assert "\x1b" not in screen(index, 78)
    assert not any("\x1b" in line for line in _help("index"))
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert "\x1b" not in screen(index, 78, bold=True)


def _reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("commands", ROOT / "docs" / "commands.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_and_the_man_page_are_what_the_commands_say() -> None:
    """docs/commands.md and man/imgsearch.1 are as made by `python docs/commands.py --write`."""
    reference = _reference()
    assert reference.WEB.read_text() == reference.web()
    assert reference.MAN.read_text() == reference.man()


def test_the_man_page_tells_every_option() -> None:
    """The man page has each command with its examples and all spellings of its options, and nothing is lost in roff."""
    reference = _reference()
    lines = reference.man().splitlines()
    for ctx in COMMANDS.values():
        told = page(ctx)
        assert f'.SS "{reference._roff(told.usage)}"' in lines
        assert {reference._roff(line) for line in told.examples} <= set(lines)
        for entry in itertools.chain(*told.groups.values()):
            at = lines.index(f"\\fB{reference._roff(entry.full or entry.name)}\\fR")
            assert lines[at - 1] == ".TP"
    requests = {line.split()[0] for line in lines if line.startswith((".", "'"))}
    assert requests <= {'.\\"', ".TH", ".SH", ".SS", ".TP", ".PP", ".RS", ".RE", ".nf", ".fi", ".nh", ".ad"}


def test_help_advanced_describes_what_the_screens_only_name() -> None:
    """`imgsearch --help-all` tells each rare option once with the commands that have it, variables, files and codes."""
    lines = _help("", "--help-all")
    text = " ".join(" ".join(lines).split())
    for ctx in COMMANDS.values():
        for entry in page(ctx).groups.get(ADVANCED, ()):
            assert f"{entry.name} {entry.text}" in text
    assert sum(line.startswith("  --index DIR ") for line in lines) == 2  # searches take several
    assert "IMGSEARCH_INDEX" in text
    assert "130 " in text


def _completed(shell: str, words: str) -> list[str]:
    """Return what a shell is offered after ``words``, of which the last is not complete yet."""
    env = {**os.environ, "_IMGSEARCH_COMPLETE": f"complete_{shell}"}
    env |= {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    env |= {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_WORD_TO_COMPLETE": words.split(" ")[-1]}
    env |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(
        [sys.executable, "-m", "imgsearch"], env=env, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_options_and_values() -> None:
    """After a part of a word bash is offered what begins with it: a command, an option, one of an option's values."""
    assert _completed("bash", "imgsearch quer") == ["query"]
    assert {"--limit", "--in", "--within"} <= set(_completed("bash", "imgsearch query cat --"))
    assert _completed("bash", "imgsearch index --device c") == ["cuda", "cpu"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete_with_descriptions(shell: str) -> None:
    """zsh and fish are also told what a command is for."""
    offered = " ".join(_completed(shell, "imgsearch quer"))
    assert "query" in offered
    assert "describing" in offered
