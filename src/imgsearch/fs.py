"""Files and folders: made durable, written in one step, locked; and what lies below what."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import BinaryIO, Self

from imgsearch import deep
from imgsearch.errors import FolderError, ImgsearchError, StorageError, exhausted
from imgsearch.text import display_path, error_line
from imgsearch.types import int64

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def sync_file(descriptor: int) -> None:
    """Make a file's data durable, through the drive's own cache where the system needs to be asked for that."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


def open_own(path: str, flags: int = os.O_RDONLY, mode: int = 0o666) -> int:
    """Open a file of a folder that is all ours; return its descriptor. Raises OSError.

    It must be a regular file. Through a link whoever made the folder would choose which file is read or overwritten,
    and with a pipe for how long one waits for it.
    """
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
    except OSError as error:
        if what := unusual(path):
            raise OSError(error.errno, what) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor


def create_own(path: str, mode: int = 0o666) -> int:
    """Make a file in a folder that is all ours, in place of a file or link there; return its descriptor.

    Raises OSError.
    """
    with suppress(FileNotFoundError):
        found = os.lstat(path).st_mode
        if not (stat.S_ISREG(found) or stat.S_ISLNK(found)):  # root may unlink even a device
            raise OSError(errno.EEXIST, "it is not a regular file")
        os.unlink(path)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)


def unusual(path: str, *, folder: bool = False) -> str:
    """Say why ``open_own`` opens no file at ``path``, or why it is not a folder; "" if nothing is there."""
    try:
        found = os.lstat(path).st_mode
    except OSError:
        return ""
    if stat.S_ISLNK(found):
        return "it is a symbolic link"
    if folder:
        return "" if stat.S_ISDIR(found) else "it is not a folder"
    return "" if stat.S_ISREG(found) else "it is not a regular file"


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


def make_folder(folder: str, *, above: bool = True) -> None:
    """Make a folder, and with ``above`` those above it that are missing, so that they survive a power cut.

    Raises OSError.
    """
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    if above:
        make_folder(parent)
    try:
        os.mkdir(folder)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise
    sync_folder(parent)


def check_handles() -> None:
    """Raise OutOfResources if hardly a file can be opened now: a library may only say that it could not open one."""
    opened: list[int] = []
    try:
        for _ in range(3):  # as many as SQLite opens for a database
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if spent := exhausted(error):
            raise spent from error
    finally:
        for descriptor in opened:
            os.close(descriptor)


def storage_error(error: OSError, path: str) -> ImgsearchError:
    """Put a failed write into the user's words."""
    if spent := exhausted(error):
        return spent
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"the disk is full: {path} could not be written; everything saved before is intact. "
            "Free some disk space and try again"
        )
    what_now = ". Check that you have permission to write there" if error.errno in _FORBIDDEN else ""
    return StorageError(
        f"{path} could not be written ({error_line(error)}); everything saved before is intact{what_now}"
    )


@contextmanager
def atomic_write(
    path: str, *, beside: str = "", durable: bool = True, mode: int = 0o666
) -> Iterator[BinaryIO]:
    """Write a file that takes its place when the block ends without an error: beside, synced, renamed. Raises OSError.

    ``beside`` is where it is written, ``path`` + ".new" if not given: to be named where several processes may write at
    a time. ``durable=False`` is for caches, which a power cut may take. ``mode`` is as of open(2).
    """
    beside = beside or f"{path}.new"
    try:
        with os.fdopen(create_own(beside, mode), "wb") as file:
            yield file
            file.flush()
            if durable:
                sync_file(file.fileno())
        put_in_place(beside, path, durable=durable)
    except BaseException:  # also Ctrl-C: nobody else would ever remove it
        with suppress(OSError):
            os.unlink(beside)
        raise


def put_in_place(beside: str, path: str, *, durable: bool = True) -> None:
    """Let a file, whose data is synced already, take the place of ``path`` in one step. Raises OSError."""
    os.replace(beside, path)
    if durable:
        sync_folder(os.path.dirname(path) or os.curdir)


def put_beside_others(beside: str, path: str) -> None:
    """Let a file, whose data is written already, become ``path`` in one step, unless there is something.

    Raises FileExistsError then, with the file left where it is, and OSError.
    """
    try:
        os.link(beside, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links: the name is taken first, so that nobody else has it.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        os.replace(beside, path)
    else:
        os.unlink(beside)


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
            raise FolderError(f"{display_path(path)} is not a regular file; choose another output file")
        partial = f"{path}.partial-{os.getpid()}"
        file = os.fdopen(create_own(partial), "wb")
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
            put_in_place(partial, path)

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


class LockHeld(Exception):
    """Another process has the lock; ``pid`` and ``host`` are its own, None and "" if it has not said so."""

    def __init__(self, pid: int | None = None, host: str = "") -> None:
        """Keep who holds it."""
        self.pid, self.host = pid, host
        self.holder = f"process {pid} on {host}" if pid is not None else "another process"
        super().__init__(f"held by {self.holder}")


class FileLock:
    """A kernel lock on a file or a folder, from construction until ``release``, or until this process ends, however.

    A file is made where there is none, with this process's id and host in it: for messages only.
    """

    def __init__(
        self,
        path: str,
        *,
        mode: int = 0o666,
        remove: bool = False,
        follow: bool = True,
        waiting: Callable[[], None] | None = None,
    ) -> None:
        """Take the lock on ``path``: at once, or, after a call of ``waiting``, as soon as it is free.

        ``remove`` takes the file away when it is released. Without ``follow`` it is opened as ``open_own`` does. Raises
        LockHeld if another has it and there is no ``waiting``, OSError if it can't be opened or the file system has no
        locks.
        """
        self.path, self._remove = path, remove
        while True:
            self._descriptor = _open_lock(path, mode, follow)
            try:
                _take(self._descriptor, waiting)
                # Whoever had it may have removed the file, and a lock on a file without a name protects nothing.
                if not remove or _is_named(self._descriptor, path):
                    break
            except BaseException:
                close_quietly(self._descriptor)
                raise
            close_quietly(self._descriptor)
        found = os.fstat(self._descriptor)
        # A file that has another name, too, is hardly a lock of ours: it is locked, and keeps what it holds.
        self._writable = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
        if self._writable:
            with suppress(OSError):  # it is held all the same; only the message of the next one is poorer
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, json.dumps(_this_process()).encode(), 0)

    def is_named(self) -> bool:
        """Whether the file still has its name; a lock on a file without one keeps nobody out."""
        return _is_named(self._descriptor, self.path)

    def release(self) -> None:
        """Let the next one have it."""
        with suppress(OSError):
            if self._remove:
                os.unlink(self.path)
            elif self._writable:
                # Else somebody who asks before the next holder has written its name would be told this one's.
                os.ftruncate(self._descriptor, 0)
        close_quietly(self._descriptor)

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it."""
        self.release()


def _open_lock(path: str, mode: int, follow: bool) -> int:
    if not follow:
        return open_own(path, os.O_RDWR | os.O_CREAT, mode)
    if os.path.isdir(path):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)


def _take(descriptor: int, waiting: Callable[[], None] | None) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        if waiting is None:
            raise _holder(descriptor) from error
        waiting()
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _holder(descriptor: int) -> LockHeld:
    try:
        data = json.loads(os.pread(descriptor, 4096, 0))
        if isinstance(data, int):  # as servers wrote it before 0.1.0
            return LockHeld(data)
        return LockHeld(int(data["pid"]), str(data["host"]))
    except (OSError, ValueError, KeyError, TypeError):
        return LockHeld()


def _is_named(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _this_process() -> dict[str, object]:
    return {"pid": os.getpid(), "host": os.uname().nodename}


def device_of(path: str) -> int:
    """Return the st_dev of the file system that a path lies on.

    Some systems give 64 bits without a sign: of these it is the nearest number that the catalogue can store.
    """
    return int64(deep.stat(path).st_dev)


def is_below(path: str, folder: str) -> bool:
    """Whether a path lies in a folder, at any depth; both are absolute, or relative to the same folder."""
    return path.startswith(folder.rstrip(os.sep) + os.sep) and path != folder


def is_at_or_below(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies in it."""
    return path == folder or is_below(path, folder)
