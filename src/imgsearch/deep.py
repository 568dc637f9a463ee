"""Files and folders by paths of any length: what is too long for one call of the system is reached step by step.

A system takes paths of at most 4,096 bytes (macOS: 1,024), but folders can lie deeper, for example in a backup of a
backup. The folders on the way are then opened one after another, each from the one before it. Links are followed where
one call would follow them. For ordinary paths each function is the one of ``os`` or ``os.path`` and no slower.
"""

from __future__ import annotations

import os
import stat as modes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from imgsearch.addresses import is_remote

LONGEST = 16_384
"""Bytes of a path that is still read: a walk of endless folders must end somewhere."""
_AT_ONCE = 1_023 if sys.platform == "darwin" else 4_095  # bytes of a path that one call takes
_SURELY = _AT_ONCE // 4  # characters, of which none has more than four bytes
_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


def _fits(path: str) -> bool:
    return len(path) <= _SURELY or len(os.fsencode(path)) <= _AT_ONCE


@contextmanager
def _near(path: str) -> Iterator[tuple[bytes, int | None]]:
    """Give a path that fits, and the descriptor of the folder that it starts from. Raises OSError."""
    rest, folder = os.fsencode(path), None
    try:
        while len(rest) > _AT_ONCE and (end := rest.rfind(b"/", 0, _AT_ONCE)) > 0:
            step = os.open(rest[:end], _STEP, dir_fd=folder)
            if folder is not None:
                os.close(folder)
            rest, folder = rest[end:].lstrip(b"/"), step
        yield rest or b".", folder
    finally:
        if folder is not None:
            os.close(folder)


def stat(path: str, *, follow_symlinks: bool = True) -> os.stat_result:
    """Return os.stat of a path."""
    if _fits(path):
        return os.stat(path, follow_symlinks=follow_symlinks)
    with _near(path) as (name, folder):
        return os.stat(name, dir_fd=folder, follow_symlinks=follow_symlinks)


def open_file(path: str, flags: int) -> int:
    """Return os.open of a path."""
    if _fits(path):
        return os.open(path, flags)
    with _near(path) as (name, folder):
        return os.open(name, flags | os.O_CLOEXEC, dir_fd=folder)


@contextmanager
def scandir(path: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """Give os.scandir of a folder; the ``path`` of an entry may be its name alone."""
    if _fits(path):
        with os.scandir(path) as entries:
            yield entries
        return
    folder = open_file(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(folder) as entries:
            yield entries
    finally:
        os.close(folder)


def identity(path: str) -> tuple[int, int] | None:
    """Return what tells a file or folder from every other one, whatever it is called; None if it is not there.

    (st_dev, st_ino): the same through links, mounts and other spellings.
    """
    try:
        status = stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def is_readable(path: str) -> bool:
    """Whether this process may read a file."""
    if _fits(path):
        return os.access(path, os.R_OK)
    try:
        with _near(path) as (name, folder):
            return os.access(name, os.R_OK, dir_fd=folder)
    except OSError:
        return False


def exists(path: str) -> bool:
    """Whether there is something at a path, or where the link there leads to.

    An object of a bucket counts as there: to look takes a network, and the next run of `index` does.
    """
    return is_remote(path) or _mode(path) is not None


def lexists(path: str) -> bool:
    """Whether there is something at a path, be it a link that leads nowhere."""
    return _mode(path, follow_symlinks=False) is not None


def isdir(path: str) -> bool:
    """Whether there is a folder at a path, or where the link there leads to."""
    return modes.S_ISDIR(_mode(path) or 0)


def isfile(path: str) -> bool:
    """Whether there is a regular file at a path, or where the link there leads to."""
    return modes.S_ISREG(_mode(path) or 0)


def islink(path: str) -> bool:
    """Whether there is a link at a path."""
    return modes.S_ISLNK(_mode(path, follow_symlinks=False) or 0)


def _mode(path: str, *, follow_symlinks: bool = True) -> int | None:
    try:
        return stat(path, follow_symlinks=follow_symlinks).st_mode
    except (OSError, ValueError):
        return None


def holds_files(folder: str, *, hidden: bool = True) -> bool:
    """Whether a folder has a file in it, at any depth: without ``hidden`` one whose name begins with no dot.

    Links to folders are not entered. What can't be listed holds none.
    """
    folders = [folder]
    while folders:
        here = folders.pop()
        try:
            with scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir():
                        if not entry.is_symlink() and len(here) < LONGEST:
                            folders.append(os.path.join(here, entry.name))
                    elif hidden or not entry.name.startswith("."):
                        return True
        except OSError:
            pass
    return False
