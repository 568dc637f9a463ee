"""Files and folders: made durable, replaced in one step, which drive they lie on, and what a disk's refusal means."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from types import TracebackType
from typing import BinaryIO, Self

from imgsearch.errors import FolderError, StorageError
from imgsearch.text import display_path, error_line

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def sync_file(descriptor: int) -> None:
    """Make a file's data durable, through the drive's own cache where the system needs to be asked for that."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


def close_quietly(descriptor: int) -> None:
    """Close a file whose bytes are safe already; network file systems may still answer with an error."""
    try:
        os.close(descriptor)
    except OSError:
        pass


def sync_folder(folder: str) -> None:
    """Make a folder's entries durable, so that a new file survives a power cut. Raises OSError.

    A folder that may be written and not read, and a file system that knows no syncing of folders (EINVAL), are
    left as they are: there is no way to ask for more.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: str) -> None:
    """Make a folder, and those above it that are missing, so that they survive a power cut. Raises OSError."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(folder)
    make_folder(above)
    try:
        os.mkdir(folder)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise
    sync_folder(above)


def storage_error(error: OSError, path: str) -> StorageError:
    """Put a failed write into the user's words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"the disk is full: {path} could not grow; the index is as it was at the last commit. "
            "Free some space and run the command again"
        )
    what_now = ". Check that you may write there" if error.errno in _FORBIDDEN else ""
    return StorageError(
        f"{path} could not be written ({error_line(error)}); the index is as it was at the last commit{what_now}"
    )


class AtomicFiles:
    """A context in which files are written; without an error they take their places at its end.

    Any OSError in it becomes a StorageError that says what is left as it was.
    """

    def __init__(self) -> None:
        """Begin with no file."""
        self._files: list[tuple[str, str, BinaryIO]] = []
        self._current = ""

    def open(self, path: str) -> BinaryIO:
        """Open a file that becomes ``path``. Raises FolderError for what no file can replace."""
        self._current = path
        path = os.path.realpath(path)  # a link stays one
        if os.path.lexists(path) and not os.path.isfile(path):
            raise FolderError(f"{display_path(path)} is no regular file; give the name of the file to write")
        partial = f"{path}.partial-{os.getpid()}"
        file = open(partial, "wb")  # noqa: SIM115 (closed in __exit__)
        self._files.append((path, partial, file))
        return file

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the files in their places, or take them away if the block or the disk failed."""
        try:
            if error is None:
                self._keep()
        except OSError as failure:
            error = failure
        finally:
            for _, partial, file in self._files:
                _close(file)
                if os.path.lexists(partial):
                    os.unlink(partial)
        if isinstance(error, OSError):
            raise self._failed(error) from error

    def _keep(self) -> None:
        for path, _, file in self._files:
            self._current = path
            file.flush()
            sync_file(file.fileno())
        for path, partial, _ in self._files:
            os.replace(partial, path)
            sync_folder(os.path.dirname(path))

    def _failed(self, error: OSError) -> StorageError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "the disk is full" if full else error_line(error)
        return StorageError(
            f"{display_path(self._current)} could not be written: {why}; nothing was replaced"
        )


def _close(file: BinaryIO) -> None:
    try:
        file.close()
    except OSError:
        pass  # what it could not flush is thrown away with it


def device_of(path: str) -> int:
    """Return the st_dev of the file system that a path lies on; every question about devices comes here."""
    return os.stat(path).st_dev


def mount_of(path: str) -> tuple[str, int]:
    """Return the mount point that an absolute real path lies on, and the st_dev of what is mounted there.

    A root whose mount point is none any more lies on an unmounted drive. OSError if the path does not exist.
    """
    device = device_of(path)
    while not is_mount(path):
        path = os.path.dirname(path)
    return path, device


def is_mount(path: str) -> bool:
    """Whether something is mounted at an absolute path; "/" always is."""
    try:
        return path == os.sep or (
            not os.path.islink(path) and device_of(path) != device_of(os.path.dirname(path))
        )
    except OSError:
        return False


def is_below(path: str, folder: str) -> bool:
    """Whether a path lies below a folder."""
    return path.startswith(folder.rstrip(os.sep) + os.sep) and path != folder
