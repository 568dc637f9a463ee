"""The drawn pictures: what they show, what their captions say, and that evaluation is of unseen combinations."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shapes.captions import caption
from shapes.drawn_rows import evaluation_rows, training_rows
from shapes.gallery import EXAMPLE, PICTURES, QUERIES, RIGHT, draw_gallery
from shapes.render import SIZES, render
from shapes.scene import (
    ATTRIBUTES,
    AWAY_SHAPES,
    COLOURS,
    KINDS,
    SHAPES,
    Scene,
    alternatives,
    draw_scene,
)

kinds, seeds = st.sampled_from(KINDS), st.integers(0, 10_000)
CORE = ("colour", "shape", "count", "ground")
MIX = dict.fromkeys(KINDS, 1.0)


def _draw(kind: str, seed: int) -> tuple[Scene, random.Random]:
    chance = random.Random(seed)
    return draw_scene(kind, chance), chance


@given(kinds, seeds)
def test_a_whole_caption_says_every_attribute(kind: str, seed: int) -> None:
    """Colour, ground, shape, texture and word stand in the caption of whatever scene says them."""
    scene, chance = _draw(kind, seed)
    text = caption(scene, chance)
    said = (scene.colour, scene.ground, scene.shape, scene.other_colour, scene.other_shape)
    for word in (*said, scene.texture, scene.word):
        assert word is None or word in text


@given(kinds, seeds)
def test_scenes_that_differ_have_different_captions(kind: str, seed: int) -> None:
    """Whichever attribute is altered, no phrasing of the one caption is a phrasing of the other."""
    scene, chance = _draw(kind, seed)
    mine = {caption(scene, random.Random(n)) for n in range(20)}
    for attribute in scene.attributes():
        other = chance.choice(alternatives(scene, attribute))
        assert not mine & {caption(other, random.Random(n)) for n in range(20)}


@given(kinds, seeds)
def test_an_altered_scene_differs_in_that_attribute_alone(kind: str, seed: int) -> None:
    """One field changes, and the combination with it."""
    scene, _ = _draw(kind, seed)
    for attribute in scene.attributes():
        for other in alternatives(scene, attribute):
            changed = [name for name in Scene.__slots__ if getattr(scene, name) != getattr(other, name)]
            assert changed == [attribute]
            assert other.key() != scene.key()


def test_two_ways_of_saying_a_relation_are_one_combination() -> None:
    """A left of B is B right of A, so one can't be held out while the other is trained on."""
    left = Scene(
        "relation", "red", "white", "ring", relation="left of", other_colour="blue", other_shape="bar"
    )
    right = Scene(
        "relation", "blue", "white", "bar", relation="right of", other_colour="red", other_shape="ring"
    )
    above = Scene(
        "relation", "red", "white", "ring", relation="above", other_colour="blue", other_shape="bar"
    )
    assert left.key() == right.key() != above.key()
    assert left.held_out() == right.held_out()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the drawing out, for tests of the scenes alone."""
    monkeypatch.setattr("shapes.drawn_rows.render", lambda scene, chance: Image.new("1", (1, 1)))


@pytest.mark.usefixtures("undrawn")
def test_what_is_evaluated_was_never_trained_on() -> None:
    """No training picture, positive or negative, shows a combination that an evaluation query asks for."""
    trained = set()
    for row in training_rows(3000, 7, MIX):
        trained |= {row.scene.key(), *(scene.key() for scene in row.negative_scenes)}
    asked = [
        row.scene
        for kind in KINDS
        for row in evaluation_rows(60, 7, kind, CORE[:1] if kind != "group" else CORE)
    ]
    assert len({scene.key() for scene in asked}) == 60 * len(KINDS)
    assert not {scene.key() for scene in asked} & trained
    assert all(scene.held_out() for scene in asked)


@pytest.mark.usefixtures("undrawn")
def test_the_split_holds_for_every_training_scene_whatever_the_seed() -> None:
    """The split is a property of the combination: no draw of training rows can reach a held-out one."""
    for seed in range(5):
        for row in training_rows(100, seed, MIX):
            assert not row.scene.held_out()
            assert not any(scene.held_out() for scene in row.negative_scenes)


@pytest.mark.usefixtures("undrawn")
def test_five_hundred_unseen_queries_have_one_right_picture_each() -> None:
    """Among 2,500 pictures only a query's own shows its combination; each negative differs in its attribute."""
    rows = list(evaluation_rows(500, 3, "group", CORE))
    asked = {row.scene.key() for row in rows}
    assert len(asked) == 500
    for row in rows:
        assert row.differ_in == CORE
        assert not asked & {scene.key() for scene in row.negative_scenes}


def test_more_rows_than_combinations_are_refused() -> None:
    """There are only so many held-out combinations; asking for more fails at once."""
    with pytest.raises(ValueError, match="fewer than 250"):
        list(evaluation_rows(250, 3, "word", ("word",)))


def test_the_second_domain_shares_no_shape_with_the_first() -> None:
    """What the fine-tune is measured on is none of the shapes at home."""
    assert not set(AWAY_SHAPES) & set(SHAPES)
    rows = list(training_rows(50, 1, {"group": 1.0}, AWAY_SHAPES))
    assert {row.scene.shape for row in rows} <= set(AWAY_SHAPES)


@given(kinds, seeds)
def test_the_same_chance_draws_the_same_picture(kind: str, seed: int) -> None:
    """A dataset can be drawn again, byte for byte."""
    scene, _ = _draw(kind, seed)
    first, second = (np.asarray(render(scene, random.Random(seed))) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape[1::-1] in SIZES


@pytest.mark.parametrize("shape", SHAPES + AWAY_SHAPES)
def test_a_picture_shows_its_colours(shape: str) -> None:
    """White on black: a fair part of the picture is light, most of it is dark, and more shapes are more light."""
    light = []
    for count in (1, 4):
        scene = Scene("group", "white", "black", shape, count=count)
        grey = np.asarray(render(scene, random.Random(1), (128, 128)).convert("L"))
        light.append(float((grey > 200).mean()))
    assert all(0.02 < share < 0.5 for share in light)


@pytest.mark.parametrize(("relation", "axis", "first"), [("left of", 1, True), ("below", 0, False)])
def test_a_relation_is_drawn_as_said(relation: str, axis: int, first: bool) -> None:
    """The first thing's centre lies on the side that the relation names."""
    scene = Scene(
        "relation", "white", "green", "square", relation=relation, other_colour="black", other_shape="circle"
    )
    pixels = np.asarray(render(scene, random.Random(3), (128, 128)).convert("L")).astype(int)
    white, black = (np.argwhere(mask).mean(axis=0)[axis] for mask in (pixels > 225, pixels < 45))
    assert bool(white < black) is first


def test_every_attribute_has_a_kind_that_tells_it() -> None:
    """The table of pairwise accuracies can be filled."""
    chance = random.Random(0)
    assert {name for kind in KINDS for name in draw_scene(kind, chance).attributes()} == set(ATTRIBUTES)


def test_the_gallery_has_eight_right_answers_a_question(tmp_path: Path) -> None:
    """Three hundred pictures; each query, and the one about likeness, is answered by eight of them."""
    drawn = draw_gallery(str(tmp_path / "pictures"))
    assert len(drawn) == PICTURES == len(list((tmp_path / "pictures").iterdir()))
    for query in (*QUERIES, EXAMPLE):
        assert sum(query.matches(scene) for scene in drawn.values()) == RIGHT, query.text


def test_colours_are_told_apart_by_their_shades() -> None:
    """No shade of one colour is nearer to another colour's mean than to its own."""
    shades = {
        name: np.array(
            [
                render(
                    Scene("texture", other, name, "bar", texture="plain"), random.Random(n), (16, 16)
                ).getpixel((0, 0))
                for n in range(30)
            ]
        )
        for name in COLOURS
        for other in [next(c for c in COLOURS if c != name)]
    }
    means = {name: values.mean(axis=0) for name, values in shades.items()}
    for name, values in shades.items():
        for value in values:
            assert min(means, key=lambda other: float(np.linalg.norm(value - means[other]))) == name
