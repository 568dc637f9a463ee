"""Renders every drawing of every thing once, into one file of small images that scenes are composed from."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from things.clipart import Clipart
from things.names import Drawings, Thing

Style = Callable[[Thing], list[Image.Image]]
"""Draws a thing, as RGBA images of SIDE by SIDE pixels: none if the style does not have it, or several."""
SIDE = 80
"""Width and height of a stored drawing, in pixels; what is drawn fills it in one direction."""


@dataclass(frozen=True, slots=True)
class Artwork:
    """Drawings of things: ``pixels`` is (drawings, side, side, 4) uint8 RGBA, mapped from the disk.

    ``places`` has, for each style and each thing by its position, the numbers of its drawings.
    """

    things: tuple[Thing, ...]
    places: Mapping[str, tuple[tuple[int, ...], ...]]
    pixels: NDArray[np.uint8]

    def shown(self, style: str) -> list[int]:
        """Return the positions of the things that a style draws."""
        return [place for place, numbers in enumerate(self.places[style]) if numbers]

    def drawing(self, number: int) -> Image.Image:
        """Return a drawing, cut to what it covers, as an RGBA image."""
        return cut(Image.fromarray(np.asarray(self.pixels[number])))


def render_artwork(folder: str, things: Sequence[Thing], styles: Mapping[str, Style]) -> None:
    """Write the drawings of all ``styles`` into ``folder``: drawings.npy and things.json, the latter last."""
    os.makedirs(folder, exist_ok=True)
    places: dict[str, list[list[int]]] = {}
    images: list[NDArray[np.uint8]] = []
    for name, style in styles.items():
        places[name] = []
        for thing in things:
            drawn = [np.asarray(image) for image in style(thing)]
            places[name].append(list(range(len(images), len(images) + len(drawn))))
            images += drawn
    np.save(os.path.join(folder, "drawings.npy"), np.stack(images))
    content = {
        "things": [{"codes": t.codes, "category": t.category, "names": t.names} for t in things],
        "places": places,
    }
    with open(os.path.join(folder, "things.json.part"), "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False)
    os.replace(os.path.join(folder, "things.json.part"), os.path.join(folder, "things.json"))


def drawn_by(*sets: Drawings | Clipart, side: int = SIDE) -> Style:
    """Return the style of these sets of drawings; ``side`` is the width and height of a drawing, in pixels."""
    return lambda thing: [
        image for drawings in sets for svg in drawings.of(thing) if (image := render(svg, side)) is not None
    ]


def is_rendered(folder: str, styles: Iterable[str]) -> bool:
    """Say whether ``folder`` holds artwork that is complete, in all of ``styles``."""
    return os.path.exists(os.path.join(folder, "things.json")) and set(styles) <= set(
        open_artwork(folder).places
    )


def open_artwork(folder: str) -> Artwork:
    """Open what ``render_artwork`` has written."""
    with open(os.path.join(folder, "things.json"), encoding="utf-8") as file:
        content = json.load(file)
    things = tuple(
        Thing(
            tuple(entry["codes"]),
            entry["category"],
            {language: tuple(names) for language, names in entry["names"].items()},
        )
        for entry in content["things"]
    )
    places = {style: tuple(map(tuple, rows)) for style, rows in content["places"].items()}
    pixels = np.load(os.path.join(folder, "drawings.npy"), mmap_mode="r")
    return Artwork(things, places, pixels)


def render(svg: str, side: int = SIDE) -> Image.Image | None:
    """Render a drawing as an RGBA image of ``side`` by ``side`` pixels; None if it shows nothing, or can't be drawn."""
    rendered = side * 8 // 5
    try:
        data = bytes(
            resvg_py.svg_to_bytes(svg_string=svg, width=rendered, height=rendered, skip_system_fonts=True)
        )
    except ValueError:
        return None
    with Image.open(io.BytesIO(data)) as image:
        drawn = cut(image.convert("RGBA"))
    if min(drawn.size) < 4:
        return None
    scale = side / max(drawn.size)
    width, height = (max(1, round(length * scale)) for length in drawn.size)
    small = drawn.resize((width, height), Image.Resampling.LANCZOS)
    whole = Image.new("RGBA", (side, side))
    whole.paste(small, ((side - width) // 2, (side - height) // 2))
    return whole


def cut(image: Image.Image) -> Image.Image:
    """Return an RGBA image without its transparent margins."""
    box = image.getchannel("A").point(lambda value: 255 * (value > 8)).getbbox()
    return image.crop(box) if box else image.crop((0, 0, 1, 1))
