"""Which file a path names, and which of an index's folders it goes to."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

from imgsearch.errors import UsageError
from imgsearch.files import WalkOptions, check_root, device_of, mount_of
from imgsearch.index.rows import Root
from imgsearch.targets import Target, inside, owner_of, places_of

_REMEMBERED = 1 << 16


class Places:
    """Names → files, and files → roots: the ones that are known, and one more for what lies in none of them."""

    def __init__(self, known: Sequence[Root], given: str | None) -> None:
        """Take the index's roots, and the folder that the person gave for new files and relative paths, if any."""
        self._known = [root for root in known if not root.options.get("only")]
        self._single = {
            place: root for root in known if root.options.get("only") for place in places_of(root)
        }
        self._given = os.path.realpath(given) if given is not None else None
        self._base = self._given or os.getcwd()
        self._common: str | None = None
        self.new: str | None = None
        """The folder that becomes a root of its own, once everything has been seen."""
        # Pictures of one folder share the answers.
        self._folder = functools.lru_cache(_REMEMBERED)(self._real_folder)
        self._owner = functools.lru_cache(_REMEMBERED)(lambda folder: owner_of(folder, self._known))

    def file(self, path: str) -> tuple[str, str]:
        """Return (absolute path with the links of its folder resolved, ""), or ("", what is wrong with it)."""
        if not path:
            return "", "it is empty"
        folder, name = os.path.split(path)
        if name in ("", os.curdir, os.pardir):
            return "", "it names a folder"
        if "\0" in path:
            return "", "it holds a NUL byte"
        return os.path.join(self._folder(folder), name), ""

    def _real_folder(self, folder: str) -> str:
        return os.path.realpath(os.path.join(self._base, folder))

    def see(self, file: str) -> bool:
        """Take note of a file that will be imported; False if it lies outside of the folder that was given."""
        if self._known_root(file) is not None:
            return True
        folder = os.path.dirname(file)
        if self._given is not None:
            return folder == self._given or inside(folder, self._given)
        if self._common is None:
            self._common = folder
        elif folder != self._common and not inside(folder, self._common):
            self._common = os.path.commonpath([folder, self._common])
        return True

    def settle(self, touch: bool) -> None:
        """Choose the folder for everything seen that lies in no known root.

        ``touch`` says that files will be read, so the folder has to be there. Raises UsageError, FolderError.
        """
        if self._given is not None:
            if touch:
                check_root(self._given)
            self.new = self._given
        elif self._common == os.sep:
            raise UsageError(
                "the paths have no folder in common but /; say which one is to be kept indexed with --root DIR, or "
                "import the parts one by one"
            )
        else:
            self.new = self._common

    def root(self, file: str) -> Root | str | None:
        """Return the known root that owns a file, or the path of the new one, or None if it lies in neither."""
        if (known := self._known_root(file)) is not None:
            return known
        return self.new if self.new is not None and inside(file, self.new) else None

    def _known_root(self, file: str) -> Root | None:
        return (self._single.get(file) if self._single else None) or self._owner(os.path.dirname(file))


def new_root(path: str) -> tuple[str, dict[str, object], str]:
    """Return path, options and mount point of a root as `index` would choose them; it need not be there."""
    try:
        mount = mount_of(path)[0]
    except OSError:
        mount = os.sep
    return path, Target(path, WalkOptions()).stored_options(), mount


def device(path: str) -> int:
    """Return the st_dev of a root, 0 if it is not there."""
    try:
        return device_of(path)
    except OSError:
        return 0
