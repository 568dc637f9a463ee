"""Queries on stdin, one per line, each answered as it comes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING

from imgsearch.cli import output
from imgsearch.cli.terminal.hits import Beside
from imgsearch.errors import InputError
from imgsearch.lines import NotText, decode_line
from imgsearch.text import Message, is_blank
from imgsearch.types import MAX_TEXT_BYTES, Hit

if TYPE_CHECKING:
    # The others import it on use: it loads NumPy.
    from imgsearch.search.remembered import Remembered


def answer_lines(
    find: Callable[[str], tuple[list[Hit], Beside]],
    style: str,
    nothing: str,
    reporter: output.ProgressReporter,
    remember: Callable[[list[Hit]], tuple[Remembered, ...]] | None,
) -> int:
    """Print what ``find`` returns for each line of stdin, hits and what a person is shown beside them; the exit code.

    The numbers that a person sees go on from answer to answer, and so each names one image afterwards, if there is a
    way to ``remember`` hits. ``nothing`` is what is said if no line finds anything.
    """
    from imgsearch.search.remembered import LastAnswer
    from imgsearch.search.remembered import remember as keep

    found: list[Remembered] = []
    shown, failed = 0, False
    try:
        for number, line in lines():
            try:
                hits, beside = find(line)
            except InputError as error:
                # One bad question must not cost the others their answers.
                output.error(Message(f"line {number}: ", error.as_message))
                failed = True
                continue
            output.hits(hits, style, line, first=shown + 1, beside=beside)
            shown += len(hits)
            found += remember(hits) if remember else ()
    finally:  # also of what Ctrl-C ends
        if remember and output.for_person(style):
            keep(LastAnswer(tuple(found), shown))
    if not shown and not failed:
        reporter.say(nothing)
    return 2 if failed else 0 if shown else 1


def lines() -> Iterator[tuple[int, str]]:
    """Yield the queries on stdin with their line numbers as they come; blank lines are none.

    One that is too long is yielded only so far that this shows, and before its rest is read. Raises InputError for what
    is no text, and where there is none.
    """
    asked = False
    enough = MAX_TEXT_BYTES + 16  # also without a byte order mark
    for number in count(1):
        data = sys.stdin.buffer.readline(enough)
        if not data:
            break
        cut = len(data) == enough and not data.endswith(b"\n")
        try:
            line = decode_line(data, number, errors="surrogateescape")
        except NotText as error:
            raise InputError(f"stdin, line {number}: {error}") from error
        if not is_blank(line):
            asked = True
            yield number, line if cut else line.strip()
        while cut:
            data = sys.stdin.buffer.readline(enough)
            cut = len(data) == enough and not data.endswith(b"\n")
    if not asked:
        raise InputError("no query on stdin; write one per line")
