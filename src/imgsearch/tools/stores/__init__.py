"""VectorStore: what every engine that holds images' vectors has to do, be it the local index or a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imgsearch.index.metadata.filters import Filter
from imgsearch.index.rows import IndexedFile
from imgsearch.types import NO_METADATA, IndexSpec, Metadata, Record, Vectors

Key = tuple[bytes, int]
"""The sha256 of a file's bytes, and the page: what an image is known by in every store."""
SHARDS = 16
"""An image is in the shard that the first four bits of its sha256 say."""
MOST_HITS = 16_384
"""Images that a search asks a store for, at most: what a Milvus server returns."""
MOST_AT_ONCE = 4_000
"""Images that are handed to a store in one call, at most."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image as a store holds it beside its vector: all that a result shows and a filter asks.

    ``id`` says which was indexed first, ``crc`` is the crc32 of the vector's float16 bytes. ``files`` are sorted by the
    bytes of their paths; there is one at least. Of ``metadata``, description, software, offset and burst are not kept.
    ``screenshots`` are those of the paths whose file is a screenshot (``index.metadata.named.is_screenshot``).
    """

    id: int
    sha256: bytes
    page: int
    width: int
    height: int
    crc: int
    files: tuple[IndexedFile, ...]
    metadata: Metadata = NO_METADATA
    kind: str = ""
    name: str = ""
    screenshots: frozenset[str] = frozenset()

    @property
    def key(self) -> Key:
        """What it is known by."""
        return self.sha256, self.page

    @property
    def record(self) -> Record:
        """The same as a search of the index finds it."""
        paths = tuple(file.path for file in self.files)
        return Record(self.id, self.sha256, self.page, self.width, self.height, paths, self.kind, self.name)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which images: those that pass all ``filters`` and have a file at or ``below`` one of some absolute paths.

    Of several files of an image, one has to be all of it. No path in ``below`` means that they may lie anywhere.
    """

    filters: tuple[Filter, ...] = ()
    below: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.filters or self.below)


EVERYTHING = Wanted()


class VectorStore(Protocol):
    """A set of images by their keys, each with one vector, all made with the same ``spec``.

    What every store promises, and ``tests/stores/test_contract.py`` asks of each:

    - **Acknowledged is found.** When ``upsert`` or ``delete`` returns, the next ``search``, ``count``, ``iterate`` and
      ``digests`` of any client tell of it, and the end of the store's process takes nothing of it back.
    - **Again is the same.** A call that was interrupted may be made again: an image that is there is replaced, one that
      is not there is deleted without complaint. An upsert replaces all that is known of an image. Its vector is
      a function of its key and the spec, so that a store that has one may keep it if the new one has the same crc.
    - **The best are found.** ``search`` returns the nearest images by their cosine, best first, equal ones by their id.
      A store may look for them by codes or a graph, and so miss some; what it returns passes ``wanted`` without
      exception, and if so many images pass, there are k of them. Scores are true to 1e-3.
    - **One spec.** Opening a store with another one raises IndexMismatch, and changes nothing.
    - **Errors are one line.** Whatever the engine raises becomes a StoreError that says which store, what happened
      and what to do. What is temporary is tried again first.

    One thread uses a store at a time.
    """

    @property
    def spec(self) -> IndexSpec:
        """What its vectors were made with."""

    def upsert(self, images: Sequence[StoredImage], vectors: NDArray[Any]) -> None:
        """Put at most MOST_AT_ONCE images in, with one unit row each: (n, dim) float16 or float32, finite."""

    def delete(self, keys: Sequence[Key]) -> None:
        """Take images out."""

    def search(
        self, vectors: Vectors, k: int, wanted: Wanted = EVERYTHING
    ) -> list[list[tuple[StoredImage, float]]]:
        """Return for each of ``vectors`` (n, dim) float32 the at most ``k`` nearest images with their cosines."""

    def count(self, wanted: Wanted = EVERYTHING) -> int:
        """Return how many images there are."""

    def iterate(self, wanted: Wanted = EVERYTHING) -> Iterator[StoredImage]:
        """Yield images, in any order, each once."""

    def digests(self, shard: int) -> Iterator[tuple[Key, int]]:
        """Yield what is in one of SHARDS: each image's key and ``fields.digest``, in any order, each once."""

    def vectors(self, keys: Sequence[Key]) -> Vectors:
        """Return vectors (n, dim) float32 by their keys; a row of zeros for an image that is not there."""

    def flush(self) -> None:
        """Have the store write down what it still holds in memory only; a hint, since nothing acknowledged is lost."""

    def close(self) -> None:
        """Let go of the store."""


def shard_of(sha256: bytes) -> int:
    """Return which of SHARDS an image is in."""
    return sha256[0] >> 4


def check_rows(spec: IndexSpec, images: Sequence[StoredImage], vectors: NDArray[Any]) -> None:
    """Raise ValueError for rows that no store may take: a bug of the caller."""
    if len(images) > MOST_AT_ONCE:
        raise ValueError(f"at most {MOST_AT_ONCE:,} images in one call")
    if vectors.shape != (len(images), spec.dim) or not np.isfinite(vectors).all():
        raise ValueError("one finite row per image")
    if len({image.key for image in images}) < len(images):
        raise ValueError("an image stands twice in one call")
