"""Metrics: the ranking that is scored is the one that would be shown, and a second library agrees on every figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.errors import UsageError
from imgsearch.tools.dataset.retrieval import PictureRef, RetrievalDataset
from imgsearch.tools.evaluation.metrics import NAMES, cut, rank, score
from support.datasets_drawn import judged_dataset

FAR = PictureRef("nowhere.png")


def _by_sentence_transformers(
    queries: np.ndarray, documents: np.ndarray, dataset: RetrievalDataset, dim: int | None = None
) -> dict[str, float]:
    """Return the figures of sentence-transformers' evaluator over a model that gives these vectors."""
    import torch
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
    from sentence_transformers.util import cos_sim

    class Model:
        similarity_fn_name = "cosine"
        similarity = staticmethod(cos_sim)

        def __getattr__(self, name: str) -> Any:
            def encode(inputs: list[str], truncate_dim: int | None = None, **_: Any) -> torch.Tensor:
                rows = queries if name == "encode_query" else documents
                start = int(inputs[0]) if name == "encode_document" else 0
                return torch.from_numpy(rows[start : start + len(inputs), :truncate_dim].copy())

            return encode

    evaluator = InformationRetrievalEvaluator(
        dataset.queries,
        {doc: str(number) for number, doc in enumerate(dataset.corpus)},
        {query: set(docs) for query, docs in dataset.relevant.items()},
        score_functions={"cosine": cos_sim},
        truncate_dim=dim,
    )
    model: Any = Model()
    found = evaluator.compute_all_metrics(model)["cosine"]
    return {f"{kind[:-1]}{k}": float(value) for kind, values in found.items() for k, value in values.items()}


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_metric_agrees_with_sentence_transformers(data: st.DataObject) -> None:
    """Over random vectors and judgements, at full length and cut, all fifteen figures are equal to 1e-6."""
    documents = data.draw(st.integers(1, 130), label="documents")
    some = st.lists(st.integers(0, documents - 1), min_size=1, max_size=min(documents, 12), unique=True)
    relevant = data.draw(st.lists(some, min_size=1, max_size=8), label="relevant")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    vectors = rng.standard_normal((len(relevant) + documents, 16)).astype(np.float32)
    queries, pictures = vectors[: len(relevant)], vectors[len(relevant) :]
    # Some queries lie near a picture, so that the figures are not all close to nothing.
    for row in range(0, len(relevant), 2):
        queries[row] += 3 * pictures[relevant[row][0]]
    dataset = judged_dataset(relevant, documents)
    for dim in (16, 4):
        found = score(queries, pictures, dataset, [dim])[dim].metrics
        assert sorted(found) == sorted(NAMES)
        assert found == pytest.approx(_by_sentence_transformers(queries, pictures, dataset, dim), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    places=st.lists(st.integers(0, 3), min_size=1, max_size=130),
    asked=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
)
def test_ties_stand_in_the_order_of_the_corpus(places: list[int], asked: list[int], seed: int) -> None:
    """Where most documents tie exactly, the figures are still the other library's, whose names sort alike."""
    axes = np.eye(4, dtype=np.float32)
    queries, pictures = axes[asked], axes[places]
    rng = np.random.default_rng(seed)
    relevant = [[int(rng.integers(0, len(places)))] for _ in asked]
    dataset = judged_dataset(relevant, len(places))
    found = score(queries, pictures, dataset)[4].metrics
    assert found == pytest.approx(_by_sentence_transformers(queries, pictures, dataset), abs=1e-6)


def test_equal_vectors_tie_wherever_they_stand() -> None:
    """Copies of one picture among many score the very same, so that the first of them comes first."""
    rng = np.random.default_rng(5)
    pictures = rng.standard_normal((333, 96)).astype(np.float32)
    pictures[[7, 100, 331]] = pictures[7]
    dataset = judged_dataset([[331]], 333)
    found = score(pictures[7:8], pictures, dataset)[96].metrics
    assert found["mrr@10"] == pytest.approx(1 / 3)


def test_a_ranking_is_by_score_then_by_place() -> None:
    """The best come first, equal ones as they stand, also where the cut falls among them."""
    scores = np.array([[0.5, 0.9, 0.5, 0.1, 0.5]], np.float32)
    assert rank(scores, 3)[0].tolist() == [1, 0, 2]
    assert rank(scores, 9)[0].tolist() == [1, 0, 2, 4, 3]


def test_a_cut_vector_has_unit_length_again() -> None:
    """Cutting divides by the new length; a row that has nothing left is a row of zeros, not of NaN."""
    short = cut(np.array([[3, 4, 12], [0, 0, 5]], np.float32), 2)
    assert short.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


def test_dims_are_scored_in_order_and_one_that_is_not_there_is_refused() -> None:
    """Asking for more dimensions than the vectors have is an error, not the full length."""
    vectors = np.eye(8, dtype=np.float32)
    dataset = judged_dataset([[0], [1]], 8)
    assert list(score(vectors[:2], vectors, dataset, [8, 2])) == [8, 2]
    for dim in (9, 0):
        with pytest.raises(UsageError, match=f"dims={dim}: the model makes embeddings of 8 dimensions"):
            score(vectors[:2], vectors, dataset, [dim])


def test_graded_answers_weigh_in_ndcg_alone() -> None:
    """A picture judged 2 above one judged 1 is the ideal order; the other metrics only ask what is relevant."""
    dataset = judged_dataset([[0, 1]], 3)
    dataset.relevant["q000"].update({"d000": 1, "d001": 2})
    axes = np.eye(3, dtype=np.float32)
    best = score(np.array([[0.5, 1, 0]], np.float32), axes, dataset)[3].metrics
    turned = score(np.array([[1, 0.5, 0]], np.float32), axes, dataset)[3].metrics
    assert best["ndcg@10"] == 1
    assert turned["ndcg@10"] == pytest.approx((1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3)))
    assert {name for name in NAMES if best[name] != turned[name]} == {"ndcg@10"}


def test_pairwise_accuracy_counts_queries_and_comparisons_by_label() -> None:
    """One query beats both of its negatives, one loses a comparison to a tie; a tie is a miss."""
    negatives = {"q000": ("d001", "d002"), "q001": ("d001", "d002")}
    dataset = judged_dataset([[0], [0], [0]], 3, negatives)
    labelled = RetrievalDataset(
        **{name: getattr(dataset, name) for name in ("name", "path", "queries", "corpus", "relevant")},
        hard_negatives=negatives,
        labels={"q000": "colour", "q001": "count", "q002": "count"},
    )
    vectors = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    queries = np.array([[1, 0], [1, 1], [1, 0]], np.float32)
    scores = score(queries, vectors, labelled)[2]
    assert scores.pairwise is not None
    assert (scores.pairwise.queries, scores.pairwise.above_all, scores.pairwise.above_each) == (2, 0.5, 0.75)
    by_label = {label: (pair.queries, pair.above_all) for label, pair in scores.by_label.items()}
    assert by_label == {"colour": (1, 1.0), "count": (1, 0.0)}
    assert score(queries, vectors, judged_dataset([[0], [0], [0]], 3))[2].pairwise is None
