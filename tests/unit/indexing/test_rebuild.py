"""An index is made anew beside the one in use, which answers until the new one is complete; nothing is done twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgsearch.errors import IndexMismatch
from imgsearch.index import generations
from imgsearch.index.reader import ImageIndex
from imgsearch.types import ModelOptions
from support import fakes
from support.fakes import FakeModel, Notes, fake_model, gallery, indexed, paint, run

__all__ = ["fake_model", "gallery"]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


def interrupt_after(fake: FakeModel, pictures: int) -> None:
    """Press Ctrl-C when the model has embedded so many pictures more."""
    end = fake.embedded + pictures

    def interrupt(embedded: int) -> None:
        if embedded >= end:
            raise KeyboardInterrupt

    fake.before = interrupt


def test_the_old_index_answers_until_the_new_one_is_complete(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """While pictures are embedded again, searches find what the old index holds; afterwards the new one."""
    run(folder, gallery, batch_size=1)
    before = indexed(folder)
    paint(gallery / "late.png", "cyan")
    seen: list[set[str]] = []
    fake_model.before = lambda embedded: seen.append(indexed(folder))
    run(folder, gallery, batch_size=1, rebuild=True)
    assert len(seen) > 3
    assert all(files == before for files in seen)
    assert indexed(folder) == before | {os.path.relpath(gallery / "late.png", "/")}
    assert generations.unfinished(folder) is None


def test_a_rebuild_goes_on_where_it_was_broken_off(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """After Ctrl-C the old index stays in use and the way on is said; the second try embeds only the rest."""
    total = run(folder, gallery, batch_size=1).indexed
    before, notes = indexed(folder), Notes()
    interrupt_after(fake_model, 3)
    with pytest.raises(KeyboardInterrupt):
        run(folder, gallery, batch_size=1, rebuild=True, reporter=notes)
    assert "to resume: imgsearch index --rebuild --index" in notes.shell
    assert indexed(folder) == before
    fake_model.before, embedded = None, fake_model.embedded
    result = run(folder, rebuild=True)
    assert fake_model.embedded - embedded == total - 3
    assert result.unchanged >= 3
    assert indexed(folder) == before
    assert not os.path.exists(os.path.join(folder, "catalog.sqlite"))


def test_a_rebuild_that_is_gone_on_with_keeps_its_settings(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """What was begun with another dimension goes on with it, without its being said again."""
    run(folder, gallery)
    interrupt_after(fake_model, 2)
    with pytest.raises(KeyboardInterrupt):
        run(folder, gallery, batch_size=1, rebuild=True, model=ModelOptions(dim=5))
    fake_model.before = None
    run(folder, rebuild=True)
    with ImageIndex(folder) as index:
        assert index.spec.dim == 5


def test_another_wish_gives_up_what_was_begun(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A rebuild with other settings than the one that was broken off begins again, and says so."""
    run(folder, gallery)
    interrupt_after(fake_model, 2)
    with pytest.raises(KeyboardInterrupt):
        run(folder, gallery, batch_size=1, rebuild=True, model=ModelOptions(dim=5))
    fake_model.before, notes = None, Notes()
    everything = len(indexed(folder))
    run(folder, rebuild=True, model=ModelOptions(dim=7), reporter=notes)
    assert "the interrupted rebuild had other settings" in notes.text
    with ImageIndex(folder) as index:
        assert index.spec.dim == 7
    assert len(indexed(folder)) == everything


def test_an_ordinary_run_says_that_a_rebuild_is_not_complete(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """The index in use is kept up to date as ever, and both ways out of the unfinished one are named."""
    run(folder, gallery)
    interrupt_after(fake_model, 1)
    with pytest.raises(KeyboardInterrupt):
        run(folder, gallery, batch_size=1, rebuild=True)
    fake_model.before, notes = None, Notes()
    paint(gallery / "late.png", "cyan")
    assert run(folder, gallery, reporter=notes).indexed == 1
    assert "imgsearch index --rebuild" in notes.shell
    assert "imgsearch compact --all" in notes.shell
    assert generations.unfinished(folder) is not None


def test_an_open_reader_is_told_of_other_settings(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A search in an index that was made anew with another dimension meanwhile ends in one line, not in nonsense."""
    run(folder, gallery)
    with ImageIndex(folder) as reader:
        run(folder, gallery, rebuild=True, model=ModelOptions(dim=5))
        with pytest.raises(IndexMismatch, match="rebuilt with another model or settings"):
            reader.search(fakes.vector((1, 2, 3)), 1)


def test_a_picture_that_went_during_the_break_is_not_in_the_new_index(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """What a rebuild had embedded before it was broken off and is gone now does not come back with it."""
    run(folder, gallery)
    interrupt_after(fake_model, 3)
    with pytest.raises(KeyboardInterrupt):
        run(folder, gallery, batch_size=1, rebuild=True)
    fake_model.before = None
    begun = generations.unfinished(folder)
    assert begun is not None
    with ImageIndex(begun[1]) as half:
        root = half.catalog.roots()[0]
        gone = next(row.path for row in half.catalog.files(root.id) if row.content)
    (gallery / gone).unlink()
    paint(gallery / "other" / "stays.png", "cyan")
    run(folder, rebuild=True)
    assert os.path.relpath(gallery / gone, "/") not in indexed(folder)


def test_a_rebuild_that_is_gone_on_with_tries_a_large_picture_again(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """What was too large when the rebuild was begun is read with a limit that lets it in."""
    run(folder, gallery)
    everything = indexed(folder)
    paint(gallery / "a.png", "cyan", size=(600, 600))
    interrupt_after(fake_model, 3)
    with pytest.raises(KeyboardInterrupt):
        run(folder, gallery, batch_size=1, rebuild=True, max_megapixels=0.1)
    fake_model.before = None
    run(folder, rebuild=True, max_megapixels=1.0)
    assert indexed(folder) == everything | {os.path.relpath(gallery / "a.png", "/")}


def test_a_root_that_is_not_there_is_named_once(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A rebuild without paths says of each root that is away that it is, once."""
    away = gallery.with_name("away")
    paint(away / "red.png", "red")
    run(folder, gallery, away)
    away.rename(gallery.with_name("elsewhere"))
    notes = Notes()
    run(folder, rebuild=True, reporter=notes)
    assert notes.text.count(f"{away} is not there now") == 1
