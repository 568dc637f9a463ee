"""Files that appear whole or not at all: written beside, synced, and renamed together at the end."""

from __future__ import annotations

import errno
import os
from types import TracebackType
from typing import BinaryIO, Self

from imgsearch.errors import FolderError, StorageError
from imgsearch.files import shown
from imgsearch.index.durable import sync_file, sync_folder


class Replacing:
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
            raise FolderError(f"{shown(path)} is no regular file; give the name of the file to write")
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
        why = "the disk is full" if full else error.strerror or str(error)
        return StorageError(f"{shown(self._current)} could not be written: {why}; nothing was replaced")


def _close(file: BinaryIO) -> None:
    try:
        file.close()
    except OSError:
        pass  # what it could not flush is thrown away with it
