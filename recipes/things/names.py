"""Which things there are: their names and keywords in four languages, and which drawings of a style show them."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LANGUAGES = ("en", "de", "fr", "es")
EVERYDAY = ("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")
"""The categories whose things are asked for in the evaluation."""
_OTHERS = ("People & Body", "Smileys & Emotion")  # learned, too, but their names tell them apart less
# What is called otherwise in everyday life; CLDR keeps the shorter word among its keywords.
_PLAIN = {
    "automobile": "car",
    "sport utility vehicle": "SUV",
    "beach with umbrella": "beach",
    "water wave": "wave",
    "high voltage": "lightning",
    "doughnut": "donut",
    "fork and knife": "cutlery",
    "hot beverage": "cup of coffee",
    "cooked rice": "bowl of rice",
    "steaming bowl": "bowl of noodles",
    "shallow pan of food": "paella",
    "sun behind cloud": "cloud and sun",
    "cloud with lightning and rain": "thunderstorm",
    "cloud with rain": "rain",
    "cloud with snow": "snow",
    "umbrella with rain drops": "umbrella in the rain",
    "soccer ball": "football",
    "american football": "American football",
    "person biking": "cyclist",
    "person running": "runner",
    "person swimming": "swimmer",
    "person surfing": "surfer",
    "wrapped gift": "gift",
    "light bulb": "light bulb",
    "mobile phone": "mobile phone",
    "t-shirt": "T-shirt",
    "woman’s hat": "woman's hat",
    "roasted sweet potato": "sweet potato",
    "ear of corn": "corn",
    "red apple": "red apple",
    "front-facing baby chick": "chick",
    "spouting whale": "whale",
    "horse racing": "horse race",
    "spiral shell": "sea shell",
    "lady beetle": "ladybird",
    "houses": "row of houses",
    "sunset": "sunset over the city",
    "sunrise": "sunrise over the sea",
}
_LEFT_OUT = re.compile(
    r"o’clock|-thirty|button|globe showing (?!Europe)|quarter moon|gibbous|crescent moon|dark skin|light skin"
    r"|medium skin|person: |: |speaker (?:low|medium)|Japanese “|with (?:lines|page)|\d+(?:st|nd|rd) place"
)
_FACE = re.compile(r" face$")


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing with a name. ``codes`` are the emoji that show it, such as 1f431 and 1f408 for a cat.

    ``names`` holds, by language, the name first and then words that mean no other thing.
    """

    codes: tuple[str, ...]
    category: str
    names: Mapping[str, tuple[str, ...]]

    @property
    def name(self) -> str:
        """The English name."""
        return self.names["en"][0]

    @property
    def everyday(self) -> bool:
        """Say whether the evaluation may ask for it."""
        return self.category in EVERYDAY


def code_of(text: str) -> str:
    """Return the code points of an emoji, without the one that only asks for colour."""
    return "-".join(f"{ord(letter):x}" for letter in text if letter != "\ufe0f")


def read_things(annotations: str, sets: Sequence[str]) -> list[Thing]:
    """Return the things that CLDR names and the first of the emoji ``sets`` puts into a category, in a fixed order.

    ``annotations`` and ``sets`` are folders of unpacked packages. An animal and its face are one thing.
    """
    words = {language: _annotations(annotations, language) for language in LANGUAGES}
    category_of = _categories(sets[0])
    merged: dict[str, list[str]] = defaultdict(list)
    for code, entry in words["en"].items():
        name = entry[0]
        if category_of.get(code) in (*EVERYDAY, *_OTHERS) and not _LEFT_OUT.search(name):
            merged[name].append(code)
    for name in [name for name in merged if _FACE.search(name) and _FACE.sub("", name) in merged]:
        merged[_FACE.sub("", name)] += merged.pop(name)
    used = {language: _counts(merged, words[language]) for language in LANGUAGES}
    things = []
    for codes in sorted(map(tuple, merged.values())):
        names = {language: _names(codes, words[language], used[language], language) for language in LANGUAGES}
        if all(names.values()):
            things.append(Thing(codes, category_of[codes[0]], names))
    return things


def _annotations(folder: str, language: str) -> dict[str, tuple[str, ...]]:
    """Return, by code, the name and then the keywords that CLDR has in a language."""
    path = os.path.join(folder, "package", "annotations", language, "annotations.json")
    with open(path, encoding="utf-8") as file:
        entries = json.load(file)["annotations"]["annotations"]
    return {
        code_of(emoji): (entry["tts"][0], *entry.get("default", ()))
        for emoji, entry in entries.items()
        if "tts" in entry
    }


def _counts(merged: Mapping[str, Sequence[str]], words: Mapping[str, tuple[str, ...]]) -> Counter[str]:
    """Count, for each word, the things that it is said of."""
    return Counter(
        word for codes in merged.values() for word in {w for code in codes for w in words.get(code, ())}
    )


def _names(
    codes: Iterable[str], words: Mapping[str, tuple[str, ...]], used: Counter[str], language: str
) -> tuple[str, ...]:
    """Return the names of one thing: the plain one, CLDR's, and keywords that no other thing has."""
    found: dict[str, None] = {}
    for code in codes:
        name, *keywords = words.get(code, ("",))
        if not name:
            continue
        if not found and language == "en" and name in _PLAIN:
            found[_PLAIN[name]] = None
        found.setdefault(name)
        found.update(dict.fromkeys(word for word in keywords if used[word] == 1 and len(word) > 2))
    return tuple(found)


def _categories(folder: str) -> dict[str, str]:
    """Return the category of every code that an emoji set has."""
    icons, chars = _set(folder)
    by_name = {name: category for category, names in icons["categories"].items() for name in names}
    parents = {name: alias["parent"] for name, alias in icons.get("aliases", {}).items()}
    return {
        code: by_name[parents.get(name, name)]
        for code, name in chars.items()
        if parents.get(name, name) in by_name
    }


def _set(folder: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a set's icons with its categories, and the icon's name by code, {} where the set has no codes."""
    inside = os.path.join(folder, "package")
    with open(os.path.join(inside, "icons.json"), encoding="utf-8") as file:
        icons: dict[str, Any] = json.load(file)
    chars: dict[str, str] = {}
    for name, key in (("metadata", "categories"), ("chars", "")):
        if not os.path.exists(path := os.path.join(inside, f"{name}.json")):
            continue
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        if key:
            icons[key] = content.get(key, {})
        else:
            chars = {
                "-".join(p for p in code.lower().split("-") if p != "fe0f"): n for code, n in content.items()
            }
    return icons, chars


# What icons of one thing differ in: "cat-fill" and "cat-2" are cats.
_VARIANT = re.compile(r"(?:-(?:\d+|fill(?:ed)?|bold|thin|light|duotone|solid|outline))+$")


class Drawings:
    """The drawings of one set of emoji or icons, as SVG, by the code of what they show."""

    def __init__(self, folder: str, names_of: Mapping[str, Iterable[str]], most: int = 4) -> None:
        """Read the set unpacked in ``folder``; ``names_of`` says how a code may be called where a set has no codes.

        Of one thing there are at most so many drawings.
        """
        self._most = most
        self._icons, chars = _set(folder)
        self._by_code: dict[str, list[str]] = {code: [name] for code, name in chars.items()}
        if not chars:
            known: dict[str, list[str]] = defaultdict(list)
            for name in (*self._icons["icons"], *self._icons.get("aliases", {})):
                known[_squashed(name)].append(name)
                if (short := _VARIANT.sub("", name)) != name:  # several drawings of one thing
                    known[_squashed(short)].append(name)
            for code, names in names_of.items():
                for name in names:
                    if found := known.get(_squashed(name)):
                        self._by_code[code] = found
                        break

    def of(self, thing: Thing) -> list[str]:
        """Return the SVG of the drawings of a thing."""
        names = dict.fromkeys(name for code in thing.codes for name in self._by_code.get(code, ()))
        drawn = [svg for name in names if (svg := self._svg(name)) is not None]
        return drawn[: self._most]

    def _svg(self, name: str) -> str | None:
        alias = self._icons.get("aliases", {}).get(name, {})
        icon = self._icons["icons"].get(alias.get("parent", name))
        if icon is None or alias.get("rotate") or alias.get("vFlip"):
            return None
        left, top = icon.get("left", 0), icon.get("top", 0)
        width, height = (icon.get(side, self._icons.get(side, 16)) for side in ("width", "height"))
        body = icon["body"]
        if alias.get("hFlip"):
            body = f'<g transform="translate({2 * left + width} 0) scale(-1 1)">{body}</g>'
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}">{body}</svg>'
        )


def known_names(things: Iterable[Thing], sets: Iterable[str]) -> dict[str, list[str]]:
    """Return what a thing's codes are called: in the sets that have codes, in CLDR, and in Unicode."""
    names: dict[str, list[str]] = defaultdict(list)
    for folder in sets:
        for code, name in _set(folder)[1].items():
            names[code].append(name)
    for thing in things:
        for code in thing.codes:
            names[code] += [thing.name, *thing.names["en"][1:2]]
            if "-" not in code:
                names[code].append(unicodedata.name(chr(int(code, 16)), ""))
    return {code: list(dict.fromkeys(filter(None, found))) for code, found in names.items()}


def _squashed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
