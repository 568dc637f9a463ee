"""Vectors and judgements → retrieval metrics, by ir-measures; the ranking is made here, the arithmetic there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import MissingExtra, UsageError
from imgsearch.text import Option
from imgsearch.tools.dataset.retrieval import RetrievalDataset
from imgsearch.types import Vectors

CUTS = (1, 3, 5, 10)
_BLOCK = 256  # queries whose scores are in memory at a time
DEPTH = 100
"""How far down a ranking is looked at: MAP@100 is the deepest metric."""
NAMES = (
    *(f"{kind}@{k}" for kind in ("accuracy", "precision", "recall") for k in CUTS),
    "ndcg@10",
    "mrr@10",
    "map@100",
)
"""The metrics, by the names under which sentence-transformers reports the same ones."""


@dataclass(frozen=True, slots=True)
class Pairwise:
    """How often a query's own picture scores over its hard negatives; a tie is a miss.

    ``above_all`` is the share of queries whose picture beats every one of them, ``above_each`` the share of
    single comparisons that it wins; ``queries`` counts.
    """

    queries: int
    above_all: float
    above_each: float


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model reaches at ``dim`` dimensions: ``metrics`` by the names of NAMES, each from 0 to 1.

    ``pairwise`` is None where no query has hard negatives; ``by_label`` is the same by the dataset's labels.
    """

    dim: int
    metrics: dict[str, float]
    pairwise: Pairwise | None
    by_label: dict[str, Pairwise]


def score(
    queries: Vectors, documents: Vectors, dataset: RetrievalDataset, dims: Sequence[int] | None = None
) -> dict[int, Scores]:
    """Score vectors at each of ``dims``, the full length if none are given: dim → Scores, in their order.

    ``queries`` is (len(dataset.queries), dim), ``documents`` (len(dataset.corpus), dim), rows in the order of
    the dataset. Vectors are cut to the dim and normalised again, so scores are cosines. Documents that tie
    stand in the order of the corpus.

    Raises UsageError for a dim that the vectors don't have, MissingExtra without ir-measures.
    """
    full = queries.shape[1]
    found: dict[int, Scores] = {}
    for dim in dims or [full]:
        if not 1 <= dim <= full:
            raise UsageError(Option("dims", dim), f": the model makes embeddings of {full} dimensions")
        ranking: list[NDArray[np.int64]] = []
        wins: dict[str, list[bool]] = {}
        for names, cosines in _cosines(list(dataset.queries), cut(queries, dim), cut(documents, dim)):
            ranking += rank(cosines)
            wins |= compare(names, cosines, dataset)
        found[dim] = Scores(dim, measure(ranking, dataset), *_pairwise_by_label(wins, dataset.labels or {}))
    return found


def cut(vectors: Vectors, dim: int) -> Vectors:
    """Return the first ``dim`` numbers of each row, normalised again; a row of zeros stays one."""
    short = np.asarray(vectors[:, :dim], np.float32)
    length = np.linalg.norm(short, axis=1, keepdims=True)
    units: Vectors = np.divide(short, length, out=np.zeros_like(short), where=length > 0)
    return units


def _cosines(
    names: Sequence[str], queries: Vectors, documents: Vectors
) -> Iterator[tuple[Sequence[str], NDArray[np.float32]]]:
    """Yield the inner products of some queries after the other with all documents, so that memory stays small.

    They are summed in float64: equal vectors then score the same wherever they stand in the matrix, and a tie
    is a tie.
    """
    right = documents.astype(np.float64).T
    for start in range(0, len(names), _BLOCK):
        block = slice(start, start + _BLOCK)
        yield names[block], (queries[block].astype(np.float64) @ right).astype(np.float32)


def rank(scores: NDArray[np.float32], depth: int = DEPTH) -> list[NDArray[np.int64]]:
    """Return for each query the indices of its best ``depth`` documents, best first, ties in corpus order."""
    ranking = []
    for row in scores:
        indices = np.arange(len(row))
        if len(row) > depth:
            last = np.partition(row, len(row) - depth)[len(row) - depth]
            indices = np.flatnonzero(row >= last)  # more than depth where some tie with the last
        ranking.append(indices[np.argsort(-row[indices], kind="stable")][:depth])
    return ranking


def measure(ranking: Sequence[NDArray[np.int64]], dataset: RetrievalDataset) -> dict[str, float]:
    """Return the metrics of a ranking, the mean over all queries, by ir-measures (trec_eval's own code).

    A document counts as relevant from score 1 up; only NDCG weighs by the score. MAP@100 is over all relevant
    documents; sentence-transformers divides by 100 where there are more.
    """
    try:
        import ir_measures
        from ir_measures import AP, RR, P, R, Success, nDCG
    except ImportError as error:
        raise MissingExtra("scoring", "eval") from error
    measures = {f"accuracy@{k}": Success @ k for k in CUTS}
    measures |= {f"precision@{k}": P @ k for k in CUTS} | {f"recall@{k}": R @ k for k in CUTS}
    measures |= {"ndcg@10": nDCG @ 10, "mrr@10": RR @ 10, "map@100": AP @ 100}
    position = {doc: str(number) for number, doc in enumerate(dataset.corpus)}
    qrels, run = {}, {}
    for number, (query, ranked) in enumerate(zip(dataset.queries, ranking, strict=True)):
        qrels[str(number)] = {position[doc]: grade for doc, grade in dataset.relevant[query].items()}
        # trec_eval sorts by score once more, and ties by name: scores made from ranks leave it no choice.
        run[str(number)] = {str(doc): float(len(ranked) - above) for above, doc in enumerate(ranked)}
    found = ir_measures.calc_aggregate(list(measures.values()), qrels, run)
    return {name: float(found[wanted]) for name, wanted in measures.items()}


def compare(
    names: Sequence[str], scores: NDArray[np.float32], dataset: RetrievalDataset
) -> dict[str, list[bool]]:
    """Say for each query that has hard negatives, which of them its best relevant document scores over."""
    position = {doc: number for number, doc in enumerate(dataset.corpus)}
    wins: dict[str, list[bool]] = {}
    for query, row in zip(names, scores, strict=True):
        if negatives := dataset.hard_negatives.get(query):
            best = max(row[position[doc]] for doc in dataset.relevant[query])
            wins[query] = [bool(best > row[position[doc]]) for doc in negatives]
    return wins


def _pairwise_by_label(
    wins: Mapping[str, list[bool]], labels: Mapping[str, str]
) -> tuple[Pairwise | None, dict[str, Pairwise]]:
    if not wins:
        return None, {}
    groups: dict[str, dict[str, list[bool]]] = {}
    for query, won in wins.items():
        if query in labels:
            groups.setdefault(labels[query], {})[query] = won
    return _pairwise(wins), {label: _pairwise(groups[label]) for label in sorted(groups)}


def _pairwise(wins: Mapping[str, list[bool]]) -> Pairwise:
    single = [win for won in wins.values() for win in won]
    return Pairwise(len(wins), float(np.mean([all(won) for won in wins.values()])), float(np.mean(single)))
