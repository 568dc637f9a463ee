"""Composes the picture of a scene from drawings of things and a ground, drawn or photographed."""

from __future__ import annotations

import colorsys
import math
import os
import random
from collections.abc import Sequence

from PIL import Image, ImageEnhance, ImageOps

from things.altering import altered as another_hand
from things.packages import ONE_COLOUR
from things.scenes import Pool, Scene

LEAST_SIZES = ((32, 32),)
TINY_SIZES = ((48, 48),)
SMALL_SIZES = ((64, 64), (64, 80), (80, 64))
"""Widths and heights of pictures, in pixels: 4, 9, and 16 or 20 tokens of 16 by 16 pixels."""
GROUND_SHARES = {
    "white": 0.35,
    "light": 0.25,
    "plain": 0.15,
    "pattern": 0.1,
    "landscape": 0.07,
    "photo": 0.08,
}
# Hue, saturation and value, from and to, of every colour.
_SHADES = {
    "red": ((-0.02, 0.015), (0.8, 1.0), (0.75, 0.95)),
    "green": ((0.28, 0.40), (0.6, 0.9), (0.45, 0.75)),
    "blue": ((0.58, 0.66), (0.7, 0.95), (0.6, 0.95)),
    "yellow": ((0.14, 0.165), (0.75, 1.0), (0.92, 1.0)),
    "purple": ((0.74, 0.80), (0.55, 0.85), (0.5, 0.75)),
    "orange": ((0.065, 0.09), (0.85, 1.0), (0.92, 1.0)),
    "pink": ((0.89, 0.94), (0.3, 0.5), (0.95, 1.0)),
    "brown": ((0.05, 0.08), (0.55, 0.75), (0.35, 0.5)),
    "black": ((0.0, 1.0), (0.0, 0.2), (0.03, 0.14)),
    "white": ((0.0, 1.0), (0.0, 0.05), (0.95, 1.0)),
}

RGBColour = tuple[int, int, int]


def shade(colour: str, chance: random.Random) -> RGBColour:
    """Return one of the shades of a named colour."""
    hue, saturation, value = (chance.uniform(*bounds) for bounds in _SHADES[colour])
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


class Composer:
    """Draws scenes; ``photos`` are the photographs of which parts serve as grounds."""

    def __init__(
        self,
        pool: Pool,
        photos: Sequence[Image.Image],
        sizes: Sequence[tuple[int, int]],
        *,
        plain: bool = False,
    ) -> None:
        """Take what scenes are drawn from, and the sizes of the pictures.

        ``plain`` makes what there is to see easy: one thing fills the picture, and a ground of which nothing is
        said is white.
        """
        self._pool, self._photos, self._sizes, self._plain = pool, tuple(photos), tuple(sizes), plain

    def draw(
        self, scene: Scene, chance: random.Random, *, style: str | None = None, altered: bool = True
    ) -> Image.Image:
        """Draw ``scene`` as an RGB image; what it does not say is left to ``chance``.

        ``style`` is the style of its things, by default any; ``altered`` lets drawings be changed as
        another hand would have drawn them.
        """
        size = chance.choice(self._sizes)
        image = self._ground(scene, size, chance)
        if scene.other is not None:
            self._two(image, scene, chance, style, altered)
        else:
            self._some(image, scene, chance, style, altered)
        if altered and chance.random() < 0.15:
            image = ImageEnhance.Brightness(image).enhance(chance.uniform(0.85, 1.15))
        return image

    def _some(
        self, image: Image.Image, scene: Scene, chance: random.Random, style: str | None, altered: bool
    ) -> None:
        """Draw one thing, or several equal ones that do not touch."""
        width, height = image.size
        side = min(width, height)
        least, most = {1: (0.6, 0.98), 2: (0.36, 0.46), 3: (0.3, 0.4), 4: (0.28, 0.36)}[scene.count]
        if scene.kind == "count" and scene.count == 1:
            least, most = 0.32, 0.6
        elif scene.size is not None:
            least, most = (0.2, 0.32) if scene.size == "small" else (0.72, 0.98)
        elif scene.place is not None:
            least, most = 0.3, 0.42
        elif self._plain and scene.count == 1:
            least, most = 0.85, 0.98
        length = side * chance.uniform(least, most)
        drawing = self._drawing(scene.thing, scene.colour, scene.ground, chance, style, altered)
        for x, y in self._centres(scene, length, image.size, chance):
            _paste(image, drawing, length, (x, y))

    def _centres(
        self, scene: Scene, length: float, size: tuple[int, int], chance: random.Random
    ) -> list[tuple[float, float]]:
        """Return the centres of a scene's things, which are ``length`` pixels long."""
        half = length / 2
        free = [(half, max(half, side - half)) for side in size]
        if scene.place is not None:
            along = {"left": (0.0, 0.12), "right": (0.88, 1.0), "top": (0.0, 0.12), "bottom": (0.88, 1.0)}
            low, high = along.get(scene.place, (0.42, 0.58))
            at, across = chance.uniform(low, high), chance.uniform(0.35, 0.65)
            shares = (at, across) if scene.place in ("left", "right", "middle") else (across, at)
            x, y = (start + share * (end - start) for share, (start, end) in zip(shares, free, strict=True))
            return [(x, y)]
        gap = 1.06 * length + 1
        for _ in range(60):
            centres: list[tuple[float, float]] = []
            for _ in range(scene.count):
                x, y = (chance.uniform(start, end) for start, end in free)
                if all(max(abs(x - a), abs(y - b)) > gap for a, b in centres):
                    centres.append((x, y))
            if len(centres) == scene.count:
                return centres
        # Where they hardly fit, each is somewhere in a quarter of its own.
        cells = chance.sample([(x, y) for x in (0, 1) for y in (0, 1)], scene.count)
        return [
            tuple(  # type: ignore[misc]
                cell * side / 2 + chance.uniform(half + 0.5, max(half + 0.5, side / 2 - half - 0.5))
                for cell, side in zip(corner, size, strict=True)
            )
            for corner in cells
        ]

    def _two(
        self, image: Image.Image, scene: Scene, chance: random.Random, style: str | None, altered: bool
    ) -> None:
        """Draw two things of which the first stands where the relation says."""
        relation = scene.relation or chance.choice(("left of", "right of", "above", "below"))
        sideways = relation in ("left of", "right of")
        along, across = image.size if sideways else image.size[::-1]
        length = min(along * 0.48, across * 0.9) * chance.uniform(0.8, 1.0)
        ends = [length / 2 + along * chance.uniform(0, 0.03) for _ in range(2)]
        places = [ends[0], along - ends[1]]
        if relation in ("right of", "below"):
            places.reverse()
        for thing, colour, at in zip(
            (scene.thing, scene.other), (scene.colour, scene.other_colour), places, strict=True
        ):
            middle = across * chance.uniform(0.42, 0.58)
            drawing = self._drawing(int(thing or 0), colour, scene.ground, chance, style, altered)
            _paste(image, drawing, length, (at, middle) if sideways else (middle, at))

    def _drawing(
        self,
        thing: int,
        colour: str | None,
        ground: str | None,
        chance: random.Random,
        style: str | None,
        altered: bool,
    ) -> Image.Image:
        """Return a drawing of a thing as RGBA, in its colour, in a style that has it."""
        artwork = self._pool.artwork
        having = [name for name in ([style] if style else self._pool.styles) if artwork.places[name][thing]]
        chosen = chance.choice(having)
        drawing = artwork.drawing(chance.choice(artwork.places[chosen][thing]))
        if chosen in (*ONE_COLOUR, "shapes"):
            # Nobody has said its colour: dark on a ground that is light, mostly.
            drawing = filled(drawing, shade(colour or _unlike(ground, chance), chance))
        elif colour is not None:
            drawing = tinted(drawing, colour, chance)
        return another_hand(drawing, chance, recolour=colour is None) if altered else drawing

    def _ground(self, scene: Scene, size: tuple[int, int], chance: random.Random) -> Image.Image:
        if scene.ground is not None:
            return Image.new("RGB", size, shade(scene.ground, chance))
        kind = chance.choices(list(GROUND_SHARES), list(GROUND_SHARES.values()))[0]
        if self._plain or kind == "white":
            return Image.new("RGB", size, (255, 255, 255))
        if kind == "photo" and self._photos:
            return _part(chance.choice(self._photos), size, chance)
        if kind == "landscape":
            return _landscape(size, chance)
        light = chance.randint(190, 255), chance.randint(190, 255), chance.randint(190, 255)
        strong = kind == "plain" or (kind == "pattern" and chance.random() < 0.5)
        image = Image.new("RGB", size, shade(chance.choice(list(_SHADES)), chance) if strong else light)
        return _patterned(image, chance) if kind == "pattern" else image


def filled(drawing: Image.Image, colour: RGBColour) -> Image.Image:
    """Return an RGBA drawing with every pixel in ``colour``, as opaque as it was."""
    whole = Image.new("RGBA", drawing.size, colour)
    whole.putalpha(drawing.getchannel("A"))
    return whole


def tinted(drawing: Image.Image, colour: str, chance: random.Random) -> Image.Image:
    """Return an RGBA drawing in shades of one colour, as light and dark as it was."""
    red, green, blue = shade(colour, chance)
    light = ImageOps.autocontrast(drawing.convert("L"), cutoff=2)
    dark = tuple(c // 4 for c in (red, green, blue))
    pale = tuple(c + (255 - c) * 3 // 4 for c in (red, green, blue))
    if colour == "white":
        dark, middle = (150, 150, 150), (236, 236, 236)
    elif colour == "black":
        middle, pale = (26, 26, 26), (95, 95, 95)
    else:
        middle = (red, green, blue)
    whole = ImageOps.colorize(light, dark, pale, middle, midpoint=110).convert("RGBA")
    whole.putalpha(drawing.getchannel("A"))
    return whole


def _paste(image: Image.Image, drawing: Image.Image, length: float, centre: tuple[float, float]) -> None:
    """Put a drawing on ``image``, its longer side ``length`` pixels long, round ``centre``."""
    scale = length / max(drawing.size)
    width, height = (max(1, round(side * scale)) for side in drawing.size)
    small = drawing.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.5)
    corner = round(centre[0] - width / 2), round(centre[1] - height / 2)
    image.paste(small, corner, small)


def _part(photo: Image.Image, size: tuple[int, int], chance: random.Random) -> Image.Image:
    """Return a part of a photograph in the size asked for."""
    width, height = size
    share = chance.uniform(0.25, 0.9)
    scale = share * min(photo.width / width, photo.height / height)
    wide, high = scale * width, scale * height
    left, top = chance.uniform(0, photo.width - wide), chance.uniform(0, photo.height - high)
    return photo.resize(
        size, Image.Resampling.BILINEAR, (left, top, left + wide, top + high), reducing_gap=1.5
    )


def _landscape(size: tuple[int, int], chance: random.Random) -> Image.Image:
    """Return a sky above a ground: two colours that run."""
    sky, ground = chance.choice(
        (("blue", "green"), ("blue", "brown"), ("blue", "white"), ("orange", "blue"), ("black", "purple"))
    )
    image = Image.new("RGB", (1, 16), shade(sky, chance))
    below = shade(ground, chance)
    for y in range(chance.randint(8, 12), 16):
        image.putpixel((0, y), below)
    return image.resize(
        size, Image.Resampling.BILINEAR if chance.random() < 0.5 else Image.Resampling.NEAREST
    )


def _patterned(image: Image.Image, chance: random.Random) -> Image.Image:
    """Cover a plain ground with stripes or checks in another shade of it."""
    base = image.getpixel((0, 0))
    assert isinstance(base, tuple)
    other = tuple(round(c * 0.8) if sum(base) > 300 else round(c + (255 - c) * 0.25) for c in base)
    count = chance.randint(6, 12)
    tile = Image.new("RGB", (2, 2), base)
    tile.putpixel((0, 0), other)
    kind = chance.choice(("rows", "columns", "checks"))
    tile.putpixel({"rows": (1, 0), "columns": (0, 1), "checks": (1, 1)}[kind], other)
    cells = Image.new("RGB", (count, max(2, round(count * image.height / image.width))))
    for x in range(0, cells.width, 2):
        for y in range(0, cells.height, 2):
            cells.paste(tile, (x, y))
    return cells.resize(image.size, Image.Resampling.NEAREST)


def _unlike(ground: str | None, chance: random.Random) -> str:
    if ground is None:
        return chance.choice(("black", "black", "black", "brown", "blue", "purple"))
    return chance.choice([name for name in _SHADES if name != ground])


def open_photos(folder: str, names: Sequence[str], longest: int = 640) -> list[Image.Image]:
    """Return the photographs ``names``, wherever below ``folder``, made smaller than ``longest`` pixels a side."""
    paths = {
        name: os.path.join(at, name) for at, _, files in os.walk(folder) for name in files if name in names
    }
    photos = []
    for name in names:
        with Image.open(paths[name]) as image:
            image.draft("RGB", (longest, longest))
            scale = longest / max(image.size)
            size = (math.ceil(image.width * scale), math.ceil(image.height * scale))
            photos.append(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
    return photos
