"""Says what a scene of things shows, in English or in one of three further languages."""

from __future__ import annotations

import random
from collections.abc import Mapping

from things.artwork import Artwork
from things.names import Thing
from things.scenes import Scene

_PLURALS = """
    mouse:mice sheep:sheep fish:fish wolf:wolves leaf:leaves man:men woman:women person:people tooth:teeth foot:feet
    knife:knives ox:oxen bus:buses trolleybus:trolleybuses octopus:octopuses cactus:cacti child:children scarf:scarves
    loaf:loaves goose:geese deer:deer
"""
_IRREGULAR = dict(pair.split(":") for pair in _PLURALS.split())
_NUMBERS: dict[str, dict[int, tuple[str, ...]]] = {
    "en": {1: ("one", "1"), 2: ("two", "2"), 3: ("three", "3"), 4: ("four", "4")},
    "de": {1: ("ein", "eine", "1"), 2: ("zwei", "2"), 3: ("drei", "3"), 4: ("vier", "4")},
    "fr": {1: ("un", "une", "1"), 2: ("deux", "2"), 3: ("trois", "3"), 4: ("quatre", "4")},
    "es": {1: ("un", "una", "1"), 2: ("dos", "2"), 3: ("tres", "3"), 4: ("cuatro", "4")},
}
_PLACES = {
    "left": ("on the left", "at the left", "on the left side"),
    "right": ("on the right", "at the right", "on the right side"),
    "top": ("at the top", "near the top"),
    "bottom": ("at the bottom", "near the bottom"),
    "middle": ("in the middle", "in the centre"),
}
_RELATIONS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
_BOTH = {
    "left of": ("on the left", "on the right"),
    "right of": ("on the right", "on the left"),
    "above": ("at the top", "at the bottom"),
    "below": ("at the bottom", "at the top"),
}
_SIZES = {"small": ("small", "small", "little", "tiny"), "large": ("large", "big", "huge")}
_OPENINGS = ("", "", "", "", "a picture of ", "an image of ", "a drawing of ", "an icon of ")
# In the other languages adjectives agree with a gender that the names do not tell. So they follow as a phrase, which
# does not; the article is any of them, so that none matters.
_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "de": {
        "article": ("", "", "ein ", "eine ", "einen ", "der ", "die ", "das "),
        "red": ("in Rot", "rot"),
        "green": ("in Grün", "grün"),
        "blue": ("in Blau", "blau"),
        "yellow": ("in Gelb", "gelb"),
        "purple": ("in Lila", "lila"),
        "orange": ("in Orange", "orange"),
        "pink": ("in Rosa", "rosa"),
        "brown": ("in Braun", "braun"),
        "black": ("in Schwarz", "schwarz"),
        "white": ("in Weiß", "weiß"),
        "ground": ("auf {}em Grund", "vor {}em Hintergrund"),
        "small": ("klein",),
        "large": ("groß",),
        "left": ("links",),
        "right": ("rechts",),
        "top": ("oben",),
        "bottom": ("unten",),
        "middle": ("in der Mitte",),
        "left of": ("links von",),
        "right of": ("rechts von",),
        "above": ("über",),
        "below": ("unter",),
        "and": ("und",),
    },
    "fr": {
        "article": ("", "", "un ", "une ", "le ", "la "),
        "red": ("en rouge", "rouge"),
        "green": ("en vert", "vert"),
        "blue": ("en bleu", "bleu"),
        "yellow": ("en jaune", "jaune"),
        "purple": ("en violet", "violet"),
        "orange": ("en orange", "orange"),
        "pink": ("en rose", "rose"),
        "brown": ("en marron", "marron"),
        "black": ("en noir", "noir"),
        "white": ("en blanc", "blanc"),
        "ground": ("sur fond {}",),
        "small": ("petit",),
        "large": ("grand",),
        "left": ("à gauche",),
        "right": ("à droite",),
        "top": ("en haut",),
        "bottom": ("en bas",),
        "middle": ("au milieu",),
        "left of": ("à gauche de",),
        "right of": ("à droite de",),
        "above": ("au-dessus de",),
        "below": ("sous", "au-dessous de"),
        "and": ("et",),
    },
    "es": {
        "article": ("", "", "un ", "una ", "el ", "la "),
        "red": ("en rojo", "rojo"),
        "green": ("en verde", "verde"),
        "blue": ("en azul", "azul"),
        "yellow": ("en amarillo", "amarillo"),
        "purple": ("en morado", "morado"),
        "orange": ("en naranja", "naranja"),
        "pink": ("en rosa", "rosa"),
        "brown": ("en marrón", "marrón"),
        "black": ("en negro", "negro"),
        "white": ("en blanco", "blanco"),
        "ground": ("sobre fondo {}",),
        "small": ("pequeño",),
        "large": ("grande",),
        "left": ("a la izquierda",),
        "right": ("a la derecha",),
        "top": ("arriba",),
        "bottom": ("abajo",),
        "middle": ("en el centro",),
        "left of": ("a la izquierda de",),
        "right of": ("a la derecha de",),
        "above": ("encima de",),
        "below": ("debajo de",),
        "and": ("y",),
    },
}


def caption(
    artwork: Artwork, scene: Scene, chance: random.Random, language: str = "en", *, plain: bool = False
) -> str:
    """Return a caption that says every attribute of ``scene``.

    ``plain`` takes the names themselves, without keywords and without an opening.
    """
    if language == "en":
        return _english(artwork, scene, chance, plain)
    return _other(artwork, scene, chance, _WORDS[language], language, plain)


def _english(artwork: Artwork, scene: Scene, chance: random.Random, plain: bool) -> str:
    opening = "" if plain else chance.choice(_OPENINGS)
    first = _phrase(artwork.things[scene.thing], scene.colour, scene, chance, plain)
    text = first
    if scene.other is not None:
        second = _phrase(artwork.things[scene.other], scene.other_colour, None, chance, plain)
        if scene.relation is None:
            text = f"{first} and {second}"
        elif not plain and chance.random() < 0.35:  # the same, said of each: it is learned first
            one, two = _BOTH[scene.relation]
            text = f"{first} {one} and {second} {two}"
        else:
            text = f"{first} {chance.choice(_RELATIONS[scene.relation])} {second}"
    elif scene.place is not None:
        where = chance.choice(_PLACES[scene.place])
        text = f"{where} {first}" if not opening and chance.random() < 0.2 else f"{first} {where}"
    if scene.ground is not None:
        text += f" {chance.choice(('on', 'on', 'against'))} {article(scene.ground)} {scene.ground} "
        text += chance.choice(("ground", "background"))
    return opening + text


def _phrase(thing: Thing, colour: str | None, scene: Scene | None, chance: random.Random, plain: bool) -> str:
    """Return count, size, colour and name, such as "two small red cats"; a single one with or without article."""
    name = _name(thing, "en", chance, plain)
    words = [colour, name]
    if scene is not None and scene.size is not None:
        words.insert(0, chance.choice(_SIZES[scene.size]))
    text = " ".join(filter(None, words))
    if scene is not None and scene.kind == "count":
        number = chance.choice(_NUMBERS["en"][scene.count])
        return f"{number} {text if scene.count == 1 else plural(text)}"
    return text if chance.random() < 0.35 else f"{article(text)} {text}"


def _other(
    artwork: Artwork,
    scene: Scene,
    chance: random.Random,
    words: Mapping[str, tuple[str, ...]],
    language: str,
    plain: bool,
) -> str:
    def named(thing: int, colour: str | None) -> str:
        name = _name(artwork.things[thing], language, chance, plain)
        return f"{name} {chance.choice(words[colour])}" if colour else name

    lead = chance.choice(words["article"])
    if scene.kind == "count":
        lead = f"{chance.choice(_NUMBERS[language][scene.count])} "
    text = lead + named(scene.thing, scene.colour)
    if scene.size is not None:
        text += f", {chance.choice(words[scene.size])}"
    if scene.other is not None:
        text += f" {chance.choice(words[scene.relation or 'and'])} {named(scene.other, scene.other_colour)}"
    elif scene.place is not None:
        text += f" {chance.choice(words[scene.place])}"
    if scene.ground is not None:
        text += f" {chance.choice(words['ground']).format(words[scene.ground][1])}"
    return text


def _name(thing: Thing, language: str, chance: random.Random, plain: bool) -> str:
    """Return the name of a thing, once in four times a word that means the same."""
    names = thing.names[language]
    return names[0] if plain or len(names) == 1 or chance.random() < 0.75 else chance.choice(names[1:])


def article(words: str) -> str:
    """Return the indefinite article that English puts before ``words``."""
    return (
        "an"
        if words[:1].lower() in "aeiou" and not words.lower().startswith(("uni", "euro", "one "))
        else "a"
    )


def plural(words: str) -> str:
    """Return the English plural of a name, of its first part where that is what there are several of."""
    head, of, rest = words.partition(" of ")
    if not of:
        head, of, rest = words.partition(" with ")
    before, _, last = head.rpartition(" ")
    if last.lower() in _IRREGULAR:
        last = _IRREGULAR[last.lower()]
    elif last.endswith(("s", "x", "ch", "sh", "z")):
        last = last if last.endswith("s") and not last.endswith("ss") else f"{last}es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = f"{last[:-1]}ies"
    else:
        last = f"{last}s"
    return f"{before} {last}".strip() + of + rest
