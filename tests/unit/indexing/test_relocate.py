"""What `relocate` moves in an index, what it refuses, and that nothing is read or embedded again after it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from imgsearch.errors import FolderError, IndexLocked, IndexMissing, UsageError
from imgsearch.index.catalog import Catalog
from imgsearch.index.reader import ImageIndex
from imgsearch.index.writer import IndexWriter
from imgsearch.indexing.edit import Relocated, relocate
from imgsearch.indexing.roots import WalkOverrides
from imgsearch.search import similar
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, Notes, indexed, paint, roots, run

fake_model, gallery = fakes.fake_model, fakes.gallery

ALL = {"red.png", "green.png", "blue.jpg", "sub/yellow.png", "sub/white.png"}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


def move(
    folder: str, old: str | Path, new: str | Path, reporter: Notes | None = None, force: bool = False
) -> Relocated:
    return relocate(str(old), str(new), folder, force=force, reporter=reporter)


def test_a_moved_folder_costs_nothing(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After relocate a run finds every file unchanged, without reading any, and hits have the new paths."""
    run(folder, gallery)
    new = gallery.rename(tmp_path / "elsewhere")
    notes = Notes()
    assert move(folder, gallery, new, notes) == Relocated(roots=1, files=5, looked_at=5, there=5, changed=0)
    assert notes.lines == [f"{gallery} is now {new}", "5 of 5 files checked are there"]
    monkeypatch.setattr("imgsearch.indexing.decode.open_source", None)  # whoever reads a picture now fails
    again = run(folder)
    assert (again.unchanged, again.indexed, again.reused, again.pruned) == (5, 0, 0, 0)
    assert (fake_model.loads, fake_model.embedded) == (1, 5)
    with ImageIndex(folder) as index:
        hits = similar(index, str(new / "red.png"), fake_model.encoder())
    assert {hit.path for hit in hits} == {str(new / name) for name in ALL}
    assert not any(hit.missing for hit in hits)


def test_a_whole_drive_moves_with_all_its_folders(folder: str, tmp_path: Path, fake_model: FakeModel) -> None:
    """Every known folder inside OLD moves, nested ones and single files too, with their own options."""
    drive = tmp_path / "drive"
    for name in ("photos/a.png", "photos/best/b.png", "scans/c.png", "scans/d.png", "deep/er/e.png"):
        paint(drive / name, "red" if name < "q" else "blue")
    run(folder, drive / "photos")
    run(folder, drive / "photos" / "best", walk=WalkOverrides(exclude=("x*",)))
    run(folder, drive / "scans" / "c.png")
    run(folder, drive / "deep")
    with ImageIndex(folder) as index:
        options = [root.options for root in index.catalog.roots()]
    new = drive.rename(tmp_path / "other")
    assert move(folder, drive, new).roots == 4
    assert roots(folder, new) == {"photos", "photos/best", "scans", "deep"}
    assert indexed(folder, new) == {"photos/a.png", "photos/best/b.png", "scans/c.png", "deep/er/e.png"}
    again = run(folder)
    assert (again.unchanged, again.indexed, again.pruned) == (4, 0, 0)
    with ImageIndex(folder) as index:
        after = [root.options for root in index.catalog.roots()]
    moved = [{k: str(v).replace(str(drive), str(new)) for k, v in kept.items()} for kept in options]
    assert [{k: str(v) for k, v in kept.items()} for kept in after] == moved
    assert str(new / "photos") in moved[1]["above"]


def test_rules_that_lay_above_are_given_up_and_that_is_said(
    folder: str, tmp_path: Path, fake_model: FakeModel
) -> None:
    """A folder that leaves the one whose ignore files held for it keeps its own rules only, and walks again."""
    paint(tmp_path / "photos" / "best" / "b.png", "red")
    run(folder, tmp_path / "photos", walk=WalkOverrides(exclude=("/best/x*",)))
    run(folder, tmp_path / "photos" / "best", walk=WalkOverrides(include_hidden=True))
    new = (tmp_path / "photos" / "best").rename(tmp_path / "best")
    notes = Notes()
    move(folder, tmp_path / "photos" / "best", new, notes)
    assert "no longer apply: the ignore files above it" in notes.text
    assert "no longer apply: its exclude patterns" in notes.text
    assert run(folder, new).unchanged == 1


def test_a_place_inside_the_old_one_and_one_above_it(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """OLD and NEW may lie in each other: nested folders do not get in each other's way."""
    run(folder, gallery)
    run(folder, gallery / "sub", walk=WalkOverrides(include_hidden=True))
    inner = tmp_path / "kept" / "sub"
    inner.parent.mkdir()
    gallery.rename(inner)
    inner.parent.rename(gallery)  # now pictures/sub/sub is what pictures/sub was
    assert move(folder, gallery, gallery / "sub").there == 5
    assert roots(folder, gallery) == {"sub", "sub/sub"}
    assert run(folder).unchanged == 5
    (gallery / "sub").rename(tmp_path / "back")
    gallery.rmdir()
    (tmp_path / "back").rename(gallery)
    move(folder, gallery / "sub", gallery)
    assert roots(folder, gallery) == {".", "sub"}
    assert run(folder).unchanged == 5


def test_most_of_the_files_are_enough(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """Files that are missing or differ at the new place are counted; the next run sees to them."""
    run(folder, gallery)
    new = tmp_path / "elsewhere"
    shutil.copytree(gallery, new)  # copies are younger
    shutil.copystat(gallery / "red.png", new / "red.png")
    (new / "blue.jpg").unlink()
    notes = Notes()
    done = move(folder, gallery, new, notes)
    assert (done.looked_at, done.there) == (5, 4)
    assert "4 of 5 files checked are there" in notes.text
    again = run(folder)
    assert (again.unchanged + again.reused, again.pruned, fake_model.embedded) == (4, 1, 5)


def test_copies_with_another_time_are_said(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """Where times were not copied, the line says that the files will be read again."""
    run(folder, gallery)
    new = gallery.rename(tmp_path / "elsewhere")
    os.utime(new / "red.png", (1, 1))
    notes = Notes()
    assert move(folder, gallery, new, notes).changed == 1
    assert "1 of them with another size or time: the next 'imgsearch index' reads those again" in notes.shell


def test_the_wrong_folder_is_refused_unless_forced(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """If none of the known files is there nothing changes; --force believes the person."""
    run(folder, gallery)
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    with pytest.raises(FolderError, match=r"0 of 5 files checked are there: .*force=True"):
        move(folder, gallery, wrong)
    assert roots(folder, gallery) == {"."}
    assert move(folder, gallery, wrong, force=True).there == 0
    assert roots(folder, wrong) == {"."}


def test_of_many_files_some_are_looked_at(folder: str, tmp_path: Path) -> None:
    """However many files there are, about a hundred are looked for, spread over all of them."""
    with IndexWriter(folder, fakes.spec()) as writer:
        root = writer.catalog.put_root(str(tmp_path / "old"), {})
        files = [fakes.state(root, f"{n:04d}.jpg", fakes.sha(n)) for n in range(1500)]
        writer.commit([(fakes.sha(n), 0, 1, 1) for n in range(1500)], fakes.unit(1500), files)
        rows, count = writer.catalog.sample(root, 100)
    assert count == 1500
    assert [row.path for row in rows] == [f"{n:04d}.jpg" for n in range(0, 1500, 15)]
    (tmp_path / "new").mkdir()
    for n in range(0, 1500, 30):
        (tmp_path / "new" / f"{n:04d}.jpg").touch()
    done = move(folder, tmp_path / "old", tmp_path / "new")
    assert (done.files, done.looked_at, done.there) == (1500, 100, 50)


def test_a_folder_without_files_moves_too(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """Where there is nothing to look for, there is nothing to refuse."""
    run(folder, gallery)
    with IndexWriter(folder) as writer:
        writer.catalog.drop_files([row.id for row in writer.catalog.files(1)])
    (tmp_path / "new").mkdir()
    assert move(folder, gallery, tmp_path / "new") == Relocated(1, 0, 0, 0, 0)


@pytest.mark.parametrize("way", ["slash", "link", "relative", "dots"])
def test_paths_are_understood_as_elsewhere(
    folder: str,
    gallery: Path,
    tmp_path: Path,
    fake_model: FakeModel,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    """Slashes at the end, links, relative paths and dots name what they lead to."""
    run(folder, gallery)
    new = gallery.rename(tmp_path / "elsewhere")
    (tmp_path / "short").symlink_to(new)
    monkeypatch.chdir(tmp_path)
    old_as, new_as = {
        "slash": (f"{gallery}/", f"{new}/"),
        "link": (str(gallery), "short"),
        "relative": ("pictures", "elsewhere"),
        "dots": ("elsewhere/../pictures", "./elsewhere/."),
    }[way]
    move(folder, old_as, new_as)
    assert roots(folder, tmp_path) == {"elsewhere"}


def test_a_link_in_the_old_place_is_no_obstacle(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """A person who moved a folder and left a link behind can still say so."""
    run(folder, gallery)
    new = gallery.rename(tmp_path / "elsewhere")
    gallery.symlink_to(new)
    move(folder, gallery, new)
    assert roots(folder, tmp_path) == {"elsewhere"}


def test_what_can_not_be_meant_is_refused(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """Each refusal is one line that says what is known and what to do; the index stays as it is."""
    paint(tmp_path / "second" / "x.png", "pink")
    run(folder, gallery, tmp_path / "second")
    (gallery / "inside").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "around" / "third").mkdir(parents=True)
    paint(tmp_path / "around" / "third" / "y.png", "cyan")
    run(folder, tmp_path / "around" / "third")
    before = roots(folder, tmp_path)
    second = tmp_path / "second"
    refused = [
        (tmp_path / "unknown", second, UsageError, rf"is not an indexed folder; these are: .*{gallery}"),
        (gallery / "sub", second, UsageError, "finds them automatically, without the model"),
        (gallery, second, UsageError, "is a folder of this index already"),
        (second, gallery / "inside", UsageError, f"lies in {gallery}, which this index knows"),
        (second, tmp_path / "around", UsageError, "holds .*third, which this index knows"),
        (gallery, tmp_path / "none", FolderError, "does not exist"),
        (gallery, tmp_path / "file", FolderError, "is a file"),
        (gallery, "", FolderError, "empty"),
        ("", second, FolderError, "empty"),
    ]
    for old, new, kind, said in refused:
        with pytest.raises(kind, match=said) as raised:
            move(folder, old, new, force=True)
        assert "\n" not in str(raised.value)
    with pytest.raises(UsageError, match="are the same folder, on the same drive"):
        move(folder, gallery, gallery)
    assert roots(folder, tmp_path) == before
    with pytest.raises(IndexMissing):
        move(str(tmp_path / "no index"), gallery, second)
    with IndexWriter(folder), pytest.raises(IndexLocked):
        move(folder, gallery, tmp_path / "around")


def test_a_move_that_fails_in_the_middle_has_not_begun(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All folders move in one transaction: one that is cut off leaves every path as it was."""
    run(folder, gallery)
    run(folder, gallery / "sub", walk=WalkOverrides(include_hidden=True))
    new = gallery.rename(tmp_path / "elsewhere")
    last = os.fsencode(new / "sub").hex()
    move_roots = Catalog.move_roots

    def cut(catalog: Catalog, *moved: Any, **options: Any) -> None:
        catalog.database.connection.execute(
            f"CREATE TEMP TRIGGER cut BEFORE UPDATE OF path ON main.root WHEN NEW.path = x'{last}' "
            "BEGIN SELECT RAISE(ABORT, 'power cut'); END"
        )
        move_roots(catalog, *moved, **options)

    monkeypatch.setattr(Catalog, "move_roots", cut)
    with pytest.raises(sqlite3.IntegrityError, match="power cut"):
        move(folder, gallery, new)
    assert roots(folder, gallery) == {".", "sub"}


def test_the_command(folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel) -> None:
    """The command says what moved; --json gives the counts."""
    run(folder, gallery)
    new = gallery.rename(tmp_path / "elsewhere")
    done = imgsearch("relocate", gallery, new, "--index", folder, "--json")
    assert done.code == 0
    assert done.objects == [{"roots": 1, "files": 5, "looked_at": 5, "there": 5, "changed": 0}]
    assert f"{gallery} is now {new}" in done.err
    assert imgsearch("index", "--index", folder).code == 0
    refused = imgsearch("relocate", gallery, new, "--index", folder)
    assert refused.code == 2
    assert f"these are: {new}" in refused.err
