"""Scenes that are drawn by code: which attributes there are, how they combine, and which combinations are held out."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black", "pink", "brown")
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "bar", "diamond")
AWAY_SHAPES = ("heart", "moon", "arrow", "hexagon", "drop", "house", "cloud", "bolt")
"""The second domain: shapes that the demo checkpoint has never seen drawn like this."""
TEXTURES = ("plain", "striped", "dotted", "checked")
SIZES = ("small", "large")
RELATIONS = ("left of", "right of", "above", "below")
WORDS = ("cat", "dog", "sun", "fish", "tree", "home", "open", "exit", "sale", "moon", "bread", "music")
KINDS = ("group", "size", "texture", "relation", "word")
ATTRIBUTES = ("colour", "shape", "count", "ground", "size", "texture", "relation", "word")

_INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_HELD_OUT_OF = 5  # one combination in five is kept for evaluation


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows, as far as its caption may say it; None where a scene of this kind says nothing.

    A group is ``count`` equal shapes on a ground. ``size`` and ``texture`` (of the ground) belong to one shape.
    A relation has a second shape in a second colour, and the first stands ``relation`` it. A word has neither
    shape nor count.
    """

    kind: str
    colour: str
    ground: str
    shape: str | None = None
    count: int | None = None
    size: str | None = None
    texture: str | None = None
    relation: str | None = None
    other_colour: str | None = None
    other_shape: str | None = None
    word: str | None = None

    def key(self) -> tuple[object, ...]:
        """Return the combination of attributes, the same for two ways of saying one relation."""
        if self.relation in ("right of", "below"):
            return (
                *(self.kind, self.other_colour, self.other_shape, _INVERSE[self.relation]),
                *(self.colour, self.shape, self.ground),
            )
        if self.kind == "relation":
            return (
                *(self.kind, self.colour, self.shape, self.relation),
                *(self.other_colour, self.other_shape, self.ground),
            )
        return (
            self.kind,
            self.count,
            self.size,
            self.colour,
            self.shape,
            self.texture,
            self.ground,
            self.word,
        )

    def held_out(self) -> bool:
        """Say whether this combination is kept for evaluation: then no training picture or caption has it."""
        digest = hashlib.sha256(repr(self.key()).encode()).digest()
        return digest[0] % _HELD_OUT_OF == 0

    def attributes(self) -> tuple[str, ...]:
        """Name the attributes in which another scene of this kind can differ."""
        return {
            "group": ("colour", "shape", "count", "ground"),
            "size": ("size", "colour", "shape", "ground"),
            "texture": ("texture", "colour", "shape", "ground"),
            "relation": ("relation", "colour", "shape"),
            "word": ("word", "colour", "ground"),
        }[self.kind]


def draw_scene(
    kind: str, chance: random.Random, shapes: Sequence[str] = SHAPES, colours: Sequence[str] = COLOURS
) -> Scene:
    """Draw a scene of ``kind`` at random, every attribute alike; of at least three colours and two shapes."""
    colour, ground, second = chance.sample(colours, 3)
    shape, other = chance.sample(list(shapes), 2)
    if kind == "group":
        return Scene(kind, colour, ground, shape, count=chance.randint(1, 4))
    if kind == "size":
        return Scene(kind, colour, ground, shape, count=1, size=chance.choice(SIZES))
    if kind == "texture":
        return Scene(kind, colour, ground, shape, count=1, texture=chance.choice(TEXTURES))
    if kind == "relation":
        relation = chance.choice(RELATIONS)
        return Scene(kind, colour, ground, shape, relation=relation, other_colour=second, other_shape=other)
    if kind == "word":
        return Scene(kind, colour, ground, word=chance.choice(WORDS))
    raise ValueError(f"there is no kind of scene called {kind!r}")


def alternatives(
    scene: Scene, attribute: str, shapes: Sequence[str] = SHAPES, colours: Sequence[str] = COLOURS
) -> list[Scene]:
    """Return the scenes that differ from ``scene`` in this one attribute; for a relation, the opposite one."""

    def others(choices: Sequence[str], *taken: str | None) -> list[str]:
        return [choice for choice in choices if choice not in taken]

    shown = (scene.colour, scene.ground, scene.other_colour)
    if attribute == "colour":
        return [replace(scene, colour=colour) for colour in others(colours, *shown)]
    if attribute == "ground":
        return [replace(scene, ground=colour) for colour in others(colours, *shown)]
    if attribute == "shape":
        return [replace(scene, shape=shape) for shape in others(shapes, scene.shape, scene.other_shape)]
    if attribute == "count":
        return [replace(scene, count=count) for count in range(1, 5) if count != scene.count]
    if attribute == "size":
        return [replace(scene, size=size) for size in others(SIZES, scene.size)]
    if attribute == "texture":
        return [replace(scene, texture=texture) for texture in others(TEXTURES, scene.texture)]
    if attribute == "relation":
        assert scene.relation is not None
        return [replace(scene, relation=_INVERSE[scene.relation])]
    if attribute == "word":
        return [replace(scene, word=word) for word in others(WORDS, scene.word)]
    raise ValueError(f"there is no attribute called {attribute!r}")
