"""What text in images is found by: folded words, and pairs of characters where a script has no spaces.

Accents and case are folded, so that "cafe" finds CAFÉ. A run of Chinese, Japanese, Korean, Thai, Lao, Khmer or
Burmese letters is cut into all of its pairs, since nobody can tell its words without a dictionary.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from imgsearch.index.metadata.fulltext import fold

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUN = re.compile(rf"[{_UNSPACED}]+|[^{_UNSPACED} ]+")
_LONGEST = 64
"""Characters of a word that count."""
MOST_PHRASES = 64
"""Of a query that are looked for."""


class Token(NamedTuple):
    """A word, or a pair of characters, of a text: folded, and from which to which character it stands there."""

    text: str
    start: int
    end: int


class Phrase(NamedTuple):
    """Tokens that are to follow each other; the last one need only begin so if it is ``open``. ``text`` is as typed."""

    tokens: tuple[str, ...]
    open: bool = False
    text: str = ""


def tokens_of(text: str) -> Iterator[Token]:
    """Yield the tokens of a text, in order. A run without spaces ends with its last character alone."""
    folded, places = _folded(text)
    for run in _RUN.finditer(folded):
        start, end = run.span()
        if not _is_unspaced(run[0]):
            yield Token(run[0][:_LONGEST], places[start], places[end - 1] + 1)
            continue
        for at in range(start, end):
            last = min(at + 2, end)
            yield Token(folded[at:last], places[at], places[last - 1] + 1)


def phrases_of(query: str) -> tuple[Phrase, ...]:
    """Return what a query looks for, each once: its words, and what stands in quotation marks as a phrase."""
    parts = re.sub("[“”„‟«»＂]", '"', query).split('"')
    found: list[Phrase] = []
    for number, part in enumerate(parts):
        for one in [part] if number % 2 else part.split():
            found += _phrases(one)
    return tuple(itertools.islice(dict.fromkeys(found), MOST_PHRASES))


def _phrases(text: str) -> Iterator[Phrase]:
    """Yield what has to follow each other in a text: all of it, but that a run without spaces stands for itself."""
    words: list[str] = []
    folded, _ = _folded(text)
    for run in _RUN.findall(folded):
        if not _is_unspaced(run):
            words.append(run[:_LONGEST])
            continue
        if words:
            yield Phrase(tuple(words), text=" ".join(words))
            words = []
        pairs = tuple(run[at : at + 2] for at in range(len(run) - 1))
        yield Phrase(pairs or (run,), open=not pairs, text=run)
    if words:
        yield Phrase(tuple(words), text=" ".join(words))


def _folded(text: str) -> tuple[str, list[int]]:
    """Return a text folded, with a space for all that is no letter or digit, and whence each character comes."""
    if text.isascii():
        return "".join(char if char.isalnum() else " " for char in text.lower()), list(range(len(text)))
    folded: list[str] = []
    places: list[int] = []
    for place, char in enumerate(text):
        for one in _folded_char(char):
            folded.append(one)
            places.append(place)
    return "".join(folded), places


@functools.lru_cache(maxsize=8192)
def _folded_char(char: str) -> str:
    if unicodedata.combining(char):
        return ""  # a combining accent without a letter
    plain = unicodedata.normalize("NFC", fold(char)).translate(_STROKES)  # Korean syllables whole again
    return "".join(one if one.isalnum() or _is_unspaced(one) else " " for one in plain)


def _is_unspaced(run: str) -> bool:
    return _FIRST.match(run) is not None


_FIRST = re.compile(f"[{_UNSPACED}]")
_STROKES = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"}
)
"""Letters that Unicode does not take apart."""
