"""Draws a row of thumbnails by one of four protocols, behind one interface: `Renderer`.

Of the library textual-image only the sixel encoder is used, below its public classes: those ask the terminal when they
are imported, a byte at a time, so that a late reply ends up in the shell; they write to the terminal themselves, where
tmux has to be told to pass it on; and they leave the cursor where a caption beside another image can't be placed.
Its kitty images are placeholders, which only kitty and Ghostty draw. So kitty's and iTerm2's few lines are our own.

Sources: kitty graphics protocol (placement, Unicode placeholders), iTerm2 inline images, tmux(1) on allow-passthrough.
"""

from __future__ import annotations

import io
import re
import secrets
from base64 import standard_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Protocol

from PIL import Image

from imgsearch.cli.terminal.preview.choice import Choice

_CHUNK = 4096
"""Bytes of a kitty message at most."""
_JPEG_QUALITY = 88
_PLACEHOLDER = "\U0010eeee"
_ROWS = (
    "\u0305\u030d\u030e\u0310\u0312\u033d\u033e\u033f\u0346\u034a\u034b\u034c\u0350\u0351\u0352\u0357\u035b\u0363\u0364\u0365"
    "\u0366\u0367\u0368\u0369\u036a\u036b\u036c\u036d\u036e\u036f\u0483\u0484\u0485\u0486\u0487\u0592\u0593\u0594\u0595\u0597"
)
"""The first of the marks by which kitty counts, from 0: a placeholder has that of its row."""
_FIRST_OF_256 = 16
"""The first 16 of 256 colours are the user's own; behind them are a cube of 6 × 6 × 6 and 24 greys."""
_FIXED = 240
_COLOUR = re.compile(r"#(\d+);2;\d+;\d+;\d+")
_RESET = "\x1b[0m"
_UPPER, _LOWER = "▀", "▄"


@dataclass(frozen=True, slots=True)
class Box:
    """The room of a thumbnail, in cells."""

    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class Tile:
    """A drawn thumbnail: ``ahead`` is sent before its row, ``lines`` are its text, and ``over`` is drawn over that.

    Each of the box's rows has a line, as wide as the box. ``over`` begins ``right`` and ``down`` cells from its upper
    left corner; "": nothing is drawn over the text.
    """

    lines: tuple[str, ...]
    ahead: str = ""
    over: str = ""
    right: int = 0
    down: int = 0


class Renderer(Protocol):
    """What draws a thumbnail in a box, letterboxed."""

    def tile(self, image: Image.Image, box: Box) -> Tile:
        """Return the tile of an upright image of mode RGB."""


def renderer(choice: Choice) -> Renderer:
    """Return what draws by a choice. Raises ImportError if that needs the extra ``preview``."""
    match choice.protocol:
        case "kitty":
            return _KittyInTmux(choice.cell) if choice.in_tmux else _Kitty(choice.cell)
        case "iterm2":
            return _ITerm2(choice.cell, in_tmux=choice.in_tmux)
        case "sixel":
            return _Sixel(choice.cell)
    return _Blocks(choice.cell, choice.colours)


MOST_ROWS = len(_ROWS)
"""How many rows a box may have."""


def draw_row(tiles: Sequence[Tile], box: Box, gap: int) -> str:
    """Return what draws tiles beside each other, from the start of a line on, and ends at the start of the line below.

    All moves are relative: the text of the row makes room first, so the screen has scrolled before anything is drawn
    over it.
    """
    parts = [tile.ahead for tile in tiles]
    for line in zip(*(tile.lines for tile in tiles), strict=True):
        parts.append((" " * gap).join(line).rstrip(" ") + "\n")
    over = [(at, tile) for at, tile in enumerate(tiles) if tile.over]
    if over:
        parts.append(f"\x1b[{box.rows}A")
        for at, tile in over:
            right = at * (box.columns + gap) + tile.right
            there = (f"\x1b[{tile.down}B" if tile.down else "") + (f"\x1b[{right}C" if right else "")
            # Where the cursor is after an image depends on the terminal, so it is put back.
            parts.append(f"\x1b7{there}{tile.over}\x1b8")
        parts.append(f"\x1b[{box.rows}B")
    return "".join(parts)


def framed(text: str, box: Box) -> Tile:
    """Return a tile that is a frame with a word in it, for an image that can't be drawn."""
    inside = box.columns - 2
    if inside < 1 or box.rows < 3:
        empty = " " * box.columns
        return Tile((text[: box.columns].ljust(box.columns), *[empty] * (box.rows - 1)))
    middle = [f"│{' ' * inside}│"] * (box.rows - 2)
    middle[(len(middle) - 1) // 2] = f"│{text[:inside]:^{inside}}│"
    return Tile((f"┌{'─' * inside}┐", *middle, f"└{'─' * inside}┘"))


@dataclass(frozen=True, slots=True)
class _Fit:
    """Where an image is in its box: its size, and its place in the first of the cells that it touches, in pixels."""

    width: int
    height: int
    left: int
    top: int
    columns: int
    rows: int
    right: int
    down: int


def _fit(image: Image.Image, box: Box, cell: tuple[int, int]) -> _Fit:
    """Return the largest place of an image in the middle of a box."""
    wide, high = box.columns * cell[0], box.rows * cell[1]
    scale = min(wide / image.width, high / image.height)
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    right, left = divmod((wide - width) // 2, cell[0])
    down, top = divmod((high - height) // 2, cell[1])
    columns, rows = -(-(left + width) // cell[0]), -(-(top + height) // cell[1])
    return _Fit(width, height, left, top, columns, rows, right, down)


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _blank(box: Box) -> tuple[str, ...]:
    return (" " * box.columns,) * box.rows


def _through_tmux(sequence: str) -> str:
    """Have tmux pass a control sequence on as it is."""
    doubled = sequence.replace("\x1b", "\x1b\x1b")
    return f"\x1bPtmux;{doubled}\x1b\\"


def _kitty_messages(settings: str, image: Image.Image) -> list[str]:
    """Return kitty's messages that send an image as PNG; ``q=2``: it answers nothing."""
    file = io.BytesIO()
    image.save(file, "PNG")
    data = standard_b64encode(file.getvalue()).decode()
    chunks = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)]
    heads = [f"{settings},f=100,q=2", *["q=2"] * (len(chunks) - 1)]
    return [
        f"\x1b_G{head},m={int(number < len(chunks))};{chunk}\x1b\\"
        for number, (head, chunk) in enumerate(zip(heads, chunks, strict=True), 1)
    ]


def _on_cells(image: Image.Image, fit: _Fit, cell: tuple[int, int]) -> Image.Image:
    """Return the resized image on a transparent ground of whole cells, because kitty scales it to those."""
    ground = Image.new("RGBA", (fit.columns * cell[0], fit.rows * cell[1]))
    ground.paste(_resized(image, fit.width, fit.height), (fit.left, fit.top))
    return ground


class _Kitty:
    """Images of kitty's protocol, placed at the cursor, which stays (``C=1``)."""

    def __init__(self, cell: tuple[int, int]) -> None:
        self._cell = cell

    def tile(self, image: Image.Image, box: Box) -> Tile:
        fit = _fit(image, box, self._cell)
        settings = f"a=T,c={fit.columns},r={fit.rows},C=1"
        messages = _kitty_messages(settings, _on_cells(image, fit, self._cell))
        return Tile(_blank(box), over="".join(messages), right=fit.right, down=fit.down)


class _KittyInTmux:
    """Images of kitty's protocol in place of characters: tmux moves, clips and scrolls them as text.

    The colour of the characters is the image's number. It is one of 256, since tmux may change a 24-bit one; a mark
    makes the numbers of this run different from those of others that are still on the screen.
    """

    def __init__(self, cell: tuple[int, int]) -> None:
        self._cell, self._run = cell, secrets.randbelow(len(_ROWS))
        self._colours = cycle(range(_FIRST_OF_256, 256))

    def tile(self, image: Image.Image, box: Box) -> Tile:
        fit = _fit(image, box, self._cell)
        colour = next(self._colours)
        settings = f"a=T,U=1,i={self._run << 24 | colour},c={fit.columns},r={fit.rows}"
        messages = _kitty_messages(settings, _on_cells(image, fit, self._cell))
        empty, rest = " " * box.columns, " " * (box.columns - fit.right - fit.columns)
        lines = [empty] * fit.down
        for row in range(fit.rows):
            # The first of a row tells its row, its column and the run, the others follow from it.
            marks = f"{_ROWS[row]}{_ROWS[0]}{_ROWS[self._run]}"
            drawn = f"{_PLACEHOLDER}{marks}{_PLACEHOLDER * (fit.columns - 1)}"
            lines.append(f"{' ' * fit.right}\x1b[38;5;{colour}m{drawn}\x1b[39m{rest}")
        lines += [empty] * (box.rows - len(lines))
        return Tile(tuple(lines), ahead="".join(map(_through_tmux, messages)))


class _ITerm2:
    """iTerm2's inline images: a whole file, scaled by the terminal to cells."""

    def __init__(self, cell: tuple[int, int], *, in_tmux: bool) -> None:
        self._cell, self._in_tmux = cell, in_tmux

    def tile(self, image: Image.Image, box: Box) -> Tile:
        fit = _fit(image, box, self._cell)
        file = io.BytesIO()
        _resized(image, fit.width, fit.height).save(file, "JPEG", quality=_JPEG_QUALITY)
        data = file.getvalue()
        # xterm.js, which is VS Code's terminal, draws nothing without a size.
        settings = f"inline=1;size={len(data)};width={fit.columns};height={fit.rows};doNotMoveCursor=1"
        over = f"\x1b]1337;File={settings}:{standard_b64encode(data).decode()}\x07"
        over = _through_tmux(over) if self._in_tmux else over
        return Tile(_blank(box), over=over, right=fit.right, down=fit.down)


class _Sixel:
    """Sixels: pixels of 256 colours, by textual-image's encoder."""

    def __init__(self, cell: tuple[int, int]) -> None:
        from textual_image._sixel import image_to_sixels

        self._cell, self._encode = cell, image_to_sixels

    def tile(self, image: Image.Image, box: Box) -> Tile:
        fit = _fit(image, box, self._cell)
        over = _palette_first(self._encode(_resized(image, fit.width, fit.height)))
        return Tile(_blank(box), over=over, right=fit.right, down=fit.down)


def _palette_first(sixels: str) -> str:
    """Return sixels with all colours set at the beginning, and not where each is first used.

    xterm draws while it reads, and what it has drawn before it knows a colour stays in another one.
    """
    begin = re.match(r'\x1bP[\d;]*q"[\d;]*', sixels)
    assert begin, "the encoder tells the size first"
    data = sixels[begin.end() :]
    colours = "".join(found[0] for found in _COLOUR.finditer(data))
    return begin[0] + colours + _COLOUR.sub(r"#\1", data)


class _Blocks:
    """Half blocks: each cell shows two pixels, one above the other, by its two colours."""

    def __init__(self, cell: tuple[int, int], colours: int) -> None:
        self._cell, self._colours = cell, colours

    def tile(self, image: Image.Image, box: Box) -> Tile:
        # A pixel is as wide as a cell and half as high.
        wide, high = box.columns * self._cell[0], box.rows * self._cell[1]
        scale = min(wide / image.width, high / image.height)
        width = min(box.columns, max(1, round(image.width * scale / self._cell[0])))
        height = min(2 * box.rows, max(1, round(image.height * scale * 2 / self._cell[1])))
        left, top = (box.columns - width) // 2, (2 * box.rows - height) // 2
        colours = self._painted(_resized(image, width, height))
        none = [""] * width
        drawn = [none] * top + [colours[row * width : (row + 1) * width] for row in range(height)]
        drawn += [none] * (2 * box.rows - len(drawn))
        before, after = " " * left, " " * (box.columns - left - width)
        pairs = zip(drawn[::2], drawn[1::2], strict=True)
        return Tile(tuple(f"{before}{_in_cells(upper, lower)}{after}" for upper, lower in pairs))

    def _painted(self, image: Image.Image) -> list[str]:
        """Return the parameters of each pixel's colour, row by row."""
        if self._colours > 256:
            data = image.tobytes()
            return [f"2;{data[at]};{data[at + 1]};{data[at + 2]}" for at in range(0, len(data), 3)]
        near = image.quantize(palette=_palette(), dither=Image.Dither.FLOYDSTEINBERG)
        # Pillow fills the palette up with black, which is the first colour too.
        return [f"5;{_FIRST_OF_256 + colour % _FIXED}" for colour in near.tobytes()]


def _in_cells(upper: Sequence[str], lower: Sequence[str]) -> str:
    """Return a line of cells of two pixels each, the parameters of their colours given; "" is a pixel not drawn."""
    parts = []
    ink = ground = ""
    for above, below in zip(upper, lower, strict=True):
        if not (above or below):
            parts.append(_RESET if ink or ground else "")
            ink = ground = ""
            parts.append(" ")
            continue
        front, back, shape = (above, below, _UPPER) if above else (below, "", _LOWER)
        changed = [f"38;{front}"] if front != ink else []
        if back != ground:
            changed.append(f"48;{back}" if back else "49")
        ink, ground = front, back
        parts.append(f"\x1b[{';'.join(changed)}m{shape}" if changed else shape)
    return "".join(parts) + (_RESET if ink or ground else "")


def _palette() -> Image.Image:
    """Return an image whose palette is the colours that are the same in all terminals."""
    steps = (0, 95, 135, 175, 215, 255)
    cube = [value for red in steps for green in steps for blue in steps for value in (red, green, blue)]
    greys = [value for grey in range(8, 248, 10) for value in (grey,) * 3]
    image = Image.new("P", (1, 1))
    image.putpalette(cube + greys)
    return image
