"""The names of imported pictures: lists of paths in a file, which file each names, and which root it goes to."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import BinaryIO

from imgsearch.addresses import is_remote, normal, real
from imgsearch.errors import DatasetError, UsageError
from imgsearch.files import WalkOptions, check_root
from imgsearch.fs import is_at_or_below, is_below
from imgsearch.index.rows import Root
from imgsearch.indexing.roots import PlannedRoot, owned_paths
from imgsearch.lines import decode_line, is_utf16
from imgsearch.mounts import UNKNOWN, Drive, Mounts
from imgsearch.names import owner_of, single_files
from imgsearch.text import Option, display_path

_REMEMBERED = 1 << 16


class PathResolver:
    """Names → files, and files → roots: the ones that are known, and new ones for what lies in none of them."""

    def __init__(self, known: Sequence[Root], given: str | None, exported: Sequence[Root] = ()) -> None:
        """Take the index's roots, the folder that the person gave for new files and relative paths, if any, and
        the roots of the index that the vectors come from, which are new ones where no folder is given."""
        self._known = [root for root in known if not single_files(root)]
        self._single = _single_files(known)
        exported = exported if given is None else ()
        self._exported = [root for root in exported if not single_files(root)]
        self._exported_single = _single_files(exported)
        self._options = {root.path: root.options for root in exported}
        for root in known:
            if single_files(root) and (options := self._options.get(root.path)) and options.get("only"):
                both = {*single_files(root), *single_files(replace(root, options=options))}
                self._options[root.path] = {**options, "only": sorted(both)}
        self._given = real(given) if given is not None else None
        self._base = self._given or os.getcwd()
        self._common: str | None = None
        self.new: str | None = None
        """The folder that becomes a root for what lies in no other, once everything has been seen."""
        # Pictures of one folder share the answers.
        self._folder = functools.lru_cache(_REMEMBERED)(self._real_folder)
        self._mounts = Mounts()
        self._drive = functools.lru_cache(_REMEMBERED)(self._drive_of)
        self._owner = functools.lru_cache(_REMEMBERED)(lambda folder: owner_of(folder, self._known))
        self._exporter = functools.lru_cache(_REMEMBERED)(lambda folder: owner_of(folder, self._exported))

    def file(self, path: str) -> tuple[str, str]:
        """Return (absolute path with the links of its folder resolved, ""), or ("", what is wrong with it)."""
        if not path:
            return "", "it is empty"
        if is_remote(whole := os.path.join(self._base, path) if not is_remote(path) else path):
            try:
                return normal(whole), ""
            except ValueError as error:
                return "", str(error)
        folder, name = os.path.split(path)
        if name in ("", os.curdir, os.pardir):
            return "", "it names a folder"
        if "\0" in path:
            return "", "it contains a NUL byte"
        return os.path.join(self._folder(folder), name), ""

    def _real_folder(self, folder: str) -> str:
        return os.path.realpath(os.path.join(self._base, folder))

    def add(self, file: str) -> bool:
        """Take note of a file that will be imported; False if it lies outside of the folder that was given."""
        if self._known_root(file) is not None:
            return True
        folder = os.path.dirname(file)
        if self._given is not None:
            return is_at_or_below(folder, self._given)
        if self._exported_root(file) is not None:
            return True
        if self._common is None:
            self._common = folder
        elif not is_at_or_below(folder, self._common):
            self._common = _common(folder, self._common)
        return True

    def choose_new_root(self, touch: bool) -> None:
        """Choose the folder for everything seen that lies in no known root.

        ``touch`` says that files will be read, so the folder has to be there. Raises UsageError, FolderError.
        """
        if self._given is not None:
            if touch:
                check_root(self._given)
            self.new = self._given
        elif self._common == os.sep:
            raise UsageError(
                "the paths have only / in common; choose the folder to index with ",
                Option("root", metavar="DIR"),
                ", or import them in parts",
            )
        else:
            self.new = self._common

    def root(self, file: str) -> Root | str | None:
        """Return the known root that owns a file, or the path of the new one, or None if it lies in neither."""
        if (known := self._known_root(file)) is not None:
            return known
        if (exported := self._exported_root(file)) is not None:
            return exported.path
        return self.new if self.new is not None and is_below(file, self.new) else None

    def _known_root(self, file: str) -> Root | None:
        return (self._single.get(file) if self._single else None) or self._owner(os.path.dirname(file))

    def _exported_root(self, file: str) -> Root | None:
        return self._exported_single.get(file) or self._exporter(os.path.dirname(file))

    def new_root(self, path: str) -> tuple[str, dict[str, object], str, str]:
        """Return path, options, mount point and drive of a root that is not known yet; it need not be there."""
        drive = self._drive(path)
        return path, self.options(path), drive.point, drive.name

    def device(self, file: str, root: str) -> int:
        """Return the number of the drive of a file's folder as the catalogue has it: 0 is the root's own."""
        device = self._drive(os.path.dirname(file)).number
        return 0 if device == self._drive(root).number else device

    def _drive_of(self, folder: str) -> Drive:
        if is_remote(folder):
            return UNKNOWN
        try:
            return self._mounts.drive(folder)
        except OSError:
            return UNKNOWN

    def options(self, path: str) -> dict[str, object]:
        """Return a new root's options where the vectors come from, else what ``index_pictures`` would choose."""
        return self._options.get(path) or PlannedRoot(path, WalkOptions()).stored_options()


def _common(one: str, other: str) -> str:
    """Return the deepest folder that holds both; "/" where there is none, as of two buckets."""
    if not (is_remote(one) or is_remote(other)):
        return os.path.commonpath([one, other])
    parts = zip(one.split("/"), other.split("/"), strict=False)
    shared = [here for here, _ in takewhile(lambda pair: pair[0] == pair[1], parts)]
    return "/".join(shared) if len(shared) > 2 else os.sep  # "s3:", "", bucket


def _single_files(roots: Sequence[Root]) -> dict[str, Root]:
    """Return the files that are roots by themselves, each with its root."""
    return {path: root for root in roots if single_files(root) for path in owned_paths(root)}


_LONGEST = 1 << 16  # bytes; no system takes a longer path


def is_nul_separated(path: str) -> bool:
    """Whether a list of this name holds paths ended by NUL bytes."""
    return path.lower().endswith(".nul")


def read_paths(path: str, file: BinaryIO) -> Iterator[str]:
    """Yield the paths of an open file as they stand in it, "" for an empty line. Raises DatasetError.

    A list with a NUL byte near its beginning is NUL-separated, whatever it is called. Else a byte order mark is
    left out, and so is the carriage return before every newline if the first line has one. Nothing else is
    taken away: a space at the end of a line is a part of the name.
    """
    head = file.read(_LONGEST)
    file.seek(0)
    if is_utf16(head):
        raise DatasetError(f"{display_path(path)} is UTF-16; save it as UTF-8, one path per line")
    if is_nul_separated(path) or b"\0" in head:
        yield from map(os.fsdecode, _split(path, file))
        return
    end = b"\r\n" if head.partition(b"\n")[0].endswith(b"\r") else b"\n"
    number = 0
    while line := file.readline(_LONGEST):
        number += 1
        if not line.endswith(b"\n") and len(line) == _LONGEST:
            raise DatasetError(
                f"{display_path(path)}, line {number}: it is longer than any path; is this a list of paths?"
            )
        if b"\0" in line:
            raise DatasetError(
                f"{display_path(path)}, line {number}: it contains a NUL byte; name the list FILE.nul"
            )
        yield decode_line(line, number, end=end, errors="surrogateescape")


def _split(path: str, file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while data := file.read(1 << 20):
        *names, rest = (rest + data).split(b"\0")
        if len(rest) > _LONGEST:
            raise DatasetError(
                f"{display_path(path)}: it contains an entry that is longer than any path; is this a list of paths?"
            )
        yield from names
    if rest:
        yield rest


class PathWriter:
    """Writes a list of paths; a name with a newline is refused where lines separate them."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        """Write to an open file; its name decides how paths are separated."""
        self._file, self._path = file, path
        self._end = b"\0" if is_nul_separated(path) else b"\n"

    def write(self, path: bytes) -> None:
        """Append a path. Raises DatasetError."""
        if self._end == b"\n" and (b"\n" in path or path.endswith(b"\r")):
            raise DatasetError(
                f"{display_path(os.fsdecode(path))} contains a line break, so it can't be in a list of lines; "
                "write the list with ",
                Option("paths", metavar="FILE.nul"),
                ", or export to a .parquet file",
            )
        self._file.write(path + self._end)
