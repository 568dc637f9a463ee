"""Draws a gallery of shapes: images with known contents, and queries whose correct results are known."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass

from shapes.render import SIZES, render
from shapes.scene import KINDS, Scene, alternatives, draw_scene

PICTURES = 300
RIGHT = 8  # images of the gallery that match each query
_NEAR = 10  # images that miss each query by one attribute


@dataclass(frozen=True, slots=True)
class ShapeQuery:
    """A query's text and the scene that it describes; None in the scene is left open by the query."""

    text: str
    scene: Scene

    def matches(self, scene: Scene) -> bool:
        """Tell whether an image of ``scene`` shows all that the query describes."""
        wanted = self.scene
        if wanted.word != scene.word:
            return False
        things = {(scene.colour, scene.shape, scene.count or 1)}
        if scene.relation is not None:
            things = {(scene.colour, scene.shape, 1), (str(scene.other_colour), scene.other_shape, 1)}
        if (wanted.colour, wanted.shape, wanted.count or 1) not in things:
            return False
        pairs = ((wanted.ground, scene.ground), (wanted.size, scene.size), (wanted.texture, scene.texture))
        return all(want in (None, "", have) for want, have in pairs)


QUERIES = (
    ShapeQuery("red circle", Scene("group", "red", "", "circle", count=1)),
    ShapeQuery("three white stars on blue", Scene("group", "white", "blue", "star", count=3)),
    ShapeQuery(
        "a large yellow triangle on purple",
        Scene("size", "yellow", "purple", "triangle", count=1, size="large"),
    ),
    ShapeQuery(
        "a green diamond on a striped pink background",
        Scene("texture", "green", "pink", "diamond", count=1, texture="striped"),
    ),
    ShapeQuery("the word cat in black on white", Scene("word", "black", "white", word="cat")),
)
"""An empty ground is one that the query does not mention."""
EXAMPLE = ShapeQuery("two orange squares on black", Scene("group", "orange", "black", "square", count=2))
"""What an image shows that similar ones can be searched for."""


def draw_gallery(folder: str, seed: int = 0) -> Mapping[str, Scene]:
    """Draw 300 images into ``folder`` and return what each of them shows, by path.

    Each query has 8 correct results among them and 10 images that miss it by one attribute; the others are
    drawn at random. The same seed draws the same images. Raises OSError if the folder can't be written.
    """
    chance = random.Random(f"gallery {seed}")
    scenes: list[Scene] = []
    for query in (*QUERIES, EXAMPLE):
        scene = query.scene
        scenes += [_with_ground(scene, chance) for _ in range(RIGHT)]
        for n in range(_NEAR):
            attributes = [name for name in scene.attributes() if scene.ground or name != "ground"]
            attribute = attributes[n % len(attributes)]
            scenes.append(chance.choice(alternatives(_with_ground(scene, chance), attribute)))
    while len(scenes) < PICTURES:
        scene = draw_scene(chance.choice(KINDS), chance)
        # A scene that leaves its size or texture open may have the one of the query: neither correct nor wrong.
        if not any(_same_thing(query.scene, scene) for query in (*QUERIES, EXAMPLE)):
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


def _same_thing(wanted: Scene, scene: Scene) -> bool:
    return (wanted.colour, wanted.shape, wanted.word) == (scene.colour, scene.shape, scene.word)


def _with_ground(scene: Scene, chance: random.Random) -> Scene:
    """Give a scene whose query leaves the ground open one at random."""
    return scene if scene.ground else chance.choice(alternatives(scene, "ground"))
