"""Writes the reference of all commands from the commands themselves: docs/commands.md and the man page.

    python docs/commands.py              is what is written up to date? Exit code 1: no
    python docs/commands.py --write      writes docs/commands.md and man/imgsearch.1

It needs an environment that has the program. `imgsearch help` shows the same on a screen (src/imgsearch/cli/help.py).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from imgsearch import __version__  # noqa: E402
from imgsearch.cli import app  # noqa: E402
from imgsearch.cli.help import COMMON, GROUPS, OPTIONS, Entry, Page, contexts, page, program  # noqa: E402

WEB, MAN = ROOT / "docs" / "commands.md", ROOT / "man" / "imgsearch.1"
EVERYWHERE = ("-q, --quiet", "-v, --verbose", "-h, --help")
"""Options that all commands have; they are told once."""

NOT_RUN = {
    f"imgsearch {name}"
    for name in (
        "demo",
        "download",
        "serve",
        "mcp",
        "watch",
        "web",
        "relocate",
        "import",
        "store",
        "eval",
        "train",
    )
}
"""What needs minutes, a network or files of its own: a text block, which the test of the pages does not execute."""

_ROOT = program(app)
PROGRAM = page(_ROOT)
COMMANDS = {context.info_name: page(context) for context in contexts(_ROOT)}
BY_GROUP = {group: [COMMANDS[entry.name] for entry in PROGRAM.groups[group]] for group in GROUPS}


def own(command: Page) -> dict[str, list[Entry]]:
    """Return a command's arguments and options by group, without those that all commands have."""
    groups = {
        name: [entry for entry in entries if entry.name not in EVERYWHERE]
        for name, entries in command.groups.items()
    }
    return {name: entries for name, entries in groups.items() if entries}


def shared() -> dict[str, list[Entry]]:
    """Return what holds for all commands: their options, variables, files, exit codes."""
    entries = {
        entry.name: entry
        for command in COMMANDS.values()
        for group in command.groups.values()
        for entry in group
    }
    return {"Options of all commands": [entries[name] for name in EVERYWHERE], **COMMON}


# Markdown.


def web() -> str:
    """Return docs/commands.md."""
    out = ["# Commands", "", "<!-- Made by docs/commands.py; the texts are in src/imgsearch/cli/. -->", ""]
    out += ["`imgsearch help COMMAND` shows the same in a terminal, and so does `man imgsearch`.", ""]
    for group, commands in BY_GROUP.items():
        out += [f"**{group}**", ""]
        out += [f"- [{command.name}](#{_anchor(command.name)}): {command.summary}" for command in commands]
        out.append("")
    out += ["**Options of the program itself**", "", *_items(PROGRAM.groups[OPTIONS]), ""]
    for command in COMMANDS.values():
        examples = [re.sub(" +# .*", "", line) for line in command.examples]  # zsh takes a comment for words
        out += [f"## {command.name}", "", command.summary, "", f"Usage: `{command.usage}`", ""]
        out += (
            [f"Also: {', '.join(f'`{alias}`' for alias in command.aliases)}", ""] if command.aliases else []
        )
        out += ["```text" if command.name in NOT_RUN else "```sh", *examples, "```", ""]
        out += [line for note in command.notes for line in (_code(note), "")]
        for name, entries in own(command).items():
            out += [f"{name}:", "", *_items(entries), ""]
    for name, entries in shared().items():
        out += [f"## {name}", "", *_items(entries), ""]
    return "\n".join(out)


def _anchor(heading: str) -> str:
    return heading.replace(" ", "-")


def _items(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        yield f"- `{entry.full or entry.name}`: {_code(entry.text)}"


def _code(text: str) -> str:
    """Return prose with options and variables as code."""
    return re.sub(r"(\$[A-Z_]+|(?<![\w-])--?[a-z0][\w-]*)", r"`\1`", text)


# The man page.


def man() -> str:
    """Return the man page, in the macros of man(7)."""
    out = [r".\" Made by docs/commands.py.", f'.TH IMGSEARCH 1 "" "imgsearch {__version__}" "User Commands"']
    out += [".nh", ".ad l"]
    out += [".SH NAME", _roff(f"imgsearch - {PROGRAM.summary[0].lower()}{PROGRAM.summary[1:].rstrip('.')}")]
    out += [".SH SYNOPSIS", r"\fBimgsearch\fR \fICOMMAND\fR [\fIOPTIONS\fR] ..."]
    out += [".SH DESCRIPTION", *_paragraphs(PROGRAM.notes), ".SH EXAMPLES", *_verbatim(PROGRAM.examples)]
    out += [".SH OPTIONS", *_tagged(PROGRAM.groups[OPTIONS])]
    for group, commands in BY_GROUP.items():
        out.append(f'.SH "{group.upper()} COMMANDS"')
        for command in commands:
            out += [f'.SS "{_roff(command.usage)}"', _roff(command.summary)]
            out += [".PP", _roff(f"Also: {', '.join(command.aliases)}")] if command.aliases else []
            out += [*_verbatim(command.examples), *_paragraphs(command.notes)]
            out += [line for entries in own(command).values() for line in _tagged(entries)]
    for name, entries in shared().items():
        out += [f'.SH "{name.upper()}"', *_tagged(entries)]
    # A heading begins a paragraph already.
    lines = [line for before, line in pairwise(["", *out]) if line != ".PP" or not before.startswith(".SH")]
    return "\n".join(lines) + "\n"


def _tagged(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        yield from (".TP", rf"\fB{_roff(entry.full or entry.name)}\fR", _roff(entry.text))


def _paragraphs(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from (".PP", _roff(text))


def _verbatim(lines: Iterable[str]) -> Iterator[str]:
    yield from (".PP", ".nf", ".RS 4", *map(_roff, lines), ".RE", ".fi")


def _roff(text: str) -> str:
    """Return text for a line of roff: hyphens can be copied, and no line begins a request."""
    plain = text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq").replace("…", "...")
    return r"\&" + plain if plain.startswith((".", "'")) else plain


def main() -> int:
    """Run the script."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--write", action="store_true", help="write the two files")
    write = options.parse_args().write
    stale = False
    for path, text in ((WEB, web()), (MAN, man())):
        if write:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{path.relative_to(ROOT)} is out of date; write it with: python docs/commands.py --write")
            stale = True
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
