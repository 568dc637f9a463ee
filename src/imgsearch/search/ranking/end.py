"""Ends an answer where chance begins, and tells of each hit what carried it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from imgsearch.index import hashes, metadata
from imgsearch.index.metadata.filters import Filter, Taken
from imgsearch.index.reader import ImageIndex
from imgsearch.search.hits import SearchOptions
from imgsearch.search.ranking.cut import Background, Cut, background_of, find_cut
from imgsearch.search.ranking.fusion import matched_words
from imgsearch.types import Hit, Vectors, Why

_OFFERED = 3
MOST = 1000
"""So many places of an answer are judged, at most."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The hits that are left, and the cut if one was asked for. ``nearest`` are the best of those that are not.

    ``background`` is what chance scores, if a cut or an explanation was asked for.
    """

    hits: list[Hit]
    cut: Cut | None = None
    nearest: tuple[Hit, ...] = ()
    background: Background | None = None


def end(
    index: ImageIndex,
    vectors: Vectors,
    hits: list[Hit],
    options: SearchOptions,
    text: str = "",
    *,
    of_image: bool,
) -> Ended:
    """Return what is left of an answer, found by the query's vector (1, dim) in the last search of the index.

    ``text`` are its words; where names have a say, a hit in whose names they stand is none by chance; nor is one of
    whose text something is quoted. ``of_image``: the
    query has no words. Raises IndexDamaged.
    """
    if options.cut == "off" and not options.explain:
        return Ended(hits)
    background = background_of(index, vectors, options.dim)
    cut = find_cut(index.tail[:MOST], background, index.searched, of_image=of_image)
    told = matched_words(index, hits, text) if options.explain or options.names else [{} for _ in hits]
    words = dict(zip((hit.content for hit in hits), told, strict=True))
    dated = options.explain and any(isinstance(chosen, Taken) for chosen in options.filters)
    return ended(hits, options, cut, background, words, _dates(index, hits) if dated else {})


def ended(
    hits: list[Hit],
    options: SearchOptions,
    cut: Cut,
    background: Background,
    words: Mapping[int, Mapping[str, Sequence[str]]],
    dates: Mapping[int, str],
) -> Ended:
    """Return what a ``cut`` leaves of an answer.

    By content, ``words`` are those of the query that stand in a hit's names, by field, and ``dates`` say when it was
    taken; both may lack what nobody knows.
    """
    if options.explain:
        hits = _explained(hits, cut, background, options.filters, words, dates)
    if options.cut == "off":
        return Ended(hits, background=background)
    if options.cut == "mark":
        return Ended(hits, cut, background=background)
    left: list[Hit] = []
    rest: list[Hit] = []
    for hit in hits:
        near = _stands_out(hit, cut) or hit.quote or (options.names and words.get(hit.content))
        (left if near else rest).append(hit)
    rest.sort(key=lambda hit: -hit.score)
    if rest and (left or not options.offset):
        cut = replace(cut, count=len(left) + options.offset, more=False)
    return Ended(left, cut, tuple(rest[:_OFFERED]), background)


def _stands_out(hit: Hit, cut: Cut) -> bool:
    return hit.score >= cut.score


def _explained(
    hits: Sequence[Hit],
    cut: Cut,
    background: Background,
    filters: Sequence[Filter],
    words: Mapping[int, Mapping[str, Sequence[str]]],
    dates: Mapping[int, str],
) -> list[Hit]:
    floor, spread = background.floor, background.spread
    explained = []
    for hit in hits:
        matched = [
            f"taken {dates[hit.content]}"
            if isinstance(chosen, Taken) and hit.content in dates
            else chosen.sentence()
            for chosen in filters
        ]
        matched += [f"{field}: {', '.join(found)}" for field, found in words.get(hit.content, {}).items()]
        matched += [f"text: {hit.quote.text}"] if hit.quote else []
        spreads = (hit.score - floor) / spread if spread > 0 else 0.0
        stands_out = _stands_out(hit, cut) if cut.judged else None
        explained.append(replace(hit, why=Why(floor, spread, spreads, stands_out, tuple(matched))))
    return explained


def _dates(index: ImageIndex, hits: Sequence[Hit]) -> dict[int, str]:
    """Return by content the day and time at which images were taken, where that is known."""
    shots = hashes.shots(index.catalog.database, [hit.content for hit in hits])
    return {
        content: told_date(metadata.moment(shot.taken))
        for content, shot in shots.items()
        if shot.taken is not None
    }


def told_date(taken: datetime) -> str:
    """Return a date as an explanation has it."""
    return f"{taken:%Y-%m-%d %H:%M}"
