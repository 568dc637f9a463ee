"""Drives that come and go, with real mounts (tmpfs) where the machine lets us, else skipped with the reason."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgsearch.errors import FolderError
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.roots import WalkOverrides
from support import fakes
from support.fakes import FakeModel, Notes, indexed, paint, roots, run
from support.faults.drives import loop

fake_model = fakes.fake_model


class Drives:
    """Mounts that the test makes; a drive that is taken out keeps its files for when it is put back."""

    def __init__(self, snapshot: Path) -> None:
        self.snapshot, self.mounted = snapshot, list[Path]()

    def put(self, point: Path) -> None:
        """Mount a drive at a folder, with what it held when it was last there."""
        point.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "none", str(point)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"mount is refused here: {done.stderr.strip()}")
        self.mounted.append(point)
        if self._kept(point).exists():
            shutil.copytree(self._kept(point), point, dirs_exist_ok=True)

    def bind(self, folder: Path, point: Path) -> None:
        """Show a folder at another place too."""
        point.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", str(folder), str(point)], check=True)
        self.mounted.append(point)

    def take(self, point: Path) -> None:
        """Unmount a drive."""
        shutil.copytree(point, self._kept(point), dirs_exist_ok=True)
        subprocess.run(["umount", str(point)], check=True)
        self.mounted.remove(point)

    def _kept(self, point: Path) -> Path:
        return self.snapshot / point.relative_to("/").as_posix().replace("/", "_")


@pytest.fixture
def drives(tmp_path: Path) -> Iterator[Drives]:
    """Give a hand that mounts and unmounts; at the end nothing is mounted any more."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command here")
    hand = Drives(tmp_path / "snapshot")
    yield hand
    for point in reversed(hand.mounted):
        subprocess.run(["umount", str(point)], check=True)


def colours(folder: Path, *names: str) -> None:
    for name in names:
        paint(folder / f"{name}.png", name)


@pytest.mark.parametrize("inner", ["", "home"], ids=["a drive", "a drive below another mount, like /home"])
@pytest.mark.parametrize("stray", [False, True], ids=["empty", "a stray file"])
def test_a_root_on_a_drive_is_left_alone_while_the_drive_is_away(
    tmp_path: Path, drives: Drives, fake_model: FakeModel, inner: str, stray: bool
) -> None:
    """Whatever lies at the empty mount point, a run loses no picture; with the drive back, the next one goes on."""
    if inner:
        drives.put(tmp_path / inner)
    usb = tmp_path / inner / "usb"
    drives.put(usb)
    colours(usb / "pictures", "red", "green")
    folder = tmp_path / "index"
    run(folder, usb / "pictures")
    with ImageIndex(str(folder)) as index:
        assert [root.mount for root in index.catalog.roots()] == [str(usb)]
    drives.take(usb)
    (usb / "pictures").mkdir()
    if stray:
        colours(usb / "pictures", "brown")
    for paths in ([usb / "pictures"], [usb / "pictures", tmp_path]):
        with pytest.raises(FolderError, match="nothing is mounted at"):
            run(folder, *paths, prune_empty=True)
    with pytest.raises(FolderError, match="none of the index's folders is there now"):
        run(folder, prune_empty=True)
    assert indexed(folder, usb) == {"pictures/red.png", "pictures/green.png"}
    shutil.rmtree(usb / "pictures")
    drives.put(usb)
    (usb / "pictures" / "red.png").unlink()
    assert run(folder).pruned == 1
    assert indexed(folder, usb) == {"pictures/green.png"}


def test_a_part_of_an_unmounted_root_is_left_alone(
    tmp_path: Path, drives: Drives, fake_model: FakeModel
) -> None:
    """A subfolder given by name, also with options of its own, or a folder around it does not get round the check."""
    usb, folder = tmp_path / "usb", tmp_path / "index"
    drives.put(usb)
    colours(usb / "sub", "red")
    run(folder, usb)
    drives.take(usb)
    colours(usb / "sub", "brown")
    for walk in (None, WalkOverrides(include_hidden=True)):
        with pytest.raises(FolderError, match="nothing is mounted at"):
            run(folder, usb / "sub", walk=walk)
    notes = Notes()
    colours(tmp_path / "around", "pink")
    run(folder, tmp_path, reporter=notes, prune_empty=True, walk=WalkOverrides(exclude=("snapshot",)))
    assert f"nothing is mounted at {usb}" in notes.text
    assert indexed(folder, tmp_path) == {"usb/sub/red.png", "around/pink.png"}


@pytest.mark.parametrize("depth", [1, 2], ids=["on the root's own", "on another drive"])
def test_files_of_a_mount_below_a_root_stay_while_it_is_away(
    tmp_path: Path, drives: Drives, fake_model: FakeModel, depth: int
) -> None:
    """A drive mounted inside a root, or inside another drive there, keeps its files when it goes; others are pruned."""
    top, folder = tmp_path / "pictures", tmp_path / "index"
    colours(top, "blue")
    point = top / "one"
    drives.put(point)
    colours(point, "red", "cyan")
    if depth == 2:
        point /= "two"
        drives.put(point)
        colours(point, "green", "white")
    run(folder, top)
    before = indexed(folder, top)
    drives.take(point)
    colours(point, "brown")
    if depth == 2:
        (top / "one" / "cyan.png").unlink()
    result = run(folder, top, prune_empty=True)
    assert dict(result.kept) == {"the drive it was on is not mounted": 2}
    lost = {"one/cyan.png"} if depth == 2 else set()
    new = os.path.relpath(point / "brown.png", top)
    assert indexed(folder, top) == (before | {new}) - lost


def test_a_drive_that_goes_after_the_walk_is_still_remembered(
    tmp_path: Path, drives: Drives, fake_model: FakeModel
) -> None:
    """The mount point that a root is stored with is the one of the walk: what happens later does not count."""
    usb, folder = tmp_path / "usb", tmp_path / "index"
    drives.put(usb)
    colours(usb, "red")
    run(folder, usb)
    colours(usb, "green")

    class Puller(Notes):
        def say(self, line: str) -> None:
            super().say(line)
            if "2 images:" in line:
                drives.take(usb)

    run(folder, usb, reporter=Puller())
    with ImageIndex(str(folder)) as index:
        assert [root.mount for root in index.catalog.roots()] == [str(usb)]
    colours(usb, "brown")
    with pytest.raises(FolderError, match="nothing is mounted at"):
        run(folder, usb)
    assert indexed(folder, usb) == {"red.png"}


def test_a_drive_that_goes_during_the_walk_loses_nothing(
    tmp_path: Path, drives: Drives, fake_model: FakeModel
) -> None:
    """A walk of a mount point that has just lost its drive proves no deletion, whatever lies there."""
    usb, folder = tmp_path / "usb", tmp_path / "index"
    drives.put(usb)
    colours(usb, "red", "green")
    run(folder, usb)

    class Puller(Notes):
        def start(self, total: int, unit: str) -> None:
            if unit == "images found":
                drives.take(usb)
                colours(usb, "brown")

    result = run(folder, usb, reporter=Puller(), prune_empty=True)
    assert dict(result.kept) == {"the drive it was on is not mounted": 2}
    assert indexed(folder, usb) == {"red.png", "green.png", "brown.png"}


def test_a_deleted_file_of_a_mounted_folder_that_became_a_root_is_pruned(
    tmp_path: Path, drives: Drives, fake_model: FakeModel
) -> None:
    """A mounted folder that gets options of its own keeps no file for ever: what is deleted there is forgotten."""
    top, folder = tmp_path / "pictures", tmp_path / "index"
    colours(top, "blue")
    drives.put(top / "usb")
    colours(top / "usb", "red", "green", "white")
    run(folder, top)
    (top / "usb" / "red.png").unlink()
    result = run(folder, top / "usb", walk=WalkOverrides(include_hidden=True))
    assert (result.pruned, sum(result.kept.values())) == (1, 0)
    (top / "usb" / "green.png").unlink()
    result = run(folder)
    assert (result.pruned, sum(result.kept.values())) == (1, 0)
    assert indexed(folder, top) == {"blue.png", "usb/white.png"}
    assert roots(folder, top) == {".", "usb"}


def test_a_file_deleted_before_the_folder_became_a_root_unpruned(
    tmp_path: Path, drives: Drives, fake_model: FakeModel
) -> None:
    """Also what --no-prune spared when the mounted folder became a root is forgotten by the next run."""
    top, folder = tmp_path / "pictures", tmp_path / "index"
    drives.put(top / "usb")
    colours(top / "usb", "red", "green")
    run(folder, top)
    (top / "usb" / "red.png").unlink()
    assert run(folder, top / "usb", walk=WalkOverrides(include_hidden=True), prune=False).pruned == 0
    assert run(folder).pruned == 1
    assert indexed(folder, top) == {"usb/green.png"}


@pytest.mark.parametrize("inner", [True, False], ids=["inside a root", "a root"])
def test_a_bind_mount_that_is_gone_loses_nothing(
    tmp_path: Path, drives: Drives, fake_model: FakeModel, inner: bool
) -> None:
    """A folder of the same file system that was mounted elsewhere is a drive, though it has the same device number."""
    drives.put(tmp_path / "disk")  # mounting is allowed here, or the test is skipped
    top, folder = tmp_path / "disk" / "top", tmp_path / "index"
    colours(tmp_path / "disk" / "srv", "red", "green")
    colours(top, "blue")
    nas = top / "nas"
    drives.bind(tmp_path / "disk" / "srv", nas)
    run(folder, top if inner else nas)
    before = indexed(folder, top)
    drives.take(nas)
    (nas / "README.txt").write_text("nothing is mounted here")
    if inner:
        result = run(folder, prune_empty=True)
        assert (result.unchanged, dict(result.kept)) == (1, {"the drive it was on is not mounted": 2})
    else:
        with pytest.raises(FolderError, match="nothing is mounted at"):
            run(folder, nas, prune_empty=True)
    assert indexed(folder, top) == before
    drives.bind(tmp_path / "disk" / "srv", nas)
    result = run(folder)
    assert (result.unchanged, result.pruned, result.kept.total()) == (len(before), 0, 0)


def test_two_real_drives_take_turns_at_one_mount_point(tmp_path: Path, fake_model: FakeModel) -> None:
    """File systems of the same kind on the same loop device are told apart, and known again when they are back."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    folder, point = tmp_path / "index", tmp_path / "first" / "drive"
    with loop(tmp_path / "first") as first:
        colours(point, "red", "green")
        run(folder, point)
        first.take()
        with loop(tmp_path / "second") as second:
            second.take()
            second.point = point
            second.put()
            colours(point, "pink")
            result = run(folder)
            assert (result.indexed, result.pruned, sum(result.kept.values())) == (1, 0, 2)
            second.take()
        first.put()
        result = run(folder)
        assert (result.unchanged, result.pruned, sum(result.kept.values())) == (2, 0, 1)
    assert indexed(folder, point) == {"red.png", "green.png", "pink.png"}


def test_a_drive_copied_into_its_mount_point_is_accepted(
    tmp_path: Path, drives: Drives, fake_model: FakeModel
) -> None:
    """With the drive unmounted for good and its files in the folder, a run takes them as they are."""
    usb, folder = tmp_path / "usb", tmp_path / "index"
    drives.put(usb)
    colours(usb, "red", "green", "blue")
    run(folder, usb)
    shutil.copytree(usb, tmp_path / "copy")
    drives.take(usb)
    shutil.copytree(tmp_path / "copy", usb, dirs_exist_ok=True)
    result = run(folder)
    assert (result.unchanged, result.indexed, result.pruned) == (3, 0, 0)
    with ImageIndex(str(folder)) as index:
        assert [root.mount for root in index.catalog.roots()] != [str(usb)]
