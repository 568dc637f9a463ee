"""From a request to hits: what a query is embedded with, and when the model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from imgsearch import search
from imgsearch.errors import InputError
from imgsearch.index.reader import ImageIndex
from imgsearch.search import CachedEncoder, SearchRequest, answer, check_request
from imgsearch.types import Input, ModelOptions, Vectors
from support import fakes
from support.fakes import FakeModel, paint, run

fake_model, gallery = fakes.fake_model, fakes.gallery


@pytest.fixture
def folder(fake_model: FakeModel, gallery: Path, tmp_path: Path) -> str:
    """Give an index of the gallery."""
    where = str(tmp_path / "index")
    run(where, gallery)
    return where


class Recorder:
    """An encoder that keeps what it is asked to embed."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.inputs: list[Input] = []

    def embed(self, inputs: Sequence[Input]) -> Vectors:
        """Return the same unit vector for each input."""
        self.inputs += inputs
        return np.eye(1, self.dim, dtype=np.float32).repeat(len(inputs), axis=0)


@pytest.mark.parametrize(("given", "used"), [(None, "the index's own"), ("", ""), ("Find it.", "Find it.")])
def test_an_instruction_that_is_given_is_used(folder: str, given: str | None, used: str) -> None:
    """A query without an instruction has the index's prompt; an empty one is none at all."""
    with ImageIndex(folder) as index:
        recorder = Recorder(index.spec.dim)
        search.query(index, recorder, [Input(text="red", instruction=given)])
        expected = index.spec.query_prompt if given is None else used
    assert [item.instruction for item in recorder.inputs] == [expected]


@pytest.mark.parametrize("cache", [True, False])
def test_the_model_is_loaded_with_the_first_query_that_needs_it(
    fake_model: FakeModel, folder: str, gallery: Path, tmp_path: Path, cache: bool
) -> None:
    """An indexed picture is answered without the model, which is loaded once for all later queries."""
    new = str(paint(tmp_path / "new.png", "orange"))
    loads = []

    def load() -> fakes.FakeEncoder:
        loads.append(1)
        return fake_model.encoder()

    with ImageIndex(folder) as index:
        encoder = CachedEncoder(index, ModelOptions(), load, cache=cache)
        assert answer(index, SearchRequest("similar", image=str(gallery / "red.png")), encoder)
        assert not loads
        for request in (
            SearchRequest("similar", image=new),
            SearchRequest("query", "red"),
            SearchRequest("query", "red", new),
        ):
            assert answer(index, request, encoder)
    assert len(loads) == 1


def test_a_checked_request_needs_its_picture_no_more(
    fake_model: FakeModel, folder: str, tmp_path: Path
) -> None:
    """A query that was checked has its picture decoded, so that many texts can be asked with it."""
    picture = paint(tmp_path / "new.png", "orange")
    with ImageIndex(folder) as index:
        request = SearchRequest("query", "red", str(picture))
        hits = answer(index, request, fake_model.encoder())
        checked = check_request(index, request)
        picture.unlink()
        assert answer(index, checked, fake_model.encoder()) == hits


@pytest.mark.parametrize(
    ("kind", "text", "image"),
    [
        ("query", None, None),
        ("query", " ", None),
        ("query", "red", ""),
        ("similar", "red", None),
        ("similar", None, ""),
    ],
)
def test_a_request_that_asks_nothing_can_not_be_made(kind: str, text: str | None, image: str | None) -> None:
    """A query has words or a picture, similar has a picture, and an empty path is none."""
    with pytest.raises(InputError):
        SearchRequest(kind, text, image)  # type: ignore[arg-type]
