"""The unit of work: some files that one worker decodes, embeds and delivers together, and what it must know for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from imgsearch.indexing.documents.opened import may_be_document
from imgsearch.media.documents import DOCUMENTS, DocumentOptions, is_installed
from imgsearch.types import IndexSpec, ModelOptions, SourceFile

FILES = 32
"""Images in a unit: enough to be worth a sync of the disk, and 200 MB once they are decoded for the largest model."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Files that belong together: images, or one document. They are opened by name, as ``files.open_source`` does."""

    number: int
    sources: tuple[SourceFile, ...]
    is_document: bool = False


@dataclass(frozen=True, slots=True)
class Setup:
    """What all units of a run share. ``version`` is the coordinator's, ``folder`` where deliveries go.

    ``how`` tells by root how documents are read, ``readers`` are the extras by which the coordinator reads files.
    """

    version: str
    run: str
    index: str
    folder: str
    spec: IndexSpec
    model: ModelOptions
    how: Mapping[str, DocumentOptions]
    max_megapixels: float
    readers: tuple[str, ...] = ()
    batch_size: int | None = None


def readers_here() -> tuple[str, ...]:
    """Return the extras that are installed here, of those that read files."""
    found = {one.extra for one in DOCUMENTS if one.library and is_installed(one)}
    return tuple(sorted(found | ({"tiff"} if find_spec("imagecodecs") else set())))


def units_of(sources: Sequence[SourceFile], first: int = 0) -> Iterator[Unit]:
    """Yield the units that some files make, numbered from ``first``."""
    some: list[SourceFile] = []
    for source in sources:
        if may_be_document(source.path):
            yield Unit(first, (source,), True)
            first += 1
            continue
        some.append(source)
        if len(some) == FILES:
            yield Unit(first, tuple(some))
            first, some = first + 1, []
    if some:
        yield Unit(first, tuple(some))


def known_table(contents: Sequence[bytes]) -> NDArray[np.uint64]:
    """Return the sha256s of contents as a sorted table (n, 4), which all workers of a machine share."""
    return np.frombuffer(b"".join(sorted(contents)), ">u8").reshape(-1, 4).astype(np.uint64)


def is_in(table: NDArray[np.uint64], sha256: bytes) -> bool:
    """Whether a content is in a table."""
    wanted = np.frombuffer(sha256, ">u8").astype(np.uint64)
    at = int(np.searchsorted(table[:, 0], wanted[0]))
    while at < len(table) and table[at, 0] == wanted[0]:
        if (table[at] == wanted).all():
            return True
        at += 1
    return False
