"""Numbers on the command line: images of the last answer, by their place in it.

Where an image is expected, a number means that place, unless a file in the current folder has this name; "./3" is
always the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgsearch.cli import output
from imgsearch.cli.parsing import is_typed
from imgsearch.errors import InputError, UsageError
from imgsearch.index.layout import find_index
from imgsearch.place import split
from imgsearch.text import plural

if TYPE_CHECKING:
    # The other imports it on use: it loads NumPy.
    from imgsearch.search.remembered import LastAnswer

_RANGES = re.compile(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*,?")

_SAID = 10


def is_number(word: str) -> bool:
    """Return whether a word means images of the last answer: "3", "3-5", "1,4", and no file has this name."""
    return _RANGES.fullmatch(word) is not None and not os.path.lexists(word)


def picked(
    words: Sequence[str], index: str | None, reporter: output.ProgressReporter
) -> tuple[list[tuple[str, int]], str | None]:
    """Return what words name, files or images of the last answer, as (path, page), and the index to ask.

    That is the one of the first image of the last answer where one is meant and no index is named. Which image a number
    stands for is said. Raises InputError and UsageError as ``last_answer_of`` and ``places`` do.
    """
    last, found, said = None, list[tuple[str, int]](), list[str]()
    where = index if is_typed("index") else None
    for word in words:
        if _RANGES.fullmatch(word) and os.path.lexists(word):
            said.append(f"{word}: taken as the file of this name in this folder, not as a number")
        if not is_number(word):
            found.append(split(word))
            continue
        last = last or last_answer_of(index)
        for place in places(word, last):
            hit = last.hits[place]
            said.append(f"{place + 1}: {hit.path}" + (f", page {hit.page + 1}" if hit.page else ""))
            found.append((hit.path, hit.page))
            where = where or hit.index
    for line in said[:_SAID]:
        reporter.say(line)
    if len(said) > _SAID:
        reporter.say(f"and {len(said) - _SAID:,} more")
    return found, where or index


def last_answer_of(index: str | None) -> LastAnswer:
    """Return the last answer. Raises InputError if there is none, or if it is of another index than the named one."""
    from imgsearch.search.remembered import last_answer

    last = last_answer()
    if last is None:
        raise InputError(
            "a number means an image of the last search, and no search is remembered; "
            "search first: imgsearch query red car at night"
        )
    known = {last.index, *last.indexes} - {""}
    if index is not None and is_typed("index") and os.path.realpath(find_index(index)) not in known:
        raise InputError(
            f"a number means an image of the last search, and that was in another index, {', '.join(sorted(known))}; "
            "leave out --index, or search in the other one first"
        )
    return last


def places(text: str, last: LastAnswer) -> list[int]:
    """Return the places, from 0, that numbers such as "3", "3-5" or "1,4" name in an answer.

    Raises UsageError for what is not a number, InputError for one beyond the answer.
    """
    if not _RANGES.fullmatch(text):
        raise UsageError(f"{text}: give numbers of the last search, as in 3, 1,4 or 3-5")
    chosen: list[int] = []
    for part in text.strip(",").split(","):
        first, _, end = part.partition("-")
        start, stop = int(first), int(end or first)
        if start > stop:
            raise UsageError(f"{part}: a range begins with the smaller number: {stop}-{start}")
        if start < 1 or stop > len(last.hits):
            raise InputError(_beyond(start if start < 1 else stop, last))
        chosen += [place for place in range(start - 1, stop) if place not in chosen]
    return chosen


def _beyond(number: int, last: LastAnswer) -> str:
    count = len(last.hits)
    if not count:
        return f"{number}: the last search found nothing"
    if count < last.found:
        return f"{number}: only the first {count:,} images of the last search are remembered"
    give = f"give a number from 1 to {count}" if count > 1 else "its number is 1"
    return f"{number}: the last search found {plural(count, 'image')}; {give}"
