"""Makes files and folders durable, and puts a disk's refusals into the user's words."""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from imgsearch.errors import StorageError

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
        f"{path} could not be written ({error.strerror or error}); the index is as it was at the last commit{what_now}"
    )
