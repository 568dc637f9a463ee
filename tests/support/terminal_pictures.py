"""A small terminal that understands images: what a program writes becomes a picture of the screen again.

It knows the four ways in which previews are drawn (kitty's graphics with placements and placeholders, iTerm2's inline
images, sixels, half blocks in 24-bit and 256 colours), what tmux is told to pass on, and as much of the rest as lines
of text need. It decodes by itself, with no code of the program's, so that it can be held against the program.

    screen = Screen(80, 24, cell=(10, 20))
    screen.feed(output)
    screen.draw().save("screen.png")      # text and images
    screen.crop(0, 2, 22, 8)              # the cells from column 0 and line 2 on, 22 wide and 8 high
"""

from __future__ import annotations

import base64
import io
import re
import unicodedata
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
GROUND, INK = (24, 27, 33), (222, 226, 230)
_SIXTEEN: tuple[Colour, ...] = (
    *((60, 66, 74), (232, 120, 112), (126, 200, 120), (226, 192, 110)),
    *((110, 168, 232), (200, 140, 220), (104, 200, 200), (222, 226, 230)),
    *((120, 126, 134), (255, 150, 140), (150, 225, 145), (245, 215, 140)),
    *((140, 190, 250), (220, 165, 240), (130, 225, 225), (255, 255, 255)),
)
_PLACEHOLDER = "\U0010eeee"
_TOKEN = re.compile(
    r"\x1bPtmux;(?P<tmux>(?:[^\x1b]|\x1b\x1b)*)\x1b\\"
    r"|\x1bP(?P<dcs>[^\x1b]*)\x1b\\"
    r"|\x1b_(?P<apc>[^\x1b]*)\x1b\\"
    r"|\x1b\](?P<osc>[^\x07\x1b]*)(?:\x07|\x1b\\)"
    r"|\x1b\[(?P<csi>[?>]?[\d;]*)(?P<final>[@-~])"
    r"|\x1b(?P<esc>[78=>]|\([0B])"
    r"|(?P<control>[\x00-\x1f])"
    r"|(?P<text>[^\x00-\x1f]+)"
)


@dataclass(frozen=True, slots=True)
class Style:
    """How text looks: colours as RGB, None for the terminal's own."""

    ink: Colour | None = None
    ground: Colour | None = None
    bold: bool = False
    faint: bool = False
    underlined: bool = False
    reversed: bool = False
    number: int | None = None
    """Of the ink, where it is one of 256."""


@dataclass(slots=True)
class Cell:
    """What is in a cell; ``marks`` are those that combine with its character."""

    char: str = " "
    style: Style = field(default_factory=Style)
    marks: str = ""


class Screen:
    """A terminal's screen of ``columns`` and ``lines``; ``cell`` is a character's width and height in pixels.

    ``unknown`` holds what was written that it does not understand, for tests that nothing leaks onto the screen.
    """

    def __init__(self, columns: int, lines: int, cell: tuple[int, int] = (10, 20)) -> None:
        """Begin empty, with the cursor in the upper left corner."""
        self.columns, self.lines, self.cell = columns, lines, cell
        self.rows = [self._empty() for _ in range(lines)]
        self.x = self.y = self.scrolled = 0
        self.unknown: list[str] = []
        self.protocols: list[str] = []
        self._style = Style()
        self._saved = (0, 0)
        self._images: list[tuple[int, int, Image.Image]] = []
        self._virtual: dict[int, tuple[int, int, Image.Image]] = {}
        self._kitty: tuple[dict[str, str], str] | None = None

    def _empty(self) -> list[Cell]:
        return [Cell() for _ in range(self.columns)]

    def feed(self, output: bytes) -> None:
        """Take what a program has written; a newline also returns the cursor, as a terminal's driver has it."""
        text = output.decode(errors="replace").replace("\r\n", "\n").replace("\n", "\r\n")
        self._take(text)

    def _take(self, text: str) -> None:
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                self.unknown.append(text[at : at + 20])
                at += 1
                continue
            at = found.end()
            kind, value = found.lastgroup or "", found[found.lastgroup or 0]
            match kind:
                case "tmux":
                    self._take(value.replace("\x1b\x1b", "\x1b"))
                case "dcs":
                    self._sixel(value)
                case "apc":
                    self._graphics(value)
                case "osc":
                    self._command(value)
                case "final":
                    self._control(found["csi"], value)
                case "esc" if value == "7":
                    self._saved = (self.x, self.y)
                case "esc" if value == "8":
                    self.x, self.y = self._saved
                case "esc":  # what it does to keys, and the usual character set
                    pass
                case "control":
                    self._move(value)
                case _:
                    for char in value:
                        self._write(char)

    def _move(self, char: str) -> None:
        if char == "\r":
            self.x = 0
        elif char == "\n":
            self.y += 1
            if self.y == self.lines:
                self.y -= 1
                self.scrolled += 1
                self.rows = [*self.rows[1:], self._empty()]
                high = self.cell[1]
                self._images = [
                    (x, y - high, image) for x, y, image in self._images if y - high + image.height > 0
                ]
        elif char == "\b":
            self.x = max(0, self.x - 1)
        elif char not in "\x07\x00":
            self.unknown.append(char)

    def _write(self, char: str) -> None:
        if unicodedata.combining(char) or 0x300 <= ord(char) < 0x370:
            if self.x:
                self.rows[self.y][self.x - 1].marks += char
            return
        wide = 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if self.x + wide > self.columns:
            self._move("\r")
            self._move("\n")
        self.rows[self.y][self.x] = Cell(char, self._style)
        for behind in range(1, wide):
            self.rows[self.y][self.x + behind] = Cell("", self._style)
        self.x += wide

    def _control(self, parameters: str, final: str) -> None:
        if parameters[:1] in ("?", ">") and parameters:
            return
        numbers = [int(number or 0) for number in parameters.split(";")]
        count = max(1, numbers[0])
        match final:
            case "A":
                self.y = max(0, self.y - count)
            case "B":
                self.y = min(self.lines - 1, self.y + count)
            case "C":
                self.x = min(self.columns - 1, self.x + count)
            case "D":
                self.x = max(0, self.x - count)
            case "H":
                row, column = (*numbers, 1)[:2]
                self.y, self.x = max(1, row) - 1, max(1, column) - 1
            case "J" | "K":
                cells = self.rows[self.y][self.x if numbers[0] == 0 else 0 :]
                below = self.rows[self.y + 1 :] if final == "J" else []
                for cell in (*cells, *chain.from_iterable(below)):
                    cell.char, cell.style, cell.marks = " ", Style(), ""
            case "d":
                self.y = count - 1
            case "G":
                self.x = count - 1
            case "X":
                for cell in self.rows[self.y][self.x : self.x + count]:
                    cell.char, cell.style, cell.marks = " ", Style(), ""
            case "m":
                self._style = styled(self._style, numbers)
            case "c" | "q" | "t" | "r":  # questions, and the lines that scroll
                pass
            case _:
                self.unknown.append(f"CSI {parameters}{final}")

    def _command(self, value: str) -> None:
        number, _, rest = value.partition(";")
        if number == "1337" and rest.startswith("File="):
            self._inline(rest.removeprefix("File="))
        elif number not in ("8", "0", "2", "1337"):
            self.unknown.append(f"OSC {number}")

    def _place(self, image: Image.Image, protocol: str) -> None:
        self.protocols.append(protocol)
        self._images.append((self.x * self.cell[0], self.y * self.cell[1], image))

    def _inline(self, value: str) -> None:
        settings, _, data = value.partition(":")
        given = dict(item.partition("=")[::2] for item in settings.split(";"))
        file = base64.b64decode(data, validate=True)
        assert given["inline"] == "1"
        assert int(given["size"]) == len(file)
        image = Image.open(io.BytesIO(file)).convert("RGBA")
        wide, high = int(given["width"]) * self.cell[0], int(given["height"]) * self.cell[1]
        scale = min(wide / image.width, high / image.height)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        self._place(image.resize(size), "iterm2")

    def _graphics(self, value: str) -> None:
        assert value.startswith("G"), "only kitty's graphics are APCs here"
        settings, _, data = value[1:].partition(";")
        assert len(data) <= 4096
        given = dict(item.partition("=")[::2] for item in settings.split(","))
        if given.get("a") == "q":
            return
        first, before = self._kitty or (given, "")
        if given.get("m") == "1":
            self._kitty = (first, before + data)
            return
        self._kitty = None
        image = Image.open(io.BytesIO(base64.b64decode(before + data, validate=True))).convert("RGBA")
        assert first["f"] == "100"
        columns, rows = int(first["c"]), int(first["r"])
        image = image.resize((columns * self.cell[0], rows * self.cell[1]))
        if first.get("U") == "1":
            self.protocols.append("kitty placeholders")
            self._virtual[int(first["i"])] = columns, rows, image
        else:
            assert first["C"] == "1", "the cursor stays"
            self._place(image, "kitty")

    def _sixel(self, value: str) -> None:
        found = re.match(r"[\d;]*q", value)
        assert found, "only sixels are DCSs here"
        self._place(decode_sixel(value[found.end() :]), "sixel")

    @property
    def text(self) -> list[str]:
        """The lines of text, without what is empty at their ends; placeholders of images count as empty."""
        return ["".join(cell.char for cell in row).replace(_PLACEHOLDER, " ").rstrip() for row in self.rows]

    def draw(self) -> Image.Image:
        """Return the screen as it looks."""
        wide, high = self.cell
        image = Image.new("RGB", (self.columns * wide, self.lines * high), GROUND)
        draw = ImageDraw.Draw(image)
        for y, row in enumerate(self.rows):
            for x, cell in enumerate(row):
                _draw_cell(draw, cell, x * wide, y * high, self.cell)
        for left, top, drawn in self._images:
            image.paste(drawn, (left, top), drawn)
        self._draw_placeholders(image)
        return image

    def _draw_placeholders(self, image: Image.Image) -> None:
        wide, high = self.cell
        for y, row in enumerate(self.rows):
            before: tuple[int, int, int] | None = None  # image, its row, its column
            for x, cell in enumerate(row):
                if cell.char != _PLACEHOLDER:
                    before = None
                    continue
                colour = cell.style.number
                assert colour is not None
                if cell.marks:
                    down, right, high_byte = (marks().index(mark) for mark in cell.marks)
                    at = (high_byte << 24 | colour, down, right)
                else:
                    assert before is not None
                    assert before[0] & 255 == colour
                    at = (before[0], before[1], before[2] + 1)
                before = at
                columns, rows, source = self._virtual[at[0]]
                assert at[1] < rows
                assert at[2] < columns
                part = source.crop((at[2] * wide, at[1] * high, (at[2] + 1) * wide, (at[1] + 1) * high))
                image.paste(part, (x * wide, y * high), part)

    def crop(self, left: int, top: int, columns: int, rows: int) -> Image.Image:
        """Return what is in some cells, as it looks."""
        wide, high = self.cell
        return self.draw().crop((left * wide, top * high, (left + columns) * wide, (top + rows) * high))


def styled(style: Style, numbers: list[int]) -> Style:
    """Return a style after the parameters of SGR."""
    rest = list(numbers)
    while rest:
        number = rest.pop(0)
        match number:
            case 0:
                style = Style()
            case 1:
                style = replace(style, bold=True)
            case 2:
                style = replace(style, faint=True)
            case 4:
                style = replace(style, underlined=True)
            case 7:
                style = replace(style, reversed=True)
            case 22:
                style = replace(style, bold=False, faint=False)
            case 24:
                style = replace(style, underlined=False)
            case 27:
                style = replace(style, reversed=False)
            case 38 | 48:
                of_256 = rest[1] if rest[0] == 5 else None
                colour = _extended(rest)
                inked = replace(style, ink=colour, number=of_256)
                style = inked if number == 38 else replace(style, ground=colour)
            case 39:
                style = replace(style, ink=None, number=None)
            case 49:
                style = replace(style, ground=None)
            case _ if 30 <= number < 38:
                style = replace(style, ink=_SIXTEEN[number - 30])
            case _ if 90 <= number < 98:
                style = replace(style, ink=_SIXTEEN[number - 82])
            case _ if 40 <= number < 48:
                style = replace(style, ground=_SIXTEEN[number - 40])
            case _:
                raise ValueError(f"SGR {number}")
    return style


def _extended(rest: list[int]) -> Colour:
    """Take a colour of 24 bits or of 256 from the parameters."""
    if rest.pop(0) == 2:
        red, green, blue, *others = rest
        rest[:] = others
        return red, green, blue
    number = rest.pop(0)
    if number < 16:
        return _SIXTEEN[number]
    if number >= 232:
        return ((number - 232) * 10 + 8,) * 3
    steps = (0, 95, 135, 175, 215, 255)
    number -= 16
    return steps[number // 36], steps[number // 6 % 6], steps[number % 6]


def decode_sixel(data: str) -> Image.Image:
    """Return the image of sixel data, what it does not paint transparent. Follows DEC STD 070, as far as it is used."""
    raster = re.match(r'"(\d+);(\d+);(\d+);(\d+)', data)
    assert raster, "sixels here tell their size"
    width, height = int(raster[3]), int(raster[4])
    image = Image.new("RGBA", (width, height + 6))
    pixels: Any = image.load()
    colours: dict[int, tuple[int, int, int, int]] = {}
    colour = (0, 0, 0, 255)
    x = top = 0
    for found in re.finditer(
        r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|([$-])", data[raster.end() :]
    ):
        number, red, green, blue, times, repeated, single, move = found.groups()
        if number is not None:
            if red is not None:
                colours[int(number)] = (*(round(int(part) * 2.55) for part in (red, green, blue)), 255)  # type: ignore[assignment]
            colour = colours[int(number)]
        elif move == "$":
            x = 0
        elif move == "-":
            x, top = 0, top + 6
        else:
            bits = ord(repeated or single) - 63
            end = x + int(times or 1)
            for column in range(x, end):
                for row in range(6):
                    if bits >> row & 1:
                        pixels[column, top + row] = colour
            x = end
    return image.crop((0, 0, width, height))


@cache
def marks() -> str:
    """Return the marks by which kitty counts rows and columns, from textual-image's table of them."""
    spec = find_spec("textual_image")
    assert spec
    assert spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0], "renderable", "tgp.py").read_text()
    table = source.partition("_NUMBER_TO_DIACRITIC = [")[2].partition("]")[0]
    return "".join(chr(int(number, 16)) for number in re.findall(r"0x([0-9a-f]+)", table))


@cache
def _font(height: int, *, bold: bool) -> ImageFont.FreeTypeFont:
    spec = find_spec("matplotlib")  # it ships the font, so every machine draws the same
    assert spec
    assert spec.origin
    name = f"DejaVuSansMono{'-Bold' if bold else ''}.ttf"
    return ImageFont.truetype(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / name, height)


_LINES = {"─": "lr", "│": "ud", "┌": "rd", "┐": "ld", "└": "ru", "┘": "lu", "━": "lr"}


def _draw_cell(draw: ImageDraw.ImageDraw, cell: Cell, x: int, y: int, size: tuple[int, int]) -> None:
    wide, high = size
    style = cell.style
    ink, ground = style.ink or INK, style.ground
    if style.reversed:
        ink, ground = ground or GROUND, ink
    if style.faint:
        ink = tuple((a + b) // 2 for a, b in zip(ink, ground or GROUND, strict=True))  # type: ignore[assignment]
    if ground is not None:
        draw.rectangle((x, y, x + wide - 1, y + high - 1), fill=ground)
    char = cell.char
    middle = (x + wide // 2, y + high // 2)
    if char in ("", " ", _PLACEHOLDER):
        pass
    elif char in "▀▄█":
        top, bottom = (y + high // 2 if char == "▄" else y), (y + high // 2 if char == "▀" else y + high) - 1
        draw.rectangle((x, top, x + wide - 1, bottom), fill=ink)
    elif "▏" >= char >= "▉":  # eighths of a block, from the left
        draw.rectangle((x, y, x + wide * (0x2590 - ord(char)) // 8 - 1, y + high - 1), fill=ink)
    elif char in _LINES:
        ends = {
            "l": (x, middle[1]),
            "r": (x + wide, middle[1]),
            "u": (middle[0], y),
            "d": (middle[0], y + high),
        }
        for side in _LINES[char]:
            draw.line((*middle, *ends[side]), fill=ink)
    else:
        # DejaVu Sans Mono is 0.602 as wide as high.
        height = min(round(wide / 0.602), high - 3)
        draw.text((x, y + (high - height) // 2 - 1), char, fill=ink, font=_font(height, bold=style.bold))
    if style.underlined:
        draw.line((x, y + high - 2, x + wide - 1, y + high - 2), fill=ink)


def quarters(image: Image.Image) -> list[Colour]:
    """Return the mean colours of an image's four quarters."""
    wide, high = image.width // 2, image.height // 2
    boxes = (
        (0, 0),
        (image.width - wide, 0),
        (0, image.height - high),
        (image.width - wide, image.height - high),
    )
    rgb = image.convert("RGB")
    return [
        rgb.crop((x, y, x + wide, y + high)).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))  # type: ignore[misc]
        for x, y in boxes
    ]


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return how far the mean colours of two images' quarters are apart at most, of 255."""
    pairs = zip(quarters(one), quarters(other), strict=True)
    return max(abs(a - b) for first, second in pairs for a, b in zip(first, second, strict=True))
