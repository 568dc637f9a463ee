"""Reads Tux Paint's stamps: photographs and drawings by many hands, each with a caption, only to measure with."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from things.artwork import render
from things.names import Thing
from things.rows import Cells, encoded

_SIDE = 128  # pixels of the longer side: more than the model looks at
_ARTICLE = re.compile(r"^(an?|the) ")


@dataclass(frozen=True, slots=True)
class Stamp:
    """A picture on white, RGB, at most 128 pixels long, and its English caption, such as "A black cat."."""

    caption: str
    image: Image.Image

    @property
    def name(self) -> str:
        """What the caption says, without article and stop, in small letters."""
        return _ARTICLE.sub("", self.caption.lower().rstrip(".! "))


def read_stamps(folder: str) -> Iterator[Stamp]:
    """Yield every stamp below ``folder`` that has a caption and can be drawn, in a fixed order."""
    for at, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(file.removesuffix(".txt") for file in files if file.endswith(".txt")):
            image = _picture(os.path.join(at, name))
            with open(os.path.join(at, f"{name}.txt"), encoding="utf-8", errors="replace") as file:
                caption = file.readline().strip()
            if image is not None and caption:
                yield Stamp(caption, image)


def _picture(path: str) -> Image.Image | None:
    """Return the picture called ``path`` without its ending, on white; None if there is none that can be drawn."""
    try:
        with Image.open(f"{path}.png") as image:
            drawn: Image.Image | None = image.convert("RGBA")
    except FileNotFoundError:
        if not os.path.exists(f"{path}.svg"):
            return None
        with open(f"{path}.svg", encoding="utf-8", errors="replace") as file:
            drawn = render(file.read(), _SIDE)
    except UnidentifiedImageError:
        return None
    if drawn is None:
        return None
    drawn.thumbnail((_SIDE, _SIDE))
    white = Image.new("RGB", drawn.size, "white")
    white.paste(drawn, mask=drawn.getchannel("A"))
    return white


def caption_rows(stamps: Sequence[Stamp]) -> Iterator[Cells]:
    """Yield a row for each caption: that, and the first picture that has it, so that one picture is right."""
    for stamp in {stamp.caption: stamp for stamp in reversed(stamps)}.values():
        yield {"query": stamp.caption, "image": encoded(stamp.image)}


def known_rows(stamps: Sequence[Stamp], things: Sequence[Thing]) -> Iterator[Cells]:
    """Yield a row for each of ``things`` that a caption names and says no more: the name, and the first such picture.

    Stamps of other things are the negatives, each of one row; a few are left over.
    """
    thing_of = {
        name.lower(): place for place, thing in enumerate(things) for name in reversed(thing.names["en"])
    }
    known = {thing_of[stamp.name]: stamp for stamp in reversed(stamps) if stamp.name in thing_of}
    others = [stamp for stamp in stamps if stamp.name not in thing_of]
    each = len(others) // max(1, len(known))
    for place, stamp in enumerate(known.values()):
        row: Cells = {"query": stamp.name, "image": encoded(stamp.image)}
        for number in range(each):
            row[f"negative_{number}"] = encoded(others[place * each + number].image)
        yield row
