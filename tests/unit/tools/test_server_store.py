"""A server that asks a store: what an index server answers, without an index, and from several servers alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from imgsearch.cli.spelling import spelled
from imgsearch.errors import ImgsearchError, StoreError, UsageError
from imgsearch.index.reader import ImageIndex
from imgsearch.tools.server import daemon, resources, stored
from imgsearch.tools.server.app import make_app
from imgsearch.tools.server.daemon import ServeOptions
from imgsearch.tools.server.handlers import Handlers
from imgsearch.tools.server.operations import Operations
from imgsearch.tools.server.operations.health import Readiness
from imgsearch.tools.server.resources import Resources
from imgsearch.tools.server.saved import SavedQueries
from imgsearch.tools.server.stored import HeldStore, StoreHandlers
from imgsearch.tools.stores.sync import sync
from imgsearch.types import Silent
from support import fakes
from support.asked import SOCKET, ask, table, written
from support.fakes import FakeModel, paint, run
from support.stores import MemoryStore

fake_model, gallery = fakes.fake_model, fakes.gallery

Front = Callable[..., StoreHandlers]


@pytest.fixture
def loaded(fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """Let servers load the fake model."""

    class Loaded:
        def __init__(self, spec: Any, notify: object) -> None:
            fake_model.loads += 1

        def encoder(self, spec: Any) -> fakes.FakeEncoder:
            return fake_model.encoder(spec.dim)

    monkeypatch.setattr(resources, "LoadedModel", Loaded)
    return fake_model


@pytest.fixture
def index(loaded: FakeModel, gallery: Path, tmp_path: Path) -> str:
    """Give the folder of the indexed gallery."""
    folder = str(tmp_path / "index")
    run(folder, gallery)
    return folder


@pytest.fixture
def memory(index: str) -> MemoryStore:
    """Give a store that holds what the index does."""
    with ImageIndex(index) as opened:
        store = MemoryStore(opened.spec)
        sync(opened, store, repair=True, reporter=Silent())
    return store


@pytest.fixture
def front(memory: MemoryStore, tmp_path: Path) -> Front:
    """Give what starts a server of that store, with no index of its own."""

    def start(saved: SavedQueries | None = None) -> StoreHandlers:
        def open_store() -> MemoryStore:
            memory.fail("open")
            return memory

        held = HeldStore(
            "milvus://localhost/photos", open_store, lambda: lambda: memory.fail("ping") or "the same"
        )
        said = Resources(str(tmp_path / "none"), 60, print)
        return StoreHandlers(said, held, saved) if saved else StoreHandlers(said, held)

    return start


ASKED: list[tuple[str, dict[str, Any]]] = [
    ("query", {"text": "red"}),
    ("query", {"text": "red", "n": 2, "offset": 1}),
    ("query", {"text": "red", "cut": "auto", "explain": True}),
    ("query", {"text": "red", "in": ["{}/sub"]}),
    ("query", {"text": "green", "more": [{"path": "{}/red.png"}]}),
    ("query", {"text": "green", "less": [{"path": "{}/blue.jpg"}]}),
    ("query", {"text": "{}/red.png"}),
    ("similar", {"image": "{}/red.png", "n": 3}),
    ("similar", {"image": "{}/red.png", "include_examples": True}),
    ("listed", {"sort": "path"}),
    ("listed", {"sort": "path", "n": 2, "offset": 1, "in": ["{}"]}),
]


def test_a_server_of_a_store_answers_as_one_of_the_index_does(
    front: Front, index: str, gallery: Path
) -> None:
    """The same request gets the same images in the same order, with the same fields."""
    servers = Handlers(Resources(index, 60, print)), front()
    for kind, told in ASKED:
        asked = json.loads(json.dumps(told).replace("{}", str(gallery)))
        mine, theirs = (getattr(one, kind)(asked) for one in servers)
        for one in (*mine.get("hits", ()), *theirs.get("hits", ())):
            one["score"] = round(one["score"], 2)
            one.pop("why", None)
        for named in ("hits", "images", "total"):
            assert mine.get(named) == theirs.get(named), told


def test_an_image_of_the_store_need_not_be_on_this_machine(front: Front, gallery: Path) -> None:
    """What is similar to it is found by its path alone; a file that the store does not hold has to be read."""
    (gallery / "red.png").rename(gallery / "elsewhere.png")
    server = front()
    asked = {"image": str(gallery / "red.png")}
    assert server.images_to_read("similar", asked) == []
    assert server.similar(asked)["hits"]
    ((path, *_),) = server.images_to_read("similar", {"image": str(gallery / "elsewhere.png")})
    assert path == str(gallery / "elsewhere.png")


def test_a_query_beside_a_file_reads_it(front: Front, gallery: Path, tmp_path: Path) -> None:
    """The words and the image go to the model together."""
    paint(tmp_path / "new.png", "red")
    asked = {"text": "at night", "image": str(tmp_path / "new.png")}
    ((path, *_),) = front().images_to_read("query", asked)
    assert path == str(tmp_path / "new.png")


def test_what_only_an_index_can_do_is_refused(front: Front) -> None:
    """In one line each, that tells where it can be had."""
    server = front()
    for kind, asked in (
        ("counted", {}),
        ("shown", {"image": "/a.png"}),
        ("query", {"text": "red", "rerank": 5}),
        ("query", {"text": "red", "exact": True}),
        ("query", {"text": "red", "index": "/elsewhere"}),
        ("listed", {"index": "/elsewhere"}),
    ):
        with pytest.raises(UsageError) as refused:
            getattr(server, kind)(asked)
        assert "store" in spelled(refused.value.as_message)
        assert "\n" not in str(refused.value)


def test_the_model_is_not_asked_twice_for_the_same_words(front: Front, loaded: FakeModel) -> None:
    """A front keeps the vectors of words in memory; nothing is written."""
    server = front()
    server.query({"text": "red"})
    asked = loaded.asked
    server.query({"text": "red"})
    assert loaded.asked == asked > 0


def test_two_servers_of_a_store_give_the_same(front: Front, memory: MemoryStore) -> None:
    """It does not matter which is asked; one that ends takes nothing with it."""
    first, second = front(), front()
    answer = first.query({"text": "blue"})
    del first
    assert second.query({"text": "blue"}) == answer


def test_searches_wait_for_the_store_side_by_side(front: Front, memory: MemoryStore) -> None:
    """While one waits for the store another is answered, and both have their words embedded."""
    server, both = front(), Barrier(2)
    memory.fail = lambda call: both.wait(60) and None if call == "search" else None
    assert server.searches
    asked = [server.searches.submit(server.query, {"text": text}) for text in ("red", "blue")]
    assert [one.result()["hits"][0]["score"] for one in asked] == [pytest.approx(1.0, abs=0.1)] * 2


def test_trouble_with_the_store_is_no_fault_of_who_asks(front: Front, memory: MemoryStore) -> None:
    """Its status tells a balancer to ask again, and the line what is the matter."""

    def away(call: str) -> None:
        raise StoreError("milvus://localhost/photos: no Milvus server answers there; is it running?")

    app = make_app(front(), SOCKET, "own")
    memory.fail = away
    status, answer, _ = ask(app, "/query", b'{"text": "red"}', "own")
    assert (status, answer["error"]["kind"]) == (503, "StoreError")
    assert "\n" not in answer["error"]["message"]


def test_a_server_is_ready_again_when_its_store_is_back(
    front: Front, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun without its store it tells why; then it loads the model by itself, and is ready."""
    monkeypatch.setattr(stored, "_LOOK_AGAIN", -1.0)

    def away(call: str) -> None:
        raise StoreError("milvus://localhost/photos: no Milvus server answers there; is it running?")

    memory.fail, server, readiness = away, front(), Readiness(warm=True)
    app = make_app(server, SOCKET, None, readiness=readiness)
    readiness.warmed(server.warm_up())
    status, answer, _ = ask(app, "/ready")
    assert (status, answer["ready"]) == (503, False)
    assert "no Milvus server answers" in answer["reason"]
    server.release_idle()
    assert not server.has_model()
    memory.fail = lambda call: None
    server.release_idle()
    assert ask(app, "/ready")[0] == 200
    memory.fail = away
    assert ask(app, "/ready")[0] == 503
    with pytest.raises(StoreError):
        server.query({"text": "red"})
    memory.fail = lambda call: None
    assert server.query({"text": "red"})["hits"]


def test_a_store_that_stays_away_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a search has failed, the next ones don't try until the store answers again."""
    away = [True]
    tried: list[str] = []

    def probe() -> str:
        if away[0]:
            raise StoreError("the store does not answer")
        return "the same"

    def search(store: object) -> str:
        tried.append("search")
        probe()
        return "found"

    held = HeldStore("milvus://localhost/photos", MemoryStore, lambda: probe)
    for _ in range(3):
        with pytest.raises(StoreError, match="does not answer"):
            held.use(search)
    assert len(tried) == 1
    away.clear()
    away.append(False)
    monkeypatch.setattr(stored, "_LOOK_AGAIN", -1.0)
    assert held.use(search) == "found"


def test_a_collection_that_was_made_again_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server does not go on with what it knew of the one before, which may be another model's."""
    monkeypatch.setattr(stored, "_LOOK_AGAIN", -1.0)
    stores = [MemoryStore(fakes.spec(model="one")), MemoryStore(fakes.spec(model="two"))]
    identities = ["1"]
    held = HeldStore("milvus://localhost/photos", lambda: stores.pop(0), lambda: lambda: identities[0])
    assert held.trouble() == ""
    assert [held.use(lambda store: store.spec.model) for _ in range(2)] == ["one", "one"]
    identities[0] = "2"
    assert held.trouble() == ""
    assert held.use(lambda store: store.spec.model) == "two"


def test_clients_do_not_use_the_owners_saved_queries(front: Front, tmp_path: Path) -> None:
    """For a client a word with @ is not a saved query; for the owner it is."""

    def expand(words: Any) -> tuple[list[str], dict[str, Any]]:
        return ["red" if word == "@mine" else word for word in words], {}

    server = front(SavedQueries(expand, lambda: {"mine": "red"}))
    clients = written(tmp_path / "c.toml", table("alice", "secret"))
    app = make_app(server, SOCKET, "own", operations=Operations(clients=clients))
    body = b'{"text": "@mine"}'
    status, answer, _ = ask(app, "/query", body, "own")
    assert (status, answer["read"]["saved"]) == (200, ["@mine"])
    status, answer, _ = ask(app, "/query", body, "secret")
    assert (status, "read" in answer) == (200, False)


def test_a_server_asks_an_index_or_a_store(tmp_path: Path) -> None:
    """Both at once can't be meant, and an address that is none is told before anything listens."""
    with pytest.raises(UsageError, match="in place of an index"):
        ServeOptions(index=str(tmp_path), store="milvus://localhost/photos")
    with pytest.raises(ImgsearchError, match="not an address"):
        daemon._handlers(Resources(None, 60, print), ServeOptions(store="http://localhost"))
