"""The mount table: which line a path leads to, and what a drive is called so that it is known again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch import mounts
from imgsearch.mounts import Mount, Mounts, number_of, parse
from support import mounted
from support.mounted import MountTable

table = mounted.table
FSID = mounts._fsid

# A name in a path, of any bytes but "/" and NUL.
NAMES = st.binary(min_size=1, max_size=8).filter(lambda name: b"/" not in name and b"\0" not in name)
PATHS = st.lists(NAMES, max_size=4).map(lambda names: b"/" + b"/".join(names))


def escaped(field: bytes) -> bytes:
    """Write a field as the kernel does."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in field)


@given(root=PATHS, point=PATHS, source=NAMES)
def test_names_of_any_bytes_are_read(root: bytes, point: bytes, source: bytes) -> None:
    """Spaces, backslashes, newlines and bytes that are no UTF-8 come out of the table as they are on the disk."""
    fields = [
        b"36 35 98:7",
        escaped(root),
        escaped(point),
        b"rw,noatime master:1 - ext3",
        escaped(source),
        b"rw",
    ]
    (mount,) = parse(b" ".join(fields) + b"\n")
    assert mount == Mount(
        36, 35, os.makedev(98, 7), *map(os.fsdecode, (root, point)), "ext3", os.fsdecode(source)
    )


@given(text=st.one_of(st.binary(), st.text(alphabet="0123456789: /-\\ab\n").map(str.encode)))
def test_a_table_that_makes_no_sense_is_no_error(text: bytes) -> None:
    """Whatever stands in the table, lines that are none are left out."""
    for mount in parse(text):
        assert mount.kind is not None


@given(
    lines=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from(["/", "/a", "/a/b", "/c"])),
        max_size=8,
    )
)
def test_any_order_and_any_parents_end(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[int, int, str]]
) -> None:
    """Also a table whose mounts lie in circles gives each path a drive."""
    file = tmp_path_factory.mktemp("proc") / "mountinfo"
    file.write_text("".join(f"{id} {parent} 0:{id} / {point} rw - x y rw\n" for id, parent, point in lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mounts, "MOUNTINFO", str(file))
        now = Mounts()
        assert os.path.isabs(now.drive("/").point)
        assert now.is_point("/")


def test_a_path_leads_to_the_mount_that_nothing_hides(tmp_path: Path, table: MountTable) -> None:
    """The deepest mount counts, of two at one point the upper one, and none below a folder that is covered."""
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    table.put(tmp_path / "a", "nas:/lower")
    table.put(tmp_path / "a" / "b", "nas:/inner")

    def names() -> list[str]:
        now = Mounts()
        return [now.drive(str(tmp_path / path)).name for path in ("a", "a/b", "a/b/c")]

    assert names() == ["nfs4 nas:/lower", "nfs4 nas:/inner", "nfs4 nas:/inner"]
    table.put(tmp_path / "a" / "b", "nas:/upper")
    assert names() == ["nfs4 nas:/lower", "nfs4 nas:/upper", "nfs4 nas:/upper"]
    table.put(tmp_path, "nas:/all")
    assert names() == ["nfs4 nas:/all"] * 3
    assert not Mounts().is_point(str(tmp_path / "a" / "b"))


def test_what_is_shown_at_two_places_has_both_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path in a bind mount has the name in its own file system too, and the other way round, unless one is hidden."""
    file = tmp_path / "mountinfo"
    monkeypatch.setattr(mounts, "MOUNTINFO", str(file))
    lines = [
        "1 0 8:1 / / rw - ext4 /dev/root rw",
        "2 1 8:1 /srv/real /alias rw - ext4 /dev/root rw",
        "3 1 8:2 / /other rw - ext4 /dev/sdb rw",
    ]
    file.write_text("\n".join(lines))
    assert list(Mounts().other_names("/alias/a/b")) == ["/srv/real/a/b"]
    assert list(Mounts().other_names("/srv/real")) == ["/alias"]
    assert list(Mounts().other_names("/srv")) == list(Mounts().other_names("/other/a")) == []
    file.write_text("\n".join([*lines, "4 1 8:2 / /srv rw - ext4 /dev/sdb rw"]))
    assert list(Mounts().other_names("/alias/a/b")) == []


def test_a_bind_mount_is_a_mount(tmp_path: Path, table: MountTable) -> None:
    """A folder of a file system that is mounted elsewhere too is a drive of its own, apart from the rest of it."""
    (tmp_path / "nas").mkdir()
    table.put(tmp_path / "nas", "/dev/root", "ext4", root="/srv/photos")
    now = Mounts()
    drive, around = now.drive(str(tmp_path / "nas")), now.drive(str(tmp_path))
    assert drive.point == str(tmp_path / "nas")
    assert now.is_point(drive.point)
    assert drive.number != around.number
    assert drive.name.endswith(" /srv/photos")


@pytest.mark.parametrize(
    ("source", "kind", "root", "name"),
    [
        ("nas:/photos", "nfs4", "/", "nfs4 nas:/photos"),
        ("//nas/photos", "cifs", "/", "cifs //nas/photos"),
        ("//nas/photos", "cifs", "/2024", "cifs //nas/photos /2024"),
        ("me@host:photos", "fuse.sshfs", "/", "fuse.sshfs me@host:photos"),
        ("/mnt/a:/mnt/b", "fuse.mergerfs", "/", "fuse.mergerfs /mnt/a:/mnt/b"),
        ("mtp", "fuse.jmtpfs", "/", ""),
        ("D:\\134", "9p", "/", ""),
        ("/dev/nowhere", "fuseblk", "/", ""),
    ],
)
def test_a_drive_is_called_by_its_source_where_that_tells(
    tmp_path: Path, table: MountTable, source: str, kind: str, root: str, name: str
) -> None:
    """A share has its host and path; a drive's letter, or what every phone is called, is no name."""
    table.put(tmp_path, source, kind, root)
    drive = Mounts().drive(str(tmp_path))
    assert drive.name == name
    assert (drive.number < 0) == bool(name)


def test_a_uuid_comes_before_all_else(
    tmp_path: Path, table: MountTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The UUID of the device that a file system lies on is its name, whatever the device is called today."""
    real, links = os.stat, tmp_path / "by-uuid"
    links.mkdir()
    for uuid in ("1234-ABCD", "5678-EF00"):
        (links / uuid).touch()
    devices = {str(links / "1234-ABCD"): os.makedev(8, 17), str(links / "5678-EF00"): os.makedev(8, 33)}

    class Device:
        def __init__(self, number: int) -> None:
            self.st_rdev = number

    def stat(path: str, **how: bool) -> object:
        return Device(devices[path]) if path in devices else real(path, **how)

    monkeypatch.setattr(mounts, "BY_UUID", str(links))
    monkeypatch.setattr(os, "stat", stat)
    table.put(tmp_path, "/dev/sdb1", "btrfs", "/@photos")
    devices["/dev/sdb1"] = os.makedev(8, 17)
    assert Mounts().drive(str(tmp_path)).name == "uuid 1234-ABCD /@photos"
    devices["/dev/sdb1"] = os.makedev(8, 33)
    assert Mounts().drive(str(tmp_path)).name == "uuid 5678-EF00 /@photos"


@pytest.mark.parametrize(
    ("fsid", "name"), [(0xABC, "ext4 0000000000000abc"), (0, ""), (os.makedev(0, 42), "")]
)
def test_an_fsid_is_a_name_unless_it_is_the_device_number(
    tmp_path: Path, table: MountTable, monkeypatch: pytest.MonkeyPatch, fsid: int, name: str
) -> None:
    """Some file systems give none, or only say which socket the stick is in."""

    class Filesystem:
        f_fsid = fsid

    monkeypatch.setattr(mounts, "_fsid", FSID)
    monkeypatch.setattr(os, "statvfs", lambda path: Filesystem())
    table.put(tmp_path, "/dev/nowhere", "ext4")  # device 0:42, as the table numbers it
    assert Mounts().drive(str(tmp_path)).name == name


def test_what_is_mounted_when_somebody_looks_counts_then(
    tmp_path: Path, table: MountTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An automount point is none until something is mounted there, which a look at it brings about."""
    table.put(tmp_path, "systemd-1", "autofs")
    real = os.listdir
    now = Mounts()
    assert not now.is_point(str(tmp_path))

    def listdir(path: str) -> list[str]:
        if path == str(tmp_path):
            table.put(tmp_path, "nas:/photos")
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    assert now.drive(str(tmp_path)).name == "nfs4 nas:/photos"
    assert now.is_point(str(tmp_path))


def test_a_name_that_is_no_utf8_can_be_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are text that the catalogue takes, whatever bytes a share or a folder is called by."""
    file = tmp_path / "mountinfo"
    file.write_bytes(b"1 0 8:1 /\xff / rw - nfs nas:/\xfe rw\n")
    monkeypatch.setattr(mounts, "MOUNTINFO", str(file))
    assert Mounts().drive("/").name == "nfs nas:/\\xfe /\\xff"


@given(first=st.text(max_size=8), second=st.text(max_size=8))
def test_numbers_are_below_zero_and_fit_the_catalogue(first: str, second: str) -> None:
    """A name's number is always the same, another name has another, and there is room below for former drives."""
    numbers = [number_of(name.encode("utf-8", "replace").decode()) for name in (first, second)]
    assert all(-(1 << 62) <= number < 0 for number in numbers)
    assert (numbers[0] == numbers[1]) == (
        first.encode("utf-8", "replace") == second.encode("utf-8", "replace")
    )


def test_thousands_of_containers_are_few_lines_to_look_at(tmp_path: Path, table: MountTable) -> None:
    """Among ten thousand mounts the one that a path leads to is found without looking at the others."""
    lines = ["1 0 8:1 / / rw - ext4 /dev/root rw"]
    lines += [f"{n} 1 0:{n} / /var/lib/{n} rw - overlay overlay rw" for n in range(2, 10_000)]
    lines += [f"10001 1 0:99 / {tmp_path} rw - nfs nas:/photos rw"]
    Path(mounts.MOUNTINFO).write_text("".join(f"{line}\n" for line in lines))
    assert Mounts().drive(str(tmp_path)).name == "nfs nas:/photos"
