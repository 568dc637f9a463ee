"""Draws a gallery: pictures of coloured shapes, and copies of each such as people make of their photos."""

from __future__ import annotations

import math
import os
import random

from PIL import Image, ImageDraw, ImageEnhance

_COLOURS = {
    "red": (208, 44, 40),
    "orange": (238, 140, 30),
    "yellow": (240, 214, 60),
    "green": (44, 150, 70),
    "blue": (40, 84, 190),
    "purple": (120, 50, 150),
    "white": (245, 245, 240),
    "black": (28, 28, 30),
}
_SHAPES = ("circles", "squares", "stars", "stripes")
_SIZE = (480, 360)


def draw_gallery(folder: str, count: int, seed: int = 0) -> dict[str, list[str]]:
    """Draw ``count`` pictures, at most 56, each in two colours of its own, into ``folder``.

    Return each one's path with those of its altered copies.

    The copies are a smaller WebP, a JPEG of low quality, and a slightly cropped and brightened PNG. The same
    arguments draw the same pictures. Raises OSError if the folder can't be written.
    """
    os.makedirs(os.path.join(folder, "copies"), exist_ok=True)
    chance = random.Random(seed)
    pairs = [(ink, ground) for ink in _COLOURS for ground in _COLOURS if ink != ground]
    drawn = {}
    for ink, ground in chance.sample(pairs, count):
        shape = chance.choice(_SHAPES)
        name = f"{ink}-{shape}-on-{ground}"
        image = _draw(shape, _COLOURS[ink], _COLOURS[ground], chance)
        original = os.path.join(folder, f"{name}.png")
        image.save(original)
        small, rough, bright = (
            os.path.join(folder, "copies", name + ending)
            for ending in (".small.webp", ".rough.jpg", ".bright.png")
        )
        image.resize((_SIZE[0] // 2, _SIZE[1] // 2)).save(small, quality=80)
        image.save(rough, quality=35)
        cropped = image.crop((6, 4, _SIZE[0] - 6, _SIZE[1] - 4))
        ImageEnhance.Brightness(cropped).enhance(1.03).save(bright)
        drawn[original] = [small, rough, bright]
    return drawn


def _draw(
    shape: str, ink: tuple[int, int, int], ground: tuple[int, int, int], chance: random.Random
) -> Image.Image:
    image = Image.new("RGB", _SIZE, ground)
    draw = ImageDraw.Draw(image)
    for _ in range(chance.randint(3, 7)):
        x, y, r = chance.uniform(40, _SIZE[0] - 40), chance.uniform(40, _SIZE[1] - 40), chance.uniform(25, 90)
        if shape == "circles":
            draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)
        elif shape == "squares":
            draw.rectangle((x - r, y - r, x + r, y + r), fill=ink)
        elif shape == "stripes":
            draw.line((x - 3 * r, y - r, x + 3 * r, y + r), fill=ink, width=round(r / 3))
        else:
            draw.polygon([_star_corner(x, y, r, corner) for corner in range(10)], fill=ink)
    return image


def _star_corner(x: float, y: float, r: float, corner: int) -> tuple[float, float]:
    reach = r if corner % 2 == 0 else r * 0.45
    angle = math.pi * (corner / 5 - 0.5)
    return x + reach * math.cos(angle), y + reach * math.sin(angle)
