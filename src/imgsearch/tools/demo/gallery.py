"""Draws the gallery of the demo: pictures whose contents are known, and questions with their right answers."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from imgsearch.tools.demo.render import SIZES, render
from imgsearch.tools.demo.scene import KINDS, Scene, alternatives, draw_scene

PICTURES = 300
RIGHT = 8  # pictures of the gallery that answer each question
_NEAR = 10  # pictures that miss each question by one attribute


@dataclass(frozen=True, slots=True)
class DemoQuery:
    """A query's text and the scene that it asks for; None in the scene is left open by the query."""

    text: str
    scene: Scene

    def matches(self, scene: Scene) -> bool:
        """Say whether a picture of ``scene`` shows what was asked for, in everything that the question says."""
        asked = self.scene
        if asked.word != scene.word:
            return False
        things = {(scene.colour, scene.shape, scene.count or 1)}
        if scene.relation is not None:
            things = {(scene.colour, scene.shape, 1), (str(scene.other_colour), scene.other_shape, 1)}
        if (asked.colour, asked.shape, asked.count or 1) not in things:
            return False
        pairs = ((asked.ground, scene.ground), (asked.size, scene.size), (asked.texture, scene.texture))
        return all(want in (None, "", have) for want, have in pairs)


QUERIES = (
    DemoQuery("red circle", Scene("group", "red", "", "circle", count=1)),
    DemoQuery("three white stars on blue", Scene("group", "white", "blue", "star", count=3)),
    DemoQuery(
        "a large yellow triangle on purple",
        Scene("size", "yellow", "purple", "triangle", count=1, size="large"),
    ),
    DemoQuery(
        "a green diamond on a striped pink background",
        Scene("texture", "green", "pink", "diamond", count=1, texture="striped"),
    ),
    DemoQuery("the word cat in black on white", Scene("word", "black", "white", word="cat")),
)
"""What the demo asks; an empty ground is one that the question does not mention."""
EXAMPLE = DemoQuery("two orange squares on black", Scene("group", "orange", "black", "square", count=2))
"""What the picture shows that the demo looks for the likes of."""


def draw_gallery(folder: str, seed: int = 0) -> Mapping[str, Scene]:
    """Draw 300 pictures into ``folder`` and return what each of them shows, by path.

    Each question has 8 right answers among them and 10 pictures that miss it by one attribute; the others are
    drawn at random. The same seed draws the same pictures. Raises OSError if the folder can't be written.
    """
    chance = random.Random(f"gallery {seed}")
    scenes: list[Scene] = []
    for demo_query in (*QUERIES, EXAMPLE):
        scene = demo_query.scene
        scenes += [_with_ground(scene, chance) for _ in range(RIGHT)]
        for n in range(_NEAR):
            attributes = [name for name in scene.attributes() if scene.ground or name != "ground"]
            attribute = attributes[n % len(attributes)]
            scenes.append(chance.choice(alternatives(_with_ground(scene, chance), attribute)))
    while len(scenes) < PICTURES:
        scene = draw_scene(chance.choice(KINDS), chance)
        # A scene that does not say its size or texture may have the asked one: neither right nor wrong.
        if not any(_same_thing(demo_query.scene, scene) for demo_query in (*QUERIES, EXAMPLE)):
            scenes.append(scene)
    chance.shuffle(scenes)
    os.makedirs(folder, exist_ok=True)
    drawn = {}
    for number, scene in enumerate(scenes, start=1):
        path = os.path.join(folder, f"{number:03}.png")
        width, height = chance.choice(SIZES)
        render(scene, chance, (2 * width, 2 * height)).save(path)
        drawn[path] = scene
    return drawn


def _same_thing(asked: Scene, scene: Scene) -> bool:
    return (asked.colour, asked.shape, asked.word) == (scene.colour, scene.shape, scene.word)


def _with_ground(scene: Scene, chance: random.Random) -> Scene:
    """Give a scene whose question leaves the ground open one at random."""
    return scene if scene.ground else chance.choice(alternatives(scene, "ground"))


_CELL, _FRAME, _TITLE, _LINE, _COLUMNS = 200, 6, 44, 26, 4
_GREEN, _RED, _PAPER, _INK = (46, 140, 70), (200, 50, 45), (250, 250, 248), (30, 30, 30)


@dataclass(frozen=True, slots=True)
class Cell:
    """One hit on the sheet: its picture file, the line under it, and whether it is right."""

    path: str
    caption: str
    right: bool


def draw_contact_sheet(path: str, title: str, cells: Sequence[Cell]) -> None:
    """Write a PNG with ``title`` above the cells, in rows of four. Raises OSError if it can't be written."""
    rows = -(-len(cells) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _CELL, _TITLE + rows * (_CELL + _LINE)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((12, 10), title, fill=_INK, font=ImageFont.load_default(20))
    for number, cell in enumerate(cells):
        left, top = number % _COLUMNS * _CELL, _TITLE + number // _COLUMNS * (_CELL + _LINE)
        colour = _GREEN if cell.right else _RED
        with Image.open(cell.path) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((_CELL - 4 * _FRAME, _CELL - 4 * _FRAME))
        x, y = left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2
        draw.rectangle(
            (x - _FRAME, y - _FRAME, x + picture.width + _FRAME - 1, y + picture.height + _FRAME - 1),
            fill=colour,
        )
        sheet.paste(picture, (x, y))
        draw.text(
            (left + _CELL / 2, top + _CELL + _LINE / 2 - 4),
            cell.caption,
            fill=colour,
            anchor="mm",
            font=ImageFont.load_default(15),
        )
    sheet.save(path)
