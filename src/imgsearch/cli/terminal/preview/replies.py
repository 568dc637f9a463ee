"""What a terminal's replies mean: its name, the size of a cell, and the image protocols that it speaks.

The questions are those of asking.py. Sources: XTerm Control Sequences (DA1, DA2, XTVERSION, XTWINOPS), the kitty
graphics protocol, iTerm2's page on proprietary escape codes (ReportCellSize).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_XTVERSION = re.compile(rb"\x1bP>\|([^\x1b]*)\x1b\\")
_DA1 = re.compile(rb"\x1b\[\?([\d;]*)c")
_DA2 = re.compile(rb"\x1b\[>([\d;]*)c")
_KITTY = re.compile(rb"\x1b_Gi=31[^;\x1b]*;OK\x1b\\")
_CELL_ITERM2 = re.compile(
    rb"\x1b\]1337;ReportCellSize=(\d+(?:\.\d+)?);(\d+(?:\.\d+)?)(?:;(\d+(?:\.\d+)?))?(?:\x07|\x1b\\)"
)
_CELL = re.compile(rb"\x1b\[6;(\d+);(\d+)t")
_AREA = re.compile(rb"\x1b\[4;(\d+);(\d+)t")

_SIXEL = "4"
"""The attribute in a reply to DA1."""
_SCREEN = "83"
"""What GNU screen calls itself in a reply to DA2: an S."""
_SPEAK_ITERM2 = ("iterm2", "wezterm", "konsole", "mintty", "bobcat")
"""How the names of terminals begin that draw iTerm2's inline images."""
_LARGEST_CELL = 400
"""Pixels; what is larger is no cell."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """What a terminal has told of itself.

    ``cell`` is the width and height of a character in pixels, None where nothing tells it. ``kitty``, ``iterm2`` and
    ``sixel`` are the protocols that it speaks itself, inside tmux and screen those of tmux and screen.
    """

    name: str = ""
    kind: str = ""
    answers: bool = False
    kitty: bool = False
    iterm2: bool = False
    sixel: bool = False
    cell: tuple[int, int] | None = None

    @property
    def is_tmux(self) -> bool:
        """Return whether the replies are those of tmux."""
        return self.name.startswith("tmux")

    @property
    def is_screen(self) -> bool:
        """Return whether the replies are those of GNU screen."""
        return self.kind == _SCREEN


def read_replies(replies: bytes, window: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Terminal:
    """Return what ``replies`` tell; what is no reply among them is passed over.

    ``window`` is its columns, lines, width and height, the latter in pixels, as the system knows them; 0: it does not.
    """
    named, attributes, kind = _XTVERSION.search(replies), _DA1.findall(replies), _DA2.search(replies)
    name = named[1].decode(errors="replace") if named else ""
    told = attributes[-1].decode().split(";") if attributes else []
    iterm2 = name.lower().startswith(_SPEAK_ITERM2) or bool(_CELL_ITERM2.search(replies))
    return Terminal(
        name=name,
        kind=kind[1].decode().split(";")[0] if kind else "",
        answers=bool(attributes),
        kitty=bool(_KITTY.search(replies)),
        iterm2=iterm2,
        sixel=_SIXEL in told[1:],
        cell=_cell(replies, window),
    )


def _cell(replies: bytes, window: tuple[int, int, int, int]) -> tuple[int, int] | None:
    """Return the size of a cell by the first that tells it: itself, iTerm2's reply, the text area, the system."""
    columns, lines, wide, high = window
    if found := _CELL.search(replies):
        height, width = float(found[1]), float(found[2])
    elif found := _CELL_ITERM2.search(replies):
        scale = float(found[3] or 1)
        height, width = float(found[1]) * scale, float(found[2]) * scale
    elif (found := _AREA.search(replies)) and columns and lines:
        height, width = int(found[1]) / lines, int(found[2]) / columns
    elif columns and lines:
        height, width = high / lines, wide / columns
    else:
        return None
    size = int(width), int(height)
    return size if all(1 <= side <= _LARGEST_CELL for side in size) else None
