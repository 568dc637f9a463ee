"""Which of the images found become hits, and by which path each is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from imgsearch import deep
from imgsearch.errors import UsageError
from imgsearch.fs import is_at_or_below
from imgsearch.index.metadata.file_filters import Named, Typed
from imgsearch.index.metadata.filters import Filter
from imgsearch.model.conventions import check_length
from imgsearch.search.ranking.order import SORTS
from imgsearch.text import Option
from imgsearch.types import Hit, Record

CUTS = ("auto", "mark", "off")
IMAGE_TEXT = ("auto", "only", "off")
MOST_RERANKED = 20
"""So many hits can be judged by a reranker, at most: on a CPU each takes seconds."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How many hits, and which.

    ``n`` at most; ``min_score`` a cosine; ``within`` a percentage: no hit scores lower than the best one less
    that much of it. ``dim`` searches a Matryoshka prefix. ``exact`` asks for the full scan. ``below`` are absolute
    paths: only pictures with a file at or below one of them are found. ``include_examples`` also finds the images that
    a query of several parts is made of. Only pictures that pass all of ``filters`` are found. With ``stacks``, those
    that show the same stand behind the best of them and count as one hit. The best ``offset`` hits are left out; the
    others stand in the order of ``sort``, one of SORTS. ``names`` is how much the ranks of names, titles and keywords
    weigh, in which the words of a query stand, against those of what images show; 0 leaves them out.
    ``instruction`` is what the model is told about the words of a query, in place of the index's own; "" is nothing.
    ``image_text`` says whether the text that stands in images counts: "auto" where it matches the words of a query
    well, "only" to find by it alone, without a model, "off".
    With ``cut`` "auto" an answer ends where chance begins (see ``ranking.cut``); with "mark" it tells where that is,
    and leaves nothing out. With ``explain`` each hit tells why it is one. So many of the best hits as ``rerank`` are
    judged by a reranker and stand first, in its order; 0 asks none.
    """

    n: int = 10
    min_score: float | None = None
    within: float | None = None
    dim: int | None = None
    exact: bool = False
    below: tuple[str, ...] = ()
    include_examples: bool = False
    filters: tuple[Filter, ...] = ()
    stacks: bool = False
    sort: str = "score"
    offset: int = 0
    cut: str = "off"
    explain: bool = False
    names: float = 0.0
    instruction: str | None = None
    image_text: str = "auto"
    rerank: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError for figures that can't be meant."""
        if self.n < 1:
            raise UsageError(Option("n", self.n), ": ask for at least one image")
        if self.offset < 0:
            raise UsageError(Option("offset", self.offset), ": must be 0 or more")
        if self.sort not in SORTS:
            raise UsageError(Option("sort", self.sort), f": choose one of {', '.join(SORTS)}")
        if self.min_score is not None and math.isnan(self.min_score):
            raise UsageError(
                Option("min_score", self.min_score),
                ": must be a number (scores are cosine similarities, from -1 to 1)",
            )
        if self.within is not None and not 0 <= self.within <= 100:
            raise UsageError(Option("within", self.within), ": must be a percentage from 0 to 100")
        if self.cut not in CUTS:
            raise UsageError(Option("cut", self.cut), f": choose one of {', '.join(CUTS)}")
        if self.image_text not in IMAGE_TEXT:
            raise UsageError(
                Option("image_text", self.image_text), f": choose one of {', '.join(IMAGE_TEXT)}"
            )
        if not (self.names >= 0 and math.isfinite(self.names)):
            raise UsageError(Option("names", self.names), ": must be a number above 0; 0 leaves names out")
        if not 0 <= self.rerank <= MOST_RERANKED:
            raise UsageError(
                Option("rerank", self.rerank), f": from 1 to {MOST_RERANKED} images can be reranked"
            )
        if self.instruction:
            check_length(self.instruction)
        if "" in self.below:
            raise UsageError(Option("below"), ": the path is empty")


def hits_of(
    found: list[tuple[Record, float]], options: SearchOptions | None, own: str | None = None
) -> list[Hit]:
    """Apply the thresholds and name each picture by its best path.

    That is the one asked about, else one that exists; where folders, names or types confine a search, one that they
    leave.
    """
    options = options or SearchOptions()
    if own is not None:
        # Pictures that tie with the asked one in score stand behind it.
        found = sorted(found, key=lambda hit: (-hit[1], own not in hit[0].paths))
    hits: list[Hit] = []
    best = max((score for _, score in found), default=0.0)  # by names, it need not be the first
    named = [one for one in options.filters if isinstance(one, Named | Typed)]
    confined = bool(options.below or named)
    for record, score in found:
        if options.min_score is not None and score < options.min_score:
            continue
        if options.within is not None and score < floor(best, options.within):
            continue
        inside, outside = _split(record.paths, options.below, named) if confined else (record.paths, ())
        existing = [path for path in inside if deep.exists(path)]
        paths = sorted(existing or inside, key=lambda path: path != own)
        paths += [path for path in outside if deep.exists(path)]
        hits.append(
            Hit(
                rank=len(hits) + 1,
                score=score,
                path=paths[0],
                page=record.page,
                copies=tuple(paths[1:]),
                missing=not existing,
                width=record.width,
                height=record.height,
                content=record.id,
                sha256=record.sha256,
                kind=record.kind,
                name=record.name,
            )
        )
    return hits


def _split(
    paths: Sequence[str], below: Sequence[str], named: Sequence[Named | Typed]
) -> tuple[Sequence[str], Sequence[str]]:
    """Return which paths a search is confined to, by folder and name; all of them if it is not; and the others."""
    inside = [
        path
        for path in paths
        if (not below or any(is_at_or_below(path, folder) for folder in below))
        and all(one.fits(path) for one in named)
    ]
    return inside or list(paths), [path for path in paths if inside and path not in inside]


def floor(best: float, within: float) -> float:
    """Return the lowest score that is within so many percent of the best one."""
    return best - abs(best) * within / 100
