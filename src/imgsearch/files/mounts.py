"""Which drive a path lies on, and where that is mounted."""

from __future__ import annotations

import os


def device_of(path: str) -> int:
    """Return the st_dev of the file system that a path lies on; every question about devices comes here."""
    return os.stat(path).st_dev


def mount_of(path: str) -> tuple[str, int]:
    """Return the mount point that an absolute real path lies on, and the st_dev of what is mounted there.

    A root whose mount point is none any more lies on an unmounted drive. OSError if the path does not exist.
    """
    device = device_of(path)
    while not is_mount(path):
        path = os.path.dirname(path)
    return path, device


def is_mount(path: str) -> bool:
    """Whether something is mounted at an absolute path; "/" always is."""
    try:
        return path == os.sep or (
            not os.path.islink(path) and device_of(path) != device_of(os.path.dirname(path))
        )
    except OSError:
        return False
