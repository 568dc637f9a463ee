"""Thumbnails on a terminal: each protocol decoded back into a picture, in grids of any size."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imgsearch.cli.terminal.preview.choice import Choice, Protocol
from imgsearch.cli.terminal.preview.grid import GAP, Shown, lay_out, rows_of
from imgsearch.cli.terminal.preview.renderers import Box, draw_row, framed, renderer
from support.terminal_pictures import GROUND, Screen, difference

CELL = (10, 20)
WAYS = {
    "kitty": (Choice("kitty", cell=CELL), 6),
    "kitty in tmux": (Choice("kitty", cell=CELL, in_tmux=True), 6),
    "iterm2": (Choice("iterm2", cell=CELL), 8),
    "iterm2 in tmux": (Choice("iterm2", cell=CELL, in_tmux=True), 8),
    "sixel": (Choice("sixel", cell=CELL), 8),
    "blocks": (Choice("blocks", cell=CELL), 16),
    "blocks of 256 colours": (Choice("blocks", cell=CELL, colours=256), 24),
}
"""A way to draw, and how far the mean colour of a quarter may be off, of 255: half blocks are pixels of half a cell."""


def painted(width: int, height: int) -> Image.Image:
    """Return an image whose four quarters have colours of their own, with some texture."""
    image = Image.new("RGB", (2, 2))
    image.putdata([(200, 40, 30), (40, 160, 60), (50, 70, 190), (220, 200, 90)])
    large = image.resize((width, height), Image.Resampling.NEAREST)
    texture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    return Image.blend(large, texture, 0.2)


def shown(images: Sequence[Image.Image | str], choice: Choice, box: Box, above: str = "") -> Screen:
    """Return a screen on which a row of images was drawn by a choice."""
    draws = renderer(choice)
    tiles = [framed(image, box) if isinstance(image, str) else draws.tile(image, box) for image in images]
    screen = Screen(len(images) * (box.columns + GAP), box.rows + 4, choice.cell)
    screen.feed((above + draw_row(tiles, box, GAP) + "below\n").encode())
    assert screen.unknown == []
    return screen


def letterboxed(image: Image.Image, box: Box, way: str) -> Image.Image:
    """Return an image in the middle of its box on the screen's ground, or at the start of a cell near that."""
    cell = CELL
    wide, high = box.columns * cell[0], box.rows * cell[1]
    scale = min(wide / image.width, high / image.height)
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    ground = Image.new("RGB", (wide, high), GROUND)
    left, top = (wide - small.width) // 2, (high - small.height) // 2
    if way.startswith(("iterm2", "sixel")):
        left, top = left // cell[0] * cell[0], top // cell[1] * cell[1]
    ground.paste(small, (left, top))
    return ground


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [(400, 300), (300, 400), (640, 160)])
def test_what_is_drawn_is_the_thumbnail(way: str, size: tuple[int, int]) -> None:
    """Decoded back, each quarter of a tile has the colours of the letterboxed image."""
    choice, tolerance = WAYS[way]
    box = Box(22, 8)
    image = painted(*size)
    screen = shown([image, image], choice, box)
    for left in (0, box.columns + GAP):
        assert difference(screen.crop(left, 0, 22, 8), letterboxed(image, box, way)) < tolerance
    assert screen.text[8] == "below"


@pytest.mark.parametrize("way", WAYS)
def test_a_row_at_the_bottom_scrolls_before_it_is_drawn(way: str) -> None:
    """A row that begins on the last lines of the screen ends up whole, above what is written next."""
    choice, tolerance = WAYS[way]
    box = Box(12, 6)
    image = painted(240, 180)
    screen = shown([image], choice, box, above="above\n" * 9)
    top = screen.text.index("below") - box.rows
    assert difference(screen.crop(0, top, 12, 6), letterboxed(image, box, way)) < tolerance


@pytest.mark.parametrize("way", WAYS)
def test_an_image_that_is_not_there_has_a_frame(way: str) -> None:
    """In place of a missing image there is a frame with a word, and its neighbours are drawn."""
    choice, tolerance = WAYS[way]
    box, image = Box(14, 5), painted(200, 200)
    screen = shown(["missing", image], choice, box)
    assert [line[:14] for line in screen.text[:5]] == [
        "┌────────────┐",
        "│            │",
        "│  missing   │",
        "│            │",
        "└────────────┘",
    ]
    assert difference(screen.crop(16, 0, 14, 5), letterboxed(image, box, way)) < tolerance


@settings(max_examples=60, deadline=None)
@given(
    way=st.sampled_from(sorted(WAYS)),
    window=st.tuples(st.integers(1, 260), st.integers(2, 70)),
    asked=st.none() | st.integers(1, 40),
    cell=st.tuples(st.integers(4, 24), st.integers(8, 48)),
    size=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    count=st.integers(1, 9),
)
def test_a_grid_is_never_wider_or_higher_than_the_window(
    way: str,
    window: tuple[int, int],
    asked: int | None,
    cell: tuple[int, int],
    size: tuple[int, int],
    count: int,
) -> None:
    """Whatever the window, cell and image: no line is wider, no row higher, nor more images in one than asked."""
    choice, _ = WAYS[way]
    choice = Choice(choice.protocol, "", choice.in_tmux, choice.colours, cell)
    layout = lay_out(window, asked, 2, cell)
    assert asked is None or layout.columns <= asked
    assert layout.columns * (layout.box.columns + GAP) - GAP <= window[0]
    assert layout.box.rows + 3 <= max(window[1], 4)
    image = Image.new("RGB", size, (200, 90, 40))
    lines = [f"{number} a name"[: layout.box.columns].ljust(layout.box.columns) for number in range(count)]
    images = [Shown(lambda: image, (line, line)) for line in lines]
    rows = list(rows_of(images, layout, renderer(choice)))
    assert len(rows) == -(-count // layout.columns)
    screen = Screen(window[0], layout.box.rows + 4, cell)
    for row in rows:
        screen.feed(row.encode())
        assert (
            screen.text[-1] == screen.text[-2] == ""
        )  # nothing was wrapped: the row ends with an empty line
    assert screen.unknown == []
    # The last row is whole: its image is there.
    top = screen.lines - 2 - 2 - layout.box.rows
    drawn = screen.crop(0, top, layout.box.columns, layout.box.rows)
    if choice.colours > 256:
        colours = [colour for _, colour in drawn.getcolors(1 << 20) or ()]
        assert any(difference_of(colour, (200, 90, 40)) <= 6 for colour in colours)


def difference_of(one: object, other: tuple[int, ...]) -> int:
    """Return how far two colours are apart at most."""
    assert isinstance(one, tuple)
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def test_rows_come_as_their_images_do() -> None:
    """The first row is there before images of later rows are loaded, and all come in order."""
    loaded: list[int] = []

    def load(number: int) -> Image.Image:
        loaded.append(number)
        return Image.new("RGB", (4, 4), (number, 0, 0))

    images = (Shown(lambda number=number: load(number), (str(number),)) for number in range(60))  # type: ignore[misc]
    rows = rows_of(images, lay_out((30, 20), 2, 1, CELL), renderer(Choice("blocks", cell=CELL)))
    first = next(rows)
    assert first.splitlines()[-2].split() == ["0", "1"]
    assert len(loaded) < 30
    assert [row.splitlines()[-2].split()[0] for row in rows] == [str(number) for number in range(2, 60, 2)]


def test_sixels_need_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without textual-image only the sixel renderer fails, with an ImportError."""
    monkeypatch.setitem(__import__("sys").modules, "textual_image", None)
    monkeypatch.setitem(__import__("sys").modules, "textual_image._sixel", None)
    others: tuple[Protocol, ...] = ("kitty", "iterm2", "blocks")
    for protocol in others:
        assert renderer(Choice(protocol))
    with pytest.raises(ImportError):
        renderer(Choice("sixel"))


def test_sixels_begin_with_their_palette() -> None:
    """All colours are set before the first pixel, since xterm draws what it has read with the colours so far."""
    tile = renderer(Choice("sixel", cell=CELL)).tile(painted(400, 300), Box(20, 8))
    palette, pixels = re.fullmatch(
        r'\x1bP0;0;0q"1;1;200;150((?:#\d+;2;\d+;\d+;\d+)+)(.*)\x1b\\', tile.over
    ).groups()  # type: ignore[union-attr]
    assert ";" not in pixels
    assert set(re.findall(r"#(\d+)", pixels)) == set(re.findall(r"#(\d+)", palette))


def test_jpeg_and_png_are_whole_files() -> None:
    """What kitty and iTerm2 get are complete PNG and JPEG files of the thumbnail's size."""
    tile = renderer(Choice("iterm2", cell=CELL)).tile(painted(400, 300), Box(20, 8))
    from base64 import b64decode

    data = b64decode(tile.over.partition(":")[2].rstrip("\x07"))
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("JPEG", (200, 150))
