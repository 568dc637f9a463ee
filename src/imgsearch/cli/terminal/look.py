"""What may be drawn on stdout: how wide it is, and whether it takes colours, bars and links."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

When = Literal["auto", "always", "never"]

_LINKING_TERMS = ("alacritty", "contour", "foot", "rio", "wezterm", "xterm-ghostty", "xterm-kitty")
_LINKING_PROGRAMS = {"ghostty", "iTerm.app", "mintty", "rio", "vscode", "WarpTerminal", "WezTerm"}
_FIRST_VTE, _FIRST_KONSOLE, _FIRST_TMUX = 5001, 201200, (3, 4)
"""The first versions that have links; VTE 0.50.0 has them, and crashes."""
_STYLES = {"bold": "1", "dim": "2", "yellow": "33", "cyan": "36"}
"""From the terminal's own palette, so that they can be read on a light ground and on a dark one. No red: a low score is
no error."""


@dataclass(frozen=True, slots=True)
class Look:
    """How wide a terminal is, in cells, and what it takes.

    ``bars``: characters that are drawn rather than read, which a screen reader would spell out.
    """

    columns: int
    colour: bool = False
    links: bool = False
    bars: bool = True

    def styled(self, text: str, *styles: str) -> str:
        """Return a text in some of the styles "bold", "dim", "yellow", "cyan"; as it is where there is no colour."""
        if not (self.colour and styles and text):
            return text
        return f"\x1b[{';'.join(_STYLES[style] for style in styles)}m{text}\x1b[m"


def look(when: When) -> Look:
    """Return what may be drawn on stdout; ``when`` is the value of --color."""
    terminal, columns = sys.stdout.isatty(), shutil.get_terminal_size().columns
    bars = os.environ.get("TERM") != "dumb" or when == "always"
    may_link = terminal and when != "never" and takes_links(os.environ)
    return Look(max(columns, 1), takes_colour(when, os.environ, terminal=terminal), may_link, bars)


def takes_colour(when: When, environ: Mapping[str, str], *, terminal: bool) -> bool:
    """Return whether text is coloured.

    --color decides, then NO_COLOR (no-color.org), FORCE_COLOR and CLICOLOR_FORCE (force-color.org, bixense.com),
    CLICOLOR=0 and TERM=dumb. What is no terminal gets colours by --color alone: a variable that is set for all programs
    must not change what a script reads.
    """
    if when != "auto" or not terminal:
        return when == "always"
    if environ.get("NO_COLOR"):
        return False
    if any(environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return environ.get("CLICOLOR") != "0" and environ.get("TERM", "dumb") not in ("", "dumb")


def takes_links(environ: Mapping[str, str]) -> bool:
    """Return whether the terminal is known to have OSC 8, by which a text is a link.

    There is no way to ask, and one that does not know it may print it. So only terminals count that say who they are
    and have it. In GNU screen and tmux the variables of the terminal around them are no guide: tmux keeps links from
    3.4 on, screen drops them. FORCE_HYPERLINK=1 or 0 decides for all others, as for many programs.
    """
    if forced := environ.get("FORCE_HYPERLINK"):
        return forced != "0"
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if term in ("", "dumb"):
        return False
    if environ.get("TMUX") or term.startswith(("screen", "tmux")):
        return program == "tmux" and _version(environ.get("TERM_PROGRAM_VERSION", "")) >= _FIRST_TMUX
    return (
        term.startswith(_LINKING_TERMS)
        or program in _LINKING_PROGRAMS
        or _number(environ.get("VTE_VERSION")) >= _FIRST_VTE
        or _number(environ.get("KONSOLE_VERSION")) >= _FIRST_KONSOLE
        or "WT_SESSION" in environ
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:2]))
