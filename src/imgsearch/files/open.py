"""Opening a file: its bytes and their hash from one moment, or the reason why not."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO, cast

from imgsearch import deep
from imgsearch.addresses import is_remote, normal
from imgsearch.errors import FolderError, MissingExtra, PictureError, exhausted
from imgsearch.files import bucket
from imgsearch.text import display_path, error_line

_IN_MEMORY = 64 << 20  # bytes: up to here the hash and the decoder see the very same bytes


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file that is open: its bytes from the start, their sha256, and what the system knew of it before the read."""

    stream: BinaryIO
    sha256: bytes
    status: os.stat_result


@contextmanager
def open_source(path: str, recognise: Callable[[BinaryIO], object] | None = None) -> Iterator[OpenedFile]:
    """Open and hash a file, which is closed at the end, or an object of a bucket.

    ``recognise`` gets the open file before it is hashed, and raises PictureError for one that is not worth that: a
    file of 50 GB with the name of an image costs a look at its first bytes.

    Up to 64 MiB the bytes are read once and the stream holds just what was hashed. Larger files are read
    twice and looked at again at the end. The status is that from before the first read, so a file that changes
    later does not pass for the one that was read.

    Raises PictureError: "vanished", "unreadable" (also what is no regular file), "empty file", "changed while it
    was read", "out of memory", or what ``recognise`` raises.
    """
    if is_remote(path):
        with bucket.fetched(path, recognise) as found:
            yield OpenedFile(*found)
        return
    try:
        file = open_regular(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PictureError("vanished", error_line(error)) from error
    except (OSError, ValueError) as error:
        raise exhausted(error) or PictureError("unreadable", error_line(error)) from error
    with file:
        try:
            before = os.fstat(file.fileno())
            if recognise and before.st_size:
                recognise(cast("BinaryIO", file))
                file.seek(0)
            if before.st_size <= _IN_MEMORY:
                # One byte more, to see whether it has grown; a file of the system's has no size.
                most = before.st_size or _IN_MEMORY
                data = file.read(most + 1)
                if len(data) > most:
                    raise PictureError("changed while it was read")
                digest, stream = hashlib.sha256(data).digest(), cast("BinaryIO", io.BytesIO(data))
            else:
                digest, stream = hashlib.file_digest(file, "sha256").digest(), file
                file.seek(0)
        except OSError as error:
            raise exhausted(error) or PictureError("unreadable", error_line(error)) from error
        except MemoryError as error:
            raise PictureError("out of memory", "not enough memory to read it") from error
        if before.st_size == 0 and not data:
            raise PictureError("empty file")
        try:
            yield OpenedFile(stream, digest, before)
        except PictureError as error:
            if stream is file and _changed(file, before):
                raise PictureError("changed while it was read", str(error)) from error
            raise
        if stream is file and _changed(file, before):
            raise PictureError("changed while it was read")


def first_bytes(path: str, count: int) -> bytes:
    """Return what a file or an object begins with; of an object that costs its first megabyte.

    Raises OSError or PictureError.
    """
    if not is_remote(path):
        with open_regular(path) as file:
            return file.read(count)
    head = b""

    def keep(stream: BinaryIO) -> None:
        nonlocal head
        head = stream.read(count)
        raise _Enough

    with suppress(_Enough), bucket.fetched(path, keep):
        pass
    return head


class _Enough(Exception):
    """No more of an object is needed."""


def open_regular(path: str) -> io.BufferedReader:
    """Open a regular file for reading; the caller closes it. OSError if it is none.

    Without O_NONBLOCK a pipe that took the file's place would be waited on for ever.
    """
    if is_remote(path):
        raise FileNotFoundError(errno.ENOENT, "it is in a bucket, not on this machine")
    file = open(path, "rb", opener=lambda name, flags: deep.open_file(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "not a regular file")


def _changed(file: BinaryIO, before: os.stat_result) -> bool:
    try:
        now = os.fstat(file.fileno())
    except OSError:  # a network share that forgot the file
        return True
    return (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns)


def check_root(path: str) -> str:
    """Return the absolute real path of a folder to index, or of a single file.

    An address (s3://…) is not looked at. Raises FolderError if there is nothing at ``path``, or it can't be read, or
    is neither of the two, and MissingExtra.
    """
    if is_remote(path):
        if not bucket.is_installed():
            raise MissingExtra(display_path(path), bucket.EXTRA)
        try:
            return normal(path)
        except ValueError as error:
            raise FolderError(f"{display_path(path)}: {error}") from error
    if not path:
        raise FolderError("the path is empty")
    real = os.path.realpath(path)
    try:
        mode = deep.stat(real).st_mode
        if stat.S_ISDIR(mode):
            with deep.scandir(real) as entries:
                next(entries, None)
        elif not stat.S_ISREG(mode):
            raise FolderError(f"{display_path(path)} is neither a folder nor a file")
        elif not deep.is_readable(real):
            raise FolderError(f"{display_path(path)} can't be read: permission denied")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FolderError(f"{display_path(path)} does not exist") from error
    except (OSError, ValueError) as error:
        raise FolderError(f"{display_path(path)} can't be read: {error_line(error)}") from error
    return real
