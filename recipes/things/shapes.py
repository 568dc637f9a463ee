"""Shapes as things, so that colours, places and relations can be learned of what is easy to see."""

from __future__ import annotations

from PIL import Image, ImageDraw

from shapes.render import draw_shape
from things.artwork import SIDE
from things.names import LANGUAGES, Thing

_NAMES = {
    "circle": ("circle", "Kreis", "cercle", "círculo"),
    "square": ("square", "Quadrat", "carré", "cuadrado"),
    "triangle": ("triangle", "Dreieck", "triangle", "triángulo"),
    "cross": ("cross", "Kreuz", "croix", "cruz"),
    "bar": ("bar", "Balken", "barre", "barra"),
    "diamond": ("diamond", "Raute", "losange", "rombo"),
}
SHAPES_STYLE = "shapes"


def shape_things() -> list[Thing]:
    """Return the shapes; a star and a ring are things already."""
    return [
        Thing(
            (f"shape-{shape}",),
            "Shapes",
            {language: (name,) for language, name in zip(LANGUAGES, names, strict=True)},
        )
        for shape, names in _NAMES.items()
    ]


def draw_shape_of(thing: Thing) -> list[Image.Image]:
    """Draw a shape, in black; nothing for what is no shape."""
    shape = thing.codes[0].removeprefix("shape-")
    if shape not in _NAMES:
        return []
    image = Image.new("RGBA", (2 * SIDE, 2 * SIDE))
    draw_shape(ImageDraw.Draw(image), shape, (SIDE, SIDE), SIDE - 2, (0, 0, 0))
    return [image.resize((SIDE, SIDE), Image.Resampling.BOX)]
