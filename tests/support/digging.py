"""Folders deeper than a path can say: made, filled and moved step by step."""

from __future__ import annotations

import os
from pathlib import Path

STEP = "deep " * 40  # 200 bytes


def dig(root: Path, size: int, *, name: str = STEP) -> str:
    """Make folders below ``root`` until their path has ``size`` bytes or more; return that path."""
    path = str(root)
    folder = os.open(root, os.O_RDONLY)
    while len(os.fsencode(path)) < size:
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
        os.close(folder)
        folder, path = inner, f"{path}/{name}"
    os.close(folder)
    return path


def put_down(file: Path, folder: str, name: str = "") -> str:
    """Move a file into a folder, however deep that lies; return its path there."""
    root, *names = folder.split(f"/{STEP}")
    above = os.open(root, os.O_RDONLY)
    for _ in names:
        inner = os.open(STEP, os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = inner
    os.rename(file, name or file.name, dst_dir_fd=above)
    os.close(above)
    return f"{folder}/{name or file.name}"
