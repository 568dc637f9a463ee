"""Relevance feedback is Rocchio's sum of stored vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from imgsearch.errors import InputError
from imgsearch.index.reader import ImageIndex
from imgsearch.search import SearchRequest, ask
from imgsearch.search.hits import SearchOptions
from imgsearch.search.language.question import Part
from imgsearch.search.ranking.feedback import Feedback, Page, refined
from imgsearch.types import Vectors
from support import fakes
from support.fakes import FakeModel, run

fake_model, gallery = fakes.fake_model, fakes.gallery


@pytest.fixture
def index(fake_model: FakeModel, gallery: Path, tmp_path: Path) -> Iterator[ImageIndex]:
    """Give an open index of five colours."""
    run(tmp_path / "ix", gallery)
    with ImageIndex(str(tmp_path / "ix")) as opened:
        yield opened


@pytest.fixture
def page(gallery: Path) -> dict[str, Page]:
    """Give the content of each image by its colour."""
    return {
        path.stem: (hashlib.sha256(path.read_bytes()).digest(), 0)
        for path in gallery.rglob("*.*")
        if path.is_file()
    }


def unit(vectors: Vectors) -> Vectors:
    """Return vectors at unit length."""
    return np.asarray(vectors / np.linalg.norm(vectors), np.float32)


def test_the_sum_is_rocchios(index: ImageIndex, page: dict[str, Page]) -> None:
    """The query counts 1, what is liked 0.75 together, what is not -0.15 together."""
    query = fakes.vector(fakes.COLOURS["cyan"])
    stored = {name: index.vector(*key) for name, key in page.items()}
    feedback = Feedback(query, True, (page["red"], page["blue"]), (page["white"],))
    expected = query + 0.75 * (stored["red"] + stored["blue"]) / 2 - 0.15 * stored["white"]
    assert np.allclose(refined(index, feedback), unit(expected), atol=1e-6)
    assert np.allclose(refined(index, Feedback(query, True)), query, atol=1e-6)


def test_words_are_brought_to_the_scale_of_images(index: ImageIndex, page: dict[str, Page]) -> None:
    """A query of words whose scores hardly differ counts as much as one whose scores differ much."""
    query = unit(fakes.vector(fakes.COLOURS["cyan"]) + 8 * np.eye(fakes.DIM, dtype=np.float32)[-1:])
    with_words = refined(index, Feedback(query, False, (page["red"],)))
    with_image = refined(index, Feedback(query, True, (page["red"],)))
    assert (with_words @ query.T).item() > (with_image @ query.T).item()


def test_of_an_image_judged_twice_the_last_word_counts(page: dict[str, Page]) -> None:
    """Liked, then not liked: it counts once, against the query; others stay."""
    first = Feedback(np.ones((1, 3), np.float32), True, (page["red"], page["blue"]), (page["white"],))
    then = first.adding((page["white"],), (page["red"],))
    assert (then.more, then.less) == ((page["blue"], page["white"]), (page["red"],))
    assert then.query is first.query


def test_an_image_that_left_the_index_is_refused(index: ImageIndex) -> None:
    """There is no stored vector of it any more."""
    with pytest.raises(InputError, match="no longer indexed"):
        refined(index, Feedback(fakes.vector(fakes.COLOURS["red"]), True, ((b"\0" * 32, 0),)))


def test_a_request_counts_images_with_and_against_it(
    index: ImageIndex, fake_model: FakeModel, page: dict[str, Page]
) -> None:
    """What is liked moves up, and what is not is no result."""
    encoder = fake_model.encoder(fakes.DIM)
    plain = ask(index, SearchRequest("query", "red", options=SearchOptions(n=5)), encoder).hits
    judged = ask(
        index,
        SearchRequest("query", "red", options=SearchOptions(n=5), more=(page["blue"],), less=(page["red"],)),
        encoder,
    ).hits
    assert Path(plain[0].path).stem == "red"
    assert Path(judged[0].path).stem == "blue"
    assert "red" not in {Path(hit.path).stem for hit in judged}


def test_parts_may_be_indexed_images_or_embedded_ones(
    index: ImageIndex, fake_model: FakeModel, page: dict[str, Page]
) -> None:
    """A part given by its content or its vector finds what the same image as a file finds."""
    encoder = fake_model.encoder(fakes.DIM)
    options = SearchOptions(n=5, include_examples=True)
    content, number = page["blue"]
    stored = index.vector(content, number)
    assert stored is not None
    by_content, by_vector = (
        [hit.path for hit in ask(index, SearchRequest("query", options=options, parts=(part,)), encoder).hits]
        for part in (Part(content=content), Part(vector=stored))
    )
    assert by_content == by_vector
    assert Path(by_content[0]).stem == "blue"


def test_an_image_that_is_no_longer_indexed_is_named_as_that(
    index: ImageIndex, fake_model: FakeModel
) -> None:
    """A part by a content that the index does not hold is an error for a person."""
    with pytest.raises(InputError, match="no longer indexed"):
        ask(index, SearchRequest("query", parts=(Part(content=b"x" * 32),)), fake_model.encoder(fakes.DIM))
