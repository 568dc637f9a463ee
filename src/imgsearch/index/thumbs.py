"""Thumbnails kept beside an index, in thumbs/: a cache that may be deleted at any time, also while it is used.

    thumbs/3f/3f…e1-0-s.webp      sha256 of the file's bytes, page, size ("s" or "l")

The name depends on the image alone, so thumbnails stay when files move, and when the index is rebuilt or copied. Behind
the image, where a reader of WebP looks at nothing, stand four bytes of mark and the crc32 of all before.

Each of the 256 folders may take its part of the limit; SHA-256 fills them evenly. Before the first thumbnail is put
into one its files are counted, and from then on what is put; where it gets too full, those go that were used the
longest time ago. Reading one sets its time, once a day at most. So no list has to be kept, and no two processes have to
agree; several that run at once for long may go over the limit by as much again.
"""

from __future__ import annotations

import os
import re
import struct
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import NamedTuple

from imgsearch.fs import atomic_write, open_own, unusual
from imgsearch.index import generations
from imgsearch.index.layout import CATALOGUE

NAME = "thumbs"
SIZES = ("s", "l")
LIMIT = 2_000_000_000
"""Bytes that all thumbnails of an index may take: about 200,000 small ones."""
SHARDS = 256
_EMPTIED = 0.9
"""To this share of its limit a folder is brought down, so that not every thumbnail makes another go."""
_USED_SECONDS = 86_400
"""A thumbnail that was read has its time set if that is longer ago than this."""
_MOST = 16 << 20
"""Bytes of a file; a thumbnail has a tenth of that at most."""
_MARK = b"imgt"
_END = struct.Struct("<4sI")
_SHARD = re.compile(r"[0-9a-f]{2}")
_FILE = re.compile(r"([0-9a-f]{64})-\d+-[a-z]\.webp")
_BESIDE = re.compile(r"[0-9a-f]{64}-\d+-[a-z]\.webp\.\d+-\d+\.new")
_STALE_SECONDS = 3600
"""What was being written for so long ago was left by a killed process."""


class Used(NamedTuple):
    """How much the thumbnails of an index take: their number, and bytes."""

    files: int
    bytes: int


class ThumbStore:
    """The thumbnails of the index in ``folder``; any number of threads and processes may use them at once.

    Nothing here raises: what can't be read is not there, and what can't be written, in a folder that is only read or on
    a full disk, is not kept.
    """

    def __init__(self, folder: str, limit: int = LIMIT) -> None:
        """Name the index; nothing is opened. ``limit`` is in bytes."""
        self.folder = os.path.join(os.path.abspath(folder), NAME)
        self.limit = limit
        self._index = os.path.abspath(folder)
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}

    def get(self, sha256: bytes, page: int, size: str) -> bytes | None:
        """Return a thumbnail as WebP; None if it is not there, or damaged."""
        path = self._path(sha256, page, size)
        if self._unsafe(path):
            return None
        try:
            with os.fdopen(open_own(path), "rb") as file:
                status = os.fstat(file.fileno())
                found = _image_in(file.read(_MOST + 1))
        except OSError:
            return None
        if found is not None and time.time() - status.st_mtime > _USED_SECONDS:
            with suppress(OSError):  # only who may write says what was used
                os.utime(path, follow_symlinks=False)
        return found

    def has(self, sha256: bytes, page: int, size: str) -> bool:
        """Whether a thumbnail is there, damaged or not."""
        return os.path.isfile(self._path(sha256, page, size))

    def put(self, sha256: bytes, page: int, size: str, image: bytes, *, displace: bool = True) -> bool:
        """Keep a thumbnail, and return whether that was possible; others may have to go for it.

        Not with ``displace=False``: it is then kept only where there is room.
        """
        path = self._path(sha256, page, size)
        shard = os.path.dirname(path)
        data = image + _END.pack(_MARK, zlib.crc32(image))
        if len(data) > _MOST:
            return False
        try:
            with self._lock:
                if not self._make_room(shard, len(data), displace):
                    return False
            if not self._write(path, data):
                return False
        except OSError:
            return False
        with self._lock:
            self._sizes[shard] = self._sizes.get(shard, 0) + len(data)
        return True

    def has_room(self, sha256: bytes, bytes: int) -> bool:
        """Whether a thumbnail of so many bytes can be kept without another having to go for it."""
        with self._lock:
            return self._make_room(os.path.dirname(self._path(sha256, 0, "s")), bytes, displace=False)

    def _write(self, path: str, data: bytes) -> bool:
        """Write a file, with the folders it is in; return False where a link leads elsewhere. Raises OSError."""
        mode, folder_mode = _modes(self._index)
        beside = f"{path}.{os.getpid()}-{threading.get_native_id()}.new"
        for last in (False, True):
            # Whoever deletes all thumbnails may come between any two steps: then all of them once more.
            try:
                for folder in (self.folder, os.path.dirname(path)):
                    with suppress(FileExistsError):
                        os.mkdir(folder, folder_mode)
                if self._unsafe(path):
                    return False
                with atomic_write(path, beside=beside, durable=False, mode=mode) as file:
                    file.write(data)
                return True
            except FileNotFoundError:
                if last:
                    raise
        return False

    def _path(self, sha256: bytes, page: int, size: str) -> str:
        name = sha256.hex()
        return os.path.join(self.folder, name[:2], f"{name}-{page}-{size}.webp")

    def _unsafe(self, path: str) -> bool:
        """Whether one of the two folders that a file is in is a link, or none."""
        shard = os.path.dirname(path)
        return bool(unusual(self.folder, folder=True) or unusual(shard, folder=True))

    def _make_room(self, shard: str, needed: int, displace: bool) -> bool:
        """Return whether a folder has room for so many bytes, once others have gone as far as they may."""
        most = self.limit // SHARDS
        if shard in self._sizes and self._sizes[shard] + needed <= most:
            return True
        files = _files(shard)
        total = sum(file.bytes for file in files)
        self._sizes[shard] = total
        if total + needed <= most:
            return True
        if not displace:
            return False
        self._sizes[shard] = _drop_oldest(files, total, int(_EMPTIED * most) - needed)
        return True

    # ---- all of them

    def used(self) -> Used:
        """Return how many files there are, and their size in bytes; a moment for each 100,000."""
        count = total = 0
        for shard in self._shards():
            files = _files(shard)
            count, total = count + len(files), total + sum(file.bytes for file in files)
        return Used(count, total)

    def damaged(self, advance: Callable[[int], None] = lambda bytes: None) -> list[str]:
        """Read every thumbnail, and return the paths of those that are not as they were written."""
        found = []
        for shard in self._shards():
            for file in _files(shard):
                with suppress(FileNotFoundError):  # it was just deleted
                    if not _is_whole(file.path):
                        found.append(file.path)
                advance(file.bytes)
        return found

    def tidy(self, known: Callable[[bytes], Collection[bytes]]) -> Used:
        """Drop the thumbnails of images that are gone, and what is too much; return how many, and their bytes.

        ``known`` returns of the sha256 that begin with some byte those that the index has.
        """
        count = total = 0
        for shard in self._shards():
            keep = {sha256.hex() for sha256 in known(bytes.fromhex(os.path.basename(shard)))}
            kept = []
            for file in _files(shard):
                if os.path.basename(file.path)[:64] in keep:
                    kept.append(file)
                elif _drop(file.path):
                    count, total = count + 1, total + file.bytes
            left = sum(file.bytes for file in kept)
            if left > self.limit // SHARDS:
                before = left
                total += before - _drop_oldest(kept, left, int(_EMPTIED * self.limit) // SHARDS)
                count += len(kept) - len(_files(shard))
            _clear_away(shard)
            with suppress(OSError):  # it holds something
                os.rmdir(shard)
        with suppress(OSError):
            os.rmdir(self.folder)
        with self._lock:
            self._sizes.clear()
        return Used(count, total)

    def _shards(self) -> Iterator[str]:
        """Yield the folders that thumbnails are in, none of them a link."""
        if unusual(self.folder, folder=True):
            return
        try:
            names = sorted(os.listdir(self.folder))
        except OSError:
            return
        for name in names:
            path = os.path.join(self.folder, name)
            if _SHARD.fullmatch(name) and not unusual(path, folder=True):
                yield path


def _modes(index: str) -> tuple[int, int]:
    """Return the modes of files and folders: readable by whom the index is. Raises OSError where there is none."""
    # An index that was rebuilt has its catalogue in a folder of its own.
    file = os.stat(os.path.join(generations.in_use(index) or index, CATALOGUE)).st_mode & 0o666
    # A folder is entered by whom its files are for.
    return file, os.stat(index).st_mode & (file | (file >> 2 & 0o111)) & 0o777 | 0o700


class _File(NamedTuple):
    used: float
    path: str
    bytes: int


def _files(shard: str) -> list[_File]:
    """Return the thumbnails in a folder; nothing else there is ours."""
    found = []
    try:
        with os.scandir(shard) as entries:
            for entry in entries:
                if _FILE.fullmatch(entry.name):
                    with suppress(OSError):  # it was just deleted
                        status = entry.stat(follow_symlinks=False)
                        found.append(_File(status.st_mtime, entry.path, status.st_size))
    except OSError:
        pass
    return found


def _drop_oldest(files: list[_File], total: int, most: int) -> int:
    """Drop the files that were used the longest time ago until at most so many bytes are left; return how many are."""
    for file in sorted(files):
        if total <= most:
            break
        if _drop(file.path):
            total -= file.bytes
    return total


def _drop(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def _clear_away(shard: str) -> None:
    """Remove what killed processes were writing in a folder."""
    with suppress(OSError), os.scandir(shard) as entries:
        for entry in entries:
            if _BESIDE.fullmatch(entry.name):
                with suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_SECONDS:
                        os.unlink(entry.path)


def _is_whole(path: str) -> bool:
    try:
        with os.fdopen(open_own(path), "rb") as file:
            return _image_in(file.read(_MOST + 1)) is not None
    except FileNotFoundError:
        raise
    except OSError:
        return False


def _image_in(data: bytes) -> bytes | None:
    """Return the image in a file's bytes, None unless they are what was written."""
    if len(data) < _END.size or len(data) > _MOST:
        return None
    image = data[: -_END.size]
    mark, crc = _END.unpack(data[-_END.size :])
    return image if mark == _MARK and crc == zlib.crc32(image) else None
