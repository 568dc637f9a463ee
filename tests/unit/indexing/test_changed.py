"""Other bytes under the same size and time are noticed, by inode and change time; the same bytes cost no embedding."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.cli.spelling import spelled
from imgsearch.errors import UsageError
from imgsearch.files import identity, source_file
from imgsearch.index.catalog import Catalog
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import FileRow, is_current
from imgsearch.indexing import decode
from imgsearch.indexing.edit import relocate
from imgsearch.search import query, similar
from imgsearch.types import Input, SourceFile
from support import fakes
from support.fakes import FakeModel, paint, roots, run

fake_model = fakes.fake_model

NAMES = ("red", "green", "blue")
TIME = 1_704_067_200_000_000_000  # a whole second


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Give a folder with red.bmp, green.bmp and blue.bmp: of one size, as all of one resolution, and of one time."""
    folder = tmp_path / "scans"
    for name in NAMES:
        os.utime(paint(folder / f"{name}.bmp", name), ns=(TIME, TIME))
    assert len({(path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir()}) == 1
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


def first(folder: str, model: FakeModel, words: str) -> str:
    """Return where the first hit for a colour is: its folder's name and its own."""
    with ImageIndex(folder) as index:
        path = Path(query(index, model.encoder(), [Input(words)])[0][0].path)
    return f"{path.parent.name}/{path.name}"


def read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, whoever reads an image fails."""
    monkeypatch.setattr(decode, "open_source", None)


# ---- ways to get other bytes under the same size and time -------------------------------------------------------


def rewrite(path: Path, data: bytes) -> None:
    """Write into the file and put its time back."""
    with open(path, "r+b") as file:
        file.write(data)
    os.utime(path, ns=(TIME, TIME))


def move_over(path: Path, data: bytes) -> None:
    """Move another file, as old as this one, into its place."""
    other = path.parent.parent / "other"
    other.write_bytes(data)
    os.utime(other, ns=(TIME, TIME))
    other.rename(path)


def edit_as_exiftool(path: Path, data: bytes) -> None:
    """Write beside, rename, and put the time back, in whole seconds as `exiftool -P` does."""
    beside = path.with_name(path.name + "_exiftool_tmp")
    beside.write_bytes(data)
    beside.rename(path)
    os.utime(path, (TIME // 10**9, TIME // 10**9))


def restore(path: Path, data: bytes) -> None:
    """Delete the file and write it again, with the old time."""
    path.unlink()
    path.write_bytes(data)
    os.utime(path, ns=(TIME, TIME))


@pytest.mark.parametrize("way", [rewrite, move_over, edit_as_exiftool, restore])
def test_other_bytes_under_the_same_size_and_time_are_found(
    folder: str, scans: Path, tmp_path: Path, fake_model: FakeModel, way: Callable[[Path, bytes], None]
) -> None:
    """However the bytes came, one run notices them, and the search for what is there now finds the file."""
    run(folder, scans)
    way(scans / "red.bmp", paint(tmp_path / "pink.bmp", "pink").read_bytes())
    assert run(folder, dry_run=True).to_do == 1
    result = run(folder)
    assert (result.indexed, result.reused, result.unchanged) == (1, 0, 2)
    assert first(folder, fake_model, "pink") == "scans/red.bmp"
    assert run(folder).unchanged == 3


@pytest.mark.parametrize("places", [("green", "red", "blue"), ("green", "blue", "red")])
def test_names_that_were_swapped_are_found(
    folder: str, scans: Path, fake_model: FakeModel, places: tuple[str, ...]
) -> None:
    """Files of one size and time that swapped names, two or all around, cost a hash each and no embedding."""
    run(folder, scans)
    for name in NAMES:
        (scans / f"{name}.bmp").rename(scans / f"{name}.aside")
    for name, place in zip(NAMES, places, strict=True):
        (scans / f"{name}.aside").rename(scans / f"{place}.bmp")
    result = run(folder)
    assert result.indexed == 0
    assert result.reused >= 2
    assert fake_model.embedded == 3
    for name, place in zip(NAMES, places, strict=True):
        assert first(folder, fake_model, name) == f"scans/{place}.bmp"


def test_folders_that_swapped_names_are_found(folder: str, tmp_path: Path, fake_model: FakeModel) -> None:
    """The files themselves were not touched, and still each is found where it is."""
    photos = tmp_path / "photos"
    for album, colour in (("2023", "red"), ("2024", "blue")):
        os.utime(paint(photos / album / "a.bmp", colour), ns=(TIME, TIME))
    run(folder, photos)
    (photos / "2023").rename(photos / "aside")
    (photos / "2024").rename(photos / "2023")
    (photos / "aside").rename(photos / "2024")
    assert run(folder).reused == 2
    assert first(folder, fake_model, "red") == "2024/a.bmp"


def test_the_same_bytes_under_a_new_change_time_cost_no_embedding(
    folder: str, scans: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What touches only the rights of a file has it read once, and never embedded."""
    run(folder, scans)
    (scans / "red.bmp").chmod(0o600)
    result = run(folder)
    assert (result.indexed, result.reused, result.unchanged) == (0, 1, 2)
    assert (fake_model.loads, fake_model.embedded) == (1, 3)
    read_nothing(monkeypatch)
    assert run(folder).unchanged == 3


def test_a_picture_similar_to_a_file_is_one_to_its_bytes_of_now(
    folder: str, scans: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """The stored embedding of a file is not the answer once other bytes are under its size and time."""
    run(folder, scans)
    rewrite(scans / "red.bmp", (scans / "blue.bmp").read_bytes())
    with ImageIndex(folder) as index:
        hits = similar(index, str(scans / "red.bmp"), fake_model.encoder())
    assert {os.path.basename(hit.path): round(hit.score, 3) for hit in hits}["blue.bmp"] == 1
    assert fake_model.embedded == 3


# ---- reading again because somebody says so -----------------------------------------------------------------------


def test_reread_reads_what_size_and_time_hide(
    folder: str, scans: Path, tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing tells that a file has changed, reread finds it; what it reads unchanged costs no embedding."""
    monkeypatch.setattr(identity, "_file_system", lambda device: "exfat")
    other = paint(tmp_path / "more" / "brown.png", "brown")
    run(folder, scans, other.parent)
    rewrite(scans / "red.bmp", paint(tmp_path / "pink.bmp", "pink").read_bytes())
    assert run(folder).unchanged == 4
    assert run(folder, reread=(str(scans),), dry_run=True).to_do == 3
    result = run(folder, reread=(str(scans),))
    assert (result.indexed, result.reused, result.unchanged) == (1, 2, 0)
    assert first(folder, fake_model, "pink") == "scans/red.bmp"
    assert fake_model.embedded == 5
    assert roots(folder) == {str(scans)[1:], str(other.parent)[1:]}


def test_reread_takes_one_file_or_several_paths_beside_those_asked_for(
    folder: str, scans: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """A path to read again is covered too; in a folder that is asked for it is only a part of it."""
    other = paint(tmp_path / "more" / "brown.png", "brown").parent
    run(folder, scans)
    assert run(folder, reread=(str(scans / "red.bmp"), str(scans / "blue.bmp"))).reused == 2
    result = run(folder, other, reread=(str(scans / "red.bmp"),))
    assert (result.indexed, result.reused, result.unchanged) == (1, 1, 0)
    result = run(folder, scans, reread=(str(scans / "red.bmp"),))
    assert (result.indexed, result.reused, result.unchanged) == (0, 1, 2)
    new = paint(tmp_path / "new" / "white.png", "white").parent
    assert run(folder, new, reread=(str(new),)).indexed == 1


def test_reread_knows_a_path_by_any_name_that_leads_to_it(
    folder: str, scans: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """A path to read again may lead through a link."""
    run(folder, scans)
    (tmp_path / "link").symlink_to(scans)
    assert run(folder, reread=(str(tmp_path / "link" / "red.bmp"),)).reused == 1


@pytest.mark.parametrize("indexed", [True, False])
def test_reread_of_what_is_not_indexed_is_refused(
    folder: str, scans: Path, tmp_path: Path, fake_model: FakeModel, indexed: bool
) -> None:
    """Outside of every indexed folder there is nothing to read again, and no new folder is indexed by mistake."""
    if indexed:
        run(folder, scans)
    other = paint(tmp_path / "more" / "brown.png", "brown").parent
    with pytest.raises(UsageError) as caught:
        run(folder, *([scans] if indexed else []), reread=(str(other),))
    assert spelled(caught.value.as_message) == (
        f"--reread {other}: this is not in an indexed folder; to index it: imgsearch index {other}"
    )
    assert roots(folder) == {str(scans)[1:]} if indexed else not os.path.exists(folder)


def test_retry_reads_what_was_skipped(folder: str, scans: Path, fake_model: FakeModel) -> None:
    """Whatever the reason was, a skipped file is read again, and what is indexed is not."""
    (scans / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (scans / "empty.png").write_bytes(b"")
    assert run(folder, scans).skipped.total() == 2
    again = run(folder)
    assert (again.unchanged, again.unchanged_errors, again.skipped.total()) == (3, 2, 0)
    again = run(folder, retry=True)
    assert (again.unchanged, again.unchanged_errors, again.skipped.total()) == (3, 0, 2)


# ---- what is not known is filled in, not compared ---------------------------------------------------------------


def forget(folder: str) -> None:
    """Make the catalogue one that was brought up to date from an earlier format."""
    with closing(sqlite3.connect(os.path.join(folder, "catalog.sqlite"))) as db, db:
        db.execute("UPDATE file SET inode = 0, ctime_ns = 0")


def known(folder: str) -> list[tuple[int, int]]:
    """Return inode and change time of all files."""
    with closing(Catalog(folder)) as catalog:
        return [(row.inode, row.ctime_ns) for root in catalog.roots() for row in catalog.files(root.id)]


def test_an_index_of_an_earlier_format_is_filled_in_without_reading(
    folder: str, scans: Path, tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run after an upgrade reads no image, and the next one notices what has changed since."""
    run(folder, scans)
    before = known(folder)
    forget(folder)
    with monkeypatch.context() as patch:
        read_nothing(patch)
        assert run(folder, dry_run=True).to_do == 0
        assert run(folder).unchanged == 3
    assert known(folder) == before
    rewrite(scans / "red.bmp", paint(tmp_path / "pink.bmp", "pink").read_bytes())
    assert run(folder).indexed == 1


def test_a_copy_on_another_disk_is_not_read(
    folder: str, scans: Path, tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After relocate to a copy no image is read, and what changes there is noticed."""
    run(folder, scans)
    new = Path(shutil.copytree(scans, tmp_path / "new"))
    relocate(str(scans), str(new), folder)
    with monkeypatch.context() as patch:
        read_nothing(patch)
        assert run(folder).unchanged == 3
    rewrite(new / "red.bmp", paint(tmp_path / "pink.bmp", "pink").read_bytes())
    assert run(folder).indexed == 1


def test_what_changed_before_a_move_is_noticed_after_it(
    folder: str, scans: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """A folder that was renamed holds the files that were indexed, so that they are still compared."""
    run(folder, scans)
    rewrite(scans / "red.bmp", paint(tmp_path / "pink.bmp", "pink").read_bytes())
    new = scans.rename(tmp_path / "new")
    relocate(str(scans), str(new), folder)
    assert run(folder).indexed == 1


def test_on_another_drive_nothing_is_known_of_inodes(folder: str, scans: Path, fake_model: FakeModel) -> None:
    """A root whose drive is another one keeps its files, but not what told them from others of that size and time."""
    run(folder, scans)
    before = known(folder)
    with closing(Catalog(folder, write=True)) as catalog:
        (root,) = catalog.roots()
        catalog.put_root(root.path, root.options, root.mount, root.drive)
        assert known(folder) == before
        catalog.put_root(root.path, root.options, root.mount, "another")
    assert known(folder) == [(0, 0)] * 3


def test_thousands_of_unchanged_files_are_not_read(
    folder: str, tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run over what has not changed opens no image."""
    photos = tmp_path / "photos"
    data = paint(tmp_path / "red.png", "red").read_bytes()
    for number in range(3000):
        path = photos / str(number // 500) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert run(folder, photos).reused == 2999
    read_nothing(monkeypatch)
    assert run(folder).unchanged == 3000


# ---- the rule ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known_", "found", "wanted"),
    [
        ((0, 5, 9), (0, 5, 9), (True, "same size and time")),
        ((0, 5, 9), (0, 6, 9), (False, "replaced")),
        ((0, 5, 9), (0, 6, 8), (False, "replaced")),
        ((0, 5, 9), (0, 5, 8), (False, "changed in place")),
        ((0, 5, 9), (0, 0, 10), (False, "changed in place")),
        ((0, 5, 9), (0, 0, 9), (True, "same size and time")),
        ((0, 0, 0), (0, 5, 9), (True, "same size and time")),
        ((0, 5, 9), (0, 0, 0), (True, "same size and time")),
        ((7, 5, 9), (8, 6, 10), (True, "same size and time")),
        ((0, 5, 9), (8, 6, 10), (True, "same size and time")),
        ((7, 5, 9), (7, 6, 9), (False, "replaced")),
    ],
)
def test_inode_and_change_time_count_where_both_sides_know_them(
    known_: tuple[int, int, int], found: tuple[int, int, int], wanted: tuple[bool, str]
) -> None:
    """Of the same size and time: (device, inode, change time), and whether that is the same file."""
    device, inode, ctime_ns = known_
    row = FileRow(1, "a.jpg", 10, 20, device, b"x" * 32, None, "", inode, ctime_ns)
    assert is_current(row, SourceFile("/p", "a.jpg", 10, 20, *found)) == wanted


@given(*[st.integers()] * 5, st.integers())
def test_any_status_makes_a_file_that_is_current(
    size: int, mtime: int, inode: int, ctime: int, device: int, number: int
) -> None:
    """Whatever the numbers of a file system, a file that is as it was is current."""
    found = SourceFile("/p", "a", size, mtime, device, inode, ctime)
    row = FileRow(
        1, "a", found.size, found.mtime_ns, found.device, b"", None, "", found.inode, found.ctime_ns
    )
    assert is_current(row, SourceFile("/p", "a", size, mtime, device, inode, ctime))[0]
    other = SourceFile("/p", "a", size, mtime, device, inode, number)
    assert is_current(row, other)[0] == (
        found.ctime_ns == other.ctime_ns or 0 in (found.ctime_ns, other.ctime_ns)
    )


MOUNTS = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 8:17 / /media/a\040-\040stick rw,nosuid shared:5 - vfat /dev/sdb1 rw,uid=1000
31 27 0:52 / /media/%s rw - fuse.sshfs host:/ rw
32 27 0:53 / /mnt/nas rw - cifs //nas/photos rw,vers=3.1
33 27 0:54 / /mnt/nfs rw - nfs4 nas:/photos rw
34 27 254:16 /photos /srv rw master:1 - xfs /dev/vdb rw
35 27 8:33 / /media/card rw - exfat /dev/sdc1 rw
36
""".replace(b"%s", b"\xff\\134\\011")


@pytest.mark.parametrize(
    ("device", "kept"),
    [
        (os.makedev(254, 0), (5, 9)),
        (os.makedev(254, 16), (5, 9)),
        (os.makedev(8, 17), (0, 0)),
        (os.makedev(8, 33), (0, 0)),
        (os.makedev(0, 52), (0, 9)),
        (os.makedev(0, 53), (0, 9)),
        (os.makedev(0, 54), (0, 9)),
        (os.makedev(0, 99), (0, 9)),
    ],
)
@pytest.mark.parametrize("told", [True, False])
def test_what_a_file_system_does_not_keep_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: int, kept: tuple[int, int], told: bool
) -> None:
    """Inodes count where they last, change times where there are any; a system that tells no kinds has only these."""
    mounts = tmp_path / "mountinfo"
    if told:
        mounts.write_bytes(MOUNTS)
    monkeypatch.setattr(identity, "_MOUNTS", str(mounts))
    identity._file_system.cache_clear()
    status = os.stat_result(
        (0o100644, 5, device, 1, 0, 0, 10, 0, 0, 0), {"st_mtime_ns": 20, "st_ctime_ns": 9}
    )
    found = source_file("/p", "a.jpg", status, 0)
    identity._file_system.cache_clear()
    assert (found.size, found.mtime_ns, found.device) == (10, 20, 0)
    assert (found.inode, found.ctime_ns) == (kept if told else (0, 9))
