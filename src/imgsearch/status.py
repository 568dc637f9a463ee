"""Use case: what an index holds, what it was made with, and what was skipped and why. Loads no model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imgsearch.index import runs
from imgsearch.index.image_index import ImageIndex
from imgsearch.index.rows import Root
from imgsearch.types import Identity


@dataclass(frozen=True, slots=True)
class Status:
    """An index at a glance. ``files`` counts indexed files, ``contents`` the distinct pictures among them.

    ``errors`` counts skipped files by reason; ``bytes_on_disk`` is the size of the index's own files;
    ``created`` is in seconds since 1970; ``last_run`` is the last run that loaded the model, if it is remembered.
    """

    folder: str
    identity: Identity
    files: int
    contents: int
    errors: dict[str, int]
    roots: tuple[Root, ...]
    bytes_on_disk: int
    last_run: runs.Run | None
    created: float


def read_status(folder: str) -> Status:
    """Read the state of the index in ``folder``. Raises IndexMissing, IndexDamaged, IndexMismatch."""
    with ImageIndex(folder) as index:
        files, contents, errors = index.catalog.counts()
        return Status(
            folder=index.folder,
            identity=index.identity,
            files=files,
            contents=contents,
            errors=errors,
            roots=tuple(index.catalog.roots()),
            bytes_on_disk=index.bytes_on_disk(),
            last_run=runs.last(index.folder),
            created=index.created,
        )


def skipped_files(folder: str) -> Iterator[tuple[str, str, str]]:
    """Yield (absolute path, reason, detail) of every file that the index skipped, grouped by reason."""
    with ImageIndex(folder) as index:
        yield from index.catalog.errors()
