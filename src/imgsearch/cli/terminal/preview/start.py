"""A preview from beginning to end: asks the terminal as soon as a command begins, and draws rows of an answer."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from imgsearch.cli.terminal.cells import cut, width
from imgsearch.cli.terminal.look import Look
from imgsearch.cli.terminal.paths import here_and_home, linked, shown
from imgsearch.cli.terminal.preview.asking import ask_terminal, can_ask
from imgsearch.cli.terminal.preview.choice import AUTO, Choice, choose
from imgsearch.cli.terminal.preview.tmux import inside_tmux, outer_terminal
from imgsearch.cli.terminal.rows import Row
from imgsearch.errors import MissingExtra
from imgsearch.installation import how_to_add

if TYPE_CHECKING:
    # It is imported on use: it draws.
    from imgsearch.cli.terminal.preview.grid import Layout

EXTRA = "preview"
_LINES = 2
"""Lines of a caption."""


@dataclass(frozen=True, slots=True)
class Preview:
    """How images are shown: what they are drawn by, and how many at most in a row; None: as many as fit."""

    choice: Choice
    columns: int | None = None

    def drawn(self, rows: Sequence[Row], first: int, look: Look) -> Iterator[str]:
        """Yield rows of the grid as they are ready, the images numbered from ``first``."""
        from imgsearch.cli.terminal.preview.grid import lay_out

        window = look.columns, shutil.get_terminal_size().lines
        layout = lay_out(window, self.columns, _LINES, self.choice.cell)
        columns = layout.box.columns
        captions = (caption(row, number, columns, look) for number, row in enumerate(rows, first))
        return self._drawn(rows, captions, layout)

    def drawn_alone(self, row: Row, look: Look) -> Iterator[str]:
        """Yield one image without a caption, in half of the window's lines at most."""
        from imgsearch.cli.terminal.preview.grid import lay_out_one

        layout = lay_out_one((look.columns, shutil.get_terminal_size().lines), self.choice.cell)
        return self._drawn([row], [()], layout)

    def _drawn(
        self, rows: Sequence[Row], captions: Iterable[tuple[str, ...]], layout: Layout
    ) -> Iterator[str]:
        from imgsearch.cli.terminal.preview.grid import Shown, rows_of
        from imgsearch.cli.terminal.preview.pictures import load
        from imgsearch.cli.terminal.preview.renderers import renderer

        box, cell = layout.box, self.choice.cell
        longest = max(box.columns * cell[0], box.rows * cell[1])
        images = (
            Shown(partial(load, row.path, row.image, row.index, longest), lines)
            for row, lines in zip(rows, captions, strict=True)
        )
        return rows_of(images, layout, renderer(self.choice))


def caption(row: Row, number: int, columns: int, look: Look) -> tuple[str, ...]:
    """Return what stands below an image: its number and name; its score or first detail, notes, and its folder."""
    folder, name = os.path.split(shown(row.path, *here_and_home()))
    extension = os.path.splitext(name)[1]
    before = f"{number} "
    room = columns - width(before)
    text = cut(name, room, width(extension) + 1) if room > 0 else ""
    name_shown = look.styled(text, "bold")
    if look.links:
        name_shown = linked(name_shown, row.path)
    first = f"{before}{name_shown}" if text else cut(before.rstrip(), max(columns, 1))
    score = "".join(row.details[:1]) if row.score is None else f"{row.score:.3f}"
    second = "  ".join(part for part in (row.label, score, *row.notes, folder) if part)
    told = cut(second, columns)
    return (
        first + " " * max(0, columns - width(before) - width(text)),
        look.styled(told, "dim") + " " * (columns - width(told)),
    )


def begin(asked: str, columns: int | None, say: Callable[[str], None]) -> Preview | None:
    """Return the preview that was ``asked`` for, a protocol or AUTO; None where there is none to be drawn.

    ``say`` is told why it is none, or not the best. Raises MissingExtra if what was asked for needs it.
    """
    if asked == AUTO and not sys.stdout.isatty():
        return None
    terminal = ask_terminal() if can_ask() else None
    outer = outer_terminal() if terminal is not None and inside_tmux() else None
    has_sixel = find_spec("textual_image") is not None
    if asked == "sixel" and not has_sixel:
        raise MissingExtra("--preview=sixel", EXTRA)
    no_sixel = "" if has_sixel else f"sixel needs packages that are not installed; {how_to_add(EXTRA)}"
    choice = choose(asked, terminal, os.environ, outer, no_sixel=no_sixel)
    if choice.why:
        say(choice.why)
    return None if choice.protocol is None else Preview(choice, columns)
