"""A mount table that a test writes: drives that come, go, and change places, without root and without mounting."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch import mounts


class MountTable:
    """What the program sees mounted, in place of the kernel's own table; "/" is a file system of its own."""

    def __init__(self, file: Path, patch: pytest.MonkeyPatch) -> None:
        """Let the program read ``file``; nothing but "/" is mounted."""
        self._file = file
        self._lines = ["1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw"]
        self._number = 1
        patch.setattr(mounts, "MOUNTINFO", str(file))
        # The kernel would answer for what really lies there.
        patch.setattr(mounts, "_fsid", lambda mount, path: "ext4 1" if mount.kind == "ext4" else "")
        self._write()

    def put(self, point: Path | str, source: str = "nas:/stick", kind: str = "nfs4", root: str = "/") -> None:
        """Mount something at a folder, whose files the test puts there itself.

        The source of a share is its name; a ``source`` like "none" with the kind "fuse" has none. What is ext4 is
        the file system of "/".
        """
        self._number += 1
        inside = [line for line in self._lines if f"{point}/".startswith(_point(line).rstrip("/") + "/")]
        parent = max(inside, key=lambda line: len(_point(line))).split(" ")[0]
        escaped = str(point).replace("\\", "\\134").replace(" ", "\\040")
        line = f"{self._number} {parent} 0:{40 + self._number} {root} {escaped} rw - {kind} {source} rw"
        self._lines.append(line)
        self._write()

    def take(self, point: Path | str) -> None:
        """Unmount what is mounted at a folder; its files are the test's to take away."""
        self._lines = [line for line in self._lines if _point(line) != str(point)]
        self._write()

    def _write(self) -> None:
        self._file.write_text("".join(f"{line}\n" for line in self._lines))


def _point(line: str) -> str:
    return line.split(" ")[4].replace("\\040", " ").replace("\\134", "\\")


@pytest.fixture
def table(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> MountTable:
    """Give a mount table of the test's own."""
    return MountTable(tmp_path_factory.mktemp("proc") / "mountinfo", monkeypatch)
