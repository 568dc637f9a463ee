"""The walk: which files there are below a folder, and which of those that are missing may be pruned."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from imgsearch import deep
from imgsearch.errors import exhausted
from imgsearch.files.copies import copies_among, holds_copies
from imgsearch.files.identity import source_file
from imgsearch.files.ignore import (
    IGNORE_FILE,
    IgnoreFileError,
    Rules,
    excluded,
    file_rules,
    index_own,
    is_hidden,
    is_junk,
    option_rules,
)
from imgsearch.files.kinds import (
    LINK,
    PAGED,
    PAGED_IMAGES,
    PDF,
    RAW,
    TILED_IMAGES,
    VIDEO,
    extension,
    kind_of,
)
from imgsearch.files.reached import Reached
from imgsearch.files.sidecars import sidecars_among, sidecars_of, state_of
from imgsearch.fs import is_at_or_below
from imgsearch.mounts import Drive, Mounts
from imgsearch.text import Message, Option, display_path, error_line
from imgsearch.types import SourceFile

NOT_MOUNTED = "the drive it was on is not mounted"
COVERED = "another drive is mounted over its folder"
TILES = "tiles"
"""In SourceFile.reading of a file that is cut into tiles, too, if it is large."""
RAW_TOO = "raw too"
"""SourceFile.reading of a RAW file that is read though the same photo lies beside it."""
EMPTY_FOLDER = Message(
    "its folder is empty now; to remove its images from the index: ", Option("prune_empty", True)
)


@dataclass(frozen=True, slots=True)
class WalkOptions:
    """What a walk takes: gitignore patterns to leave out, and three switches; and what is read of a file that is found.

    ``above`` and ``anchor`` are absolute folders above the root, or "" for the root itself: the topmost one
    whose ignore files count, and the one that the patterns are relative to. ``pages`` of documents and TIFFs are "all",
    "first" or numbers such as "3-9", ``frames`` of a film 0 for a number by its length; the passwords for documents are
    the lines of ``pdf_password_file``, an absolute path, or "". ``raw_too``: a RAW file is read though the same
    photo lies beside it as JPEG. ``tiles``: parts of large pages and long screenshots are images, too.
    """

    exclude: tuple[str, ...] = ()
    include_hidden: bool = False
    follow_symlinks: bool = False
    above: str = ""
    anchor: str = ""
    include_copies: bool = False
    pages: str = "all"
    frames: int = 0
    pdf_password_file: str = ""
    raw_too: bool = False
    tiles: bool = False

    def reading(self, path: str) -> str:
        """Return what says of a file with this name which of its images are asked for: SourceFile.reading."""
        if self.pages == "all" and not (self.frames or self.raw_too or self.tiles):
            return ""
        kind = kind_of(path)
        if kind == RAW:
            return RAW_TOO if self.raw_too else ""
        if kind == VIDEO:
            return f"frames={self.frames}" if self.frames else ""
        is_paged = kind in PAGED or extension(path) in PAGED_IMAGES
        asked = [f"pages={self.pages}"] if is_paged and self.pages != "all" else []
        asked += [TILES] if self.tiles and (kind == PDF or extension(path) in TILED_IMAGES) else []
        return " ".join(asked)


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str  # relative to the root, "" for the root itself
    device: int  # the number of its drive, 0 on the root's own
    rules: Rules  # of its ignore file and those above it, the deepest first
    linked: bool  # reached through a symbolic link or a mount
    sidecars: Mapping[str, tuple[str, ...]]  # by the images that they tell of


class Walk:
    """The candidate files below a folder: iterate it once, then ask what it could not see. `in_turn` iterates several.

    Yields SourceFile in the order of their path components as bytes; files reached through symbolic links
    and on mounts come after all others. ``root`` is an absolute real path. ``extensions`` are lower case with the dot.
    ``subpath`` (a folder or file relative to the root) restricts what is yielded and changes nothing else:
    excludes and ignore files above it still apply. With ``single`` it is all that the root stands for: a file in it.
    ``skip`` are absolute folders, roots of their own, that are not entered, nor links into them. ``reached``, which
    walks of one run share, decides which name of a file or folder counts. ``named`` is asked about each file (relative)
    of another extension: whether it is taken all the same. ``mounts`` is the mount table, which walks of one run may
    share.

    Raises UsageError for an invalid pattern in the options. A folder that can't be listed, or whose ignore file can't
    be used, stands in ``left_alone`` instead.
    """

    def __init__(
        self,
        root: str,
        options: WalkOptions,
        extensions: Collection[str],
        *,
        subpath: str = "",
        single: bool = False,
        skip: Collection[str] = (),
        reached: Reached | None = None,
        named: Callable[[str], bool] = lambda path: False,
        mounts: Mounts | None = None,
    ) -> None:
        """Compile the excludes; the disk is not touched before iteration."""
        self.root = root
        self.options = options
        self.left_alone: dict[str, str] = {}
        """Folders (relative) of which nothing is known, nor of what lies in them, with the reason: they could not be
        listed, or it is unknown what their ignore file leaves out."""
        self.empty_folders: set[str] = set()
        """Folders (relative) that hold no file at all, however deep; known after the walk."""
        self.other_files: Counter[str] = Counter()
        """Files in the folders walked that are not candidates, by ``kinds.kind_of``; and as ``kinds.LINK`` the links,
        not followed, that lead to a folder or an image."""
        self.copies: set[str] = set()
        """Folders (relative) of which all or some was left out: copies that other programs keep."""
        self.complete = False
        """Whether the walk ran to its end."""
        self._extensions = frozenset(extensions)
        self._subpath = "" if subpath in ("", ".") else os.path.normpath(subpath)
        self._single = single
        self._skip = frozenset(skip) - {root}
        self._reached = reached or Reached()
        self._named = named
        # Rules see paths relative to the topmost folder that has a word on this walk.
        self._top = min((folder for folder in (root, options.above, options.anchor) if folder), key=len)
        self._lead = self._prefix(root)
        self._exclude = option_rules(options.exclude, len(self._prefix(options.anchor or root)))
        self._non_empty: set[str] = set()  # folders with a file in them or below
        self._visited: set[str] = set()
        self._left_out_folders: list[
            str
        ] = []  # folders that were left out, so nothing is known of their files
        self._begun = False
        self._links: list[tuple[str, _Folder]] = []  # and mounts, of which the next round begins
        self._mounts = mounts or Mounts()
        self._own: Drive | None = None
        self._devices_now: dict[str, int | None] = {}

    def __iter__(self) -> Iterator[SourceFile]:
        """Walk to the end."""
        return (source for _, source in in_turn([self]))

    def round(self) -> Iterator[SourceFile]:
        """Walk what no link and no mount leads to; then, with each call, what is behind those found in the one before.

        The last round makes the walk ``complete``.
        """
        links, self._links = sorted(self._links, key=lambda link: in_order(link[0])), []
        if not self._begun:
            self._begun = True
            yield from self._visit(self._begin())
        for link in links:
            yield from self._visit(self._resolve(*link))
        if not self._links:
            self._end()

    def _begin(self) -> list[tuple[str, str, _Folder]]:
        """Enter the root; return its entries."""
        try:
            self._own = self._mounts.drive(self.root)
            above = self._rules_above()
            return [] if above is None else self._enter("", above, linked=False)
        except OSError as error:
            self.left_alone[""] = _unlisted(error)
        except IgnoreFileError as error:
            self.left_alone[""] = _unruled(error)
        return []

    def _visit(self, stack: list[tuple[str, str, _Folder]]) -> Iterator[SourceFile]:
        """Walk what ``_enter`` returned; the stack is our own, so that no depth of folders is too deep."""
        while stack:
            kind, path, parent = stack.pop()
            try:
                if kind == "folder":
                    stack += self._enter(path, parent.rules, linked=parent.linked)
                elif (source := self._file(path, parent, through_link=kind == "link")) is not None:
                    yield source
            except (FileNotFoundError, NotADirectoryError):
                if kind == "folder":
                    self.left_alone[path] = "it was deleted during the scan"
            except IgnoreFileError as error:
                self.left_alone[path] = _unruled(error)
            except OSError as error:
                if kind != "link":  # links that lead round in circles are nobody's loss
                    self.left_alone[path if kind == "folder" else parent.path] = _unlisted(error)

    def _end(self) -> None:
        for path in self._left_out_folders:
            if _parent(path) not in self._non_empty and deep.holds_files(self._absolute(path)):
                self._mark_non_empty(_parent(path))
        self.empty_folders = self._visited - self._non_empty
        self.complete = True

    def is_gone(
        self, path: str, device: int, prune_empty: bool = False, same: Collection[tuple[int, int]] = ()
    ) -> tuple[bool, str]:
        """Say whether a catalogued file that this walk did not yield may be pruned, and why or why not.

        ``path`` and ``device`` are those of its SourceFile at the time; ``same`` are pairs (then, now) of devices that
        count as one. The answer is no where the walk could not have seen the file even if it were there: absence alone
        is no proof of deletion.
        """
        if not self.complete:
            return False, "not all folders were scanned"
        folders = _folders_above(path)
        for folder in folders:
            if folder in self.left_alone:
                return False, f"{display_path(folder or self.root)} is left alone: {self.left_alone[folder]}"
        try:
            here = self.device_now(path)
        except OSError as error:
            return False, error_line(error)
        if here is None or (device != here and (device, here) not in same):
            return False, COVERED if here and not device else NOT_MOUNTED
        if not prune_empty and not self.empty_folders.isdisjoint(folders):
            return False, EMPTY_FOLDER
        return True, "excluded now" if deep.exists(self._absolute(path)) else "deleted"

    def device_now(self, path: str) -> int | None:
        """Return the device of the nearest folder above a file that is there now; None without any. Raises OSError."""
        for folder in _folders_above(path):
            if folder not in self._devices_now:
                absolute = self._absolute(folder)
                there = deep.isdir(absolute)
                self._devices_now[folder] = self._device(os.path.realpath(absolute)) if there else None
            if (device := self._devices_now[folder]) is not None:
                return device
        return None

    def _enter(self, path: str, above: Rules, *, linked: bool) -> list[tuple[str, str, _Folder]]:
        """List a folder and return its entries (kind, path, folder) that are to be visited, last one first."""
        absolute = self._absolute(path)
        if len(absolute) > deep.LONGEST // 4 and len(os.fsencode(absolute)) > deep.LONGEST:
            self.left_alone[path] = f"its path is longer than {deep.LONGEST:,} bytes"
            return []
        if not self._single and not self._reached.folder(deep.stat(absolute), absolute, behind=linked)[0]:
            self._left_out_folders.append(path)
            return []
        device = self._device(os.path.realpath(absolute) if linked else absolute)
        with deep.scandir(absolute) as entries:
            kinds = {entry.name: _kind(entry) for entry in entries}
        for name in index_own(kinds):
            del kinds[name]
        self._visited.add(path)
        files = [name for name, kind in kinds.items() if kind != "folder"]
        if files:
            self._mark_non_empty(path)
        rules = above
        if kinds.get(IGNORE_FILE, "folder") != "folder":
            rules = file_rules(self._top, (self._lead + path).rstrip("/")) + above
        folder = _Folder(path, device, rules, linked, sidecars := sidecars_among(files))
        copies = set() if self.options.include_copies else copies_among(absolute, files)
        if copies:
            self.copies.add(path)
        if sidecars:
            images = [name for name in files if extension(name) in self._extensions]
            for name in {sidecar for image in images for sidecar in sidecars_of(image, sidecars)}:
                del kinds[name]
        wanted = []
        for name in sorted(kinds, key=os.fsencode):
            kind = kinds[name]
            inside = f"{path}/{name}" if path else name
            if (
                name in copies
                or not self._in_scope(inside, kind)
                or self._left_out(inside, name, kind, folder)
            ):
                if kind == "folder":
                    self._left_out_folders.append(inside)
            elif kind == "folder" and self._mounts.is_point(self._absolute(inside)):
                self._links.append((inside, folder))
            elif kind != "link":
                wanted.append((kind, inside, folder))
            elif self.options.follow_symlinks:
                self._links.append((inside, folder))
            elif self._leads_to_images(inside):
                self.other_files[LINK] += 1
        return wanted[::-1]

    def _resolve(self, path: str, parent: _Folder) -> list[tuple[str, str, _Folder]]:
        """Return what a symbolic link or a mount stands for, as an entry to visit; nothing where it is a root's."""
        real = os.path.realpath(self._absolute(path))
        owners = (root for root in (*self._skip, self.root) if is_at_or_below(real, root))
        if max(owners, key=len, default=self.root) != self.root:
            return []
        if not deep.isdir(real):
            return [("link", path, parent)]
        if self._left_out(path, os.path.basename(path), "folder", parent):
            return []
        return [("folder", path, _Folder(parent.path, parent.device, parent.rules, linked=True, sidecars={}))]

    def _file(self, path: str, parent: _Folder, *, through_link: bool) -> SourceFile | None:
        """Return the entry as a SourceFile if it is a regular file that goes by this name."""
        candidate = extension(path) in self._extensions or self._named(path)
        absolute = self._absolute(path)
        status = deep.stat(absolute, follow_symlinks=through_link) if candidate else None
        if status is None or not stat.S_ISREG(status.st_mode):
            self.other_files[kind_of(path)] += 1
            return None
        if not self._reached.file(status, absolute, behind=through_link or parent.linked)[0]:
            return None
        device = parent.device
        if through_link:
            device = self._device(os.path.dirname(os.path.realpath(absolute)))
        folder, _, name = path.rpartition("/")
        sidecars = sidecars_of(name, parent.sidecars) if folder == parent.path else ()
        state = state_of(self._absolute(folder), sidecars) if sidecars else 0
        return source_file(
            self.root, path, status, device, sidecars, state, reading=self.options.reading(path)
        )

    def _leads_to_images(self, link: str) -> bool:
        """Whether a link leads to a folder, or to a file and is called like an image."""
        target = self._absolute(link)
        return deep.isdir(target) or (extension(link) in self._extensions and deep.isfile(target))

    def _in_scope(self, path: str, kind: str) -> bool:
        """Whether an entry lies in the subpath or, for what may lead there, on the way to it."""
        subpath = self._subpath
        if not subpath or path == subpath or path.startswith(f"{subpath}/"):
            return True
        return kind in ("folder", "link") and subpath.startswith(f"{path}/")

    def _left_out(self, path: str, name: str, kind: str, parent: _Folder) -> bool:
        """Whether an entry is hidden, junk, a root of its own, excluded by a pattern, or holds copies."""
        if is_hidden(name, self.options.include_hidden):
            return True
        full = self._absolute(path)
        if kind == "folder" and is_junk(full):
            return True
        if self._skip and (os.path.realpath(full) if parent.linked else full) in self._skip:
            return True
        if excluded(self._lead + path, kind == "folder", self._exclude + parent.rules):
            return True
        # Asked last, so that ``copies`` are what the option would let in.
        if kind == "folder" and not self.options.include_copies and holds_copies(full):
            self.copies.add(path)
        return path in self.copies

    def _rules_above(self) -> Rules | None:
        """Return the rules of the ignore files above the root; None if they leave out the root itself."""
        rules: Rules = ()
        folder = self.options.above or self.root
        while folder != self.root:
            if not deep.isdir(os.path.join(folder, IGNORE_FILE)):
                rules = file_rules(self._top, self._prefix(folder).rstrip("/")) + rules
            folder = os.path.join(folder, os.path.relpath(self.root, folder).split("/")[0])
            if excluded(self._prefix(folder).rstrip("/"), True, self._exclude + rules):
                return None
        return rules

    def _prefix(self, folder: str) -> str:
        """Return the path of a folder as seen from the topmost one, with a slash at the end; "" for that one."""
        return "" if folder == self._top else os.path.relpath(folder, self._top) + "/"

    def _mark_non_empty(self, folder: str) -> None:
        """Note that a folder, and so every one above it, holds a file."""
        while folder not in self._non_empty:
            self._non_empty.add(folder)
            folder = _parent(folder)

    def _device(self, path: str) -> int:
        """Return the number of the drive that a real path lies on, 0 on the root's own. Raises OSError."""
        device = self._mounts.drive(path).number
        return 0 if self._own and device == self._own.number else device

    def _absolute(self, path: str) -> str:
        return os.path.join(self.root, path) if path else self.root


def in_order(path: str) -> list[bytes]:
    """Return what paths are sorted by to be in walking order."""
    return os.fsencode(path).split(b"/")


def in_turn(walks: Collection[Walk]) -> Iterator[tuple[Walk, SourceFile]]:
    """Walk several folders to the end; yield each file with its walk.

    In all of them what no link and no mount leads to comes first, then what is behind those found so far, and so on: in
    what order names are reached depends on the disk alone, not on which parts of a root the walks are of.
    """
    while walks:
        for walk in walks:
            for source in walk.round():
                yield walk, source
        walks = [walk for walk in walks if not walk.complete]


def _unlisted(error: OSError) -> str:
    if spent := exhausted(error):
        raise spent from error
    return f"it can't be listed: {error_line(error)}"


def _unruled(error: IgnoreFileError) -> str:
    return f"its {IGNORE_FILE} can't be used: {error}"


def _folders_above(path: str) -> list[str]:
    """Return the folders that a relative path lies in, the nearest first and "", the root, last."""
    folders = [folder := _parent(path)]
    while folder:
        folders.append(folder := _parent(folder))
    return folders


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "link"
    return "folder" if entry.is_dir(follow_symlinks=False) else "file"


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
