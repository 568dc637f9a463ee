"""Rows of an answer on a terminal: a number, a score with its bar, the path, and what else there is to tell.

The columns of a table are as wide as its rows need. Where a window is too narrow, the last details are left out first,
then paths are shortened.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from imgsearch.cli.terminal.cells import width
from imgsearch.cli.terminal.look import Look
from imgsearch.cli.terminal.paths import here_and_home, linked, shortened, shown
from imgsearch.text import printable
from imgsearch.types import Record

_LEAST_PATH = 30
"""Cells of a path that are worth more than details."""
_WIDE = 72
"""Cells of a window from which on bars are long."""
_BAR, _SHORT_BAR = 8, 4
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_GAP = 2
_FULL_SPREADS = 6.0


@dataclass(frozen=True, slots=True)
class Scale:
    """Which scores an empty bar and a full one stand for."""

    empty: float
    full: float

    @staticmethod
    def of(scores: Sequence[float], floor: float, spread: float) -> Scale:
        """Return the scale of an answer by its scores, and by the mean and the spread of what any image scores.

        The best score is a full bar, so that the bars of an answer can be compared with it. But chance alone brings the
        best of 100,000 images more than four spreads above the floor, and if that were full, an answer of nothing but
        chance would look like a match: a full bar is at least six spreads long, or as long as a score can be.
        """
        return Scale(floor, max([min(floor + _FULL_SPREADS * spread, 1.0), *scores]))

    def bar(self, score: float, cells: int) -> str:
        """Return the bar of a score, as many cells wide, to an eighth of a cell."""
        length = (score - self.empty) / (self.full - self.empty) if self.full > self.empty else 0.0
        whole, part = divmod(round(min(max(length, 0.0), 1.0) * cells * 8), 8)
        return f"{'█' * whole}{_EIGHTHS[part] if part else ''}".ljust(cells)


@dataclass(frozen=True, slots=True)
class Row:
    """What is shown of an image: the ``path`` of its file, a ``score`` if there is one, and ``details`` in columns.

    ``label`` stands before the path, ``notes`` behind it; ``alert`` is a note of what is wrong. ``below`` are further
    lines. The details that matter most come first. ``far``: it is no closer than others by chance.
    ``image`` is what the ``index``, a folder, knows of the file; ``where`` is its place there (``place.fragment``).
    """

    path: str
    score: float | None = None
    label: str = ""
    notes: tuple[str, ...] = ()
    alert: str = ""
    details: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    far: bool = False
    image: Record | None = None
    index: str = ""
    where: str = ""


class Table:
    """Rows that stand in the same columns."""

    def __init__(self, rows: Sequence[Row], look: Look, last: int, scale: Scale | None = None) -> None:
        """Measure rows, of which the last has the number ``last``; scores have bars if there is a ``scale``."""
        self._look, self._scale = look, scale
        self._here, self._home = here_and_home()
        self._number = len(str(last))
        self._bar = (_BAR if look.columns >= _WIDE else _SHORT_BAR) if scale and look.bars else 0
        self._score = max(len(_score(row)) for row in rows) if rows else 0
        self._label = max((width(row.label) for row in rows), default=0)
        parts = (self._number, self._bar, self._score, self._label)
        # The gap behind a bar is one cell: a bar and its score are read together.
        self._before = sum(part + _GAP for part in parts if part) - (1 if self._bar else 0)
        room = max(look.columns - self._before, 1)
        longest = max(
            (width(self._shown(row.path) + row.where) + width(_note(row)) for row in rows), default=0
        )
        self._details: list[int] = []
        for column in zip_longest(*(row.details for row in rows), fillvalue=""):
            cells = max(map(width, column))
            gap = _GAP if cells else 0
            if room - cells - gap < min(longest, _LEAST_PATH):
                break
            room -= cells + gap
            self._details.append(cells)
        self._path = max(min(longest, room), 1)
        texts = Counter({row.path: self._fitted(row) for row in rows}.values())
        self._twice = {text for text, count in texts.items() if count > 1}

    def lines(self, row: Row, number: int) -> Iterator[str]:
        """Yield the lines of a row."""
        styled, path = self._look.styled, self._fitted(row)
        folder, slash, name = path.rpartition("/")
        text = f"{folder}{slash}{styled(name, 'bold')}"
        if self._look.links:
            text = linked(text, row.path)
        line = [f"{number:>{self._number}}"]
        if self._score:
            bar = self._scale.bar(row.score or 0.0, self._bar) if self._scale and self._bar else ""
            line.append(
                f"{styled(bar, 'dim' if row.far else 'cyan')}{' ' if bar else ''}{_score(row):>{self._score}}"
            )
        if self._label:
            line.append(styled(row.label, "bold") + " " * (self._label - width(row.label)))
        note = _note(row)
        cell = text + (styled(note, "yellow" if row.alert else "dim"))
        details = zip(row.details, self._details, strict=False)
        rest = [detail + " " * (cells - width(detail)) for detail, cells in details if cells]
        if any(map(str.strip, rest)):
            cell += " " * (self._path - width(path) - width(note))
            line += [cell, styled((" " * _GAP).join(rest).rstrip(), "dim")]
        else:
            line.append(cell)
        yield (" " * _GAP).join(line)
        # Two images that look the same here are told apart by all of their paths.
        below = (printable(row.path), *row.below) if path in self._twice else row.below
        for one in below:
            for part in textwrap.wrap(one, max(self._look.columns - self._before, 1), break_long_words=False):
                yield f"{' ' * self._before}{styled(part, 'dim')}"

    def _shown(self, path: str) -> str:
        return shown(path, self._here, self._home)

    def _fitted(self, row: Row) -> str:
        room = max(self._path - width(_note(row)) - width(row.where), 1)
        return shortened(self._shown(row.path), room) + row.where


def _score(row: Row) -> str:
    return "" if row.score is None else f"{row.score:.3f}"


def _note(row: Row) -> str:
    notes = (*row.notes, *([row.alert] if row.alert else []))
    return f"  ({', '.join(notes)})" if notes else ""
