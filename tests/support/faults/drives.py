"""Drives that are mounted and unmounted: an image file with a file system of its own, or a double of one."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.mounted import MountTable


class Loop:
    """An ext4 file system in a file, mounted at ``point``. What lies on it stays while it is not mounted."""

    def __init__(self, folder: Path, megabytes: int = 64) -> None:
        """Make and mount it below ``folder``; where the machine does not allow that, the test is skipped."""
        self.image, self.point = folder / "drive.img", folder / "drive"
        for tool in ("mkfs.ext4", "mount", "umount"):
            if shutil.which(tool) is None:
                pytest.skip(f"there is no {tool} here")
        self.point.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(megabytes << 20)
        # No blocks kept back for root: full means full, whoever asks.
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self.image))
        self.mounted = False
        self.put()

    def put(self) -> None:
        """Mount it."""
        _run("mount", "-o", "loop", str(self.image), str(self.point))
        self.mounted = True

    def take(self) -> None:
        """Unmount it."""
        gc.collect()  # of an index that only a caught exception still knows
        subprocess.run(["umount", str(self.point)], check=True)
        self.mounted = False


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{command[0]} is refused here: {done.stderr.strip()}")


class Double:
    """What a program sees of a drive, without one: a folder that the mount table names, or that is empty."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.point, self._shelf = folder / "drive", folder / "shelf"
        self.point.mkdir()
        self._table = MountTable(folder / "mountinfo", patch)
        self._table.put(self.point)

    def put(self) -> None:
        """Put the files back."""
        self.point.rmdir()
        self._shelf.rename(self.point)
        self._table.put(self.point)

    def take(self) -> None:
        """Take the files away; an empty folder stays."""
        self.point.rename(self._shelf)
        self.point.mkdir()
        self._table.take(self.point)


Drive = Loop | Double


@contextmanager
def loop(folder: Path) -> Iterator[Loop]:
    """Give a mounted drive of 64 MB, and unmount it whatever happens."""
    drive = Loop(folder)
    try:
        yield drive
    finally:
        if drive.mounted:
            gc.collect()
            # Lazily: whoever still has a file of it open does not keep it mounted.
            subprocess.run(["umount", "--lazy", str(drive.point)], check=True)


def stuff(folder: Path) -> Path:
    """Fill the file system that a folder lies on to the last block, with one file; return it."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                if file.write(bytes(size)) < size:
                    size //= 2
            except OSError:
                size //= 2
        try:
            os.fsync(file.fileno())
        except OSError:
            pass
    assert os.statvfs(folder).f_bavail == 0
    return filler
