"""Several indexes, each given with --index, searched together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from imgsearch.cli import output
from imgsearch.cli.examples import image_files
from imgsearch.errors import InputError, UsageError
from imgsearch.index.layout import find_index
from imgsearch.text import Message

if TYPE_CHECKING:
    # The others import it on use: it loads NumPy.
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search import CachedEncoder, SearchRequest

Encoders = Callable[["ImageIndex", "SearchRequest"], "CachedEncoder"]


def distinct(given: Sequence[str] | None) -> list[str]:
    """Return the indexes that were given, each once. Raises UsageError for an empty name."""
    named: dict[str, str] = {}
    for one in given or ():
        if not one:
            raise UsageError("--index: the path is empty; give the folder of an index")
        named.setdefault(os.path.realpath(os.path.expanduser(one)), one)
    return list(named.values())


def search(
    indexes: Sequence[str],
    images: Sequence[str],
    request_of: Callable[[Sequence[str]], SearchRequest],
    encoder_of: Encoders,
    lines: Iterator[tuple[int, str]] | None,
    style: str,
    reporter: output.ProgressReporter,
    *,
    allow_private: bool,
) -> int:
    """Print what all indexes find for a request, or for each of the ``lines``; return the exit code.

    ``request_of`` makes the request of the files of its example ``images``.
    """
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search.remembered import forget
    from imgsearch.search.several import ask_all, groups

    with ExitStack() as stack:
        opened = [stack.enter_context(ImageIndex(find_index(one))) for one in indexes]
        files = stack.enter_context(image_files(images, reporter, allow_private=allow_private))
        if len(groups(opened)) > 1:
            reporter.say(
                "these indexes were made with different models or settings: results are merged by rank, not by score"
            )
        request = request_of(files)
        encoders = [encoder_of(one, request) for one in opened]
        forget()  # numbers would be those of the search before
        if lines is None:
            hits = ask_all(opened, request, encoders)
            output.hits(hits, style)
            if not hits:
                reporter.say("nothing found in any of the indexes")
            return 0 if hits else 1
        found = failed = False
        for number, line in lines:
            try:
                hits = ask_all(opened, replace(request, text=line), encoders)
            except InputError as error:
                # One bad question must not cost the others their answers.
                output.error(Message(f"line {number}: ", error.as_message))
                failed = True
                continue
            output.hits(hits, style, line)
            found = found or bool(hits)
        if not found and not failed:
            reporter.say("nothing found in any of the indexes")
        return 2 if failed else 0 if found else 1
