"""An index with a part for documents, which has a model of its own: `index --profile documents`, `query --only`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imgsearch.index import manifest
from imgsearch.index.parts import part_of
from imgsearch.types import ModelOptions
from support import drawn_documents, fakes
from support.cli import Done, imgsearch
from support.fakes import FakeModel, paint, run

fake_model = fakes.fake_model
PHOTOS, PAGES = ("red", "blue", "green"), ("pink", "orange", "cyan")


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> Path:
    """Give an index of photographs, with a part of pages."""
    for name in PHOTOS:
        paint(tmp_path / "photos" / f"{name}.png", name)
    for name in PAGES:
        paint(tmp_path / "papers" / f"{name}.png", name)
    for argv in (["photos"], ["papers", "--profile", "documents"]):
        done = imgsearch("index", tmp_path / argv[0], *argv[1:], "--index", tmp_path / "ix")
        assert done.code == 0, done.err
    return tmp_path / "ix"


def _asked(index: Path, *argv: object) -> Done:
    done = imgsearch("query", *argv, "--json", "--index", index)
    assert done.code == 0, done.err
    return done


def _stems(done: Done) -> list[str]:
    return [Path(hit["path"]).stem for hit in done.objects]


def _without_index(done: Done) -> list[dict[str, Any]]:
    return [{key: value for key, value in hit.items() if key != "index"} for hit in done.objects]


def test_a_new_part_has_the_model_for_pages(index: Path) -> None:
    """Documents get the fine-tune for pages, photographs the model that an index always gets."""
    assert manifest.read(part_of(str(index))).model == "tomaarsen/Qwen3-VL-Embedding-2B-vdr"
    assert manifest.read(str(index)).model == fakes.MODEL


def test_both_are_asked_and_merged_as_two_separate_indexes(index: Path, tmp_path: Path) -> None:
    """A query finds the same hits as in two indexes made apart, merged by rank, and each hit tells its part."""
    run(tmp_path / "one", tmp_path / "photos")
    run(
        tmp_path / "two",
        tmp_path / "papers",
        model=ModelOptions("tomaarsen/Qwen3-VL-Embedding-2B-vdr"),
    )
    apart = imgsearch("query", "red", "--json", "--index", tmp_path / "one", "--index", tmp_path / "two")
    together = _asked(index, "red")
    assert _without_index(together) == _without_index(apart)
    assert set(_stems(together)) == {*PHOTOS, *PAGES}
    assert {Path(hit["index"]).name for hit in together.objects} == {"ix", "documents"}
    assert "merged by rank" not in together.err  # it is always so


@pytest.mark.parametrize(("only", "found"), [("photos", PHOTOS), ("documents", PAGES)])
def test_only_one_of_them(index: Path, only: str, found: tuple[str, ...]) -> None:
    """`--only` asks one model, and its scores are those of an index of its own."""
    done = _asked(index, "red", "--only", only)
    assert set(_stems(done)) == set(found)
    scores = [hit["score"] for hit in done.objects]
    assert scores == sorted(scores, reverse=True)
    assert all("index" not in hit for hit in done.objects)


def test_similar_asks_both(index: Path, tmp_path: Path) -> None:
    """An example finds what is like it among photographs and documents."""
    done = imgsearch("similar", tmp_path / "photos" / "red.png", "--json", "--index", index)
    assert done.code == 0, done.err
    assert set(_stems(done)) == {*PHOTOS, *PAGES}


def test_an_update_is_of_both(index: Path, tmp_path: Path) -> None:
    """`imgsearch index` without a folder brings the part up to date, too, with its own model."""
    paint(tmp_path / "papers" / "yellow.png", "yellow")
    paint(tmp_path / "photos" / "brown.png", "brown")
    done = imgsearch("index", "--index", index)
    assert done.code == 0, done.err
    assert "documents: " in done.err
    assert {"yellow", "brown"} <= set(_stems(_asked(index, "red")))


def test_only_documents_are_indexed(fake_model: FakeModel, tmp_path: Path) -> None:
    """Without photographs the part alone is searched."""
    paint(tmp_path / "papers" / "red.png", "red")
    imgsearch("index", tmp_path / "papers", "--profile", "documents", "--index", tmp_path / "ix")
    assert _stems(_asked(tmp_path / "ix", "red")) == ["red"]


def test_a_person_sees_which_are_documents(index: Path) -> None:
    """On a terminal a document is marked as such, and a photograph is not."""
    done = imgsearch("query", "red", "--index", index, "--color", "never")
    marked = [line for line in done.lines if "(documents" in line]
    assert len(marked) == len(PAGES)
    assert all("/papers/" in line for line in marked)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> drawn_documents.Drawn:
    return drawn_documents.install(monkeypatch)


@pytest.mark.parametrize(
    ("only", "found"), [("films", ["clip"]), ("documents", ["report", "comic"]), ("photos", None)]
)
def test_in_an_index_without_a_part_the_kind_of_file_counts(
    fake_model: FakeModel, tmp_path: Path, drawn: drawn_documents.Drawn, only: str, found: list[str] | None
) -> None:
    """Films, and PDFs and archives, are searched alone by their types; `--type` beside that is refused."""
    paint(tmp_path / "all" / "photo.png", "red")
    drawn_documents.draw(tmp_path / "all" / "clip.mov", "0 red", kind="frame")
    drawn_documents.draw(tmp_path / "all" / "report.pdf", "red")
    drawn_documents.draw(tmp_path / "all" / "comic.cbz", "pink", kind="member")
    run(tmp_path / "ix", tmp_path / "all")
    done = _asked(tmp_path / "ix", "red", "--only", only)
    if found is not None:
        assert _stems(done) == found
        refused = imgsearch("query", "red", "--only", only, "--type", "png", "--index", tmp_path / "ix")
        assert (refused.code, "leave out --type" in refused.err) == (2, True)
    else:
        assert "photo" in _stems(done)


def test_a_part_of_several_indexes_is_refused(tmp_path: Path) -> None:
    """Which index is meant can't be told, which one line says."""
    two = ("--index", tmp_path / "ix", "--index", tmp_path / "other")
    assert "give one --index" in imgsearch("query", "red", "--only", "photos", *two).err
