"""What tells a file from another one of the same size and time: its inode and change time, where they last."""

from __future__ import annotations

import os
from functools import cache

from imgsearch.addresses import is_remote
from imgsearch.mounts import Mounts
from imgsearch.types import SourceFile

_MOUNTS = "/proc/self/mountinfo"
# A file of these keeps its number for as long as it exists. Elsewhere it may get another one with every mount, or when
# the system has forgotten it: FUSE, SMB, NFS that is exported again, FAT, 9p.
_LASTING_INODES = {
    "ext2",
    "ext3",
    "ext4",
    "xfs",
    "btrfs",
    "f2fs",
    "zfs",
    "bcachefs",
    "jfs",
    "nilfs2",
    "tmpfs",
}
# These keep no change time: what the system shows is made up from the other times when the drive is mounted.
_NO_CHANGE_TIME = {"vfat", "msdos", "exfat"}


def source_file(
    root: str,
    path: str,
    status: os.stat_result,
    device: int | None = None,
    sidecars: tuple[str, ...] = (),
    sidecar_state: int | None = None,
    reading: str = "",
) -> SourceFile:
    """Return the file at ``path`` below ``root`` as its ``status`` shows it; no ``device``: it is looked up.

    Its inode and change time are 0, unknown, where the file system does not keep them. Raises OSError.
    """
    if is_remote(root):
        numbers = status.st_size, status.st_mtime_ns, 0, status.st_ino, 0
        return SourceFile(root, path, *numbers, sidecars, sidecar_state, reading)
    if device is None:
        mounts = Mounts()
        device = mounts.drive(os.path.dirname(os.path.realpath(os.path.join(root, path)))).number
        device = 0 if device == mounts.drive(root).number else device
    kind = _file_system(status.st_dev)
    inode = status.st_ino if kind in _LASTING_INODES else 0
    changed = 0 if kind in _NO_CHANGE_TIME else status.st_ctime_ns
    numbers = status.st_size, status.st_mtime_ns, device, inode, changed
    return SourceFile(root, path, *numbers, sidecars, sidecar_state, reading)


@cache
def _file_system(device: int) -> str:
    """Return the kind of the file system with that st_dev, such as "ext4"; "" where the system does not tell."""
    number = f"{os.major(device)}:{os.minor(device)}".encode()
    try:
        with open(_MOUNTS, "rb") as file:
            for line in file:
                mount, _, system = line.partition(b" - ")
                if mount.split(b" ")[2:3] == [number]:
                    return os.fsdecode(system.split(b" ")[0])
    except OSError:
        pass
    return ""
