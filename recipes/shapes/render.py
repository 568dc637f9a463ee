"""Draws a scene as a picture: shapes, grounds, textures and words, in one of several palettes."""

from __future__ import annotations

import colorsys
import functools
import math
import random

from PIL import Image, ImageDraw, ImageFont

from shapes.scene import Scene

# Hue, saturation and value of each colour; every picture has its own shade within these bounds.
_RANGES = {
    "red": ((0.975, 1.01), (0.80, 1.0), (0.70, 0.95)),
    "orange": ((0.065, 0.095), (0.85, 1.0), (0.92, 1.0)),
    "brown": ((0.05, 0.085), (0.55, 0.80), (0.33, 0.48)),
    "yellow": ((0.145, 0.17), (0.70, 1.0), (0.92, 1.0)),
    "green": ((0.29, 0.40), (0.60, 1.0), (0.45, 0.80)),
    "blue": ((0.58, 0.65), (0.65, 1.0), (0.55, 0.95)),
    "purple": ((0.75, 0.80), (0.55, 0.90), (0.45, 0.72)),
    "pink": ((0.90, 0.95), (0.30, 0.50), (0.95, 1.0)),
    "white": ((0.0, 1.0), (0.0, 0.04), (0.94, 1.0)),
    "black": ((0.0, 1.0), (0.0, 0.30), (0.03, 0.13)),
}
SIZES = ((128, 128), (160, 128), (128, 160), (96, 96), (120, 96), (192, 192), (96, 120))
"""Width and height of the pictures, in pixels."""
_OVERSAMPLING = 2
_UNSAID = ("plain",) * 9 + (
    "striped",
    "dotted",
    "checked",
)  # of a ground whose texture the caption leaves open

RGBColour = tuple[int, int, int]


def render(scene: Scene, chance: random.Random, size: tuple[int, int] | None = None) -> Image.Image:
    """Draw ``scene``; positions, shades, angles and whatever else it does not say are left to ``chance``."""
    width, height = size or chance.choice(SIZES)
    width, height = width * _OVERSAMPLING, height * _OVERSAMPLING
    image = Image.new("RGB", (width, height), _shade(scene.ground, chance))
    draw = ImageDraw.Draw(image)
    texture = scene.texture or chance.choice(_UNSAID)
    _texture(draw, texture, image.getpixel((0, 0)), (width, height), chance)  # type: ignore[arg-type]
    if scene.word is not None:
        _word(draw, scene, (width, height), chance)
    elif scene.relation is not None:
        _pair(draw, scene, (width, height), chance)
    else:
        _group(draw, scene, (width, height), chance)
    return image.resize((width // _OVERSAMPLING, height // _OVERSAMPLING), Image.Resampling.BOX)


def _shade(name: str, chance: random.Random) -> RGBColour:
    hue, saturation, value = (chance.uniform(*bounds) for bounds in _RANGES[name])
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _texture(
    draw: ImageDraw.ImageDraw, name: str, base: RGBColour, size: tuple[int, int], chance: random.Random
) -> None:
    """Cover the ground with stripes, dots or checks in a lighter or darker shade of its own colour."""
    if name == "plain":
        return
    dark = sum(base) > 240
    other = tuple(round(c * 0.72) if dark else round(c + (255 - c) * 0.28) for c in base)
    width, height = size
    step = min(size) / chance.uniform(5.5, 8)
    if name == "striped":
        upright = chance.random() < 0.5
        for n in range(int(max(size) / step) + 2):
            at = (n + 0.25) * step
            box = (at, 0, at + step / 2, height) if upright else (0, at, width, at + step / 2)
            draw.rectangle(box, fill=other)
        return
    for row in range(int(height / step) + 2):
        for column in range(int(width / step) + 2):
            x, y = column * step, row * step
            if name == "dotted":
                r = step * 0.3
                draw.ellipse((x - r, y - r, x + r, y + r), fill=other)
            elif (row + column) % 2:
                draw.rectangle((x, y, x + step, y + step), fill=other)


def _group(draw: ImageDraw.ImageDraw, scene: Scene, size: tuple[int, int], chance: random.Random) -> None:
    """Draw one to four equal shapes that do not touch."""
    side, count = min(size), scene.count or 1
    least, most = {1: (0.20, 0.40), 2: (0.18, 0.23), 3: (0.16, 0.20), 4: (0.155, 0.185)}[count]
    if scene.size == "small":
        least, most = 0.10, 0.15
    elif scene.size == "large":
        least, most = 0.34, 0.44
    radius = side * chance.uniform(least, most)
    centres = _centres(count, radius, size, chance)
    colour = _shade(scene.colour, chance)
    tilt = chance.uniform(-0.08, 0.08)
    for x, y in centres:
        draw_shape(draw, str(scene.shape), (x, y), radius, colour, tilt)


def _centres(
    count: int, radius: float, size: tuple[int, int], chance: random.Random
) -> list[tuple[float, float]]:
    """Return centres at least 2.15 radii apart; the radius leaves room for that."""
    edge = [min(radius * 1.05, length / 2) for length in size]
    while True:
        centres: list[tuple[float, float]] = []
        for _ in range(60):
            x, y = (chance.uniform(e, length - e) for e, length in zip(edge, size, strict=True))
            if all(math.hypot(x - a, y - b) > 2.15 * radius for a, b in centres):
                centres.append((x, y))
            if len(centres) == count:
                return centres


def _pair(draw: ImageDraw.ImageDraw, scene: Scene, size: tuple[int, int], chance: random.Random) -> None:
    """Draw two shapes of which the first stands left of, right of, above or below the second."""
    sideways = scene.relation in ("left of", "right of")
    along, across = size if sideways else size[::-1]
    radius = min(size) * chance.uniform(0.17, 0.22)
    first = along * chance.uniform(0.22, 0.30)
    second = along * chance.uniform(0.70, 0.78)
    if scene.relation in ("right of", "below"):
        first, second = second, first
    for at, shape, colour in (
        (first, scene.shape, scene.colour),
        (second, scene.other_shape, scene.other_colour),
    ):
        middle = across * chance.uniform(0.38, 0.62)
        centre = (at, middle) if sideways else (middle, at)
        draw_shape(draw, str(shape), centre, radius, _shade(str(colour), chance), chance.uniform(-0.08, 0.08))


def _word(draw: ImageDraw.ImageDraw, scene: Scene, size: tuple[int, int], chance: random.Random) -> None:
    """Print a word over most of the width, in small or capital letters."""
    word = str(scene.word)
    text = chance.choice((word, word.upper()))
    width, height = size
    left, top, right, bottom = draw.textbbox((0, 0), text, font=_font(100))
    share = chance.uniform(0.78, 0.94)
    points = int(min(100 * width * share / (right - left), 100 * height * 0.7 / (bottom - top)))
    font = _font(points)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    x = chance.uniform(0.02 * width, max(0.02 * width, 0.98 * width - (right - left))) - left
    y = chance.uniform(0.1 * height, max(0.1 * height, 0.9 * height - (bottom - top))) - top
    colour = _shade(scene.colour, chance)
    draw.text((x, y), text, font=font, fill=colour, stroke_width=points / 30, stroke_fill=colour)


@functools.lru_cache(maxsize=512)
def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)


def draw_shape(
    draw: ImageDraw.ImageDraw,
    shape: str,
    centre: tuple[float, float],
    radius: float,
    colour: RGBColour,
    tilt: float = 0.0,
) -> None:
    """Draw one shape that fits a circle of ``radius`` pixels round ``centre``; ``tilt`` turns it, in radians."""
    x, y = centre

    def box(r: float) -> tuple[float, float, float, float]:
        return (x - r, y - r, x + r, y + r)

    def turned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        cos, sin = math.cos(tilt) * radius, math.sin(tilt) * radius
        return [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in points]

    if shape == "circle":
        draw.ellipse(box(radius * 0.95), fill=colour)
    elif shape == "ring":
        draw.ellipse(box(radius), outline=colour, width=max(2, round(radius * 0.34)))
    else:
        for outline in _OUTLINES[shape]:
            draw.polygon(turned(outline), fill=colour)


def _regular(corners: int, inner: float = 1.0, turn: float = -0.25) -> list[tuple[float, float]]:
    """Return the corners of a regular polygon or, with an ``inner`` radius, of a star; ``turn`` in full turns."""
    points = []
    for n in range(corners):
        reach = inner if n % 2 else 1.0
        angle = 2 * math.pi * (n / corners + turn)
        points.append((reach * math.cos(angle), reach * math.sin(angle)))
    return points


def _bow(cx: float, cy: float, r: float, start: float, stop: float) -> list[tuple[float, float]]:
    """Return points along an arc from ``start`` to ``stop``, in full turns."""
    steps = 24
    angles = [2 * math.pi * (start + (stop - start) * n / steps) for n in range(steps + 1)]
    return [(cx + r * math.cos(angle), cy + r * math.sin(angle)) for angle in angles]


_OUTLINES: dict[str, list[list[tuple[float, float]]]] = {
    "square": [[(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]],
    "triangle": [[(0, -0.95), (0.95, 0.75), (-0.95, 0.75)]],
    "star": [_regular(10, inner=0.42)],
    "cross": [
        [(-0.95, -0.28), (0.95, -0.28), (0.95, 0.28), (-0.95, 0.28)],
        [(-0.28, -0.95), (0.28, -0.95), (0.28, 0.95), (-0.28, 0.95)],
    ],
    "bar": [[(-1, -0.26), (1, -0.26), (1, 0.26), (-1, 0.26)]],
    "diamond": [[(0, -1), (0.62, 0), (0, 1), (-0.62, 0)]],
    "heart": [
        [(0, 0.95), *_bow(-0.47, -0.3, 0.5, 0.42, 1.0), *_bow(0.47, -0.3, 0.5, 0.5, 1.08)],
    ],
    "moon": [_bow(0, 0, 0.95, 0.15, 0.85) + _bow(0.42, 0, 0.78, 0.74, 0.26)],
    "arrow": [
        [(-1, -0.2), (0.15, -0.2), (0.15, 0.2), (-1, 0.2)],
        [(0.05, -0.65), (1, 0), (0.05, 0.65)],
    ],
    "hexagon": [_regular(6, turn=0.0)],
    "drop": [[(0, -1), *_bow(0, 0.35, 0.6, -0.05, 0.55)]],
    "house": [
        [(-0.65, -0.15), (0.65, -0.15), (0.65, 0.85), (-0.65, 0.85)],
        [(-0.95, -0.1), (0, -0.95), (0.95, -0.1)],
    ],
    "cloud": [
        _bow(-0.5, 0.15, 0.42, 0, 1),
        _bow(0.0, -0.12, 0.52, 0, 1),
        _bow(0.52, 0.15, 0.42, 0, 1),
        [(-0.5, 0.15), (0.52, 0.15), (0.52, 0.57), (-0.5, 0.57)],
    ],
    "bolt": [[(0.2, -1), (-0.6, 0.2), (-0.05, 0.2), (-0.25, 1), (0.6, -0.3), (0.05, -0.3), (0.5, -1)]],
}
