"""Says what a scene shows, in one of several phrasings."""

from __future__ import annotations

import random

from shapes.scene import Scene

_NUMBERS = {2: ("two", "2"), 3: ("three", "3"), 4: ("four", "4")}
_PLURALS = {"cross": "crosses"}
_OPENINGS = ("", "", "", "a picture of ", "an image of ", "a drawing of ")
_SIZE_WORDS = {"small": ("small", "small", "little"), "large": ("large", "large", "big")}
_RELATION_WORDS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}


def caption(scene: Scene, chance: random.Random, *, whole: bool = True) -> str:
    """Return a caption that says every attribute of ``scene``; without ``whole``, perhaps not its ground.

    A ground that is left out is left out of groups, relations and words; a texture belongs to its ground.
    """
    ground = whole or scene.texture is not None or chance.random() < 0.6
    if scene.kind == "word":
        return _word(scene, chance, ground)
    if scene.kind == "relation":
        assert scene.relation is not None
        middle = chance.choice(_RELATION_WORDS[scene.relation])
        first, second = f"{scene.colour} {scene.shape}", f"{scene.other_colour} {scene.other_shape}"
        things = f"{_article(first)} {first} {middle} {_article(second)} {second}"
    else:
        things = _things(scene, chance)
    opening = chance.choice(_OPENINGS)
    if not ground:
        return opening + things
    if chance.random() < 0.15:
        return f"{_ground(scene, chance, bare=False)} with {things}"
    return f"{opening}{things} {chance.choice(('on', 'on', 'on', 'against'))} {_ground(scene, chance)}"


def _things(scene: Scene, chance: random.Random) -> str:
    """Return count, size, colour and shape, such as "two white stars"; a single one with or without article."""
    words = f"{scene.colour} {scene.shape}"
    if scene.size is not None:
        words = f"{chance.choice(_SIZE_WORDS[scene.size])} {words}"
    if scene.count in _NUMBERS:
        plural = _PLURALS.get(str(scene.shape), f"{scene.shape}s")
        return f"{chance.choice(_NUMBERS[scene.count])} {words[: -len(str(scene.shape))]}{plural}"
    return f"{chance.choice((_article(words), _article(words), 'one', ''))} {words}".lstrip()


def _ground(scene: Scene, chance: random.Random, *, bare: bool = True) -> str:
    """Return the ground, such as "a striped blue background"; ``bare`` allows the colour alone."""
    words = scene.ground if scene.texture is None else f"{scene.texture} {scene.ground}"
    if bare and chance.random() < 0.3:
        return words
    return f"{_article(words)} {words} {chance.choice(('ground', 'background'))}"


def _word(scene: Scene, chance: random.Random, ground: bool) -> str:
    """Return a caption of a printed word."""
    text = chance.choice(
        (
            f"the word {scene.word} in {scene.colour}",
            f"{scene.word} written in {scene.colour}",
            f"{scene.colour} letters that say {scene.word}",
        )
    )
    return f"{text} on {_ground(scene, chance)}" if ground else text


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"
