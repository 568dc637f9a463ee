"""Use case: how well models retrieve on a dataset, by dimension; each content is embedded once and remembered."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from imgsearch.errors import UsageError
from imgsearch.text import Option
from imgsearch.tools.dataset.retrieval import RetrievalDataset, check_pictures
from imgsearch.tools.evaluation import metrics
from imgsearch.tools.evaluation.cache import VectorCache
from imgsearch.tools.evaluation.metrics import Scores
from imgsearch.tools.evaluation.models import EvalModel
from imgsearch.types import Reporter, Silent, Vectors

T = TypeVar("T")
_RECIPE_DIMS = (2048, 1536, 1024, 512, 256, 128, 64)  # the published tables' dimensions


@dataclass(frozen=True, slots=True)
class EvalRow:
    """What one model reached in one setting: ``scores`` by dimension, the full length first.

    ``parameters``, ``pixels``, ``dtype`` and ``instruction`` are None where they are not known or the model's own.
    ``computed`` counts the queries and pictures that were embedded, the rest came from the cache; ``seconds``.
    ``vectors`` are the files of queries and of documents where the embeddings were computed elsewhere.
    """

    model: str
    peer: bool
    parameters: int | None
    full_dim: int
    pixels: int | None
    dtype: str | None
    instruction: str | None
    scores: dict[int, Scores]
    computed: tuple[int, int]
    seconds: float
    vectors: tuple[str, str] | None = None


def evaluate(
    dataset: RetrievalDataset,
    models: Sequence[EvalModel],
    *,
    dims: Sequence[int] | None = None,
    cache: str | None = None,
    reporter: Reporter | None = None,
) -> list[EvalRow]:
    """Score each model with each of its instructions on the dataset; one row each, in order.

    ``dims`` are Matryoshka dimensions; without them, those that the model was trained for, or its full length
    and its halves down to a thirty-second. The full length is always scored. A peer is scored at those that
    it has. ``cache`` is the folder of remembered vectors, None for none.

    Raises UsageError for a dim that a model lacks, DatasetError for a picture that is none, both before
    anything is embedded; and as the model does.
    """
    reporter = reporter or Silent()
    for model in models:
        check_dims(model, dims)
    hashes = check_pictures(dataset, reporter) if models else {}
    rows: list[EvalRow] = []
    for model in models:
        try:
            rows += _evaluate_one(dataset, hashes, model, dims, cache, reporter)
        finally:
            model.close()
    return rows


def check_dims(model: EvalModel, dims: Sequence[int] | None) -> None:
    """Raise UsageError for a dim that the model does not have, where that is known before it is loaded."""
    for dim in dims or ():
        if dim < 1 or (not model.peer and model.full_dim is not None and dim > model.full_dim):
            known = f"{model.name} makes embeddings of {model.full_dim} dimensions"
            raise UsageError(Option("dims", dim), f": {'a dimension is at least 1' if dim < 1 else known}")


def default_dims(full: int, trained: Sequence[int] = ()) -> list[int]:
    """Return the dimensions to score where nobody says: the trained ones, else the full length and its halves."""
    if trained:
        return sorted({full, *trained}, reverse=True)
    if full == _RECIPE_DIMS[0]:
        return list(_RECIPE_DIMS)
    return [full >> halving for halving in range(6) if full >> halving >= 1]


def _evaluate_one(
    dataset: RetrievalDataset,
    hashes: dict[str, bytes],
    model: EvalModel,
    dims: Sequence[int] | None,
    cache: str | None,
    reporter: Reporter,
) -> Iterator[EvalRow]:
    texts = list(dataset.queries.values())
    text_keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
    refs, ref_keys = list(dataset.corpus.values()), [hashes[doc] for doc in dataset.corpus]
    documents: Vectors | None = None
    for instruction in model.instructions:
        began = time.monotonic()
        store = VectorCache(model.space("query", instruction), cache)
        embed = partial(model.query_vectors, instruction=instruction)
        queries, new_queries = _vectors(store, text_keys, texts, "queries", embed, reporter)
        new_pictures = 0
        if documents is None:
            store = VectorCache(model.space("document", None), cache)
            documents, new_pictures = _vectors(
                store, ref_keys, refs, "pictures", model.picture_vectors, reporter
            )
        reporter.say(
            f"{_described(model)}: {len(texts) - new_queries:,} of {len(texts):,} queries, "
            f"{len(refs) - new_pictures:,} of {len(refs):,} images from the cache"
        )
        full = queries.shape[1]
        wanted = [dim for dim in dims if dim <= full] if dims else default_dims(full, model.dims)
        yield EvalRow(
            model=model.name,
            peer=model.peer,
            parameters=model.parameters,
            full_dim=full,
            pixels=model.pixels,
            dtype=model.dtype,
            instruction=instruction,
            scores=metrics.score(queries, documents, dataset, sorted({full, *wanted}, reverse=True)),
            computed=(new_queries, new_pictures),
            seconds=time.monotonic() - began,
        )


def _described(model: EvalModel) -> str:
    settings = [] if model.pixels is None else [f"{model.pixels:,} px"]
    return ", ".join([model.name, *settings, *filter(None, [model.dtype])])


def _vectors(
    store: VectorCache,
    keys: Sequence[bytes],
    items: Sequence[T],
    unit: str,
    embed: Callable[[Sequence[T]], Iterator[Vectors]],
    reporter: Reporter,
) -> tuple[Vectors, int]:
    """Return the vectors of all items, and how many items had none in the cache; equal content is embedded once."""
    lacking = {key: item for key, item in zip(keys, items, strict=True) if key not in store}
    absent = sum(key in lacking for key in keys)
    if lacking:
        order = list(lacking)
        reporter.start(len(order), unit)
        done = 0
        try:
            for rows in embed(list(lacking.values())):
                store.put(order[done : done + len(rows)], rows)
                done += len(rows)
                reporter.advance(len(rows))
        finally:
            # Also when the user has had enough: what is there is kept for the next run.
            store.flush()
            reporter.stop()
        if store.failure:
            reporter.say(store.failure)
    return store.take(keys), absent
