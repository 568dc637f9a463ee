"""Draws what the demo found: a contact sheet for each search, and a page that shows all of them."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

_COLUMNS, _CELL, _INSET, _GAP, _CAPTION, _TITLE = 4, 204, 12, 16, 30, 64
_PAPER, _CARD, _INK, _GREY = (255, 255, 255), (238, 239, 242), (32, 33, 36), (105, 110, 118)
_GREEN, _RED = (24, 128, 72), (200, 45, 40)

RGBColour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Cell:
    """One result on the sheet: its image file, rank and score, and whether it is correct."""

    path: str
    rank: int
    score: float
    right: bool


def draw_contact_sheet(path: str, title: str, cells: Sequence[Cell]) -> None:
    """Write a PNG with the title and the number of correct results above the images, in rows of four.

    Raises OSError if it can't be written.
    """
    rows = -(-len(cells) // _COLUMNS)
    width = _GAP + _COLUMNS * (_CELL + _GAP)
    sheet = Image.new("RGB", (width, _TITLE + rows * (_CELL + _CAPTION + _GAP)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    right = sum(cell.right for cell in cells)
    count = f"{right} of {len(cells)} correct"
    draw.text((_GAP, _TITLE / 2), title, fill=_INK, anchor="lm", font=ImageFont.load_default(22))
    draw.text((width - _GAP, _TITLE / 2), count, fill=_GREY, anchor="rm", font=ImageFont.load_default(17))
    for number, cell in enumerate(cells):
        row, column = divmod(number, _COLUMNS)
        left, top = _GAP + column * (_CELL + _GAP), _TITLE + row * (_CELL + _CAPTION + _GAP)
        _draw_cell(sheet, draw, (left, top), cell)
    # Drawn shapes have few colours: a palette shows them as well in a third of the bytes.
    sheet.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def _draw_cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, at: tuple[int, int], cell: Cell) -> None:
    left, top = at
    colour = _GREEN if cell.right else _RED
    box = (left, top, left + _CELL - 1, top + _CELL - 1)
    draw.rounded_rectangle(box, radius=8, fill=_CARD, outline=_CARD if cell.right else _RED, width=3)
    with Image.open(cell.path) as opened:
        image = ImageOps.contain(opened.convert("RGB"), (_CELL - 2 * _INSET, _CELL - 2 * _INSET))
    sheet.paste(image, (left + (_CELL - image.width) // 2, top + (_CELL - image.height) // 2))
    middle = top + _CELL + _CAPTION / 2
    font = ImageFont.load_default(16)
    draw.text((left, middle), f"{cell.rank}", fill=_INK, anchor="lm", font=font)
    draw.text((left + 22, middle), f"{cell.score:.2f}", fill=_GREY, anchor="lm", font=font)
    draw.text(
        (left + _CELL - 20, middle), "correct" if cell.right else "wrong", fill=colour, anchor="rm", font=font
    )
    _draw_mark(draw, (left + _CELL - 14, middle), colour, cell.right)


def _draw_mark(draw: ImageDraw.ImageDraw, at: tuple[float, float], colour: RGBColour, right: bool) -> None:
    """Draw a check mark or a cross, which the built-in font lacks, 12 pixels wide."""
    x, y = at
    if right:
        draw.line((x, y, x + 4, y + 5, x + 13, y - 6), fill=colour, width=2, joint="curve")
    else:
        draw.line((x + 1, y - 5, x + 11, y + 5), fill=colour, width=2)
        draw.line((x + 1, y + 5, x + 11, y - 5), fill=colour, width=2)


def write_page(path: str, sheets: Sequence[str]) -> None:
    """Write an HTML page that shows the contact sheets below each other. Raises OSError if it can't be written."""
    folder = os.path.dirname(path)
    images = "\n".join(f'<img src="{html.escape(os.path.relpath(sheet, folder))}">' for sheet in sheets)
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            "<!doctype html>\n<meta charset=utf-8>\n<title>Results of the demo</title>\n"
            "<style>body { margin: 2em auto; max-width: 900px; } img { width: 100%; margin-bottom: 2em; }</style>\n"
            f"{images}\n"
        )
