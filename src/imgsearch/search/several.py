"""Several indexes searched together: each is asked, and the answers become one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from imgsearch.errors import FolderError, UsageError
from imgsearch.index.reader import ImageIndex
from imgsearch.search import Answer, SearchRequest, ask, check_request, check_rerankable_request, query_of
from imgsearch.search.examples import stored_vector
from imgsearch.search.hits import SearchOptions, floor
from imgsearch.search.ranking.cut import Background
from imgsearch.search.ranking.fusion import fused
from imgsearch.search.ranking.order import arranged_all
from imgsearch.search.ranking.rerank import Reranker, candidates, reranked
from imgsearch.types import Hit, Input, QueryEncoder, Vectors

Group = list[int]
"""The places of indexes whose scores can be compared."""


def groups(indexes: Sequence[ImageIndex]) -> list[Group]:
    """Return which indexes agree in model, dimension and prompts, so that their scores mean the same."""
    found: dict[tuple[object, ...], Group] = {}
    for number, index in enumerate(indexes):
        spec = index.spec
        key = (spec.fingerprint, spec.dim, spec.query_prompt, spec.document_prompt)
        found.setdefault(key, []).append(number)
    return list(found.values())


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """The hits of several indexes, and what chance scores in them.

    That is known where an ``Answer`` has it and all scores can be compared; each index counts alike, however large.
    """

    hits: list[Hit]
    background: Background | None = None
    unjudged: tuple[str, ...] = ()


def ask_all(
    indexes: Sequence[ImageIndex],
    request: SearchRequest,
    encoders: Sequence[QueryEncoder],
    reranker: Reranker | None = None,
) -> Merged:
    """Return the hits of all indexes for a request, best first, each with its index; ``encoders`` is one each.

    They are ordered by score where the indexes' scores can be compared, else by their ranks among those of the same
    group; by their ranks in each index where names, or the text in images, have a say in these. A file that is in
    several indexes is one hit.
    An index without the folders that the search is confined to has no part in it. A ``reranker`` judges the best of
    all, as in ``ask``. Raises as that does.
    """
    options = request.options
    if options.rerank:
        check_rerankable_request(request)
    wider = candidates(options)
    end = wider.n
    request = replace(request, options=wider)
    answers: list[list[Hit]] = []
    refused: list[UsageError] = []
    backgrounds: list[Background] = []
    comparable = groups(indexes)
    by_rank = bool(options.names) or options.image_text == "only"
    for group in comparable:
        found: list[list[Hit]] = []
        texts: dict[tuple[str | None, str | None], Vectors] = {}
        example = _example([indexes[number] for number in group], request)
        for number in group:
            shared = _Shared(encoders[number], texts, example)
            try:
                answered = ask(indexes[number], request, shared)
            except UsageError as error:
                if error.option != "below":
                    raise
                refused.append(error)
                continue
            here = [replace(hit, index=indexes[number].folder) for hit in answered.hits]
            backgrounds += [answered.background] if answered.background else []
            by_rank = by_rank or any(hit.quote for hit in here)
            found.append(here)
        if by_rank:
            answers += found
        else:
            answers.append(_by_score(list(itertools.chain.from_iterable(found)), options))
    if len(refused) == len(indexes):
        raise refused[0]
    merged = answers[0] if len(answers) == 1 else _by_rank(answers)
    ranked = [replace(hit, rank=rank) for rank, hit in enumerate(merged[:end], start=1)]
    by_folder = {index.folder: index for index in indexes}
    unjudged: tuple[str, ...] = ()
    if options.rerank and reranker is not None:
        query = query_of(check_request(indexes[0], request))
        budgets = {index.folder: index.spec.pixels for index in indexes}
        judged = reranked(ranked, query, options.rerank, reranker, budgets)
        ranked, unjudged = judged.hits, judged.unjudged
    hits = arranged_all(by_folder, ranked[options.offset :][: options.n], options.sort)
    background = _together(backgrounds) if len(comparable) == 1 and backgrounds else None
    return Merged(hits, background, unjudged)


def ask_parts(
    indexes: Sequence[ImageIndex],
    request: SearchRequest,
    encoders: Sequence[QueryEncoder],
    reranker: Reranker | None = None,
) -> Answer:
    """Answer a request from an index and its part: as ``ask`` does where there is but one, else as ``ask_all``.

    Two answers have two ends, so that no ``cut`` is told of both. Indexed images that count with or against the query
    are examples of the one index that has them all; the other one is not asked. Raises as these do.
    """
    named = [(part.content, part.page) for part in request.parts if part.content]
    if len(indexes) > 1 and (examples := [*named, *request.more, *request.less]):
        number = next(
            (
                place
                for place, index in enumerate(indexes)
                if all(index.vector(*example) is not None for example in examples)
            ),
            0,
        )
        indexes, encoders = [indexes[number]], [encoders[number]]
    if len(indexes) == 1:
        return ask(indexes[0], request, encoders[0], reranker)
    merged = ask_all(
        indexes, replace(request, options=replace(request.options, cut="off")), encoders, reranker
    )
    return Answer(merged.hits, None, background=merged.background, unjudged=merged.unjudged)


def _together(backgrounds: Sequence[Background]) -> Background:
    scores = np.sort(np.concatenate([one.scores for one in backgrounds]))[::-1]
    return Background(scores, sum(one.images for one in backgrounds))


def _by_score(hits: Sequence[Hit], options: SearchOptions) -> list[Hit]:
    """Return the hits of indexes whose scores can be compared as one answer."""
    ordered = _distinct(sorted(hits, key=lambda hit: -hit.score))
    if options.within is not None and ordered:
        least = floor(ordered[0].score, options.within)
        ordered = [hit for hit in ordered if hit.score >= least]
    return ordered


def _by_rank(answers: Sequence[Sequence[Hit]]) -> list[Hit]:
    """Return several answers as one, by reciprocal ranks: their scores say nothing of each other."""
    known = {(hit.path, hit.page): hit for hits in reversed(answers) for hit in reversed(hits)}
    return [
        known[page] for page in fused([(1.0, [(hit.path, hit.page) for hit in hits]) for hits in answers])
    ]


def _distinct(hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits without those of a page of a file that came before."""
    return list({(hit.path, hit.page): hit for hit in reversed(hits)}.values())[::-1]


def _example(indexes: Sequence[ImageIndex], request: SearchRequest) -> Vectors | None:
    """Return the vector of the image that others are to be like, if one of some comparable indexes has it stored."""
    if request.kind != "similar" or not isinstance(request.image, str):
        return None
    for index in indexes:
        try:
            vector = stored_vector(index, request.image)
        except FolderError:
            continue
        if vector is not None:
            return vector
    return None


class _Shared:
    """An encoder of one of several indexes that agree: what was embedded, or is stored, for one serves all."""

    def __init__(
        self,
        encoder: QueryEncoder,
        texts: dict[tuple[str | None, str | None], Vectors],
        example: Vectors | None,
    ) -> None:
        self._encoder, self._texts, self._example = encoder, texts, example

    def embed(self, inputs: Sequence[Input]) -> Vectors:
        """Return one row an input, as the encoder does."""
        return np.concatenate([self._row(item) for item in inputs])

    def _row(self, item: Input) -> Vectors:
        if item.image is not None:
            known = None if item.text else self._example
            return self._encoder.embed([item]) if known is None else known
        key = item.text, item.instruction
        if key not in self._texts:
            self._texts[key] = self._encoder.embed([item])
        return self._texts[key]
