"""A Milvus server killed during ingest and during search: nothing acknowledged is lost, and clients recover."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from imgsearch.tools.stores import Key, StoredImage, VectorStore
from support.fakes import sha, unit
from support.milvus_server import MilvusProcess
from support.stores import ENGINES, image, milvus_store, rows

pytestmark = [
    pytest.mark.skipif("milvus" not in ENGINES, reason="make stores installs a Milvus server"),
    pytest.mark.timeout(600),
]
_BATCH = 40
_KILLS = 3


def killing(server: MilvusProcess, work: Callable[[], bool]) -> int:
    """Do work until it says that it is done, while the server is killed and started again; return how often."""
    done, killed = threading.Event(), 0

    def loop() -> None:
        nonlocal killed
        while killed < _KILLS and not done.wait(2.5):
            server.kill()
            killed += 1
            server.wait()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        while not work() or thread.is_alive():
            pass
    finally:
        done.set()
        thread.join()
    return killed


def test_what_was_acknowledged_during_kills_is_there(server: MilvusProcess) -> None:
    """Upserts go on through three kills, and every image that one of them acknowledged is found afterwards."""
    store = milvus_store(server)
    store.server.patience = 180
    acknowledged: set[Key] = set()

    def work() -> bool:
        numbers = range(len(acknowledged), len(acknowledged) + _BATCH)
        images: list[StoredImage] = [image(number) for number in numbers]
        store.upsert(images, rows(numbers))
        acknowledged.update(one.key for one in images)
        return len(acknowledged) >= 10 * _BATCH

    assert killing(server, work) == _KILLS
    everything = {one.key for one in store.iterate()}
    assert everything == acknowledged
    assert store.count() == len(acknowledged)
    fresh: VectorStore = type(store)(store.server, store.collection)
    (hits,) = fresh.search(unit(1, 7), 1)
    assert hits[0][0].sha256 == sha("stored 7")
    store.drop()
    store.close()


def test_searches_go_on_through_kills(server: MilvusProcess) -> None:
    """While the server is killed three times, each search returns the right images: late, but without an error."""
    store = milvus_store(server)
    store.server.patience = 180
    numbers = range(100)
    store.upsert([image(number) for number in numbers], rows(numbers))
    asked = 0

    def work() -> bool:
        nonlocal asked
        (hits,) = store.search(unit(1, asked % 100), 3)
        assert hits[0][0].sha256 == sha(f"stored {asked % 100}")
        asked += 1
        return asked >= 20

    assert killing(server, work) == _KILLS
    assert store.count() == 100
    store.drop()
    store.close()
