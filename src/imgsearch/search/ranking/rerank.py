"""Reranking: the best hits are judged by a model that sees the query and the image together, and stand in its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

from imgsearch.errors import InputError, UsageError
from imgsearch.media.lookahead import look_ahead
from imgsearch.search.hits import SearchOptions
from imgsearch.search.thumbnails import decoded
from imgsearch.text import Option
from imgsearch.types import RGB, Hit, Input, PixelBudget

_AHEAD = 8


class Reranker(Protocol):
    """What reranking needs of a model."""

    def scores(self, query: Input, images: Sequence[RGB]) -> list[float]:
        """Return for each image the probability, from 0 to 1, that it answers the query.

        Raises InputError, NonFiniteError, and ModelOutOfMemory if a single image does not fit into memory.
        """


@dataclass(frozen=True, slots=True)
class Reranked:
    """Hits in their new order, and those of them that could not be judged, each with the reason."""

    hits: list[Hit]
    unjudged: tuple[str, ...] = ()


def candidates(options: SearchOptions) -> SearchOptions:
    """Return the options by which those hits are found that a reranker is to judge, and those shown behind them."""
    return replace(
        options, n=max(options.n + options.offset, options.rerank), offset=0, sort="score", rerank=0
    )


def check_rerankable(*, words: bool, parts: bool, refined: bool) -> None:
    """Raise UsageError for a request that no reranker can judge: it reads one text, one example image, or both."""
    if not words or parts or refined:
        what = "several parts" if parts else "judged results" if refined else "an image without words"
        raise UsageError(
            Option("rerank"), f": a reranker reads a description and not {what}; describe what you look for"
        )


def reranked(
    hits: Sequence[Hit],
    query: Input,
    count: int,
    reranker: Reranker,
    budgets: Mapping[str, PixelBudget],
) -> Reranked:
    """Return hits with the first ``count`` of them in the reranker's order, by falling probability.

    Each image is decoded again, and only from bytes that were indexed. One that can't be, as its files are gone, keeps
    its place among those behind the judged ones. ``budgets`` are by the folders of the hits' indexes. Raises what
    ``reranker`` raises.
    """
    first, rest = list(hits[:count]), list(hits[count:])
    images: list[RGB] = []
    judged: list[Hit] = []
    left: list[Hit] = []
    reasons: list[str] = []
    # At most so many small pictures at a time: no more than are judged.
    with closing(look_ahead(lambda hit: _pixels(hit, budgets), first, _AHEAD)) as found:
        for hit, pixels in zip(first, found, strict=True):
            if isinstance(pixels, InputError):
                left.append(hit)
                reasons.append(str(pixels))
            else:
                judged.append(hit)
                images.append(pixels)
    scores = reranker.scores(query, images) if images else []
    ordered = [replace(hit, rerank=score) for hit, score in zip(judged, scores, strict=True)]
    ordered.sort(key=lambda hit: -(hit.rerank or 0.0))  # stable: those of one probability stay as they were
    every = [replace(hit, rank=rank) for rank, hit in enumerate([*ordered, *left, *rest], start=1)]
    return Reranked(every, tuple(reasons))


def _pixels(hit: Hit, budgets: Mapping[str, PixelBudget]) -> RGB | InputError:
    try:
        return decoded(hit.index, hit, budgets[hit.index]).pixels
    except InputError as error:
        return error
