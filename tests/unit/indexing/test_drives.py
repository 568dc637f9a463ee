"""Which drive a root lies on: another one in its place, a copy in the folder itself, bind mounts, and advice.

The mount table is the test's own, and so is what lies at each mount point; test_mounts.py has real mounts.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from imgsearch import deep
from imgsearch.errors import FolderError, UsageError
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.edit import relocate
from imgsearch.indexing.roots import WalkOverrides
from imgsearch.tools.maintenance.doctor import examine
from support import fakes, mounted
from support.cli import imgsearch
from support.fakes import FakeModel, Notes, indexed, paint, run
from support.mounted import MountTable

fake_model, table = fakes.fake_model, mounted.table

FIRST = ("red", "green", "blue", "yellow", "white", "cyan")
SECOND = ("pink", "brown")
AWAY = "the drive it was on is not mounted"


class Sticks:
    """Sticks that are put into one socket: each keeps its files, with their times, while another one is in."""

    def __init__(self, point: Path, shelf: Path, table: MountTable) -> None:
        self.point, self._shelf, self._table = point, shelf, table
        self.shelf_of("").mkdir(parents=True)
        self._in = ""

    def shelf_of(self, name: str) -> Path:
        """Return the folder where the files of a stick lie while it is out; "" is the empty mount point."""
        return self._shelf / (name or "none")

    def put(self, name: str, source: str | None = None, **kind: str) -> None:
        """Put a stick in; "" takes out the one that is in."""
        if self.point.exists():
            self.point.rename(self.shelf_of(self._in))
            self._table.take(self.point)
        if self.shelf_of(name).exists():
            self.shelf_of(name).rename(self.point)
        else:
            self.point.mkdir()
        if name:
            self._table.put(self.point, source or f"nas:/{name}", **kind)
        self._in = name


@pytest.fixture
def sticks(tmp_path: Path, table: MountTable) -> Sticks:
    """Give a socket with the stick "A" in it, which holds six images."""
    sticks = Sticks(tmp_path / "usb", tmp_path / "shelf", table)
    sticks.put("A")
    colours(sticks.point, *FIRST)
    return sticks


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


def colours(folder: Path, *names: str) -> None:
    for name in names:
        paint(folder / f"{name}.png", name)


def named(*names: str) -> set[str]:
    return {f"{name}.png" for name in names}


def test_another_stick_in_its_place_is_no_deletion(
    sticks: Sticks, folder: str, fake_model: FakeModel
) -> None:
    """The images of the first stick stay indexed, those of the second join them, and that is said."""
    run(folder, sticks.point)
    sticks.put("B")
    colours(sticks.point, *SECOND)
    notes = Notes()
    result = run(folder, reporter=notes)
    assert (result.indexed, result.pruned, dict(result.kept)) == (2, 0, {AWAY: 6})
    assert (
        f"another drive is mounted at {sticks.point} now: images of the one before stay indexed" in notes.text
    )
    assert indexed(folder, sticks.point) == named(*FIRST, *SECOND)
    result = run(folder, prune_empty=True)
    assert (result.unchanged, result.pruned, dict(result.kept)) == (2, 0, {AWAY: 6})


def test_a_stick_that_is_back_is_as_it_was(sticks: Sticks, folder: str, fake_model: FakeModel) -> None:
    """With the first stick back nothing is read or embedded, and what was deleted on it meanwhile is noticed."""
    run(folder, sticks.point)
    for _ in range(2):
        sticks.put("B")
        colours(sticks.point, *SECOND)
        run(folder)
        sticks.put("A")
        result = run(folder)
        assert (result.unchanged, result.indexed, result.reused, result.pruned) == (6, 0, 0, 0)
        assert dict(result.kept) == {AWAY: 2}
    (sticks.point / "red.png").unlink()
    assert run(folder).pruned == 1
    sticks.put("B")
    (sticks.point / "pink.png").unlink()
    result = run(folder)
    assert (result.pruned, dict(result.kept)) == (1, {AWAY: 5})
    assert indexed(folder, sticks.point) == named(*FIRST[1:], "brown")
    assert fake_model.embedded == 8


def test_what_two_sticks_share_is_no_proof(sticks: Sticks, folder: str, fake_model: FakeModel) -> None:
    """A few copies of known images on the second stick do not make it the first."""
    run(folder, sticks.point)
    sticks.put("B")
    shutil.copy2(sticks.shelf_of("A") / "red.png", sticks.point / "red.png")
    colours(sticks.point, *SECOND)
    result = run(folder)
    assert (result.unchanged, result.indexed, result.pruned, dict(result.kept)) == (1, 2, 0, {AWAY: 5})
    sticks.put("A")
    result = run(folder)
    assert (result.unchanged, result.pruned) == (6, 0)


def test_three_sticks_take_turns(sticks: Sticks, folder: str, fake_model: FakeModel) -> None:
    """However many sticks share a socket, each keeps its images, and each loses only what is deleted on it."""
    run(folder, sticks.point)
    for name, colour in (("B", "pink"), ("C", "brown")):
        sticks.put(name)
        colours(sticks.point, colour)
        run(folder)
    sticks.put("A")
    for name in FIRST[:4]:
        (sticks.point / f"{name}.png").unlink()
    result = run(folder)
    assert (result.unchanged, result.pruned, dict(result.kept)) == (2, 4, {AWAY: 2})
    for name in "BC":
        sticks.put(name)
        assert run(folder).unchanged == 1
    assert indexed(folder, sticks.point) == named(*FIRST[4:], *SECOND)
    assert fake_model.embedded == 8


@pytest.mark.parametrize("times", [True, False], ids=["with their times", "with new times, as on FAT"])
def test_a_drive_that_was_copied_into_the_folder_is_accepted(
    sticks: Sticks, folder: str, fake_model: FakeModel, times: bool
) -> None:
    """With the drive gone and its files in the plain folder, one command goes on with them, without the model."""
    run(folder, sticks.point)
    sticks.put("")
    for file in sticks.shelf_of("A").iterdir():
        (shutil.copy2 if times else shutil.copyfile)(file, sticks.point / file.name)
        if not times:
            os.utime(sticks.point / file.name, (1_000_000_000, 1_000_000_000))
    done = imgsearch("index", "--index", folder)
    assert done.code == 0
    assert f"{sticks.point} is on another drive than before; 6 of 6 files checked are there" in done.err
    assert indexed(folder, sticks.point) == named(*FIRST)
    assert fake_model.embedded == 6
    # From now on it is a folder like any other.
    (sticks.point / "red.png").unlink()
    notes = Notes()
    result = run(folder, reporter=notes)
    assert (result.unchanged, result.pruned) == (5, 1)
    assert "another drive" not in notes.text


def test_a_stick_that_was_copied_to_another_one_is_accepted(
    sticks: Sticks, folder: str, fake_model: FakeModel
) -> None:
    """A larger stick with the files of the first, and more, takes its place."""
    run(folder, sticks.point)
    sticks.put("B")
    for file in sticks.shelf_of("A").iterdir():
        shutil.copy2(file, sticks.point / file.name)
    (sticks.point / "red.png").unlink()
    colours(sticks.point, *SECOND)
    result = run(folder, sticks.point)
    assert (result.unchanged, result.indexed, result.pruned) == (5, 2, 1)
    assert indexed(folder, sticks.point) == named(*FIRST[1:], *SECOND)


def test_the_stick_before_the_last_is_known_by_its_files_too(
    sticks: Sticks, folder: str, fake_model: FakeModel
) -> None:
    """After another stick, the files of the first in the plain folder are accepted, and the other's stay indexed."""
    run(folder, sticks.point)
    sticks.put("B")
    colours(sticks.point, *SECOND)
    run(folder)
    sticks.put("")
    for file in sticks.shelf_of("A").iterdir():
        shutil.copy2(file, sticks.point / file.name)
    (sticks.point / "red.png").unlink()
    result = run(folder)
    assert (result.unchanged, result.reused, result.pruned, dict(result.kept)) == (5, 0, 1, {AWAY: 2})
    sticks.put("B")
    result = run(folder)
    assert (result.unchanged, result.pruned, dict(result.kept)) == (2, 0, {AWAY: 5})
    assert fake_model.embedded == 8


def test_names_and_sizes_alone_are_no_proof(
    tmp_path: Path, sticks: Sticks, folder: str, fake_model: FakeModel
) -> None:
    """Two cards of a camera, with files of the same names and sizes, are told apart by their bytes."""
    run(folder, sticks.point)
    sticks.put("B")
    for file in sticks.shelf_of("A").iterdir():
        (sticks.point / file.name).write_bytes(file.read_bytes()[:-1] + b"x")
    notes = Notes()
    run(folder, reporter=notes)
    assert "another drive is mounted" in notes.text


@pytest.mark.parametrize("stray", [(), ("brown",)], ids=["empty", "a stray file"])
def test_an_empty_mount_point_costs_nothing(
    sticks: Sticks, folder: str, fake_model: FakeModel, stray: tuple[str, ...]
) -> None:
    """Without the drive nothing is changed, and the advice keeps the embeddings, whichever way one follows it."""
    run(folder, sticks.point)
    sticks.put("")
    colours(sticks.point, *stray)
    for paths in ((sticks.point,), ()):
        done = imgsearch("index", *paths, "--index", folder, "--prune-empty")
        assert done.code == 2
        assert f"imgsearch relocate {sticks.point} {sticks.point}" in done.err
        assert "remove" not in done.err
    assert indexed(folder, sticks.point) == named(*FIRST)
    refused = imgsearch("relocate", sticks.point, sticks.point, "--index", folder)
    assert refused.code == 2
    assert "0 of 6 files checked are there" in refused.err
    assert imgsearch("relocate", sticks.point, sticks.point, "--index", folder, "--force").code == 0
    for name in stray:
        (sticks.point / f"{name}.png").unlink()
    run(folder, prune_empty=True)
    sticks.put("A")
    run(folder)
    assert fake_model.embedded == 6


def test_a_root_below_a_mount_point_that_is_none_any_more(
    tmp_path: Path, table: MountTable, folder: str, fake_model: FakeModel
) -> None:
    """A /home that is no partition of its own any more, with all its files, is accepted: root, part, and file."""
    home = tmp_path / "home"
    table.put(home)
    colours(home / "me" / "pictures", *FIRST)
    colours(home / "me" / "pictures" / "sub", "pink")
    run(folder, home / "me" / "pictures")
    kept = tmp_path / "kept"
    shutil.copytree(home, kept)
    for paths in ((), ("",), ("sub",), ("red.png",)):
        table.put(home)
        run(folder, home / "me" / "pictures")
        table.take(home)
        result = run(folder, *(home / "me" / "pictures" / path for path in paths))
        assert result.unchanged == (1 if paths and paths[0] else 7)
        assert (result.indexed, result.reused, result.pruned) == (0, 0, 0)


def test_a_rebuild_takes_the_files_that_are_there(sticks: Sticks, folder: str, fake_model: FakeModel) -> None:
    """--rebuild accepts a drive that was copied into the folder too; of another stick's it says what it leaves out."""
    run(folder, sticks.point)
    sticks.put("")
    for file in sticks.shelf_of("A").iterdir():
        shutil.copy2(file, sticks.point / file.name)
    assert run(folder, rebuild=True).indexed == 6
    sticks.put("B")
    colours(sticks.point, *SECOND)
    notes = Notes()
    run(folder, rebuild=True, reporter=notes)
    assert "images of the one before are removed from the index until you index it again" in notes.text
    assert indexed(folder, sticks.point) == named(*SECOND)


def test_a_dry_run_tells_the_same_and_changes_nothing(
    sticks: Sticks, folder: str, fake_model: FakeModel
) -> None:
    """With another stick in, a dry run has nothing to prune; with the first one back all is as it was."""
    run(folder, sticks.point)
    sticks.put("B")
    colours(sticks.point, *SECOND)
    result = run(folder, dry_run=True)
    assert (result.to_do, result.to_prune, dict(result.kept)) == (2, 0, {AWAY: 6})
    sticks.put("A")
    result = run(folder)
    assert (result.unchanged, result.kept.total()) == (6, 0)


def test_relocate_to_the_same_path_accepts_another_drive(
    sticks: Sticks, folder: str, fake_model: FakeModel
) -> None:
    """With some of the first stick's files, or with --force, what is missing there counts as deleted."""
    run(folder, sticks.point)
    sticks.put("B")
    shutil.copy2(sticks.shelf_of("A") / "red.png", sticks.point / "red.png")
    colours(sticks.point, *SECOND)
    assert relocate(str(sticks.point), str(sticks.point), folder).there == 1
    assert run(folder).pruned == 5
    assert indexed(folder, sticks.point) == named("red", *SECOND)
    with pytest.raises(UsageError, match="are the same folder, on the same drive"):
        relocate(str(sticks.point), str(sticks.point), folder)
    # The embeddings wait: with the first stick back none is computed again.
    sticks.put("A")
    result = run(folder)
    assert (result.indexed, result.reused) == (0, 5)


def test_the_advice_can_be_followed_after_the_run(sticks: Sticks, folder: str, fake_model: FakeModel) -> None:
    """`relocate A A` also works once the other stick has been indexed, and needs --force if nothing is there."""
    run(folder, sticks.point)
    sticks.put("B")
    colours(sticks.point, *SECOND)
    run(folder)
    refused = imgsearch("relocate", sticks.point, sticks.point, "--index", folder)
    assert refused.code == 2
    assert "0 of 6 files checked are there: the drive that is there now does not seem to be" in refused.err
    assert run(folder).pruned == 0
    assert imgsearch("relocate", sticks.point, sticks.point, "--index", folder, "--force").code == 0
    assert run(folder).pruned == 6
    assert indexed(folder, sticks.point) == named(*SECOND)


def test_a_part_with_options_of_its_own_knows_the_drive(
    sticks: Sticks, folder: str, fake_model: FakeModel
) -> None:
    """A subfolder of another stick that becomes a root keeps what was known there of the first one."""
    colours(sticks.point / "sub", "pink")
    run(folder, sticks.point)
    sticks.put("B")
    colours(sticks.point / "sub", "brown")
    result = run(folder, sticks.point / "sub", walk=WalkOverrides(include_hidden=True))
    assert (result.indexed, result.pruned, dict(result.kept)) == (1, 0, {AWAY: 1})
    sticks.put("A")
    result = run(folder)
    assert (result.unchanged, result.pruned) == (7, 0)
    assert indexed(folder, sticks.point) == {*named(*FIRST), "sub/pink.png", "sub/brown.png"}


def test_a_drive_without_a_name_is_told_by_its_files(
    sticks: Sticks, folder: str, fake_model: FakeModel
) -> None:
    """Where nothing tells a drive from another one, a single known file is enough, and none is another drive."""
    sticks.put("A", "none", kind="fuse")
    run(folder, sticks.point)
    for name in FIRST[1:]:
        (sticks.point / f"{name}.png").unlink()
    sticks.put("A", "none", kind="fuse")
    result = run(folder)
    assert (result.unchanged, result.pruned) == (1, 5)
    sticks.put("B", "none", kind="fuse")
    colours(sticks.point, *SECOND)
    result = run(folder)
    assert (result.indexed, result.pruned, dict(result.kept)) == (2, 0, {AWAY: 1})
    sticks.put("A", "none", kind="fuse")
    result = run(folder)
    assert (result.unchanged, result.pruned, dict(result.kept)) == (1, 0, {AWAY: 2})


def test_a_drive_that_has_lost_most_of_its_files_is_still_the_same(
    sticks: Sticks, folder: str, fake_model: FakeModel
) -> None:
    """A drive that has a name needs no proof: what is deleted on it, even all of it, is deleted."""
    run(folder, sticks.point)
    for name in FIRST:
        (sticks.point / f"{name}.png").unlink()
    colours(sticks.point, "pink")
    assert run(folder).pruned == 6


def test_a_bind_mount_that_is_gone_is_a_drive_that_is_gone(
    tmp_path: Path, table: MountTable, folder: str, fake_model: FakeModel
) -> None:
    """Of a root that is a bind mount, and of one that has a bind mount inside, nothing is pruned when it goes."""
    top = tmp_path / "top"
    colours(top, "white")
    for name, point in (("inner", top / "nas"), ("root", tmp_path / "alone")):
        table.put(point, "/dev/root", "ext4", root=f"/srv/{name}")
        colours(point, *SECOND)
    run(folder, top, tmp_path / "alone")
    for point in (top / "nas", tmp_path / "alone"):
        table.take(point)
        for name in SECOND:
            (point / f"{name}.png").unlink()
        (point / "README.txt").write_text("nothing is mounted here")
    notes = Notes()
    result = run(folder, reporter=notes, prune_empty=True)
    assert (result.unchanged, result.pruned, dict(result.kept)) == (1, 0, {AWAY: 2})
    assert f"nothing is mounted at {tmp_path / 'alone'} now" in notes.text
    assert len(indexed(folder)) == 5


def test_another_stick_inside_a_root_is_no_deletion(
    tmp_path: Path, table: MountTable, folder: str, fake_model: FakeModel
) -> None:
    """A card reader within an indexed folder is a socket too: each card keeps its images."""
    top = tmp_path / "top"
    colours(top, "white")
    sticks = Sticks(top / "card", tmp_path / "shelf", table)
    sticks.put("A")
    colours(sticks.point, *FIRST)
    run(folder, top)
    sticks.put("B")
    shutil.copy2(sticks.shelf_of("A") / "red.png", sticks.point / "red.png")
    colours(sticks.point, *SECOND)
    result = run(folder)
    assert (result.indexed, result.pruned, dict(result.kept)) == (2, 0, {AWAY: 5})
    sticks.put("A")
    (sticks.point / "red.png").unlink()
    result = run(folder)
    assert (result.unchanged, result.pruned) == (6, 0)
    assert result.kept[AWAY] == 3  # red.png was last seen on the second card


def test_a_card_inside_a_root_that_was_copied_into_the_folder(
    tmp_path: Path, table: MountTable, folder: str, fake_model: FakeModel
) -> None:
    """With most of its files in the folder, those that are missing there were deleted."""
    top = tmp_path / "top"
    table.put(top / "card")
    colours(top / "card", *FIRST)
    run(folder, top)
    table.take(top / "card")
    (top / "card" / "red.png").unlink()
    result = run(folder)
    assert (result.unchanged, result.pruned, result.kept.total()) == (5, 1, 0)


def test_a_mount_over_a_folder_hides_its_files_and_deletes_none(
    tmp_path: Path, table: MountTable, folder: str, fake_model: FakeModel
) -> None:
    """Images that lie below something that has been mounted over them stay indexed, in a root and as one."""
    top = tmp_path / "top"
    colours(top, "white", "black")
    colours(top / "sub", *FIRST)
    run(folder, top)
    (top / "sub").rename(tmp_path / "below")
    table.put(top / "sub", "nas:/other")
    colours(top / "sub", "pink")
    result = run(folder)
    assert (result.pruned, dict(result.kept)) == (0, {"another drive is mounted over its folder": 6})
    table.take(top / "sub")
    shutil.rmtree(top / "sub")
    (tmp_path / "below").rename(top / "sub")
    assert run(folder).unchanged == 8
    top.rename(tmp_path / "below")
    table.put(top, "nas:/all")
    colours(top, "pink")
    result = run(folder)
    assert (result.pruned, result.kept[AWAY]) == (0, 9)


def test_an_index_from_before_takes_the_drive_that_is_there(
    sticks: Sticks, folder: str, fake_model: FakeModel
) -> None:
    """An index that knows no drives yet learns of them without reading or embedding anything."""
    run(folder, sticks.point)
    with closing(sqlite3.connect(f"{folder}/catalog.sqlite")) as db, db:
        db.execute("UPDATE root SET drive = ''")
    notes = Notes()
    result = run(folder, reporter=notes)
    assert (result.unchanged, result.reused, result.pruned) == (6, 0, 0)
    assert "drive" not in notes.text
    with ImageIndex(folder) as index:
        assert [root.drive for root in index.catalog.roots()] == ["nfs4 nas:/A"]


def test_doctor_tells_what_index_would(sticks: Sticks, folder: str, fake_model: FakeModel) -> None:
    """The same decision, in the same words: away, another drive, or copied into the folder, which is well."""
    run(folder, sticks.point)

    def told() -> list[tuple[bool, str]]:
        return [(check.well, check.text) for check in examine(folder) if check.topic.startswith("folder")]

    assert told() == [(True, "1 indexed and available")]
    sticks.put("")
    (well, text), rest = told()
    assert not well
    assert f"nothing is mounted at {sticks.point} now" in text
    assert rest == (True, "0 indexed and available")
    sticks.put("B")
    (well, text), rest = told()
    assert not well
    assert f"another drive is mounted at {sticks.point} now" in text
    sticks.put("")
    for file in sticks.shelf_of("A").iterdir():
        shutil.copy2(file, sticks.point / file.name)
    (well, text), rest = told()
    assert well
    assert "6 of 6 files checked are there" in text
    assert rest == (True, "1 indexed and available")


def test_a_root_that_goes_while_it_is_located_is_away(
    sticks: Sticks, folder: str, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drive that goes between two looks at it is one that is not there."""
    run(folder, sticks.point)
    real = deep.isdir

    def isdir(path: str) -> bool:
        there = real(path)
        if path == str(sticks.point) and there:
            sticks.point.rename(sticks.shelf_of("A"))
        return there

    monkeypatch.setattr(deep, "isdir", isdir)
    with pytest.raises(FolderError, match="none of the index's folders is there now"):
        run(folder)
