"""Draws the gallery that `imgsearch demo` unpacks: 300 images of everyday things, and queries with their results."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from imgsearch.tools.demo.gallery import ATTRIBUTION, CONTENTS, PICTURES, RIGHT
from things import packages
from things.artwork import Artwork, drawn_by, open_artwork, render_artwork
from things.compose import Composer
from things.names import Drawings, known_names, read_things
from things.scenes import Pool, Scene

STYLES = ("noto", "fluent-flat", "twemoji")
"""Whose drawings ship: two styles of the training, and the one that is held out."""
ABSENT = "a washing machine"
_SIZES = ((320, 320), (384, 288), (288, 384))
_SIDE = 320  # pixels of a drawing, four times as many as the training's
_NEAR = 10  # images that miss each query by a little


_LICENCES = """# The licences

CC-BY-4.0: https://creativecommons.org/licenses/by/4.0/. CC0-1.0: https://creativecommons.org/publicdomain/zero/1.0/.
Apache-2.0: https://www.apache.org/licenses/LICENSE-2.0, which is the licence of imgsearch as well.

MIT:

Copyright (c) Microsoft Corporation.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query: what the right images show, and the things that are shown beside them because they are near."""

    text: str
    thing: str
    near: tuple[str, ...]
    colour: str | None = None
    count: int = 1


_QUESTIONS = (
    _Asked("a red car", "car", ("taxi", "bus", "delivery truck"), colour="red"),
    _Asked("two cats", "cat", ("dog", "rabbit", "tiger"), count=2),
    _Asked("a birthday cake", "birthday cake", ("shortcake", "cupcake", "pie")),
    _Asked("umbrella in the rain", "umbrella in the rain", ("closed umbrella", "rain", "cloud")),
    _Asked("ein Fahrrad", "bicycle", ("motorcycle", "motor scooter", "kick scooter")),
)
_EXAMPLE = _Asked("a sunflower", "sunflower", ("tulip", "rose", "blossom"))
# What a person would call by the name of something that is asked for.
_ALIKE = (
    "SUV",
    "oncoming automobile",
    "racing car",
    "police car",
    "oncoming taxi",
    "black cat",
    "cyclist",
    "umbrella",
)


def render_gallery_artwork(folder: str, cache: str) -> None:
    """Render the things that all ``STYLES`` have into ``folder``, larger than for training."""
    folders = {style: packages.fetch(packages.STYLES[style], cache) for style in STYLES}
    things = [
        thing
        for thing in read_things(packages.fetch(packages.NAMES, cache), [folders["noto"]])
        if thing.everyday
    ]
    known = known_names(things, folders.values())
    styles = {style: drawn_by(Drawings(at, known), side=_SIDE) for style, at in folders.items()}
    render_artwork(folder, things, styles)


def write_gallery(path: str, artwork: Artwork, photos: Sequence[Image.Image]) -> None:
    """Write the archive. The same artwork gives the same images."""
    chance = random.Random("gallery of things")
    shown = set.intersection(*(set(artwork.shown(style)) for style in STYLES))
    pool = Pool(artwork, STYLES, sorted(shown))
    place_of = {artwork.things[place].name: place for place in pool.things}
    scenes: list[tuple[Scene, str | None]] = []
    for asked in (*_QUESTIONS, _EXAMPLE):
        scenes += _scenes(asked, place_of, chance)
    taken = {name for asked in (*_QUESTIONS, _EXAMPLE) for name in (asked.thing, *asked.near)}
    taken.update(_ALIKE)
    others = [place for name, place in place_of.items() if name not in taken]
    while len(scenes) < PICTURES:
        scenes.append((Scene("one", chance.choice(others)), None))
    chance.shuffle(scenes)
    composer = Composer(pool, photos, _SIZES)
    right: dict[str, list[str]] = {}
    with zipfile.ZipFile(path, "w") as archive:
        for number, (scene, text) in enumerate(scenes, start=1):
            name = f"{number:03}.webp"
            _add(archive, name, _webp(composer.draw(scene, chance, altered=False)))
            if text is not None:
                right.setdefault(text, []).append(name)
        _add(archive, ATTRIBUTION, attribution().encode())
        _add(archive, CONTENTS, json.dumps(contents(right)).encode())


def _scenes(
    asked: _Asked, place_of: Mapping[str, int], chance: random.Random
) -> list[tuple[Scene, str | None]]:
    """Return the right scenes of a query with its text, and the near ones with None."""
    kind = "count" if asked.count > 1 else "colour" if asked.colour else "one"
    scene = Scene(kind, place_of[asked.thing], asked.colour, count=asked.count)
    near = [replace(scene, thing=place_of[name]) for name in asked.near if name in place_of]
    if asked.colour:
        near += [replace(scene, colour=colour) for colour in ("blue", "yellow", "green")]
    if asked.count > 1:
        near += [replace(scene, count=count) for count in (1, 3, 4)]
    return [(scene, asked.text)] * RIGHT + [(chance.choice(near), None) for _ in range(_NEAR)]


def contents(right: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """Return what the archive says of its images; ``right`` names those of each query by its text."""
    questions = [{"text": asked.text, "right": right[asked.text]} for asked in _QUESTIONS]
    alike = right[_EXAMPLE.text]
    return {
        "questions": questions,
        "example": {"text": _EXAMPLE.text, "file": alike[0], "right": alike},
        "absent": ABSENT,
    }


def attribution() -> str:
    """Return whom the drawings and photographs are by, and under which licences, as Markdown.

    MIT wants its text beside each copy; that of Apache-2.0 is imgsearch's own licence, and CC licences ask for a link.
    """
    used = [*(packages.STYLES[style] for style in STYLES), packages.PHOTOS]
    lines = [f"- {package.author}: {package.licence} ({package.name} {package.version})" for package in used]
    title = "# Where the images come from\n\nComposed by code, and partly recoloured, from:\n"
    return "\n".join([title, *lines, "", _LICENCES])


def make_gallery(path: str, folder: str, cache: str, photos: Sequence[Image.Image]) -> None:
    """Render the artwork into ``folder`` and write the archive."""
    render_gallery_artwork(folder, cache)
    write_gallery(path, open_artwork(folder), photos)


def _webp(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=82, method=4)
    return stream.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file with a date that is always the same."""
    archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
