"""Makes a store hold what the local index holds: compares both shard by shard, and repairs what differs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from imgsearch.errors import IndexDamaged, StoreError, UsageError, repair_hint
from imgsearch.index.manifest import differences
from imgsearch.index.reader import ImageIndex
from imgsearch.index.segments import are_unit, row_crc
from imgsearch.text import Call, format_duration, plural
from imgsearch.tools.stores import MOST_AT_ONCE, SHARDS, Key, StoredImage, VectorStore, fields
from imgsearch.tools.stores.address import parse
from imgsearch.tools.stores.local import LocalStore
from imgsearch.tools.stores.milvus import MilvusStore
from imgsearch.types import Reporter, Silent

_MOST_BYTES = 32 << 20  # of vectors in memory at a time
_MANY, _MOST_SURPLUS = 20, 0.9  # more surplus images than that, and that share of a shard: another index's


@dataclass(frozen=True, slots=True)
class ShardState:
    """What was found of a shard: images in the index and the store, and how many of them differ.

    ``missing`` are not in the store, ``surplus`` are in the store alone, and ``changed`` are in both, but not alike.
    """

    shard: int
    indexed: int
    stored: int
    missing: int
    changed: int
    surplus: int

    def as_json(self) -> dict[str, object]:
        """Return it as the command line prints it as JSON; a shard by the first digit of its hashes."""
        return {
            "shard": f"{self.shard:x}",
            "indexed": self.indexed,
            "stored": self.stored,
            "missing": self.missing,
            "changed": self.changed,
            "surplus": self.surplus,
        }


@dataclass(slots=True)
class Synced:
    """What a comparison found, by shard, and whether it was ``repaired``."""

    repaired: bool
    shards: list[ShardState] = field(default_factory=list)
    seconds: float = 0.0
    before: int = 0
    """Images that were added while the index was still being made (``following``)."""

    def total(self, name: str) -> int:
        """Return the sum of one figure over all shards."""
        return sum(getattr(shard, name) for shard in self.shards)

    @property
    def differs(self) -> bool:
        """Whether the store held something else than the index."""
        return any(self.total(name) for name in ("missing", "changed", "surplus"))

    def summary(self) -> str:
        """Say in one line what was found and done."""
        took, images = format_duration(self.seconds), plural(self.total("indexed"), "image")
        if not (self.differs or self.before):
            return f"{images}; the store holds the same; {took}"
        verbs = ("added", "updated", "deleted") if self.repaired else ("missing", "changed", "surplus")
        counts = [self.total(name) for name in ("missing", "changed", "surplus")]
        counts[0] += self.before
        told = ", ".join(f"{count:,} {verb}" for count, verb in zip(counts, verbs, strict=True) if count)
        return f"{images}; {told}; {took}"


def sync_store(
    address: str,
    folder: str,
    *,
    repair: bool = True,
    replace: bool = False,
    reporter: Reporter | None = None,
    before: int = 0,
) -> Synced:
    """Make the collection of an address, ``milvus://HOST:PORT/NAME``, hold what the index in ``folder`` holds.

    With ``repair`` it is made if it is not there; without, both are only compared. ``replace`` allows that hardly any
    image of the store is the index's. ``before`` says how many images the same run has put in already. Raises
    UsageError (no address), IndexMismatch (a collection of another index), MissingExtra, and as ``sync`` does.
    """
    found = parse(address)
    # Nothing that was put in just now may seem to be missing.
    found = dataclasses.replace(found, consistency="strong")
    with ImageIndex(folder) as index, closing(MilvusStore.at(found, index.spec, create=repair)) as store:
        result = sync(index, store, repair=repair, replace=replace, address=found.shown, reporter=reporter)
    result.before = before
    return result


def sync(
    index: ImageIndex,
    store: VectorStore,
    *,
    repair: bool = True,
    replace: bool = False,
    address: str = "",
    reporter: Reporter | None = None,
) -> Synced:
    """Compare a store with the index by each image's key and digest; with ``repair``, make it hold the same.

    The store may be written to and searched meanwhile, and the call may be interrupted and made again at any time:
    what was repaired stays so. What the index changes meanwhile is seen by the next call. Raises UsageError (the store
    is of another spec, or, without ``replace``, nearly all that it holds is not the index's), StoreError, IndexDamaged
    (an embedding that does not match its checksum is not passed on).
    """
    if found := differences(store.spec, index.spec):
        raise UsageError(f"the store was made with {'; '.join(found)}")
    reporter, started = reporter or Silent(), time.monotonic()
    local, result = LocalStore(index), Synced(repair)
    reporter.start(index.catalog.picture_count(), "images")
    try:
        is_empty = store.count() == 0
        guard = None if replace else Call("sync_store", {"address": address, "replace": True})
        with Filling(local, store, reporter) as filling:
            for shard in range(SHARDS):
                stored = {} if is_empty else dict(store.digests(shard))
                result.shards.append(_sync_shard(stored, filling, shard, repair, reporter, guard))
    finally:
        reporter.stop()
    if repair and result.differs:
        try:
            store.flush()
        except StoreError as error:  # a busy server takes its time to write; all of it is acknowledged
            reporter.detail(str(error))
    result.seconds = time.monotonic() - started
    return result


def _sync_shard(
    stored: dict[Key, int],
    filling: Filling,
    shard: int,
    repair: bool,
    reporter: Reporter,
    guard: Call | None,
) -> ShardState:
    """Compare one shard; ``guard`` is the call by which hardly any image may be left, None if this is it."""
    known = len(stored)
    indexed = missing = changed = 0
    for image in filling.local.shard(shard):
        indexed += 1
        there = stored.pop(image.key, None)
        if there is not None and there == fields.digest(fields.about(image)):
            reporter.advance(1)
            continue
        missing, changed = missing + (there is None), changed + (there is not None)
        if repair:
            filling.put(image)
    surplus = list(stored)
    filling.finish()
    if repair and guard and len(surplus) > max(_MANY, _MOST_SURPLUS * known):
        raise UsageError(
            f"{len(surplus):,} of {known:,} images that were compared are in the store and not in this index: "
            "it may be another index's. Nothing was deleted; to delete them: ",
            guard,
        )
    if repair:
        for some in _parts(surplus, MOST_AT_ONCE):
            filling.store.delete(some)
    return ShardState(shard, indexed, known, missing, changed, len(surplus))


class Filling:
    """Puts images of the index into a store: while the store takes some, the next ones are read.

    In its ``with`` block nobody else uses the store before ``finish``.
    """

    def __init__(self, local: LocalStore, store: VectorStore, reporter: Reporter) -> None:
        """Begin with nothing."""
        self.local, self.store, self._reporter = local, store, reporter
        self._most = max(1, min(MOST_AT_ONCE, _MOST_BYTES // 4 // store.spec.dim))
        self._waiting: list[StoredImage] = []
        self._sender = ThreadPoolExecutor(1, "store")
        self._sent: tuple[int, Future[None]] | None = None

    def __enter__(self) -> Filling:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the call that is under way; not after an error or Ctrl-C: the server may be gone."""
        self._sender.shutdown(wait=kind is None, cancel_futures=True)

    def put(self, image: StoredImage) -> None:
        """Take an image. Raises StoreError of the images before, IndexDamaged."""
        self._waiting.append(image)
        if len(self._waiting) == self._most:
            self._send()

    def finish(self) -> None:
        """Return when the store has all images. Raises as ``put`` does."""
        if self._waiting:
            self._send()
        self._acknowledge()

    def _send(self) -> None:
        images, self._waiting = self._waiting, []
        sound, rows = sound_rows(self.local, images)
        self._acknowledge()
        if sound:
            self._sent = len(images), self._sender.submit(self.store.upsert, sound, rows)

    def _acknowledge(self) -> None:
        sent, self._sent = self._sent, None
        if sent is not None:
            sent[1].result()
            self._reporter.advance(sent[0])


def sound_rows(local: LocalStore, images: list[StoredImage]) -> tuple[list[StoredImage], NDArray[np.float16]]:
    """Return the images that are still indexed with their vectors, each compared with its checksum.

    Raises IndexDamaged.
    """
    rows = local.vectors([image.key for image in images]).astype(np.float16)
    sound = are_unit(rows)
    there: list[int] = []
    for number, image in enumerate(images):
        if not rows[number].any():
            continue  # it was deleted a moment ago
        if not sound[number] or row_crc(rows[number]) != image.crc:
            raise IndexDamaged(
                f"the index in {local.index.folder} is damaged: the embedding of {image.files[0].path} does not match "
                "its checksum; ",
                repair_hint(local.index.folder),
            )
        there.append(number)
    return [images[number] for number in there], rows[there]


def _parts(keys: Sequence[Key], size: int) -> Iterator[Sequence[Key]]:
    for first in range(0, len(keys), size):
        yield keys[first : first + size]
