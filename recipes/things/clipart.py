"""Finds drawings of things among Debian's openclipart by what its files are called: a style by many hands."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence

from shapes.scene import COLOURS
from things.names import Thing

# Folders of signs, whose files are often called by what they don't show.
_LEFT_OUT = {"special", "duplicates", "logos", "shapes", "signs_and_symbols", "computer", "icons"}
_MOST_BYTES = 200_000  # larger ones take seconds to render
_MOST = 6  # drawings of one thing, so that no thing is mostly clip art
# A file may say these of what it shows.
_HARMLESS = {*COLOURS, "old", "big"}


class Clipart:
    """The drawings of a folder tree that are called as things are, as SVG."""

    def __init__(self, folder: str, things: Sequence[Thing]) -> None:
        """Look for the ``things`` below ``folder``.

        A file is a thing's if its name begins with that of the thing, "cat_01.svg", and then says no word of
        another: "baseball_glove.svg" shows no baseball, but "cat_linda_kim_01.svg" is only by somebody.
        """
        named = {_words(thing.name): thing.name for thing in things}
        named |= {(*words[:-1], f"{words[-1]}s"): name for words, name in named.items()}
        known = {
            word.removesuffix("s") for thing in things for name in thing.names["en"] for word in _words(name)
        }
        self._files: dict[str, list[str]] = defaultdict(list)
        for at, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
            for file in sorted(files):
                path = os.path.join(at, file)
                if not file.endswith(".svg") or os.path.getsize(path) > _MOST_BYTES:
                    continue
                words = _words(file.removesuffix(".svg"))
                for length in range(min(4, len(words)), 0, -1):
                    if (name := named.get(words[:length])) is not None:
                        rest = {word.removesuffix("s") for word in words[length:]} - _HARMLESS
                        if not rest & known:
                            self._files[name].append(path)
                        break

    def of(self, thing: Thing) -> list[str]:
        """Return the SVG of every drawing of a thing, at most six; the same file may lie in several folders."""
        drawn: dict[str, None] = {}
        for path in self._files.get(thing.name, ()):
            with open(path, encoding="utf-8", errors="replace") as file:
                drawn[file.read()] = None
        return list(drawn)[:_MOST]


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.findall("[a-z]+", name.lower()))
