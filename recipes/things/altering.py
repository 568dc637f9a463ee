"""Changes a drawing as another hand would have drawn it: its proportions, colours, lines and detail."""

from __future__ import annotations

import math
import random

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

_GRID = 3  # cells a side of the grid that is bent


def altered(drawing: Image.Image, chance: random.Random, *, recolour: bool = True) -> Image.Image:
    """Turn, mirror, outline, and change the colours of an RGBA drawing a little, or more of all that: half of each.

    ``recolour`` is False where a caption names the drawing's colour.
    """
    return _much(drawing, chance, recolour) if chance.random() < 0.5 else _little(drawing, chance)


def _little(drawing: Image.Image, chance: random.Random) -> Image.Image:
    if chance.random() < 0.3:
        drawing = ImageOps.mirror(drawing)
    if chance.random() < 0.3:
        drawing = drawing.rotate(chance.uniform(-14, 14), Image.Resampling.BILINEAR, expand=True)
    roll = chance.random()
    if roll < 0.12:  # another style: an outline, as pens draw it
        drawing = _outlined(drawing)
    elif roll < 0.3:
        flat = ImageEnhance.Color(drawing.convert("RGB")).enhance(chance.uniform(0.5, 1.4))
        drawing = _as_opaque(ImageEnhance.Contrast(flat).enhance(chance.uniform(0.75, 1.25)), drawing)
    if chance.random() < 0.25:
        drawing = _stretched(drawing, chance.uniform(0.82, 1.2))
    return drawing


def _much(drawing: Image.Image, chance: random.Random, recolour: bool) -> Image.Image:
    if chance.random() < 0.4:
        drawing = ImageOps.mirror(drawing)
    if chance.random() < 0.6:
        drawing = _bent(drawing, chance)
    if chance.random() < 0.4:
        drawing = drawing.rotate(chance.gauss(0, 9), Image.Resampling.BILINEAR, expand=True)
    roll = chance.random()
    if recolour and roll < 0.12:
        drawing = _in_few_colours(drawing, chance.choice((3, 4, 6)))
    elif roll < 0.3:
        drawing = drawing.filter(ImageFilter.MedianFilter(chance.choice((3, 5))))
    if recolour and chance.random() < 0.6:
        drawing = _recoloured(drawing, chance)
    roll = chance.random()
    if roll < 0.12:
        drawing = _outlined(drawing)
    elif recolour and roll < 0.2:
        drawing = _lines(drawing)
    if chance.random() < 0.4:
        drawing = _stretched(drawing, math.exp(chance.gauss(0, 0.14)))
    return _cut_out(drawing, chance) if chance.random() < 0.12 else drawing


def _outlined(drawing: Image.Image) -> Image.Image:
    """Return a drawing with a dark line round it."""
    wide = ImageOps.expand(drawing, 3)
    grown = wide.getchannel("A").filter(ImageFilter.MaxFilter(5))
    under = Image.new("RGBA", wide.size, (20, 20, 20))
    under.putalpha(grown)
    under.alpha_composite(wide)
    return under


def _bent(drawing: Image.Image, chance: random.Random) -> Image.Image:
    """Move the inner points of a grid, so that its parts get other proportions."""
    width, height = drawing.size

    def moved(place: int, side: int) -> float:
        return place * side / _GRID + (chance.gauss(0, 0.06) * side if 0 < place < _GRID else 0)

    rows = range(_GRID + 1)
    points = {(x, y): (moved(x, width), moved(y, height)) for y in rows for x in rows}
    mesh = [
        (
            (*_corner(x, y, drawing), *_corner(x + 1, y + 1, drawing)),
            tuple(at for corner in ((x, y), (x, y + 1), (x + 1, y + 1), (x + 1, y)) for at in points[corner]),
        )
        for y in range(_GRID)
        for x in range(_GRID)
    ]
    return drawing.transform(drawing.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def _corner(x: int, y: int, drawing: Image.Image) -> tuple[int, int]:
    return round(x * drawing.width / _GRID), round(y * drawing.height / _GRID)


def _stretched(drawing: Image.Image, factor: float) -> Image.Image:
    width, height = drawing.size
    return drawing.resize((max(1, round(width * factor)), height), Image.Resampling.BILINEAR)


def _in_few_colours(drawing: Image.Image, count: int) -> Image.Image:
    few = drawing.convert("RGB").quantize(count, Image.Quantize.FASTOCTREE)
    return _as_opaque(few.convert("RGB"), drawing)


def _recoloured(drawing: Image.Image, chance: random.Random) -> Image.Image:
    """Shift hues and light, take the colours away, or tint the whole."""
    colours, roll = drawing.convert("RGB"), chance.random()
    if roll < 0.5:
        hsv = np.asarray(colours.convert("HSV"), np.float32)
        hue = (hsv[..., 0] + chance.gauss(0, 12)) % 256
        saturation = np.minimum(hsv[..., 1] * chance.uniform(0.4, 1.5), 255)
        value = 255 * (hsv[..., 2] / 255) ** math.exp(chance.gauss(0, 0.4))
        bands = (Image.fromarray(band.astype(np.uint8)) for band in (hue, saturation, value))
        colours = Image.merge("HSV", tuple(bands)).convert("RGB")
    elif roll < 0.7:
        colours = ImageOps.grayscale(colours).convert("RGB")
    elif roll < 0.85:
        tint = [(chance.uniform(0.6, 1.1), chance.uniform(0, 50)) for _ in "RGB"]
        table = [min(255, round(v * scale + plus)) for scale, plus in tint for v in range(256)]
        colours = colours.point(table)
    else:
        colours = ImageEnhance.Contrast(colours).enhance(chance.uniform(0.5, 1.8))
    return _as_opaque(colours, drawing)


def _lines(drawing: Image.Image) -> Image.Image:
    """Leave only lines: dark where colours change, light elsewhere."""
    wide = ImageOps.expand(drawing, 3)
    on_white = Image.new("RGBA", wide.size, (255, 255, 255))
    on_white.alpha_composite(wide)
    grey = on_white.convert("L")
    change = ImageChops.difference(
        grey.filter(ImageFilter.MaxFilter(3)), grey.filter(ImageFilter.MinFilter(3))
    )
    line = change.point([max(0, 255 - 4 * v) for v in range(256)])
    whole = Image.merge("RGB", (line, line, line)).convert("RGBA")
    whole.putalpha(wide.getchannel("A").filter(ImageFilter.MaxFilter(3)))
    return whole


def _cut_out(drawing: Image.Image, chance: random.Random) -> Image.Image:
    """Leave a square of it away."""
    share = chance.uniform(0.2, 0.4)
    left, top = (chance.uniform(0, 1 - share) * side for side in drawing.size)
    opaque = drawing.getchannel("A")
    opaque.paste(
        0, (round(left), round(top), round(left + share * drawing.width), round(top + share * drawing.height))
    )
    whole = drawing.copy()
    whole.putalpha(opaque)
    return whole


def _as_opaque(colours: Image.Image, drawing: Image.Image) -> Image.Image:
    """Return RGB colours as an RGBA image, as opaque as ``drawing`` is."""
    whole = colours.convert("RGBA")
    whole.putalpha(drawing.getchannel("A"))
    return whole
