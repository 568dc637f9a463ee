"""The writer lock: a kernel lock on writer.lock, so that a dead process holds none."""

from __future__ import annotations

import fcntl
import json
import os
import socket

from imgsearch.errors import IndexLocked
from imgsearch.index.durable import close_quietly, storage_error

NAME = "writer.lock"


class WriterLock:
    """Held from construction until ``release``; pid and host in the file are for the message only."""

    def __init__(self, folder: str) -> None:
        """Take the lock of the index in ``folder``. Raises IndexLocked, naming the holder, or StorageError."""
        path = os.path.join(folder, NAME)
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise storage_error(error, path) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(self._descriptor)
            os.close(self._descriptor)
            if not isinstance(error, BlockingIOError):
                raise storage_error(error, path) from error
            raise IndexLocked(
                f"the index in {folder} is being written by {holder}; searching it goes on meanwhile, "
                "run this again when that has ended"
            ) from error
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(
                self._descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0
            )
        except OSError:
            pass  # the lock holds all the same; only the message of the second writer is poorer

    def release(self) -> None:
        """Let the next writer in."""
        close_quietly(self._descriptor)


def _holder(descriptor: int) -> str:
    try:
        data = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(data['pid'])} on {data['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
