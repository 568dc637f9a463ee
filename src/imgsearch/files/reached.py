"""Which of its names a file or folder goes by, where links and mounts give it several.

The one rule. Of the names of one file, or one folder, the first of these counts:

1. the name that was asked for: of a root, or of a single file (`ASKED_FOR`);
2. its own: no link and no mount lies between its root and it (`OWN`);
3. the one that the index knows, in what a run does not walk (`KNOWN`);
4. the one that the walks of a run come to first (`FIRST`).

And a name counts only if those of the folders on its way do. So no file is indexed twice, and no name depends on what
an earlier run found in the same folders: walks take own names before those behind links and mounts (`walk.in_turn`),
always in the same order. Hard links are files of their own, by own names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from imgsearch import deep

ASKED_FOR = "it was given by this name"
OWN = "no link and no mount leads to this name"
KNOWN = "the index knows it by this name"
FIRST = "it was reached by this name first"
_RANKS = (ASKED_FOR, OWN, KNOWN, FIRST)
_OWN_RANKS = (ASKED_FOR, OWN)


class Reached:
    """The files and folders that the walks of one run have reached, by the names that count."""

    def __init__(
        self,
        asked_for: Iterable[str] = (),
        known: Callable[[], Iterable[str]] = tuple,
        *,
        remember_files: bool = True,
    ) -> None:
        """Begin with the absolute paths that were asked for.

        ``known`` gives those that the index knows in what the run does not walk, each folder before what lies in it,
        when something turns up behind a link or mount. Without ``remember_files`` those that are reached are not kept:
        where no walk follows links, none is reached again, but through its folder.
        """
        self._names: dict[str, dict[tuple[int, int], str]] = {reason: {} for reason in _RANKS}
        self._known: Callable[[], Iterable[str]] | None = known
        self._remember_files = remember_files
        for path in asked_for:
            if identity := deep.identity(path):
                self._names[ASKED_FOR].setdefault(identity, path)

    def file(self, status: os.stat_result, path: str, *, behind: bool) -> tuple[bool, str]:
        """Return whether a file goes by this name, which lies ``behind`` a link or mount or not, and why or why not."""
        name, reason = self._name(status, path, behind, remember=self._remember_files)
        if name != path and not behind and not _same_entry(name, path):
            return True, OWN  # a hard link
        return name == path, reason

    def folder(self, status: os.stat_result, path: str, *, behind: bool) -> tuple[bool, str]:
        """Return whether a folder goes by this name, as ``file`` does."""
        name, reason = self._name(status, path, behind, remember=True)
        # There are file systems that give all their folders one number.
        return name == path or not _list_the_same(name, path), reason

    def _name(self, status: os.stat_result, path: str, behind: bool, *, remember: bool) -> tuple[str, str]:
        """Return the name that counts, and why it does."""
        if behind and self._known:
            known, self._known = self._known(), None
            self._put_known(known)
        identity = status.st_dev, status.st_ino
        for reason in _RANKS if behind else _OWN_RANKS:
            if identity in self._names[reason]:
                return self._names[reason][identity], reason
        reason = FIRST if behind else OWN
        if remember:
            self._names[reason][identity] = path
        return path, reason

    def gives_way(self, path: str) -> bool:
        """Return whether a folder that the index knows by this name goes by one that counts more."""
        return self._gives_way(path, deep.identity(path))

    def _gives_way(self, path: str, identity: tuple[int, int] | None) -> bool:
        names = (self._names[reason].get(identity, path) for reason in _OWN_RANKS) if identity else ()
        return any(name != path and _list_the_same(name, path) for name in names)

    def _put_known(self, paths: Iterable[str]) -> None:
        """Take names of files and folders that count unless they give way, or the folder that they lie in does."""
        given_way: set[str] = set()
        for path in paths:
            identity = deep.identity(path)
            if os.path.dirname(path) in given_way or self._gives_way(path, identity):
                given_way.add(path)
            elif identity:
                self._names[KNOWN].setdefault(identity, path)


def _same_entry(one: str, other: str) -> bool:
    """Return whether two paths of one file are one entry of one folder, which two hard links are not."""
    folder, name = os.path.split(one)
    other_folder, other_name = os.path.split(other)
    return name == other_name and deep.identity(folder) == deep.identity(other_folder)


def _list_the_same(one: str, other: str) -> bool:
    """Return whether two folders hold the same names; not, if one can't be listed."""
    try:
        return _entries(one) == _entries(other)
    except OSError:
        return False


def _entries(folder: str) -> set[str]:
    with deep.scandir(folder) as entries:
        return {entry.name for entry in entries}
