"""A grid of thumbnails with captions, as wide as the window: how large they are, and their rows one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from PIL import Image

from imgsearch.cli.terminal.preview.renderers import MOST_ROWS, Box, Renderer, Tile, draw_row, framed
from imgsearch.media.lookahead import look_ahead

GAP = 2
_USUAL, _LEAST, _MOST = 22, 8, 60
"""Columns of a thumbnail: at least so many where nothing was asked, the fewest that show anything, and the most."""
_HEIGHT = 3 / 4
"""Of a box, of its width: most photos fill it."""
_AHEAD = 8

Loaded = Image.Image | str
"""The pixels of an image, upright and RGB, or a word that says why there are none."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An image of the grid: what loads it, in any thread, and the lines below it, each as wide as the image's box."""

    load: Callable[[], Loaded]
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """How many images are beside each other, and the room of each."""

    columns: int
    box: Box


def lay_out(window: tuple[int, int], asked: int | None, captions: int, cell: tuple[int, int]) -> Layout:
    """Return the layout for a ``window`` of so many columns and lines, never wider, with ``asked`` images in a row.

    ``captions`` is the number of lines below an image. A row with them is no higher than the window.
    """
    wide, high = max(1, window[0]), max(1, window[1])
    least = _USUAL if asked is None else _LEAST
    columns = max(1, (wide + GAP) // (least + GAP))
    if asked is not None:
        columns = max(1, min(asked, columns))
    width = max(1, min(_MOST, (wide - (columns - 1) * GAP) // columns))
    # One line is the prompt's.
    most = max(1, min(high - captions - 1, MOST_ROWS))
    rows = max(1, min(most, round(width * cell[0] * _HEIGHT / cell[1])))
    return Layout(columns, Box(width, rows))


def lay_out_one(window: tuple[int, int], cell: tuple[int, int]) -> Layout:
    """Return the layout of a single image, in half of the window's lines at most."""
    width = max(1, min(_MOST, window[0]))
    rows = max(1, min(window[1] // 2, MOST_ROWS, round(width * cell[0] * _HEIGHT / cell[1])))
    return Layout(1, Box(width, rows))


def rows_of(images: Iterable[Shown], layout: Layout, renderer: Renderer) -> Iterator[str]:
    """Yield the text of each row as soon as its images are there; those that follow are loaded meanwhile."""
    box = layout.box

    def drawn(image: Shown) -> tuple[Tile, tuple[str, ...]]:
        loaded = image.load()
        tile = framed(loaded, box) if isinstance(loaded, str) else renderer.tile(loaded, box)
        return tile, image.captions

    tiles = look_ahead(drawn, images, max(_AHEAD, layout.columns))
    try:
        while row := list(islice(tiles, layout.columns)):
            yield draw_row([tile for tile, _ in row], box, GAP) + _captions([lines for _, lines in row])
    finally:
        tiles.close()


def _captions(captions: Sequence[tuple[str, ...]]) -> str:
    """Return the lines below a row, and an empty one."""
    lines = zip(*captions, strict=True)
    return "".join((" " * GAP).join(parts).rstrip(" ") + "\n" for parts in lines) + "\n"
