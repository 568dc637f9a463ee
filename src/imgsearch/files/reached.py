"""What the walks of one run have reached: by identity, so that no file or folder is reached by two names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from imgsearch import deep

Identity = tuple[int, int]
"""(st_dev, st_ino): the same for every name of a file or folder, through links, mounts and other spellings."""


class Reached:
    """The files and folders that the walks of one run have reached, each with the one name that it goes by."""

    def __init__(self, known: Callable[[], Iterable[str]] = tuple) -> None:
        """Begin with none. ``known`` gives the names that the index has for what the run may not come to."""
        self._names: dict[Identity, str] = {}
        self._known: Callable[[], Iterable[str]] | None = known

    def add(self, path: str) -> None:
        """Let what is at an absolute path, if anything is, go by this name."""
        try:
            self._names.setdefault(_identity(deep.stat(path)), path)
        except (OSError, ValueError):
            pass

    def file(self, status: os.stat_result, path: str, *, behind: bool) -> bool:
        """Return whether a file is to be taken by this name; ``behind`` a link it is only if it has no other.

        Else it always is, so that hard links are files of their own.
        """
        return self._name(status, path, behind) == path or not behind

    def folder(self, status: os.stat_result, path: str, *, behind: bool) -> bool:
        """Return whether a folder is to be entered by this name: it is by one, and ``behind`` a link by no other."""
        name = self._name(status, path, behind)
        if name == path:
            return True
        if not behind and os.path.realpath(name) != name:
            self._names[_identity(status)] = path  # its own name, and until now it was known through a link
            return True
        # There are file systems that give all their folders one number.
        return not _list_the_same(name, path)

    def _name(self, status: os.stat_result, path: str, behind: bool) -> str:
        if behind and self._known:
            known, self._known = self._known(), None
            for other in known:
                self.add(other)
        return self._names.setdefault(_identity(status), path)


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def _list_the_same(one: str, other: str) -> bool:
    """Return whether two folders hold the same names; not, if one can't be listed."""
    try:
        return _names(one) == _names(other)
    except OSError:
        return False


def _names(folder: str) -> set[str]:
    with deep.scandir(folder) as entries:
        return {entry.name for entry in entries}
