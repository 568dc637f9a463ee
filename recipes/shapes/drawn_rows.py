"""Draws the rows of a dataset: a query, its picture, and pictures that differ from it in one attribute."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from shapes.captions import caption
from shapes.render import render
from shapes.scene import COLOURS, SHAPES, Scene, alternatives, draw_scene

# How often a training negative differs in an attribute: mostly in those that in-batch negatives tell little of.
_NEGATIVES = {
    "colour": 1,
    "ground": 1,
    "shape": 4,
    "count": 4,
    "size": 8,
    "texture": 8,
    "relation": 8,
    "word": 8,
}


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One row: ``negatives`` differ from ``scene`` in the attributes of the same places in ``differ_in``."""

    query: str
    scene: Scene
    image: Image.Image
    negatives: tuple[Image.Image, ...]
    negative_scenes: tuple[Scene, ...]
    differ_in: tuple[str, ...]


def training_rows(
    count: int,
    seed: int | str,
    kinds: Mapping[str, float],
    shapes: Sequence[str] = SHAPES,
    colours: Sequence[str] = COLOURS,
    negatives: int = 1,
) -> Iterator[Row]:
    """Yield ``count`` rows of combinations that are not held out, with so many negatives in different attributes.

    ``kinds`` says how often each kind of scene comes, as weights. Few ``colours`` (four at least, three if no
    kind is a relation) make the other rows of a batch alike in colour, so that these have to be told apart by
    everything else.
    """
    chance = random.Random(f"training {seed}")
    names, weights = list(kinds), list(kinds.values())
    made = 0
    while made < count:
        scene = draw_scene(chance.choices(names, weights)[0], chance, shapes, colours)
        left = list(scene.attributes())
        differ_in: list[str] = []
        for _ in range(negatives):
            differ_in.append(chance.choices(left, [_NEGATIVES[name] for name in left])[0])
            left.remove(differ_in[-1])
        others = tuple(chance.choice(alternatives(scene, name, shapes, colours)) for name in differ_in)
        if scene.held_out() or any(other.held_out() for other in others):
            continue
        made += 1
        yield Row(
            caption(scene, chance, whole=False),
            scene,
            render(scene, chance),
            tuple(render(other, chance) for other in others),
            others,
            tuple(differ_in),
        )


def evaluation_rows(
    count: int,
    seed: int,
    kind: str,
    attributes: Sequence[str],
    shapes: Sequence[str] = SHAPES,
) -> Iterator[Row]:
    """Yield ``count`` rows of distinct held-out combinations, with a negative in each of ``attributes``.

    No negative shows the combination of any row's query, so that a query has one right picture. Raises
    ValueError if there are not that many held-out combinations.
    """
    chance = random.Random(f"evaluation {seed} {kind}")
    scenes = _distinct_held_out(count, kind, attributes, chance, shapes)
    taken = {scene.key() for scene in scenes}
    for scene in scenes:
        others = tuple(
            chance.choice(_free(alternatives(scene, attribute, shapes), taken)) for attribute in attributes
        )
        yield Row(
            caption(scene, chance),
            scene,
            render(scene, chance),
            tuple(render(other, chance) for other in others),
            others,
            tuple(attributes),
        )


def _free(scenes: Sequence[Scene], taken: set[tuple[object, ...]]) -> list[Scene]:
    return [scene for scene in scenes if scene.key() not in taken]


def _distinct_held_out(
    count: int, kind: str, attributes: Sequence[str], chance: random.Random, shapes: Sequence[str]
) -> list[Scene]:
    """Draw distinct held-out scenes, each with an alternative in every attribute that is none of them."""
    found: dict[tuple[object, ...], Scene] = {}
    for _ in range(400 * count):
        scene = draw_scene(kind, chance, shapes)
        if scene.held_out():
            found.setdefault(scene.key(), scene)
        if len(found) < count:
            continue
        hemmed_in = [
            scene
            for scene in found.values()
            if not all(_free(alternatives(scene, name, shapes), set(found)) for name in attributes)
        ]
        if not hemmed_in:
            return list(found.values())
        del found[hemmed_in[0].key()]
    raise ValueError(f"there are fewer than {count} held-out combinations of the kind {kind!r}")
