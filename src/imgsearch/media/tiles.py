"""Tiles: overlapping parts of a large page or a long screenshot, each an image of its own, and their page numbers.

A tile's number holds the page that it is of, how that is cut, and which part it is: so it can be cut again.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from imgsearch.types import RGB, Box, PixelBudget

KIND = "tile"
_FIRST = 1 << 32
"""No page of a document, and no moment of a film, has a number as high."""
_MOST_COLUMNS, _MOST_ROWS = 7, 31
MOST = 32
"""Tiles of one page at most; what is larger is cut into larger ones."""
_OVERLAP = 1 / 8
"""The part of a tile that the next one has, too: a line of text is whole in one of them."""
_SHEET = (1241, 1754)
"""A4 at the 150 pixels an inch that a page of a document counts as."""
_ENOUGH = 1.6
"""Sheets of paper that a page is as large as before it is cut."""
_LONG = 3
"""Long side by short side from which a screenshot or scan is cut, into pieces ...."""
_PIECE = 1.5
"""... whose sides have this proportion."""
_MOST_PIXELS = 40_000_000
"""Of the whole page when it is decoded for its tiles."""


class Grid(NamedTuple):
    """Into how many columns and rows a page is cut."""

    columns: int
    rows: int


def grid_of(width: int, height: int, *, is_sheet: bool) -> Grid | None:
    """Return how an image is cut, None if it is small enough; ``is_sheet`` if its size is that of paper at 150 dpi."""
    if is_sheet:
        wide, high = _SHEET if width <= height else _SHEET[::-1]
        if width * height <= _ENOUGH * wide * high:
            return None
        found = Grid(_count(width / wide, _MOST_COLUMNS), _count(height / high, _MOST_ROWS))
    else:
        if max(width, height) <= _LONG * min(width, height):
            return None
        most = _MOST_ROWS if height > width else _MOST_COLUMNS
        count = _count(max(width, height) / min(width, height) / _PIECE, most)
        found = Grid(1, count) if height > width else Grid(count, 1)
    return Grid(found.columns, min(found.rows, MOST // found.columns))


def numbers(page: int, grid: Grid) -> list[int]:
    """Return the page numbers of a page's tiles, row by row."""
    return [
        page + _FIRST * (1 + (((row * 8 + column) * 32 + grid.rows) * 8 + grid.columns))
        for row in range(grid.rows)
        for column in range(grid.columns)
    ]


def is_tile(page: int) -> bool:
    """Whether a page number is that of a tile."""
    return page >= _FIRST


def page_of(page: int) -> int:
    """Return the number of the page that a tile is of; that of any other page."""
    return page % _FIRST


def box_of(page: int) -> Box:
    """Return where in its page a tile is; all of it for what is none."""
    if not is_tile(page):
        return 0.0, 0.0, 1.0, 1.0
    rest, columns = divmod(page // _FIRST - 1, 8)
    rest, rows = divmod(rest, 32)
    row, column = divmod(rest, 8)
    left, right = _span(column, columns)
    top, bottom = _span(row, rows)
    return left, top, right, bottom


def cut(pixels: RGB, page: int) -> RGB:
    """Return the part of a page's pixels (h, w, 3) that is a tile."""
    left, top, right, bottom = box_of(page)
    height, width = pixels.shape[:2]
    rows = slice(math.floor(top * height), max(math.floor(top * height) + 1, round(bottom * height)))
    columns = slice(math.floor(left * width), max(math.floor(left * width) + 1, round(right * width)))
    return pixels[rows, columns]


def budget_of(page: int, budget: PixelBudget) -> PixelBudget:
    """Return the budget with which a page is decoded so that a tile of it fills ``budget``."""
    left, top, right, bottom = box_of(page)
    most = min(_MOST_PIXELS, round(budget.max_pixels / ((right - left) * (bottom - top))))
    return PixelBudget(budget.min_pixels, max(budget.max_pixels, most))


def _count(length: float, most: int) -> int:
    """Return how many tiles a side takes that is so many tiles long."""
    return min(most, max(1, math.ceil((length - _OVERLAP) / (1 - _OVERLAP) - 1e-6)))


def _span(number: int, count: int) -> tuple[float, float]:
    """Return where a tile of a side begins and ends, as parts of the side."""
    count = max(1, count)
    size = 1 / (count - (count - 1) * _OVERLAP)
    start = number * size * (1 - _OVERLAP)
    return min(1.0, start), min(1.0, start + size)
