"""What of an image's text a query has found: the line that is quoted, and where the words stand in the image."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from imgsearch.index.image_text import Corners, TextLine
from imgsearch.index.image_text.tokens import Phrase, Token, tokens_of
from imgsearch.types import Quote

_LONGEST = 120
"""Characters of a quote, about."""
_BESIDE = 30
"""Characters that are quoted on either side of the words in a long line."""
_MOST_BOXES = 100
_NARROW, _BROAD = frozenset("iljtfrI.,:;'!|()[] "), frozenset("mwMW@%")


class _Found(NamedTuple):
    """Where a phrase stands: which one, and the (line, first character, end) of each stretch of a line."""

    phrase: int
    stretches: tuple[tuple[int, int, int], ...]


def found_in(lines: Sequence[TextLine], phrases: Sequence[Phrase]) -> set[int]:
    """Return the numbers of the phrases that stand in a text."""
    return {found.phrase for found in _occurrences(lines, phrases)}


def quote_of(lines: Sequence[TextLine], phrases: Sequence[Phrase]) -> Quote | None:
    """Return the shortest stretch of a text that has the most of some phrases, and the boxes of all of them.

    None if no phrase stands in it.
    """
    found = _occurrences(lines, phrases)
    if not found:
        return None
    stretches = dict.fromkeys(one for each in found for one in each.stretches)
    boxes = (_box(lines[line], start, end) for line, start, end in [*stretches][:_MOST_BOXES])
    text, marks = _quoted(lines, _closest(found), list(stretches))
    return Quote(text, tuple(dict.fromkeys(filter(None, boxes))), marks)


def _occurrences(lines: Sequence[TextLine], phrases: Sequence[Phrase]) -> list[_Found]:
    """Return every place of a phrase, in the order of the text."""
    tokens = [(number, token) for number, line in enumerate(lines) for token in tokens_of(line.text)]
    by_first: dict[str, list[int]] = {}
    for place, (_, token) in enumerate(tokens):
        by_first.setdefault(token.text, []).append(place)
    found: list[_Found] = []
    for number, phrase in enumerate(phrases):
        first = phrase.tokens[0]
        places = by_first.get(first, [])
        if phrase.open:
            places = [place for text, some in by_first.items() if text.startswith(first) for place in some]
        for place in places:
            stretch = tokens[place : place + len(phrase.tokens)]
            if phrase.open or tuple(token.text for _, token in stretch) == phrase.tokens:
                found.append(_Found(number, _stretches(stretch, phrase)))
    return sorted(found, key=lambda one: one.stretches)


def _stretches(tokens: Sequence[tuple[int, Token]], phrase: Phrase) -> tuple[tuple[int, int, int], ...]:
    by_line: dict[int, list[Token]] = {}
    for line, token in tokens:
        by_line.setdefault(line, []).append(token)
    return tuple(
        (line, some[0].start, some[0].start + len(phrase.tokens[0]) if phrase.open else some[-1].end)
        for line, some in by_line.items()
    )


def _closest(found: Sequence[_Found]) -> list[tuple[int, int, int]]:
    """Return where all of the phrases stand in the fewest lines, then characters."""
    wanted = len({one.phrase for one in found})
    best, counts, first = found, Counter[int](), 0
    least = (found[-1].stretches[-1][0] + 1, 0)
    for last, one in enumerate(found):
        counts[one.phrase] += 1
        while len(counts) == wanted:
            (from_line, start, _), (to_line, _, end) = found[first].stretches[0], one.stretches[-1]
            if (to_line - from_line, end - start) < least:
                best, least = found[first : last + 1], (to_line - from_line, end - start)
            counts[found[first].phrase] -= 1
            if not counts[found[first].phrase]:
                del counts[found[first].phrase]
            first += 1
    return sorted({stretch for one in best for stretch in one.stretches})


def _quoted(
    lines: Sequence[TextLine], found: Sequence[tuple[int, int, int]], every: Sequence[tuple[int, int, int]]
) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the lines of some stretches as one, with … where something is left out, and where ``every`` one is."""
    parts: list[str] = []
    marks: list[tuple[int, int]] = []
    before, room = -1, _LONGEST  # the line of which all has been quoted, to its end
    for number in dict.fromkeys(line for line, _, _ in found):
        text = lines[number].text
        here = [one for one in found if one[0] == number]
        start, end = 0, len(text)
        if end > room:
            start = max(here[0][1] - _BESIDE, 0)
            end = min(max(here[-1][2], here[0][1]) + _BESIDE, end, start + _LONGEST)
        if number != before + 1 or start:
            parts.append("…")
        part = text[start:end].strip()
        shift = sum(len(one) + 1 for one in parts) - text.index(part, start)
        for line, first, last in every:
            if line == number and first >= start and last <= end:
                marks.append((first + shift, last + shift))
        parts.append(part)
        before = number if end == len(text) else number - 1
        room -= end - start
        if room <= 0:
            break
    if before != len(lines) - 1:
        parts.append("…")
    return " ".join(parts), _merged(marks)


def _merged(marks: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return stretches in their order, those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(marks):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return tuple(merged)


def _box(line: TextLine, start: int, end: int) -> tuple[float, float, float, float] | None:
    """Return left, top, right, bottom of some characters of a line, by how wide letters are on average."""
    if line.corners is None:
        return None
    widths = [_width(char) for char in line.text]
    whole = sum(widths) or 1.0
    from_, to = sum(widths[:start]) / whole, sum(widths[:end]) / whole
    points = [*_edge(line.corners, from_), *_edge(line.corners, to)]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return round(min(xs), 4), round(min(ys), 4), round(max(xs), 4), round(max(ys), 4)


def _edge(corners: Corners, part: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the points above and below that stand so far along a line."""
    ax, ay, bx, by, cx, cy, dx, dy = corners
    return (ax + (bx - ax) * part, ay + (by - ay) * part), (dx + (cx - dx) * part, dy + (cy - dy) * part)


def _width(char: str) -> float:
    if char in _NARROW:
        return 0.5
    if char in _BROAD:
        return 1.5
    if unicodedata.east_asian_width(char) in "WF":
        return 2.0
    return 1.2 if char.isupper() else 1.0
