"""Several indexes, each given with --index, searched together."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from imgsearch.cli import output
from imgsearch.cli.examples import image_files
from imgsearch.cli.queries import answer_lines
from imgsearch.cli.reranking import Reranking, told
from imgsearch.cli.terminal.hits import NOTHING, Beside, beside
from imgsearch.errors import UsageError
from imgsearch.index.layout import find_index
from imgsearch.index.parts import is_part
from imgsearch.types import Hit

if TYPE_CHECKING:
    # The others import it on use: it loads NumPy.
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search import SearchRequest
    from imgsearch.search.encoding import CachedEncoder

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
    style: str,
    reporter: output.ProgressReporter,
    *,
    reranking_of: Callable[[Sequence[ImageIndex]], Reranking | None] = lambda opened: None,
    lines: bool = False,
    allow_private: bool = False,
    remembers: bool = True,
) -> int:
    """Print what all indexes find for a request, or with ``lines`` for each line of stdin; return the exit code.

    ``request_of`` makes the request of the files of its example ``images``. ``remembers``: numbers name the hits
    afterwards. ``reranking_of`` gives what judges the best hits of all.
    """
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search.remembered import LastAnswer, remember, remembered
    from imgsearch.search.several import ask_all, groups

    with ExitStack() as stack:
        opened = [stack.enter_context(ImageIndex(find_index(one))) for one in indexes]
        files = stack.enter_context(image_files(images, reporter, allow_private=allow_private))
        if len(groups(opened)) > 1 and not any(is_part(one.folder) for one in opened):
            reporter.say(
                "these indexes were made with different models or settings: results are merged by rank, not by score"
            )
        request = request_of(files)
        encoders = [encoder_of(one, request) for one in opened]
        reranking = reranking_of(opened)

        def find(request: SearchRequest) -> tuple[list[Hit], Beside]:
            merged = ask_all(opened, request, encoders, reranking)
            told(merged.unjudged, reporter)
            if not output.for_person(style):
                return merged.hits, NOTHING
            folders = {index.folder: index for index in opened}
            return merged.hits, beside(folders, merged.hits, merged.background)

        nothing = "nothing found in any of the indexes"
        if lines:
            keep = remembered if remembers else None
            return answer_lines(
                lambda line: find(replace(request, text=line)), style, nothing, reporter, keep
            )
        hits, also = find(request)
        output.hits(hits, style, beside=also)
        if remembers:
            remember(LastAnswer(remembered(hits), len(hits)))
        if not hits:
            reporter.say(nothing)
        return 0 if hits else 1
