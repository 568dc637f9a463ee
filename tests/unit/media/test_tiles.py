"""Tiles: how a page is cut, and what its tiles' numbers say."""

from __future__ import annotations

import numpy as np
import pytest

from imgsearch.media import tiles
from imgsearch.media.tiles import Grid
from imgsearch.types import PixelBudget


@pytest.mark.parametrize(
    ("size", "is_sheet", "grid"),
    [
        ((1241, 1754), True, None),
        ((1754, 1241), True, None),
        ((1754, 2480), True, Grid(2, 2)),
        ((450, 8000), True, Grid(1, 6)),
        ((1080, 2400), False, None),
        ((1920, 1080), False, None),
        ((1080, 10_800), False, Grid(1, 8)),
        ((10_800, 1080), False, Grid(7, 1)),
        ((300, 60_000), False, Grid(1, 31)),
    ],
)
def test_how_a_page_is_cut(size: tuple[int, int], is_sheet: bool, grid: Grid | None) -> None:
    """Sheets larger than A4 and long screenshots are cut, others not, and never into more than 32 tiles."""
    found = tiles.grid_of(*size, is_sheet=is_sheet)
    assert found == grid
    assert found is None or found.columns * found.rows <= tiles.MOST


@pytest.mark.parametrize("grid", [Grid(1, 31), Grid(7, 1), Grid(2, 2), Grid(4, 8)])
def test_tiles_cover_their_page_and_overlap(grid: Grid) -> None:
    """All of a page is in some tile, neighbours share an eighth, and a number says where and of which page."""
    numbers = tiles.numbers(49_999, grid)
    assert len(set(numbers)) == grid.columns * grid.rows
    assert max(numbers) < 2**53  # a number of JavaScript
    seen = np.zeros((640, 480), int)
    for number in numbers:
        assert tiles.is_tile(number)
        assert tiles.page_of(number) == 49_999
        view = tiles.cut(np.dstack([np.arange(seen.size).reshape(seen.shape)] * 3), number)
        seen[np.unravel_index(view[..., 0], seen.shape)] += 1
    assert seen.min() >= 1
    assert (seen > 1).any()


def test_a_page_is_decoded_large_enough_for_its_tiles() -> None:
    """A tile has the pixels of its budget, and what is no tile is its whole page."""
    number, budget = tiles.numbers(0, Grid(1, 4))[1], PixelBudget(4096, 360_000)
    left, top, right, bottom = tiles.box_of(number)
    larger = tiles.budget_of(number, budget).max_pixels
    assert larger * (right - left) * (bottom - top) == pytest.approx(360_000, rel=1e-3)
    assert tiles.box_of(7) == (0, 0, 1, 1)
    assert not tiles.is_tile(36_000_000)  # ten hours into a film
