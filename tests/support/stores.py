"""Stores for tests: invented images with their vectors, and a store of each kind to put them in."""

from __future__ import annotations

import importlib.util
import itertools
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.index.rows import IndexedFile
from imgsearch.index.writer import IndexWriter
from imgsearch.tools.stores import EVERYTHING, Key, StoredImage, Wanted, check_rows, fields, shard_of
from imgsearch.tools.stores.judging import judged
from imgsearch.tools.stores.local import LocalStore
from imgsearch.tools.stores.milvus import MilvusStore
from imgsearch.tools.stores.server import Server
from imgsearch.types import IndexSpec, Metadata
from support.fakes import DIM, sha, spec, unit
from support.milvus_server import MilvusProcess

CAMERAS = (("FUJIFILM", "X-T5", "XF35mm"), ("Canon", "EOS R5", "RF50mm"), ("", "", ""))


def image(number: int, **changed: Any) -> StoredImage:
    """Return an invented image: every number has its own file, date, camera, size and place."""
    key = sha(f"stored {number}")
    make, model, lens = CAMERAS[number % 3]
    year, month = 2015 + number % 10, 1 + number % 12
    told = Metadata(
        taken=None if number % 7 == 0 else datetime(year, month, 1 + number % 28, 12, 30),
        taken_from="" if number % 7 == 0 else "image",
        make=make,
        model=model,
        lens=lens,
        latitude=None if number % 4 == 0 else float(number % 80),
        longitude=None if number % 4 == 0 else float(number % 170),
        rating=None if number % 5 == 0 else number % 5,
        title="a title" if number % 6 == 0 else "",
        keywords=("Holiday", f"day {number % 9}") if number % 2 else (),
    )
    name = f"IMG_{number:04d}.{('jpg', 'png')[number % 2]}"
    path = f"/pictures/{('a', 'b')[number % 2]}/{number % 5}/{name}"
    size = ((640, 480), (480, 640), (500, 500), (3000, 1000))[number % 4]
    made = {"width": size[0], "height": size[1], "metadata": told}
    made["files"] = (IndexedFile(path, 1000 + number, 10**18 + number, key),)
    row = _row(number)
    made |= changed
    return StoredImage(number, key, made.pop("page", 0), crc=zlib.crc32(row.tobytes()), **made)


def rows(numbers: Sequence[int], dim: int = DIM) -> NDArray[np.float16]:
    """Return the vectors of invented images: (n, dim) float16."""
    return np.array([_row(number, dim) for number in numbers], np.float16).reshape(-1, dim)


@cache
def _row(number: int, dim: int = DIM) -> NDArray[np.float16]:
    return unit(1, number, dim)[0].astype(np.float16)


def local_store(folder: Path) -> LocalStore:
    """Return a new local index, whose only root is /pictures."""
    writer = IndexWriter(str(folder), spec())
    writer.catalog.put_root("/pictures", {})
    return LocalStore(writer.index, writer)


_MODULES = {"milvus": "milvus", "milvus-lite": "milvus_lite"}
ENGINES = [engine for engine, module in _MODULES.items() if importlib.util.find_spec(module)]
"""Which engines `make stores` has installed. milvus-lite is a rewrite in Python: it proves nothing about Milvus."""
_names = itertools.count()


def milvus_store(server: MilvusProcess) -> MilvusStore:
    """Return a new, empty store on a server."""
    return _store(f"http://{server.address}")


def lite_store(folder: Path) -> MilvusStore:
    """Return a new, empty store of milvus-lite, in a file in a folder."""
    return _store(str(folder / "lite.db"))


def _store(uri: str) -> MilvusStore:
    return MilvusStore(Server(uri, uri), f"test_{os.getpid()}_{next(_names)}", spec(), create=True)


class MemoryStore:
    """A store in a dictionary, for tests of what uses one; ``fail`` is called before each call, and may raise."""

    def __init__(self, made_with: IndexSpec | None = None) -> None:
        self.spec = made_with or spec()
        self.kept: dict[Key, tuple[StoredImage, NDArray[Any]]] = {}
        self.calls: list[str] = []
        self.fail: Callable[[str], None] = lambda call: None

    def _called(self, call: str) -> None:
        self.calls.append(call)
        self.fail(call)

    def upsert(self, images: Sequence[StoredImage], vectors: NDArray[Any]) -> None:
        self._called("upsert")
        check_rows(self.spec, images, vectors)
        self.kept |= {one.key: (one, row) for one, row in zip(images, vectors, strict=True)}

    def delete(self, keys: Sequence[Key]) -> None:
        self._called("delete")
        for key in keys:
            self.kept.pop(key, None)

    def search(
        self, vectors: NDArray[Any], k: int, wanted: Wanted = EVERYTHING
    ) -> list[list[tuple[StoredImage, float]]]:
        self._called("search")
        found = [(one, self.kept[one.key][1]) for one in self.iterate(wanted)]
        scored = [[(one, float(row @ asked)) for one, row in found] for asked in vectors]
        return [sorted(hits, key=lambda hit: (-hit[1], hit[0].id))[:k] for hits in scored]

    def count(self, wanted: Wanted = EVERYTHING) -> int:
        return sum(1 for _ in self.iterate(wanted))

    def iterate(self, wanted: Wanted = EVERYTHING) -> Iterator[StoredImage]:
        self._called("iterate")
        images = [one for one, _ in self.kept.values()]
        yield from (one for one, passes in zip(images, judged(images, wanted), strict=True) if passes)

    def digests(self, shard: int) -> Iterator[tuple[Key, int]]:
        self._called("digests")
        for key, (one, _) in list(self.kept.items()):
            if shard_of(key[0]) == shard:
                yield key, fields.digest(fields.about(one))

    def vectors(self, keys: Sequence[Key]) -> NDArray[np.float32]:
        nothing = np.zeros(self.spec.dim, np.float32)
        found = [self.kept[key][1] if key in self.kept else nothing for key in keys]
        return np.array(found, np.float32).reshape(-1, self.spec.dim)

    def flush(self) -> None:
        self._called("flush")

    def close(self) -> None:
        self._called("close")
