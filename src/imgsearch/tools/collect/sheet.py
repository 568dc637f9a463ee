"""Draws contact sheets: images in rows, each with its rank, its score, and its name or whether it is correct."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from PIL import Image, ImageDraw, ImageFont, ImageOps

from imgsearch.errors import UsageError
from imgsearch.media.thumbnail import read_thumbnail
from imgsearch.text import Option, display_path, plural, printable
from imgsearch.tools.collect import Result, check_new, new_file
from imgsearch.tools.collect.thumbnails import thumbnails_of
from imgsearch.types import RGB, Reporter

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""The ends of a sheet's name → its format."""
_COLUMNS, _CELL, _INSET, _GAP, _LINE, _TITLE = 4, 204, 12, 16, 30, 64
_MARK_WIDTH = 20
_PAPER, _CARD, _INK, _GREY = (255, 255, 255), (238, 239, 242), (32, 33, 36), (105, 110, 118)
_GREEN, _RED = (24, 128, 72), (200, 45, 40)
# Pillow's own font has the letters of ASCII alone; it finds these by name, the last one on macOS.
_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf")

RGBColour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One result on the sheet: its pixels (height, width, 3) uint8, or None and why in ``note``; rank and score.

    ``name`` stands below it unless it is empty; ``right`` marks it as correct or wrong unless it is None.
    """

    pixels: RGB | None
    rank: int
    score: float | None
    name: str = ""
    right: bool | None = None
    note: str = ""


def write_sheet(path: str, results: Sequence[Result], reporter: Reporter) -> dict[str, str]:
    """Draw a contact sheet of results into a new PNG or JPEG file; return why images are missing on it, by path.

    Raises UsageError for a name of another kind, or that is taken; StorageError.
    """
    format = FORMATS.get(os.path.splitext(path)[1].lower())
    if format is None:
        raise UsageError(
            Option("sheet"), f": {display_path(path)} has to end in .png or .jpg: the sheet is an image"
        )
    check_new("sheet", path)
    reporter.start(len(results), "images")
    cells, missing = [], {}
    try:
        for result, data in zip(results, thumbnails_of(results), strict=True):
            pixels = None
            if isinstance(data, bytes):
                pixels = read_thumbnail(data)
            else:
                missing[result.path] = data
            name = os.path.basename(result.path) + (f", page {result.page + 1}" if result.page else "")
            cells.append(
                Cell(pixels, result.rank, result.score, name, note="" if pixels is not None else "missing")
            )
            reporter.advance()
    finally:
        reporter.stop()
    with new_file("sheet", path) as file:
        draw_contact_sheet(file, format, plural(len(cells), "result"), "", cells)
    return missing


def draw_contact_sheet(file: BinaryIO, format: str, title: str, note: str, cells: Sequence[Cell]) -> None:
    """Draw the title and a note above the images, in rows of four, or more where there are many.

    Raises OSError if it can't be written.
    """
    columns = max(_COLUMNS, math.isqrt(max(0, len(cells) - 1)) + 1)
    caption = _LINE * (2 if any(cell.name for cell in cells) else 1)
    rows = -(-len(cells) // columns)
    width = _GAP + columns * (_CELL + _GAP)
    sheet = Image.new("RGB", (width, _TITLE + rows * (_CELL + caption + _GAP)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _TITLE / 2), title, fill=_INK, anchor="lm", font=ImageFont.load_default(22))
    draw.text((width - _GAP, _TITLE / 2), note, fill=_GREY, anchor="rm", font=ImageFont.load_default(17))
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        _draw_cell(
            sheet, draw, (_GAP + column * (_CELL + _GAP), _TITLE + row * (_CELL + caption + _GAP)), cell
        )
    sheet.save(file, format, optimize=True)


def _draw_cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, at: tuple[int, int], cell: Cell) -> None:
    left, top = at
    box = (left, top, left + _CELL - 1, top + _CELL - 1)
    outline = _RED if cell.right is False else _CARD
    draw.rounded_rectangle(box, radius=8, fill=_CARD, outline=outline, width=3)
    font = ImageFont.load_default(16)
    if cell.pixels is None:
        draw.text((left + _CELL / 2, top + _CELL / 2), cell.note, fill=_GREY, anchor="mm", font=font)
    else:
        image = ImageOps.contain(Image.fromarray(cell.pixels), (_CELL - 2 * _INSET, _CELL - 2 * _INSET))
        sheet.paste(image, (left + (_CELL - image.width) // 2, top + (_CELL - image.height) // 2))
    middle = top + _CELL + _LINE / 2
    draw.text((left, middle), f"{cell.rank}", fill=_INK, anchor="lm", font=font)
    after = left + max(22, font.getlength(f"{cell.rank}  "))
    if cell.score is not None:
        draw.text((after, middle), f"{cell.score:.2f}", fill=_GREY, anchor="lm", font=font)
    if cell.right is not None:
        colour, word = (_GREEN, "correct") if cell.right else (_RED, "wrong")
        draw.text((left + _CELL - _MARK_WIDTH, middle), word, fill=colour, anchor="rm", font=font)
        _draw_mark(draw, (left + _CELL - 14, middle), colour, cell.right)
    if cell.name:
        name = printable(cell.name)
        font = _font(14) if not name.isascii() else ImageFont.load_default(14)
        draw.text((left, middle + _LINE - 6), _shortened(name, font), fill=_INK, anchor="lm", font=font)


def _shortened(name: str, font: Font) -> str:
    """Return a name that is no wider than a cell, its middle cut out: both ends tell files apart."""
    shown, keep = name, len(name)
    while keep > 4 and font.getlength(shown) > _CELL:
        keep -= 1
        shown = f"{name[: keep - keep // 2]}…{name[len(name) - keep // 2 :]}"
    return shown


@lru_cache(maxsize=4)
def _font(size: int) -> Font:
    """Return a font of this system that has more letters than Pillow's own; else that one."""
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _draw_mark(draw: ImageDraw.ImageDraw, at: tuple[float, float], colour: RGBColour, right: bool) -> None:
    """Draw a check mark or a cross, which the built-in font lacks, 12 pixels wide."""
    x, y = at
    if right:
        draw.line((x, y, x + 4, y + 5, x + 13, y - 6), fill=colour, width=2, joint="curve")
    else:
        draw.line((x + 1, y - 5, x + 11, y + 5), fill=colour, width=2)
        draw.line((x + 1, y + 5, x + 11, y - 5), fill=colour, width=2)
