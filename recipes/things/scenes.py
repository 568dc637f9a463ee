"""Scenes of everyday things: what a picture shows, what can differ in it, and which combinations are held out."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from things.artwork import Artwork
from things.names import Thing

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "pink", "brown", "black", "white")
PLACES = ("left", "right", "top", "bottom", "middle")
SIZES = ("small", "large")
RELATIONS = ("left of", "right of", "above", "below")
KINDS = ("one", "colour", "ground", "count", "size", "place", "relation", "pair")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_HELD_OUT_OF = 8  # one combination in eight is kept for evaluation
_UNSEEN_OF = 16  # and one everyday thing in sixteen


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows, as far as its caption may say it; None where nothing is said of it.

    ``thing`` and ``other`` are positions in the artwork's things; a relation says where ``thing`` stands as seen
    from ``other``. ``ground`` is the colour of the ground, None for any, drawn or photographed.
    """

    kind: str
    thing: int
    colour: str | None = None
    ground: str | None = None
    count: int = 1
    size: str | None = None
    place: str | None = None
    relation: str | None = None
    other: int | None = None
    other_colour: str | None = None

    def attributes(self) -> tuple[str, ...]:
        """Name the attributes in which another scene of this kind can differ."""
        return {
            "one": ("thing",),
            "colour": ("colour", "thing"),
            "ground": ("ground", "thing"),
            "count": ("count", "thing"),
            "size": ("size", "thing"),
            "place": ("place", "thing"),
            "relation": ("relation", "thing"),
            "pair": ("thing",),
        }[self.kind]

    def key(self) -> tuple[object, ...]:
        """Return the combination, the same for two ways of saying one relation or pair."""
        first: tuple[int | None, str | None] = self.thing, self.colour
        second = self.other, self.other_colour
        relation = self.relation
        turned = self.relation in ("right of", "below") or (self.kind == "pair" and str(first) > str(second))
        if turned:
            first, second = second, first
            relation = OPPOSITE.get(str(relation))
        return self.kind, first, second, relation, self.ground, self.count, self.size, self.place


class Pool:
    """The things and colours that scenes are drawn from, and which of their combinations training may use."""

    def __init__(
        self,
        artwork: Artwork,
        styles: Sequence[str],
        things: Sequence[int] | None = None,
        colours: Sequence[str] = COLOURS,
    ) -> None:
        """Take the ``styles`` to draw in, and the positions of the ``things``, by default all that are drawn."""
        wanted = set(range(len(artwork.things)) if things is None else things)
        self.artwork, self.styles, self.colours = artwork, tuple(styles), tuple(colours)
        self.of_style = {style: [n for n in artwork.shown(style) if n in wanted] for style in styles}
        self.things = sorted({number for numbers in self.of_style.values() for number in numbers})
        self.alike: dict[str, list[int]] = {}
        for number in self.things:
            self.alike.setdefault(artwork.things[number].category, []).append(number)

    def draw(self, kind: str, chance: random.Random) -> Scene:
        """Draw a scene of ``kind`` at random."""
        thing, other = chance.sample(self.things, 2)
        colours = chance.sample(self.colours, 3)
        shape, other_shape = self.must_be_coloured(thing), self.must_be_coloured(other)
        coloured = shape or chance.random() < 0.15
        colour = colours[0] if coloured else None
        ground = colours[2] if coloured or chance.random() < 0.25 else None
        if kind == "one":
            return Scene(kind, thing, colour, ground if shape else None)
        if kind == "colour":
            return Scene(kind, thing, colours[0], ground)
        if kind == "ground":
            return Scene(kind, thing, colour, colours[2])
        if kind == "count":
            return Scene(kind, thing, colour, ground, count=chance.choice((1, 2, 2, 3, 3, 4)))
        if kind == "size":
            return Scene(kind, thing, colour, ground, size=chance.choice(SIZES))
        if kind == "place":
            return Scene(kind, thing, colour, ground, place=chance.choice(PLACES))
        if kind == "relation":
            other_colour = colours[1] if other_shape or (coloured and chance.random() < 0.5) else None
            relation = chance.choice(RELATIONS)
            return Scene(
                kind, thing, colour, ground, relation=relation, other=other, other_colour=other_colour
            )
        if kind == "pair":
            return Scene(
                kind, thing, colour, ground, other=other, other_colour=colours[1] if other_shape else None
            )
        raise ValueError(f"there is no kind of scene called {kind!r}")

    def must_be_coloured(self, thing: int) -> bool:
        """Say whether a thing is a shape, which is always drawn and named with a colour."""
        return self.artwork.things[thing].category == "Shapes"

    def alternative(self, scene: Scene, attribute: str, chance: random.Random) -> Scene:
        """Return a scene that differs from ``scene`` in this one attribute; a relation may also be turned round."""

        def other(choices: Sequence[str], *taken: str | None) -> str:
            return chance.choice([choice for choice in choices if choice not in taken])

        if attribute == "thing":
            return replace(scene, thing=self._other_thing(scene, chance))
        if attribute == "colour":
            return replace(scene, colour=other(self.colours, scene.colour, scene.ground, scene.other_colour))
        if attribute == "ground":
            return replace(scene, ground=other(self.colours, scene.colour, scene.ground, scene.other_colour))
        if attribute == "count":
            return replace(scene, count=chance.choice([n for n in range(1, 5) if n != scene.count]))
        if attribute == "size":
            return replace(scene, size=other(SIZES, scene.size))
        if attribute == "place":
            return replace(scene, place=other(PLACES, scene.place))
        if attribute == "relation":
            return replace(scene, relation=OPPOSITE[str(scene.relation)])
        raise ValueError(f"there is no attribute called {attribute!r}")

    def _other_thing(self, scene: Scene, chance: random.Random) -> int:
        """Return another thing, mostly of the same category; a shape for a shape."""
        shape = self.must_be_coloured(scene.thing)
        alike = self.alike[self.artwork.things[scene.thing].category]
        among = alike if len(alike) > 2 and (shape or chance.random() < 0.6) else self.things
        while True:
            thing = chance.choice(among)
            if thing not in (scene.thing, scene.other) and self.must_be_coloured(thing) == shape:
                return thing


def is_held_out(artwork: Artwork, scene: Scene) -> bool:
    """Say whether a combination is kept for evaluation; one thing alone never is, as only its drawings are new."""
    if scene.kind == "one":
        return False
    names = [artwork.things[n].name for n in (scene.thing, scene.other) if n is not None]
    return _digest(f"{scene.key()} {names}") % _HELD_OUT_OF == 0


def is_unseen(thing: Thing) -> bool:
    """Say whether no training picture shows this thing: it is kept to measure what was never learned."""
    return thing.everyday and _digest(f"thing {thing.name}") % _UNSEEN_OF == 0


def seen_things(artwork: Artwork) -> list[int]:
    """Return the positions of the things that training pictures may show."""
    return [place for place, thing in enumerate(artwork.things) if not is_unseen(thing)]


def unseen_things(artwork: Artwork) -> list[int]:
    """Return the positions of the things that no training picture shows."""
    return [place for place, thing in enumerate(artwork.things) if is_unseen(thing)]


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def weighted(kinds: Mapping[str, float], chance: random.Random) -> str:
    """Draw the name of a kind by its weight."""
    return chance.choices(list(kinds), list(kinds.values()))[0]
