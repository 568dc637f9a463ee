"""Draws a contact sheet: the hits of one question, framed by whether they are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_CELL, _FRAME, _TITLE, _LINE, _COLUMNS = 200, 6, 44, 26, 4
_GREEN, _RED, _PAPER, _INK = (46, 140, 70), (200, 50, 45), (250, 250, 248), (30, 30, 30)


@dataclass(frozen=True, slots=True)
class Cell:
    """One hit on the sheet: its picture file, the line under it, and whether it is right."""

    path: str
    caption: str
    right: bool


def draw_contact_sheet(path: str, title: str, cells: Sequence[Cell]) -> None:
    """Write a PNG with ``title`` above the cells, in rows of four. Raises OSError if it can't be written."""
    rows = -(-len(cells) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _CELL, _TITLE + rows * (_CELL + _LINE)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((12, 10), title, fill=_INK, font=ImageFont.load_default(20))
    for number, cell in enumerate(cells):
        left, top = number % _COLUMNS * _CELL, _TITLE + number // _COLUMNS * (_CELL + _LINE)
        colour = _GREEN if cell.right else _RED
        with Image.open(cell.path) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((_CELL - 4 * _FRAME, _CELL - 4 * _FRAME))
        x, y = left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2
        draw.rectangle(
            (x - _FRAME, y - _FRAME, x + picture.width + _FRAME - 1, y + picture.height + _FRAME - 1),
            fill=colour,
        )
        sheet.paste(picture, (x, y))
        draw.text(
            (left + _CELL / 2, top + _CELL + _LINE / 2 - 4),
            cell.caption,
            fill=colour,
            anchor="mm",
            font=ImageFont.load_default(15),
        )
    sheet.save(path)
