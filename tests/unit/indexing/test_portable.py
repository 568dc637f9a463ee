"""A portable index: it is beside its photos, and both can be moved, renamed, copied and mounted elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from imgsearch.errors import IndexDamaged, UsageError
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing import places
from imgsearch.indexing.edit import relocate, remove_paths
from imgsearch.indexing.roots import WalkOverrides
from imgsearch.mounts import Drive, Mounts
from imgsearch.search.show import show
from imgsearch.tools.maintenance.status import indexed_files, read_status
from imgsearch.tools.maintenance.verify import verify_index
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, Notes, indexed, paint, roots, run, unprivileged

fake_model = fakes.fake_model


@pytest.fixture
def drive(fake_model: FakeModel, tmp_path: Path) -> Path:
    """Give a folder that stands for a drive, with a portable index of its photos; the model counts from here."""
    folder = tmp_path / "drive"
    for name in ("red.png", "2024/blue.png", "2024/green.jpg"):
        paint(folder / name, Path(name).stem)
    run(folder / ".imgsearch", folder, portable=True)
    fake_model.loads = fake_model.embedded = 0
    return folder


def found(index: Path, *argv: object) -> list[str]:
    """Return the paths that a search finds."""
    done = imgsearch(*argv, "--index", index, "--json")
    assert done.code == 0, done.err
    return [hit["path"] for hit in done.objects]


def stored(index: Path) -> list[tuple[bytes, str]]:
    """Return the paths and options of the roots as they are on the disk."""
    db = sqlite3.connect(index / "catalog.sqlite")
    try:
        return db.execute("SELECT path, options FROM root ORDER BY id").fetchall()
    finally:
        db.close()


def test_nothing_on_the_disk_says_where_it_is(drive: Path) -> None:
    """The catalogue holds relative paths only; whoever opens it sees absolute ones."""
    assert [path for path, _ in stored(drive / ".imgsearch")] == [b"."]
    assert roots(drive / ".imgsearch") == {str(drive).lstrip("/")}
    for file in (drive / ".imgsearch").iterdir():
        assert file.is_dir() or os.fsencode(drive) not in file.read_bytes()


def test_a_moved_index_answers_with_the_new_paths(drive: Path, fake_model: FakeModel) -> None:
    """After the folder has moved, query, similar, list, show and status know the photos where they are."""
    moved = drive.rename(drive.parent / "mounted elsewhere")
    index = moved / ".imgsearch"
    assert found(index, "query", "red")[0] == str(moved / "red.png")
    loads = fake_model.loads
    assert found(index, "similar", moved / "2024" / "blue.png")[0] == str(moved / "2024" / "blue.png")
    assert found(index, "query", "red", "--in", moved / "2024")[0].startswith(str(moved / "2024"))
    assert {file.path for file in indexed_files(str(index))} == {
        str(moved / name) for name in ("red.png", "2024/blue.png", "2024/green.jpg")
    }
    with ImageIndex(str(index)) as opened:
        assert show(opened, str(moved / "red.png")).path == str(moved / "red.png")
    assert [root.path for root in read_status(str(index)).roots] == [str(moved)]
    assert not verify_index(str(index), Notes()).damages
    assert fake_model.loads == loads


def test_a_moved_index_is_refreshed_without_the_model(drive: Path, fake_model: FakeModel) -> None:
    """A run after the move finds all files unchanged, and says nothing of drives; new ones are added beside them."""
    moved = drive.rename(drive.parent / "elsewhere")
    notes = Notes()
    result = run(moved / ".imgsearch", reporter=notes)
    assert (result.unchanged, result.indexed, result.reused, result.pruned) == (3, 0, 0, 0)
    assert "drive" not in notes.text
    paint(moved / "pink.png", "pink")
    (moved / "red.png").unlink()
    result = run(moved / ".imgsearch")
    assert (result.indexed, result.pruned) == (1, 1)
    assert indexed(moved / ".imgsearch", moved) == {"pink.png", "2024/blue.png", "2024/green.jpg"}
    assert fake_model.loads == 1


def test_images_are_removed_after_a_move(drive: Path) -> None:
    """remove takes the new paths."""
    moved = drive.rename(drive.parent / "elsewhere")
    assert remove_paths([str(moved / "2024")], str(moved / ".imgsearch")).files == 2
    assert indexed(moved / ".imgsearch", moved) == {"red.png"}
    assert remove_paths([str(moved)], str(moved / ".imgsearch")).roots == 1
    assert stored(moved / ".imgsearch") == []


def test_it_stays_portable_when_all_was_removed(drive: Path) -> None:
    """What is indexed next is relative, too."""
    remove_paths([str(drive)], str(drive / ".imgsearch"))
    run(drive / ".imgsearch", drive / "2024")
    assert [path for path, _ in stored(drive / ".imgsearch")] == [b"2024"]


def test_it_is_found_from_inside_without_being_named(drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder, or one below, commands use the index that is there."""
    moved = drive.rename(drive.parent / "elsewhere")
    monkeypatch.chdir(moved / "2024")
    monkeypatch.delenv("IMGSEARCH_INDEX", raising=False)
    done = imgsearch("query", "blue", "--paths")
    assert done.lines[0] == str(moved / "2024" / "blue.png")


def test_a_copy_is_an_index_of_its_own(drive: Path, fake_model: FakeModel) -> None:
    """A copied folder knows its own files; a run there reads them again, but embeds none."""
    copy = drive.parent / "backup"
    shutil.copytree(drive, copy)
    result = run(copy / ".imgsearch")
    assert result.indexed == 0
    assert result.unchanged + result.reused == 3
    assert fake_model.loads == 0
    assert {file.path for file in indexed_files(str(copy / ".imgsearch"))} == {
        str(copy / name) for name in ("red.png", "2024/blue.png", "2024/green.jpg")
    }
    assert roots(drive / ".imgsearch") == {str(drive).lstrip("/")}


def test_another_drive_raises_no_alarm(
    drive: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where folder and index are on another drive than before, nothing is said, and no file is read again."""
    real = Mounts.drive
    moved = drive.rename(drive.parent / "elsewhere")

    def on_a_stick(mounts: Mounts, path: str) -> Drive:
        inside = path == str(moved) or path.startswith(f"{moved}/")
        return Drive(str(moved), "uuid AFFE-4711", -4711) if inside else real(mounts, path)

    monkeypatch.setattr(Mounts, "drive", on_a_stick)
    notes = Notes()
    result = run(moved / ".imgsearch", reporter=notes)
    assert (result.unchanged, result.reused, result.pruned) == (3, 0, 0)
    assert "drive" not in notes.text


def test_a_drive_mounted_over_a_root_takes_no_image_away(
    drive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root that another drive covers now is left alone: its images stay indexed."""
    remove_paths([str(drive)], str(drive / ".imgsearch"))
    run(drive / ".imgsearch", drive / "2024")
    real = Mounts.drive
    monkeypatch.setattr(
        Mounts,
        "drive",
        lambda mounts, path: Drive(path, "other", -1) if path == str(drive / "2024") else real(mounts, path),
    )
    with ImageIndex(str(drive / ".imgsearch")) as index:
        (root,) = index.catalog.roots()
    place = places.place_of(root, Mounts(), lambda root: {})
    assert place.state == "away"
    assert "its images stay indexed" in place.reason


def test_a_folder_outside_is_refused(drive: Path, fake_model: FakeModel) -> None:
    """A portable index holds nothing of elsewhere: a sentence says so before a model is loaded."""
    paint(drive.parent / "other" / "pink.png", "pink")
    with pytest.raises(UsageError, match="a portable index holds only images in the folder that it is in"):
        run(drive / ".imgsearch", drive.parent / "other")
    with pytest.raises(UsageError, match="a portable index holds only images"):
        run(drive.parent / "new" / ".imgsearch", drive.parent / "other", portable=True)
    assert not (drive.parent / "new").exists()
    with pytest.raises(UsageError, match="a portable index holds only images"):
        relocate(str(drive), str(drive.parent / "other"), str(drive / ".imgsearch"), force=True)
    assert roots(drive / ".imgsearch") == {str(drive).lstrip("/")}
    assert fake_model.loads == 0


def test_a_root_on_another_drive_is_refused(drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mounted from elsewhere would not move along: a sentence says so."""
    other = drive / "mounted"
    paint(other / "pink.png", "pink")
    real = Mounts.drive
    monkeypatch.setattr(
        Mounts,
        "drive",
        lambda mounts, path: Drive(path, "other", -1) if path == str(other) else real(mounts, path),
    )
    with pytest.raises(UsageError, match="is on another drive than the index"):
        run(drive / ".imgsearch", other, walk=WalkOverrides(include_hidden=True))


def test_a_portable_index_inside_another(drive: Path) -> None:
    """Both know the inner folder's photos by their own paths, and neither indexes the other."""
    inner = drive / "2024"
    run(inner / ".imgsearch", inner, portable=True)
    run(drive / ".imgsearch")
    moved = drive.rename(drive.parent / "elsewhere")
    assert indexed(moved / ".imgsearch", moved) == {"red.png", "2024/blue.png", "2024/green.jpg"}
    assert indexed(moved / "2024" / ".imgsearch", moved) == {"2024/blue.png", "2024/green.jpg"}
    taken_out = (moved / "2024").rename(moved.parent / "2024")
    assert indexed(taken_out / ".imgsearch", taken_out) == {"blue.png", "green.jpg"}


def test_folders_that_a_roots_options_name_move_too(drive: Path) -> None:
    """A root inside another one keeps the patterns above it, after a move as before."""
    run(drive / ".imgsearch", drive, walk=WalkOverrides(exclude=("2024/blue.png",)))
    run(drive / ".imgsearch", drive / "2024", walk=WalkOverrides(include_hidden=True))
    options = [json.loads(options) for _, options in stored(drive / ".imgsearch")]
    assert [(one["above"], one["anchor"]) for one in options] == [("", ""), (".", ".")]
    moved = drive.rename(drive.parent / "elsewhere")
    result = run(moved / ".imgsearch")
    assert (result.indexed, result.pruned) == (0, 0)
    assert indexed(moved / ".imgsearch", moved) == {"red.png", "2024/green.jpg"}
    with ImageIndex(str(moved / ".imgsearch")) as index:
        assert index.catalog.roots()[1].options["above"] == str(moved)


def test_an_index_can_be_made_portable(fake_model: FakeModel, tmp_path: Path) -> None:
    """An index that is beside its photos becomes portable with the next run that says so; one elsewhere does not."""
    paint(tmp_path / "photos" / "red.png", "red")
    run(tmp_path / "photos" / ".imgsearch", tmp_path / "photos")
    run(tmp_path / "photos" / ".imgsearch", tmp_path / "photos", portable=True)
    assert [path for path, _ in stored(tmp_path / "photos" / ".imgsearch")] == [b"."]
    run(tmp_path / "far" / "ix", tmp_path / "photos")
    with pytest.raises(UsageError, match="a portable index holds only images"):
        run(tmp_path / "far" / "ix", tmp_path / "photos", portable=True)
    assert stored(tmp_path / "far" / "ix")[0][0] == os.fsencode(tmp_path / "photos")


def test_a_rebuilt_index_is_still_portable(drive: Path) -> None:
    """A rebuild keeps it, also after a move."""
    moved = drive.rename(drive.parent / "elsewhere")
    run(moved / ".imgsearch", rebuild=True)
    again = moved.rename(drive.parent / "again")
    assert indexed(again / ".imgsearch", again) == {"red.png", "2024/blue.png", "2024/green.jpg"}


def test_names_of_any_bytes_move(fake_model: FakeModel, tmp_path: Path) -> None:
    """Folders whose names are not UTF-8, above and in the index, are found after a move."""
    above = os.fsdecode(os.fsencode(tmp_path) + b"/dr\xe9ve")
    photos = os.fsdecode(os.fsencode(above) + b"/ph\xffto's")
    paint(f"{photos}/red.png", "red")
    run(f"{above}/ix", photos, portable=True)
    os.rename(above, moved := os.fsdecode(os.fsencode(tmp_path) + b"/m\xf8ved"))
    assert [os.fsencode(file.path) for file in indexed_files(f"{moved}/ix")] == [
        os.fsencode(tmp_path) + b"/m\xf8ved/ph\xffto's/red.png"
    ]


@pytest.mark.parametrize("path", [b"..", b"../..", b"a/../..", b"/etc", b"a//b", b"./a", b"a/", b""])
def test_a_root_that_leads_out_of_the_folder_is_damage(drive: Path, path: bytes) -> None:
    """Somebody else's portable index can't have anything outside of its folder indexed."""
    db = sqlite3.connect(drive / ".imgsearch" / "catalog.sqlite")
    with db:
        db.execute("UPDATE root SET path = ?", (path,))
    db.close()
    with pytest.raises(IndexDamaged):
        run(drive / ".imgsearch")


_READ_ONLY = """
import sys
from support.cli import imgsearch
done = imgsearch("similar", f"{sys.argv[1]}/red.png", "--index", f"{sys.argv[1]}/.imgsearch", "--paths")
print(done.code, *done.lines[:1], done.err)
"""


def test_a_read_only_mount_is_searched(drive: Path) -> None:
    """Where nothing may be written, a moved index still answers."""
    moved = drive.rename(drive.parent / "readonly")
    folders = [moved / ".imgsearch", moved / "2024", moved]
    for folder in (*(moved / ".imgsearch").rglob("*"), *folders):
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    moved.parent.chmod(0o755)
    try:
        printed = unprivileged(_READ_ONLY, moved)
    finally:
        for folder in (*folders, *(moved / ".imgsearch").rglob("*")):
            folder.chmod(0o755)
    assert printed.split()[:2] == ["0", str(moved / "red.png")]


def test_the_command_keeps_the_index_in_the_folder(fake_model: FakeModel, tmp_path: Path) -> None:
    """`index FOLDER --portable` makes FOLDER/.imgsearch; anything but one folder is refused with what to type."""
    paint(tmp_path / "photos" / "red.png", "red")
    done = imgsearch("index", tmp_path / "photos", "--portable")
    assert done.code == 0, done.err
    assert indexed(tmp_path / "photos" / ".imgsearch", tmp_path / "photos") == {"red.png"}
    assert imgsearch("status", "--index", tmp_path / "photos" / ".imgsearch").lines[0].endswith(", portable")
    for paths in ([], [tmp_path / "photos" / "red.png"], [tmp_path, tmp_path / "photos"]):
        done = imgsearch("index", *paths, "--portable")
        assert done.code == 2
        assert "--portable takes one folder" in done.err
