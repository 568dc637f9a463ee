"""Prints how large every help screen is on terminals of three widths: its lines, and the columns of its descriptions.

    python docs/help_sizes.py                                   of the program in this checkout
    python docs/help_sizes.py --before "python -m imgsearch"    beside those of another program; PYTHONPATH is kept

The table is Markdown: lines / columns, and where both programs are given, those of the other one first.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDTHS = (80, 120, 200)
_BOX = re.compile("[│╭╰─╮╯]")


def screen(program: str, command: str, columns: int, source: str | None) -> list[str]:
    """Return the lines of a help screen, without boxes."""
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "dumb", "NO_COLOR": "1"}
    env["_TYPER_FORCE_DISABLE_TERMINAL"] = "1"
    if source:
        env["PYTHONPATH"] = source
    words = [*shlex.split(program), *command.split(), "--help"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    return [line.rstrip() for line in done.stdout.rstrip("\n").splitlines()]


def column(lines: list[str]) -> int:
    """Return how many columns the descriptions have: from where most of them begin to the end of the longest line."""
    inside = [_BOX.sub(" ", line).rstrip() for line in lines]
    options = (re.match(r" {1,3}(?:\* +)?--?\w.*\S {2,}(?=\S)", line) for line in inside)
    starts = Counter(found.end() for found in options if found)
    return max(map(len, inside)) - starts.most_common(1)[0][0]


def commands(program: str, source: str | None) -> list[str]:
    """Return the names of a program's commands, from its help screen."""
    lines = [_BOX.sub(" ", line) for line in screen(program, "", 200, source)]
    found = [match[1] for line in lines for match in [re.match(r" {1,3}([a-z]+) {2,}\w", line)] if match]
    return list(dict.fromkeys(found))


def main() -> None:
    """Run the script."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--before", metavar="PROGRAM", help="another program to compare with")
    before = options.parse_args().before
    now, source = f"{shlex.quote(sys.executable)} -m imgsearch", str(ROOT / "src")
    print("| Help of | " + " | ".join(f"{width} columns" for width in WIDTHS) + " |")
    print("|---|" + "---|" * len(WIDTHS))
    known = commands(before, None) if before else []
    for command in ["", *commands(now, source)]:
        cells = []
        for width in WIDTHS:
            sizes = []
            if before and (not command or command in known):
                sizes.append(screen(before, command, width, None))
            sizes.append(screen(now, command, width, source))
            cells.append(" → ".join(f"{len(lines)} / {column(lines)}" for lines in sizes))
        print(f"| {command or '(the program)'} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
