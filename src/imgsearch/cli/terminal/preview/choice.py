"""Which protocol previews are drawn by, and why: what was asked for, else the best that the terminal speaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from imgsearch.cli.terminal.preview.replies import Terminal
from imgsearch.cli.terminal.preview.tmux import Outer

Protocol = Literal["kitty", "iterm2", "sixel", "blocks"]
PROTOCOLS: tuple[Protocol, ...] = ("kitty", "iterm2", "sixel", "blocks")
AUTO, OFF = "auto", "off"
USUAL_CELL = 10, 20
"""Pixels of a cell where nothing tells it: those of the VT340, by which others place sixels too."""

_BLOCKS = "preview in half blocks: "
_SIXEL_FEATURE = "to tell it: tmux set -as terminal-features '*:sixel'"


@dataclass(frozen=True, slots=True)
class Choice:
    """A ``protocol``, None for no preview, and ``why`` it is not a better one; "" if there is nothing to say.

    ``in_tmux``: what is drawn goes through tmux to the terminal around it. ``colours`` is how many half blocks have.
    """

    protocol: Protocol | None
    why: str = ""
    in_tmux: bool = False
    colours: int = 1 << 24
    cell: tuple[int, int] = USUAL_CELL


def choose(
    asked: str,
    terminal: Terminal | None,
    environment: Mapping[str, str],
    outer: Outer | None,
    *,
    no_sixel: str = "",
) -> Choice:
    """Return what to draw by.

    ``asked`` is one of PROTOCOLS, or AUTO. ``terminal`` is None if it could not be asked, ``outer`` the terminal around
    tmux, and ``no_sixel`` why no sixels can be made, "" if they can.
    """
    in_tmux = bool(environment.get("TMUX")) or (terminal is not None and terminal.is_tmux)
    colours = _colours(terminal, environment, in_tmux=in_tmux)
    cell = (terminal and terminal.cell) or USUAL_CELL
    for protocol in PROTOCOLS:
        if asked == protocol:
            return Choice(protocol, "", in_tmux, colours or 256, cell)
    found, why = _best(terminal, environment, outer, in_tmux=in_tmux, no_sixel=no_sixel)
    if found == "blocks" and not colours:
        no_colours = "no preview: by COLORTERM and TERM this terminal has neither 24-bit nor 256 colours"
        return Choice(None, f"{no_colours}; to draw it anyway: --preview=blocks")
    return Choice(found, why, in_tmux, colours, cell)


def _best(
    terminal: Terminal | None,
    environment: Mapping[str, str],
    outer: Outer | None,
    *,
    in_tmux: bool,
    no_sixel: str = "",
) -> tuple[Protocol, str]:
    """Return the best protocol that the terminal speaks, and why it is only half blocks where it could be another."""
    if terminal is None:
        return "blocks", f"{_BLOCKS}the terminal can be asked what it draws only where input comes from it"
    if not terminal.answers:
        return "blocks", f"{_BLOCKS}the terminal did not answer which images it can draw"
    if in_tmux:
        return _best_in_tmux(terminal, outer, no_sixel=no_sixel)
    if terminal.is_screen or environment.get("STY"):
        return "blocks", f"{_BLOCKS}GNU screen passes no images on; tmux does"
    # VS Code gives no name; that it draws sixels tells that its images are switched on.
    vscode = environment.get("TERM_PROGRAM") == "vscode" and terminal.sixel
    if terminal.iterm2 or vscode:
        return "iterm2", ""
    if terminal.kitty:
        return "kitty", ""
    if terminal.sixel:
        return _sixel(no_sixel)
    return "blocks", ""


def _sixel(missing: str) -> tuple[Protocol, str]:
    return ("blocks", _BLOCKS + missing) if missing else ("sixel", "")


def _best_in_tmux(terminal: Terminal, outer: Outer | None, *, no_sixel: str) -> tuple[Protocol, str]:
    if outer is None:
        if terminal.sixel:
            return _sixel(no_sixel)
        return (
            "blocks",
            f"{_BLOCKS}tmux does not tell what is around it; in kitty or Ghostty: --preview=kitty",
        )
    if terminal.sixel and "sixel" in outer.features:
        return _sixel(no_sixel)
    if outer.has_placeholders:
        if outer.passthrough:
            return "kitty", ""
        return "blocks", f"{_BLOCKS}tmux passes no images on; to allow it: tmux set -g allow-passthrough on"
    if not outer.draws_images:
        return "blocks", ""
    if terminal.sixel:
        return "blocks", f"{_BLOCKS}tmux does not know that the terminal draws sixels; {_SIXEL_FEATURE}"
    return (
        "blocks",
        f"{_BLOCKS}tmux passes images only to kitty 0.28 and Ghostty, or needs to be built with sixel",
    )


def _colours(terminal: Terminal | None, environment: Mapping[str, str], *, in_tmux: bool) -> int:
    """Return how many colours text may have: 24 bits, 256, or 0 for fewer."""
    # tmux reduces colours itself, to what the terminal around it has.
    if environment.get("COLORTERM") in ("truecolor", "24bit") or in_tmux:
        return 1 << 24
    # ssh does not pass COLORTERM on. Whoever tells its version is newer than 24-bit colours.
    term = environment.get("TERM", "")
    if term.endswith("-direct") or (terminal is not None and terminal.name):
        return 1 << 24
    return 256 if "256color" in term else 0
