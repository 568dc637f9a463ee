"""What is mounted where, and which drive a folder lies on, told from another one in its place after any restart."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from imgsearch import fs
from imgsearch.types import int64

MOUNTINFO = "/proc/self/mountinfo"
BY_UUID = "/dev/disk/by-uuid"
_ESCAPED = re.compile(rb"\\([0-7]{3})")
# Of a network: //nas/photos, nas:/photos, me@host:photos. A drive's letter (as WSL has them) says nothing.
_REMOTE = re.compile(r"//.+|[^/\\]{2,}:.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of the mount table: the folder ``root`` of a file system is shown at the folder ``point``.

    ``root`` is "/" unless this is a bind mount or a subvolume. ``device`` is the file system's st_dev, ``kind`` its
    type and ``source`` what it was mounted from.
    """

    id: int
    parent: int
    device: int
    root: str
    point: str
    kind: str
    source: str


@dataclass(frozen=True, slots=True)
class Drive:
    """What a folder lies on.

    ``point`` is the mount point. ``name`` is the same wherever and whenever the drive is mounted, and no other drive's;
    "" if the system gives nothing that would be. ``number`` stands for the drive in the catalogue: below zero it is
    made from the name, else it may be another one after a restart.
    """

    point: str
    name: str
    number: int


UNKNOWN = Drive(os.sep, "", 0)
"""What a folder lies on that nobody has looked at, or that is not there."""


class Mounts:
    """The mount table as it was when it was read; without one (macOS), what the device numbers of folders tell."""

    def __init__(self) -> None:
        """Read the table."""
        self._text: bytes | None = None
        self._below: dict[int, dict[str, Mount]] = {}
        self._drives: dict[int, Drive] = {}
        self._points: frozenset[str] = frozenset()
        self._longest = 0  # characters of a mount point
        self.refresh()

    def refresh(self) -> None:
        """Read the table again."""
        text = _read_table()
        if text != self._text:
            mounts = parse(text or b"")
            self._text, self._below, self._drives = text, _tree(mounts), {}
            self._points = frozenset(mount.point for mount in mounts)
            self._longest = max(map(len, self._points), default=0)

    def drive(self, path: str) -> Drive:
        """Return what an absolute real path lies on. OSError if there is nothing at the path."""
        device = fs.device_of(path)
        if not self._below:
            return Drive(_climb(path, device), "", device)
        mount = self._find(path)
        if mount is not None and mount.kind == "autofs":
            # What is to be mounted here is mounted when somebody looks.
            with suppress(OSError):
                os.listdir(path)
            self.refresh()
            mount = self._find(path)
        if mount is None:
            return Drive(os.sep, "", device)
        if mount.id not in self._drives:
            self._drives[mount.id] = _drive(mount, path)
        return self._drives[mount.id]

    def is_point(self, path: str) -> bool:
        """Whether something is mounted at an absolute path; "/" always is."""
        if path == os.sep:
            return True
        try:
            if not self._below:
                return not os.path.islink(path) and _climb(path, fs.device_of(path)) == path
            mount = self._find(path) if path in self._points else None
            return mount is not None and mount.point == path and mount.kind != "autofs"
        except (OSError, ValueError):
            return False

    def below(self, folder: str) -> Iterator[str]:
        """Yield the absolute paths below a folder at which something is mounted."""
        return (point for point in self._points if fs.is_below(point, folder))

    def other_names(self, path: str) -> Iterator[str]:
        """Yield the other absolute paths at which what lies at an absolute real path is shown, as by a bind mount."""
        mount = self._find(path)
        if mount is None:
            return
        inside = _moved(path, mount.point, mount.root)
        for other in (other for below in self._below.values() for other in below.values()):
            if other.device == mount.device and fs.is_at_or_below(inside, other.root):
                name = _moved(inside, other.root, other.point)
                if name != path and self._find(name) is other:
                    yield name

    def _find(self, path: str) -> Mount | None:
        """Return the mount that a path leads to, which none above or upon it hides; None if there is none."""
        found: Mount | None = None
        here = self._below.get(_OUTSIDE, {})
        # As the kernel goes: name by name, and at each mount point into what is mounted there.
        for folder in _folders(path[: self._longest + 1]):
            while (mount := here.get(folder)) is not None:
                found, here = mount, self._below.get(mount.id, {})
        return found


_OUTSIDE = -1
"""The parent of mounts whose own parent the table does not show."""


def _moved(path: str, old: str, new: str) -> str:
    """Return where a path that lies in a folder, or is it, lies in another one."""
    return os.path.normpath(os.path.join(new, os.path.relpath(path, old)))


def number_of(name: str) -> int:
    """Return the number, below zero, that stands for a drive of this name."""
    digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
    return -1 - (int.from_bytes(digest, "big") >> 2)


def parse(text: bytes) -> list[Mount]:
    """Return the mounts of a table in the form of /proc/self/mountinfo; a line that makes no sense is left out."""
    mounts = []
    for line in text.split(b"\n"):
        fields = line.split(b" ")
        try:
            after = fields.index(b"-", 6)
            major, minor = fields[2].split(b":")
            device = os.makedev(int(major), int(minor))
            root, point, kind, source = map(_plain, (*fields[3:5], *fields[after + 1 : after + 3]))
            mounts.append(Mount(int(fields[0]), int(fields[1]), int64(device), root, point, kind, source))
        except (ValueError, IndexError, OverflowError):
            continue
    return mounts


def _plain(field: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), field))


def _read_table() -> bytes | None:
    try:
        with open(MOUNTINFO, "rb") as file:
            return file.read()
    except OSError:
        return None


def _tree(mounts: list[Mount]) -> dict[int, dict[str, Mount]]:
    """Return the mounts by the mount that they are mounted upon, and by their mount points."""
    by_id = {mount.id: mount for mount in mounts}  # each once, so that there are no circles
    below: dict[int, dict[str, Mount]] = {}
    for mount in by_id.values():
        parent = mount.parent if mount.parent in by_id and mount.parent != mount.id else _OUTSIDE
        below.setdefault(parent, {})[mount.point] = mount
    return below


def _folders(path: str) -> list[str]:
    """Return the folders that lead to an absolute path, from "/" to the path itself."""
    folders = [path]
    while (above := os.path.dirname(path)) != path:
        folders.append(path := above)
    return folders[::-1]


def _climb(path: str, device: int) -> str:
    """Return the outermost folder above a path, or the path, up to which all lies on the same device."""
    while (above := os.path.dirname(path)) != path and fs.device_of(above) == device:
        path = above
    return path


def _drive(mount: Mount, path: str) -> Drive:
    name = _name(mount, path)
    if name:
        return Drive(mount.point, name, number_of(name))
    # A bind mount has the device number of what it shows.
    own = mount.root == os.sep
    return Drive(mount.point, "", mount.device if own else -number_of(f"{mount.device} {mount.root}"))


def _name(mount: Mount, path: str) -> str:
    """Return the name of a mount's drive, given a path on it: by its UUID, its source in a network, or its fsid."""
    name = _uuid(mount)
    if not name and _REMOTE.fullmatch(mount.source):
        name = f"{mount.kind} {mount.source}"
    if not name:
        name = _fsid(mount, path)
    if not name and mount.kind.startswith("fuse") and os.sep in mount.source:
        name = "" if mount.source.startswith("/dev/") else f"{mount.kind} {mount.source}"
    if name and mount.root != os.sep:
        name += f" {mount.root}"
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _uuid(mount: Mount) -> str:
    """Return the UUID of a mount's file system, or its serial number where it has none; "" if nobody tells."""
    devices = {mount.device}
    with suppress(OSError, ValueError):
        if mount.source.startswith("/dev/"):
            devices.add(int64(os.stat(mount.source).st_rdev))  # btrfs has a device number of its own
    with suppress(OSError):
        for name in sorted(os.listdir(BY_UUID)):
            with suppress(OSError):
                if int64(os.stat(os.path.join(BY_UUID, name)).st_rdev) in devices:
                    return f"uuid {name}"
    return ""


def _fsid(mount: Mount, path: str) -> str:
    """Return the identifier that a file system gives itself; "" for one that has none but its device number."""
    for folder in (path, mount.point):  # the path may be too long to ask
        with suppress(OSError):
            fsid = os.statvfs(folder).f_fsid
            return "" if fsid in (0, mount.device) else f"{mount.kind} {fsid:016x}"
    return ""
