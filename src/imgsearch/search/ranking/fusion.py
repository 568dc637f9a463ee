"""Images found by their words beside those found by what they show: two rankings become one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from imgsearch.index.metadata import fulltext
from imgsearch.index.reader import ImageIndex
from imgsearch.types import Hit

K = 60
"""Of the rule: how little the first places differ from each other. The paper's value; results hardly depend on it."""
DEPTH = 200
"""Places of each ranking that count, or more if more hits are asked for."""

T = TypeVar("T", bound=Hashable)


def fused(rankings: Iterable[tuple[float, Sequence[T]]]) -> list[T]:
    """Return what stands in some rankings, each with its weight and best first, in one order.

    Reciprocal rank fusion: each place adds weight / (60 + rank). Ranks are added and never scores, since a cosine and
    BM25 have no scale in common. Ties stand as the first ranking has them. (Cormack, Clarke, Büttcher: Reciprocal Rank
    Fusion outperforms Condorcet and individual Rank Learning Methods, SIGIR 2009.)
    """
    sums: defaultdict[T, float] = defaultdict(float)
    for weight, ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            sums[item] += weight / (K + rank)
    return sorted(sums, key=lambda item: -sums[item])


def matched_words(index: ImageIndex, hits: Sequence[Hit], query: str) -> list[dict[str, list[str]]]:
    """Return for each hit which words of a query stand in its "name", "title" and "keyword", folded; {} if none does.

    Raises IndexDamaged.
    """
    words = fulltext.words_of(query)
    told = fulltext.matched(index.catalog.database, {hit.content for hit in hits}, words) if words else {}
    return [told.get(hit.content, {}) for hit in hits]
