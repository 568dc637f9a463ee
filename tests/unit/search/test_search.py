"""From a request to hits: what a query is embedded with, and when the model is loaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgsearch.errors import InputError, UsageError
from imgsearch.index.reader import ImageIndex
from imgsearch.search import SearchRequest, answer, check_request, query, similar
from imgsearch.search.encoding import CachedEncoder
from imgsearch.search.hits import SearchOptions
from imgsearch.search.language.question import Part
from imgsearch.tools.maintenance.status import IndexedFile, indexed_files, read_status
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
        query(index, recorder, [Input(text="red", instruction=given)])
        expected = index.spec.query_prompt if given is None else used
    assert [item.instruction for item in recorder.inputs] == [expected]


@pytest.mark.parametrize("given", ["", "Find the logo."])
def test_an_instruction_of_a_search_is_for_its_words(folder: str, gallery: Path, given: str) -> None:
    """An instruction steers the words of a query, alone or as a part; an example keeps that of the index's images."""
    new = str(paint(gallery.parent / "new.png", (9, 99, 9)))
    options = SearchOptions(instruction=given)
    with ImageIndex(folder) as index:
        words, parts = Recorder(index.spec.dim), Recorder(index.spec.dim)
        answer(index, SearchRequest("query", "red", options=options), words)
        both = Part("red", weight=2.0), Part(image=new)
        answer(index, SearchRequest("query", options=options, parts=both), parts)
        of_images = index.spec.document_prompt
    assert [item.instruction for item in words.inputs] == [given]
    assert [item.instruction for item in parts.inputs] == [given, of_images]


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
        ("query", "\u200b", None),
        ("query", "\ufeff", None),
        ("query", "a \0 dog", None),
        ("query", "red", ""),
        ("similar", "red", None),
        ("similar", None, ""),
    ],
)
def test_a_request_that_asks_nothing_can_not_be_made(kind: str, text: str | None, image: str | None) -> None:
    """A query has words or a picture, similar has a picture, and an empty path is none."""
    with pytest.raises(InputError):
        SearchRequest(kind, text, image)  # type: ignore[arg-type]


class Unused:
    """An encoder that must not be asked."""

    def embed(self, inputs: object) -> Any:
        raise AssertionError("the model is not needed here")


def alike(folder: str, path: Path, **options: Any) -> list[str]:
    with ImageIndex(folder) as index:
        return [hit.path for hit in similar(index, str(path), Unused(), SearchOptions(**options))]


def test_an_indexed_picture_is_its_own_first_answer(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """However many pictures look the very same, the one that was asked about comes first, also alone."""
    for number in range(40):
        paint(gallery / f"red {number:02d}.png", "red", size=(16 + number, 12))
    run(folder, gallery)
    for name in ("red.png", "red 00.png", "red 17.png", "red 39.png", "sub/white.png"):
        for n in (1, 3, 100):
            assert alike(folder, gallery / name, n=n)[0] == str(gallery / name)
            assert len(alike(folder, gallery / name, n=n)) == min(n, 45)


def test_a_copy_of_an_indexed_picture_needs_no_model(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """A picture that lies elsewhere, or was touched, is known by its bytes."""
    run(folder, gallery)
    shutil.copy(gallery / "red.png", gallery.parent / "elsewhere.png")
    os.utime(gallery / "green.png", ns=(1, 1))
    assert alike(folder, gallery.parent / "elsewhere.png")[0] == str(gallery / "red.png")
    assert alike(folder, gallery / "green.png")[0] == str(gallery / "green.png")


def test_a_changed_picture_is_asked_about_as_it_is_now(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """A picture that has changed since it was indexed is embedded, not answered from its old vector."""
    run(folder, gallery)
    paint(gallery / "red.png", "blue", size=(80, 60))
    with ImageIndex(folder) as index:
        hits = similar(index, str(gallery / "red.png"), fake_model.encoder())
        # What the version before took: a callable that gives the encoder.
        assert similar(index, str(gallery / "red.png"), fake_model.encoder) == hits
    assert hits[0].path == str(gallery / "blue.jpg")


def test_thresholds_leave_out_what_is_too_far(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """--min-score is a cosine, --within a share of the best hit, and ranks count what is left."""
    run(folder, gallery)

    def ask(**options: Any) -> list[Any]:
        with ImageIndex(folder) as index:
            asked = [Input(text="red")]
            return query(index, fake_model.encoder(), asked, SearchOptions(**options))[0]

    everything = ask()
    scores = [hit.score for hit in everything]
    assert [hit.rank for hit in everything] == [1, 2, 3, 4, 5]
    assert scores == sorted(scores, reverse=True)
    assert ask(min_score=scores[2]) == everything[:3]
    assert ask(within=100 * (1 - scores[1] / scores[0]) + 0.01) == everything[:2]
    assert ask(within=0) == everything[:1]
    assert ask(min_score=1.1) == []


def test_a_copy_that_is_there_stands_for_one_that_is_gone(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """Of files with the same bytes, one that still exists is shown; a hit is missing only if all are gone."""
    shutil.copy(gallery / "red.png", gallery / "a red.png")
    run(folder, gallery)
    os.unlink(gallery / "a red.png")
    with ImageIndex(folder) as index:
        assert query(index, fake_model.encoder(), [Input(text="red")])[0][0].path == str(gallery / "red.png")
        os.unlink(gallery / "red.png")
        hit = query(index, fake_model.encoder(), [Input(text="red")])[0][0]
    assert hit.missing
    assert {hit.path, *hit.copies} == {str(gallery / "a red.png"), str(gallery / "red.png")}


def test_names_of_the_version_before_still_say_the_same(folder: str, fake_model: FakeModel) -> None:
    """What had another name one version ago can be had by it for one more."""
    status = read_status(folder)
    assert (status.identity, status.dead, status.waiting) == (status.spec, status.deleted, status.retained)
    with ImageIndex(folder) as index:
        query(index, fake_model.encoder(), [Input("red")])
        assert index.identity == index.spec
        assert index.rung is not None
        assert index.rung == index.strategy


def test_a_folder_that_does_not_exist_is_no_filter(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """`below` a folder that is neither there nor indexed is an error; one that is only away is searched as ever."""
    options, none = (SearchOptions(below=(str(gallery / name),)) for name in ("sub", "nowhere"))
    with ImageIndex(folder) as index:
        before = answer(index, SearchRequest("query", "red", options=options), fake_model.encoder())
        assert before
        with pytest.raises(UsageError, match=r"below: .*nowhere does not exist"):
            check_request(index, SearchRequest("query", "red", options=none))
        (gallery / "sub").rename(gallery.parent / "away")
        after = answer(index, SearchRequest("query", "red", options=options), fake_model.encoder())
    assert [hit.path for hit in after] == [hit.path for hit in before]


@pytest.mark.parametrize("kind", ["query", "similar"])
def test_a_folder_is_no_image(folder: str, gallery: Path, kind: Any) -> None:
    """A folder in the place of an image is called that."""
    with ImageIndex(folder) as index, pytest.raises(InputError, match=r"sub is a folder"):
        check_request(index, SearchRequest(kind, image=str(gallery / "sub")))


def test_the_indexed_files_are_listed(folder: str, gallery: Path) -> None:
    """Every indexed file is listed with size and time, also below a path; what was skipped is not."""
    (gallery / "note.jpg").write_text("words")
    run(folder, gallery)
    wanted = sorted({*gallery.rglob("*.*")} - {gallery / "note.jpg"})
    states = [(path, path.stat()) for path in wanted]
    assert list(indexed_files(folder)) == [
        IndexedFile(str(path), state.st_size, state.st_mtime_ns) for path, state in states
    ]
    sub = [str(path) for path in wanted if path.parent.name == "sub"]
    assert [file.path for file in indexed_files(folder, str(gallery / "sub"))] == sub
    assert [file.path for file in indexed_files(folder, sub[0])] == sub[:1]
    assert len(list(indexed_files(folder, str(gallery.parent)))) == len(wanted)
    assert not list(indexed_files(folder, str(gallery / "su")))
