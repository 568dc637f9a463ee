"""`--refresh`: a search that brings the index up to date first."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from imgsearch.index.writer import IndexWriter
from support import fakes
from support.cli import Done, imgsearch
from support.fakes import FakeModel, paint, run

fake_model, gallery = fakes.fake_model, fakes.gallery


@pytest.fixture
def index(fake_model: FakeModel, gallery: Path, tmp_path: Path) -> Path:
    """Give an index of the gallery, with a model that counts from here."""
    run(tmp_path / "ix", gallery)
    fake_model.loads = fake_model.embedded = 0
    return tmp_path / "ix"


def names(done: Done) -> list[str]:
    assert done.code == 0, done.err
    return [Path(hit["path"]).name for hit in done.objects]


def test_what_was_added_is_found_and_what_was_deleted_is_not(index: Path, gallery: Path) -> None:
    """With --refresh a search knows the folders as they are now, and says on stderr what it did."""
    paint(gallery / "pink.png", "pink")
    (gallery / "red.png").unlink()
    before = imgsearch("query", "pink", "--index", index, "--json")
    assert "pink.png" not in names(before)
    after = imgsearch("query", "pink", "--refresh", "--index", index, "--json")
    assert names(after)[0] == "pink.png"
    assert "red.png" not in names(after)
    assert "1 indexed, 4 unchanged, 1 deleted" in after.err


def test_the_model_is_loaded_once_for_both(index: Path, gallery: Path, fake_model: FakeModel) -> None:
    """The model that indexed the new images also embeds the query."""
    paint(gallery / "pink.png", "pink")
    assert names(imgsearch("query", "pink", "--refresh", "--index", index, "--json"))[0] == "pink.png"
    assert fake_model.loads == 1
    assert (fake_model.embedded, fake_model.asked) == (1, 1)


def test_nothing_new_loads_no_model(index: Path, gallery: Path, fake_model: FakeModel) -> None:
    """Similar images of an indexed one need no model, also with --refresh."""
    assert names(imgsearch("similar", gallery / "red.png", "--refresh", "--index", index, "--json"))
    assert fake_model.loads == 0


def test_an_image_among_the_words_is_refreshed_too(index: Path, gallery: Path) -> None:
    """A query that is an image file, which goes on as similar, keeps --refresh."""
    pink = paint(gallery / "pink.png", "pink")
    assert names(imgsearch("query", pink, "--refresh", "--index", index, "--json"))[0] == "pink.png"


def test_another_writer_is_no_obstacle(index: Path, gallery: Path) -> None:
    """While another process updates the index, a line says so, and what is indexed is searched."""
    paint(gallery / "pink.png", "pink")
    with IndexWriter(str(index)):
        done = imgsearch("query", "red", "--refresh", "--index", index, "--json")
    assert names(done)[0] == "red.png"
    assert "pink.png" not in names(done)
    assert "the index could not be updated; searching it as it is: another imgsearch" in done.err


def test_a_drive_that_is_away_is_no_obstacle(index: Path, gallery: Path) -> None:
    """Where the indexed folder is not there, a line says so, and its images are still found."""
    shutil.move(gallery, gallery.with_name("elsewhere"))
    done = imgsearch("query", "red", "--refresh", "--index", index, "--json")
    assert names(done)[0] == "red.png"
    assert "is not there now" in done.err
    assert "searching it as it is" in done.err


def test_there_is_nothing_to_refresh_without_an_index(fake_model: FakeModel, tmp_path: Path) -> None:
    """Without an index the error is that of any search."""
    done = imgsearch("query", "red", "--refresh", "--index", tmp_path / "none")
    assert done.code == 2
    assert "there is no index in" in done.err
