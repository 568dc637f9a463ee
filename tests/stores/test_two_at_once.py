"""Two runs that fill the same collection at once: each image is there once, whoever was first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgsearch.index.reader import ImageIndex
from imgsearch.tools.stores.local import LocalStore
from imgsearch.tools.stores.milvus import MilvusStore
from imgsearch.tools.stores.server import Server
from imgsearch.tools.stores.sync import sync
from support.milvus_server import MilvusProcess
from support.stores import ENGINES, MemoryStore, image, local_store, milvus_store, rows

_NUMBERS = range(1, 201)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalStore]:
    """Give an index of two hundred images."""
    made = local_store(tmp_path / "index")
    made.upsert([image(number) for number in _NUMBERS], rows(_NUMBERS))
    yield made
    made.close()


def test_a_second_run_in_the_middle_of_the_first(local: LocalStore) -> None:
    """While one run has filled half of the shards, another one fills all; both end, and the store holds each once."""
    store, met = MemoryStore(), threading.Event()

    def other_run(call: str) -> None:
        if call == "upsert" and store.calls.count("upsert") == 8 and not met.is_set():
            met.set()
            with ImageIndex(local.index.folder) as index:
                sync(index, store)

    store.fail = other_run
    sync(local.index, store)
    assert met.is_set()
    assert store.count() == len(_NUMBERS)
    assert not sync(local.index, store, repair=False).differs


@pytest.mark.skipif("milvus" not in ENGINES, reason="make stores installs a Milvus server")
def test_two_runs_on_a_real_server(local: LocalStore, request: pytest.FixtureRequest) -> None:
    """Two clients that fill a new collection at the same time leave each image in it once."""
    server: MilvusProcess = request.getfixturevalue("server")
    first = milvus_store(server)
    errors: list[BaseException] = []

    def fill() -> None:
        uri = f"http://{server.address}"
        try:
            store = MilvusStore(Server(uri, uri), first.collection, local.spec)
            with ImageIndex(local.index.folder) as index:
                sync(index, store)
            store.close()
        except BaseException as error:
            errors.append(error)

    runs = [threading.Thread(target=fill) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert not errors
    assert first.count() == len(_NUMBERS)
    assert not sync(local.index, first, repair=False).differs
    first.drop()
    first.close()
