"""What `remove` takes out of an index, by whatever name it is called, and what it says comes back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.edit import Removed, remove_paths
from imgsearch.indexing.roots import WalkOverrides
from support import fakes
from support.fakes import FakeModel, Notes, indexed, paint, roots, run

fake_model, gallery = fakes.fake_model, fakes.gallery

ALL = {"red.png", "green.png", "blue.jpg", "sub/yellow.png", "sub/white.png"}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Give the place of the index."""
    return str(tmp_path / "index")


def remove(folder: str, *paths: str | Path, reporter: Notes | None = None) -> Removed:
    return remove_paths([str(path) for path in paths], folder, reporter)


def test_a_removed_folder_is_forgotten_and_its_files_untouched(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """What is removed is no hit any more; its files stay, and indexing them again restores it without the model."""
    run(folder, gallery)
    assert remove(folder, gallery / "sub", gallery / "red.png", gallery / "none") == Removed(files=3)
    assert indexed(folder, gallery) == {"green.png", "blue.jpg"}
    assert all((gallery / name).exists() for name in ALL)
    assert run(folder).reused == 3
    assert indexed(folder, gallery) == ALL
    assert fake_model.embedded == 5
    assert remove(folder, gallery.parent) == Removed(files=5, roots=1)
    with ImageIndex(folder) as index:
        assert index.catalog.roots() == []
        assert index.search(fakes.vector((1, 2, 3)), 9) == [[]]


def test_what_is_not_there_removes_nothing(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A path that the index does not know, or an empty one, is nothing, which is false, and it says so."""
    run(folder, gallery)
    notes = Notes()
    assert not remove(folder, gallery / "none", gallery.parent / "other", "", reporter=notes)
    assert notes.lines[0] == f"not in the index: {gallery / 'none'}"
    assert len(notes.lines) == 3
    assert indexed(folder, gallery) == ALL


def test_a_dry_run_removes_nothing(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """With dry_run what would be removed is counted as removing it counts, and stays."""
    run(folder, gallery)
    twice = [gallery / "sub", gallery / "sub" / "yellow.png", gallery / "sub"]
    for paths in (twice, [gallery / "red.png", gallery / "blue.jpg"], [gallery]):
        would = remove_paths([str(path) for path in paths], folder, dry_run=True)
        assert indexed(folder, gallery) == ALL
        assert remove(folder, *paths) == would
        assert run(folder, gallery).indexed == 0


class Careful(Notes):
    """A reporter whose user is asked and says no."""

    def approve(self, question: str) -> bool:
        self.lines.append(question)
        return False


def test_many_images_are_removed_only_after_a_yes(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """More than 20 images are asked about first; a no leaves all of them."""
    for number in range(20):
        paint(gallery / f"{number}.png", (number, 0, 0))
    run(folder, gallery)
    careful = Careful()
    assert not remove(folder, gallery, reporter=careful)
    assert careful.lines == ["Remove 25 images from the index?"]
    assert len(indexed(folder)) == 25
    assert remove(folder, gallery / "sub", reporter=careful) == Removed(files=2)
    assert remove(folder, gallery) == Removed(files=23, roots=1)


def test_a_root_without_files_counts(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """Removing a root that has no file left is something, and it says so."""
    run(folder, gallery)
    remove(folder, *gallery.iterdir())
    notes = Notes()
    done = remove(folder, gallery, reporter=notes)
    assert (done, bool(done)) == (Removed(files=0, roots=1), True)
    assert notes.lines == [f"{gallery} is no longer indexed"]
    assert roots(folder) == set()


@pytest.mark.parametrize("way", ["as printed", "through a linked folder", "relative", "as it really is"])
def test_a_file_behind_a_followed_link_is_removed(
    folder: str, gallery: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The path that a search prints removes what it stands for, also behind links; another one does not."""
    paint(gallery.parent / "far" / "pink.png", "pink")
    (gallery / "far").symlink_to(gallery.parent / "far")
    (gallery.parent / "short").symlink_to(gallery)
    run(folder, gallery, walk=WalkOverrides(follow_symlinks=True))
    assert indexed(folder, gallery) == ALL | {"far/pink.png"}
    monkeypatch.chdir(gallery / "sub")
    path = {
        "as printed": gallery / "far" / "pink.png",
        "through a linked folder": gallery.parent / "short" / "far" / "pink.png",
        "relative": "../far/pink.png",
        "as it really is": gallery.parent / "far" / "pink.png",
    }[way]
    wanted = Removed() if way == "as it really is" else Removed(files=1)
    assert remove(folder, path) == wanted
    assert len(indexed(folder)) == 6 - wanted.files


def test_a_link_that_is_catalogued_is_removed_by_its_own_name(
    folder: str, tmp_path: Path, fake_model: FakeModel
) -> None:
    """A link in the index is itself; a link that is not stands for what it leads to."""
    target = paint(tmp_path / "b" / "red.png", "red")
    paint(tmp_path / "a" / "blue.png", "blue")
    link = tmp_path / "a" / "link.png"
    link.symlink_to(target)
    run(folder, tmp_path / "a", walk=WalkOverrides(follow_symlinks=True))
    assert indexed(folder, tmp_path) == {"a/blue.png", "a/link.png"}
    assert remove(folder, link) == Removed(files=1)
    assert indexed(folder, tmp_path) == {"a/blue.png"}
    run(folder, tmp_path / "b")
    assert indexed(folder, tmp_path) == {"a/blue.png", "b/red.png"}
    assert remove(folder, link) == Removed(files=1)
    assert indexed(folder, tmp_path) == {"a/blue.png"}


def test_a_file_that_was_given_by_itself_stays_away(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """A removed single file does not come back with the next refresh; with the last one its root goes too."""
    run(folder, gallery / "red.png", gallery / "green.png")
    notes = Notes()
    assert remove(folder, gallery / "red.png", reporter=notes) == Removed(files=1)
    assert run(folder).unchanged == 1
    assert indexed(folder, gallery) == {"green.png"}
    assert remove(folder, gallery / "green.png", reporter=notes) == Removed(files=1)
    assert notes.lines == []  # its folder was never indexed
    assert roots(folder) == set()


def test_a_single_file_that_is_only_a_name_is_withdrawn(
    folder: str, gallery: Path, fake_model: FakeModel
) -> None:
    """A single file that was pruned is still a name that a refresh looks for: removing it withdraws the name."""
    run(folder, gallery / "red.png", gallery / "green.png")
    (gallery / "red.png").unlink()
    run(folder)
    assert remove(folder, gallery / "red.png") == Removed(files=1)
    paint(gallery / "red.png", "red")
    run(folder)
    assert indexed(folder, gallery) == {"green.png"}


def test_what_comes_back_is_said(folder: str, gallery: Path, fake_model: FakeModel) -> None:
    """A part of a root, and a root inside another, come back with the outer's next refresh, and that is said."""
    run(folder, gallery)
    run(folder, gallery / "sub", walk=WalkOverrides(exclude=("yellow.*",)))
    back = f"{gallery / 'sub'} comes back when {gallery} is indexed again"
    notes = Notes()
    assert remove(folder, gallery / "sub", reporter=notes) == Removed(files=1, roots=1)
    assert notes.lines[0] == f"{gallery / 'sub'} is no longer indexed"
    assert notes.lines[1].startswith(back)
    run(folder)
    assert indexed(folder, gallery) == ALL
    notes = Notes()
    remove(folder, gallery / "sub", reporter=notes)
    assert notes.text.startswith(back)
    notes = Notes()
    os.unlink(gallery / "red.png")
    remove(folder, gallery / "red.png", reporter=notes)
    assert notes.lines == []
