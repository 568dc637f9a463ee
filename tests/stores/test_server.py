"""What a Milvus server may do instead of answering, told in one line, and what is tried again: with a fake client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pymilvus.exceptions import MilvusException

from imgsearch.errors import IndexMismatch, StoreError, UsageError
from imgsearch.tools.stores.address import parse
from imgsearch.tools.stores.milvus import MilvusStore
from imgsearch.tools.stores.server import Server
from support.fakes import spec, unit

URI = "http://127.0.0.1:19530"
SHOWN = "milvus://127.0.0.1:19530/photos"


class Clock:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class FakeClient:
    """A client whose server has a version; ``closed`` counts."""

    def __init__(self, version: str = "v2.3.5-lite") -> None:
        self.version, self.closed = version, 0
        self.described: dict[str, Any] = {"fields": [], "properties": {}}

    def get_server_version(self, timeout: float) -> str:
        return self.version

    def has_collection(self, name: str, timeout: float) -> bool:
        return True

    def describe_collection(self, name: str, timeout: float) -> dict[str, Any]:
        return self.described

    def close(self) -> None:
        self.closed += 1


def server(client: FakeClient | None = None, clock: Clock | None = None, patience: float = 60.0) -> Server:
    client, clock = client or FakeClient(), clock or Clock()
    own = {"connect": lambda: client, "sleep": clock.sleep, "now": clock.now}
    return Server(URI, SHOWN, patience=patience, **own)


def failing(error: Exception, times: int) -> tuple[Callable[[Any], str], list[int]]:
    """Return work that fails so many times, and a list that counts its calls."""
    calls: list[int] = []

    def work(client: Any) -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    return work, calls


@pytest.mark.parametrize(
    "error",
    [
        MilvusException(2, "Fail connecting to server, illegal connection params or server unavailable"),
        MilvusException(1, "channel not found"),
        MilvusException(101, "collection not loaded"),
        MilvusException(8, "quota exceeded[reason=rate limit exceeded]"),
        MilvusException(1, "rpc deadline exceeded: Retry timeout: 60s"),
        ConnectionResetError("gone"),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    """A server that restarts, or asks for patience, delays a call and fails none."""
    work, calls = failing(error, 4)
    assert server().call(work) == "done"
    assert len(calls) == 5


def test_patience_ends() -> None:
    """A server that stays away is named after a minute, with what it said last."""
    clock = Clock()
    work, calls = failing(MilvusException(2, "Fail connecting\nto server"), 1000)
    with pytest.raises(StoreError, match=r"has not answered for 60 s \(Fail connecting\); when it does"):
        server(clock=clock).call(work)
    assert 50 <= clock.time <= 60
    assert len(calls) > 5


def test_a_server_that_was_never_there_is_not_waited_for() -> None:
    """The first call of all fails at once."""
    clock = Clock()

    def connect() -> Any:
        raise MilvusException(2, "Fail connecting to server on 127.0.0.1:1")

    with pytest.raises(
        StoreError, match=r"no Milvus server answers there; is it running\? If it wants TLS, set IMG"
    ):
        Server(URI, SHOWN, connect=connect, sleep=clock.sleep, now=clock.now)
    assert clock.time == 0


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MilvusException(8, "quota exceeded[reason=memory quota exceeded]"), "the server is full"),
        (MilvusException(1, "disk quota exceeded, please allocate more"), "the server is full"),
        (MilvusException(65535, "auth check failure, please check token"), "the server refuses access"),
        (MilvusException(100, "can't find collection"), "there is no such collection"),
        (MilvusException(65535, "cannot parse expression: a b"), "the server refuses the call"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_stays_wrong_is_said_at_once(error: Exception, said: str) -> None:
    """A full server, a wrong token, a collection that is not there: one line each, and no second try."""
    work, calls = failing(error, 1000)
    with pytest.raises(StoreError, match=said) as raised:
        server().call(work)
    assert len(calls) == 1
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(SHOWN)


def test_a_bug_of_ours_is_none_of_the_servers() -> None:
    """What is no error of the server is raised as it is."""
    work, _ = failing(KeyError("ours"), 1)
    with pytest.raises(KeyError):
        server().call(work)


def test_a_closed_connection_is_not_waited_for() -> None:
    """A call that is tried again ends as soon as another thread has closed the connection."""
    clock = Clock()
    opened = server(clock=clock)
    work, calls = failing(MilvusException(2, "Fail connecting to server"), 1000)
    opened.close()
    with pytest.raises(StoreError):
        opened.call(work)
    assert (len(calls), clock.time) == (1, 0)


def test_a_broken_connection_is_made_anew() -> None:
    """After a failure the client is closed, and the next try has another one."""
    client = FakeClient()
    work, _ = failing(MilvusException(2, "reset"), 2)
    server(client).call(work)
    assert client.closed == 2


@pytest.mark.parametrize(
    ("version", "float16", "patterns", "rabitq"),
    [
        ("v2.3.2", False, False, False),
        ("v2.3.5-lite", False, False, False),
        ("2.4.0", True, True, False),
        ("v2.5.27", True, True, False),
        ("v2.6.3", True, True, True),
        ("v3.0.0-beta", True, True, True),
    ],
)
def test_a_version_has_what_it_has(version: str, float16: bool, patterns: bool, rabitq: bool) -> None:
    """Only a server that knows a type, a pattern or an index is asked for it."""
    found = server(FakeClient(version))
    assert (found.has_float16, found.has_patterns, found.has_rabitq) == (float16, patterns, rabitq)


def test_too_old_a_server_is_refused() -> None:
    """A server without lists as fields is named with its version."""
    with pytest.raises(StoreError, match=r"the server is Milvus v2\.2\.9; 2\.3\.2 or newer is required"):
        server(FakeClient("v2.2.9"))


def store(client: FakeClient, **options: Any) -> MilvusStore:
    return MilvusStore(server(client), "photos", spec(), **options)


def described(dim: int, **properties: str) -> dict[str, Any]:
    import json

    from imgsearch.index.manifest import spec_to_json

    own = {"imgsearch.format": "1", "imgsearch.spec": json.dumps(spec_to_json(spec(dim)))}
    vector = {"name": "vector", "type": 101, "params": {"dim": dim}}
    return {"fields": [vector], "properties": {**own, **properties}}


def test_a_collection_of_another_dimension_is_refused() -> None:
    """The dimension that differs is named, and another collection proposed."""
    client = FakeClient()
    client.described = described(9)
    with pytest.raises(IndexMismatch, match=r"dimension 9, not 13; give the name of another collection"):
        store(client)


@pytest.mark.parametrize("properties", [{}, {"imgsearch.spec": "{}"}, {"imgsearch.spec": "no JSON"}])
def test_somebody_elses_collection_is_refused(properties: dict[str, str]) -> None:
    """A collection without what it was made with was not made by imgsearch."""
    client = FakeClient()
    client.described = {"fields": [], "properties": properties}
    with pytest.raises(StoreError, match="was not made by imgsearch"):
        store(client)


def test_a_newer_format_is_refused() -> None:
    """A collection with other fields says that imgsearch has to be upgraded."""
    client = FakeClient()
    client.described = described(13, **{"imgsearch.format": "2"})
    with pytest.raises(StoreError, match="newer imgsearch"):
        store(client)


def test_an_index_that_the_server_does_not_have_is_refused() -> None:
    """IVF_RABITQ on an older server is one line."""
    client = FakeClient()
    client.described = described(13)
    with pytest.raises(StoreError, match=r"IVF_RABITQ needs Milvus 2\.6; the server is 2\.3\.5"):
        store(client, index="ivf_rabitq")


def test_more_results_than_a_server_returns_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a large collection is no answer: nothing is left out without a word."""
    client = FakeClient()
    client.described = described(13)
    monkeypatch.setattr(MilvusStore, "_prepare", lambda *_: None)
    monkeypatch.setattr(MilvusStore, "count", lambda *_: 20_000)
    with pytest.raises(UsageError, match="at most 16,384 images"):
        store(client).search(unit(1), 1 << 30)


def test_an_address_has_its_parts() -> None:
    """Host, port and collection are read, and the options behind them."""
    found = parse("milvus://db.example:20000/photos?consistency=bounded&index=IVF_RABITQ")
    assert (found.host, found.port, found.collection) == ("db.example", 20000, "photos")
    assert (found.consistency, found.index) == ("bounded", "ivf_rabitq")
    assert parse("milvus://localhost/photos").shown == "milvus://localhost:19530/photos"
    assert parse("milvus://[::1]:1/photos").uri == "http://[::1]:1"


def test_tls_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable makes the connection an encrypted one."""
    monkeypatch.setenv("IMGSEARCH_STORE_TLS", "1")
    assert parse("milvus://localhost/photos").uri.startswith("https://")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "photos",
        "http://localhost/photos",
        "milvus://",
        "milvus:///photos",
        "milvus://localhost",
        "milvus://localhost/",
        "milvus://localhost/a-b",
        "milvus://localhost/1a",
        "milvus://localhost/a/b",
        "milvus://localhost:no/a",
        "milvus://localhost:99999/a",
        "milvus://localhost/a?consistency=perhaps",
        "milvus://localhost/a?token=secret",
        "milvus://[::1/a",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Anything else is one line that shows how an address looks."""
    with pytest.raises(UsageError) as raised:
        parse(text)
    assert "\n" not in str(raised.value)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    """The message names the variable to use, and keeps the password to itself."""
    with pytest.raises(UsageError, match="IMGSEARCH_STORE_TOKEN") as raised:
        parse("milvus://root:Milvus@localhost/photos")
    assert "Milvus@" not in str(raised.value)
