"""A store that follows an index while it is made: it gets what was committed, and never stops the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from imgsearch.errors import IndexMissing, StoreError
from imgsearch.index.reader import ImageIndex
from imgsearch.tools.stores import Key
from imgsearch.tools.stores.following import Follower, Telling
from imgsearch.tools.stores.local import LocalStore
from imgsearch.tools.stores.sync import Synced, sync
from imgsearch.types import IndexSpec, Silent
from support.stores import MemoryStore, image, local_store, rows


@pytest.fixture
def memory() -> MemoryStore:
    """Give the store that follows."""
    return MemoryStore()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalStore]:
    """Give an index of five images whose writer is open, as in a run."""
    made = local_store(tmp_path / "index")
    commit(made, 1, 6)
    yield made
    made.close()


def commit(local: LocalStore, first: int, end: int) -> None:
    numbers = range(first, end)
    local.upsert([image(number) for number in numbers], rows(numbers))


def keys(first: int, end: int) -> set[Key]:
    return {image(number).key for number in range(first, end)}


def follower(local: LocalStore, memory: MemoryStore) -> Follower:
    return Follower(local.index.folder, lambda spec: memory)


class Told(Silent):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.places: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(str(line))

    def advance(self, n: int = 1, where: str = "") -> None:
        self.places.append(where)


def test_what_is_committed_is_put_in(local: LocalStore, memory: MemoryStore) -> None:
    """Each look puts in what was committed since, and nothing that was there before the run."""
    one = follower(local, memory)
    commit(local, 10, 13)
    assert one.step()
    assert memory.kept.keys() == keys(10, 13)
    commit(local, 13, 20)
    assert one.step()
    assert not one.step()
    assert (memory.kept.keys(), one.stored) == (keys(10, 20), 10)


def test_an_index_that_is_made_first_is_followed_from_its_first_image(
    tmp_path: Path, memory: MemoryStore
) -> None:
    """While there is no index there is nothing to do; then all of it is put in."""
    one = Follower(str(tmp_path / "index"), lambda spec: memory)
    assert not one.step()
    made = local_store(tmp_path / "index")
    commit(made, 1, 4)
    assert one.step()
    assert memory.kept.keys() == keys(1, 4)
    made.close()


def test_the_rest_is_put_in_at_the_end(local: LocalStore, memory: MemoryStore) -> None:
    """The comparison at the end adds only what was not put in meanwhile, and counts both as added."""
    one = follower(local, memory)
    commit(local, 10, 13)
    one.step()
    found = sync(local.index, memory)
    assert found.total("missing") == 5
    found.before = one.stored
    assert found.summary().startswith("8 images; 8 added; ")
    assert Synced(True, before=2).summary().startswith("0 images; 2 added; ")


def test_a_run_goes_on_without_a_store_that_fails(local: LocalStore, memory: MemoryStore) -> None:
    """A store that goes away ends the following; the run is told once, in one line, and sync catches up."""

    def fail(call: str) -> None:
        if call == "upsert":
            raise StoreError("milvus://x: the server has not answered for 60 s")

    memory.fail = fail
    one, told = follower(local, memory), Told()
    telling = Telling(told, one)
    commit(local, 10, 13)
    with pytest.raises(StoreError) as raised:
        one.step()
    one.trouble = raised.value
    telling.advance(1, "sub")
    telling.advance(1, "sub")
    assert told.lines == [
        "milvus://x: the server has not answered for 60 s; indexing continues without the store"
    ]
    memory.fail = lambda call: None
    assert sync(local.index, memory).total("missing") == 8


def test_the_thread_keeps_an_error_for_the_run(
    local: LocalStore, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the store's own thread meets is in ``trouble`` when that thread has ended."""

    def refuse(spec: IndexSpec) -> MemoryStore:
        raise StoreError("no Milvus server answers there")

    monkeypatch.setattr("imgsearch.tools.stores.following._EVERY", 0)
    with Follower(local.index.folder, refuse) as one:
        one._thread.join()
    assert str(one.trouble) == "no Milvus server answers there"
    assert one.stop() == 0


def test_a_bug_is_not_swallowed(
    local: LocalStore, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no error of the store or the index is raised when the following ends."""

    def broken(spec: IndexSpec) -> MemoryStore:
        raise KeyError("ours")

    monkeypatch.setattr("imgsearch.tools.stores.following._EVERY", 0)
    one = Follower(local.index.folder, broken)
    with pytest.raises(KeyError), one:
        one._thread.join()


def test_progress_says_how_many_are_in_the_store(local: LocalStore, memory: MemoryStore) -> None:
    """Behind the folder stands how far the store is."""
    one, told = follower(local, memory), Told()
    telling = Telling(told, one)
    telling.advance(1, "2024")
    one.stored = 1200
    telling.advance(1, "2024")
    telling.advance(1)
    assert told.places == ["2024", "2024; 1,200 in the store", "1,200 in the store"]


def test_an_index_that_can_not_be_opened_yet_is_waited_for(
    local: LocalStore, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is just making its index is no trouble."""

    def missing(folder: str) -> ImageIndex:
        raise IndexMissing("not yet")

    one = follower(local, memory)
    commit(local, 10, 12)
    with monkeypatch.context() as patched:
        patched.setattr("imgsearch.tools.stores.following.ImageIndex", missing)
        assert not one.step()
    assert one.step()
