"""Which file systems are known to be a network's, and what is said of an index there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from imgsearch.cli.spelling import spelled
from imgsearch.index.layout import advice, kind_of
from imgsearch.tools.transfer.importer import import_vectors
from support import fakes
from support.fakes import FakeModel, Notes, paint, run, unit

fake_model = fakes.fake_model


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give the mount table, from mount point to kind, which a test fills; "/" is ext4."""
    table = {"/": "ext4"}

    def partitions(all: bool) -> list[SimpleNamespace]:
        return [SimpleNamespace(mountpoint=mount, fstype=kind) for mount, kind in table.items()]

    monkeypatch.setattr(psutil, "disk_partitions", partitions)
    return table


@pytest.mark.parametrize(
    "kind",
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "afpfs", "9p", "fuse.sshfs", "fuse.rclone", "ceph", "davfs"],
)
def test_a_network_file_system_is_advised_against(tmp_path: Path, mounted: dict[str, str], kind: str) -> None:
    """On a network's file system the advice names it, where it is mounted, and the option that helps."""
    mounted[str(tmp_path)] = kind
    text = advice(str(tmp_path / "index"))
    assert text is not None
    assert f"{tmp_path} is mounted as {kind}" in text
    assert "folder=DIR" in text
    assert "--index DIR" in spelled(text)
    assert "\n" not in text


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "apfs", "zfs", "tmpfs", "overlay", "fuseblk", "exfat", ""])
def test_a_local_file_system_needs_no_advice(tmp_path: Path, mounted: dict[str, str], kind: str) -> None:
    """Local file systems, and those that nobody names, are passed over in silence."""
    mounted[str(tmp_path)] = kind
    assert advice(str(tmp_path)) is None


def test_the_deepest_mount_point_decides(tmp_path: Path, mounted: dict[str, str]) -> None:
    """A local disk inside a network share is local, a share inside a local disk is not, and names are whole."""
    mounted.update(
        {str(tmp_path): "nfs4", str(tmp_path / "local"): "ext4", str(tmp_path / "local/far"): "cifs"}
    )
    assert kind_of(str(tmp_path / "x")).name == "nfs4"
    assert kind_of(str(tmp_path / "local" / "x")).network is False
    assert kind_of(str(tmp_path / "local" / "far")).name == "cifs"
    assert kind_of(str(tmp_path / "localer")).name == "nfs4"


def test_of_two_mounts_at_one_point_the_later_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An automounter's entry is covered by what it has mounted there."""
    table = [SimpleNamespace(mountpoint=str(tmp_path), fstype=kind) for kind in ("autofs", "nfs4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: table)
    assert kind_of(str(tmp_path)).network is True


def test_a_link_is_followed_and_a_missing_folder_is_where_it_would_be(
    tmp_path: Path, mounted: dict[str, str]
) -> None:
    """What counts is where the index really lies, or would lie if it were made."""
    (tmp_path / "share").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "share")
    mounted[str(tmp_path / "share")] = "smb3"
    assert kind_of(str(tmp_path / "link" / "not" / "there")).network is True
    assert kind_of(str(tmp_path / "not" / "there")).network is False


def test_no_mount_table_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system shows no mount table, nothing is known and nothing is said."""

    def refused(all: bool) -> list[object]:
        raise PermissionError("no")

    monkeypatch.setattr(psutil, "disk_partitions", refused)
    assert kind_of("/").name == ""
    assert advice("/") is None


def test_the_real_mount_table_is_read() -> None:
    """The root of this machine's file system is of some kind."""
    assert kind_of("/").name


@pytest.mark.parametrize("how", ["index", "import"])
def test_who_makes_an_index_on_a_network_file_system_is_told_once(
    tmp_path: Path, mounted: dict[str, str], fake_model: FakeModel, how: str
) -> None:
    """The line is said as the index is made, and not by every run after that."""
    mounted[str(tmp_path)] = "nfs4"
    paint(tmp_path / "photos" / "red.png", "red")
    index = str(tmp_path / "index")
    np.save(tmp_path / "vectors.npy", unit(1))
    (tmp_path / "list.txt").write_text(f"{tmp_path}/photos/red.png\n")
    told = []
    for _ in range(2):
        notes = Notes()
        if how == "index":
            run(index, tmp_path / "photos", reporter=notes)
        else:
            import_vectors(str(tmp_path / "vectors.npy"), str(tmp_path / "list.txt"), index, reporter=notes)
        told.append(sum("network file system" in line for line in notes.lines))
    assert told == [1, 0]
