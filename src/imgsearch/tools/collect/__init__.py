"""What is done with results besides listing them: collected in a folder, drawn on a contact sheet, shown on a page."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from imgsearch.errors import UsageError
from imgsearch.fs import create_own, put_beside_others, storage_error
from imgsearch.text import Option, display_path


@dataclass(frozen=True, slots=True)
class Result:
    """An image to do something with: a ``page`` of the file at ``path``, which is absolute.

    ``rank`` is its number in the answer, from 1; ``score`` is None where nothing was searched for. ``index`` is the
    folder of the index that it was found in, "" if in none.
    """

    rank: int
    path: str
    page: int = 0
    score: float | None = None
    index: str = ""


def check_new(option: str, path: str) -> None:
    """Raise UsageError where no new file can be written: something is there already, or the folder is not."""
    if os.path.lexists(path):
        raise UsageError(Option(option), f": {display_path(path)} is there already; name a new file")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise UsageError(Option(option), f": the folder {display_path(folder)} does not exist")


@contextmanager
def new_file(option: str, path: str) -> Iterator[BinaryIO]:
    """Write a file that is complete once it has its name, which must be free. Raises as ``check_new``; StorageError."""
    check_new(option, path)
    try:
        with partial(os.path.dirname(os.path.abspath(path))) as (beside, file):
            yield file
            file.close()
            put_beside_others(beside, path)
    except FileExistsError:
        check_new(option, path)  # somebody was quicker
        raise
    except OSError as error:
        raise storage_error(error, path) from error


@contextmanager
def partial(folder: str, mode: int = 0o666) -> Iterator[tuple[str, BinaryIO]]:
    """Give a new hidden file in ``folder`` and its path; it is removed at the end if it is still there."""
    path = os.path.join(folder, f".imgsearch-{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        with os.fdopen(create_own(path, mode), "wb") as file:
            yield path, file
    finally:
        with suppress(OSError):
            os.unlink(path)
