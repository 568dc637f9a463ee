"""A server that answers others too: clients with tokens and limits, health, metrics, a log, and a slow end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.client import protocol
from imgsearch.errors import UsageError
from imgsearch.tools.server.app import make_app
from imgsearch.tools.server.daemon import _Uvicorn
from imgsearch.tools.server.operations import Operations
from imgsearch.tools.server.operations.clients import Client as Known
from imgsearch.tools.server.operations.clients import Clients, read_clients
from imgsearch.tools.server.operations.health import Readiness
from imgsearch.types import Silent
from support.asked import SOCKET, ask, table, written


class Handlers:
    """Answers with what was asked; a model is there once ``model`` says so."""

    def __init__(self, problem: str = "") -> None:
        self.requests, self.model, self.problem, self.said = 0, False, problem, list[str]()
        self.away = ""

    def query(self, data: Any, image: object = None) -> dict[str, Any]:
        return {"asked": data}

    similar = query

    def images_to_read(self, kind: str, data: Any) -> list[tuple[str]]:
        return [(data["image"],)]

    def status(self) -> dict[str, Any]:
        return {"pid": 1}

    def warm_up(self) -> str:
        self.model = not self.problem
        return self.problem

    def has_model(self) -> bool:
        return self.model

    def for_clients(self) -> Handlers:
        return self

    def trouble(self) -> str:
        return self.away

    def release_idle(self) -> None:
        pass

    def say(self, line: str) -> None:
        self.said.append(str(line))


def test_a_client_asks_with_its_own_token_and_no_more_than_it_may(tmp_path: Path) -> None:
    """Its requests are answered up to its limit, then 429 says when to come again; the owner has none."""
    clients = written(tmp_path / "c.toml", table("alice", "secret", "per_minute = 2") + table("bob", "other"))
    app = make_app(Handlers(), SOCKET, "own", operations=Operations(clients=clients))  # type: ignore[arg-type]
    assert [ask(app, "/query", b'{"text": "red"}', "secret")[0] for _ in range(3)] == [200, 200, 429]
    status, answer, headers = ask(app, "/query", b"{}", "secret")
    assert (status, answer["error"]["kind"]) == (429, "busy")
    assert 1 <= int(headers["retry-after"]) <= 60
    assert [ask(app, "/query", b"{}", token)[0] for token in ("other", "own", "wrong", "")] == [
        200,
        200,
        401,
        401,
    ]


def test_a_client_asks_the_index_that_is_served_and_nothing_else(tmp_path: Path) -> None:
    """It names no other index, model or file, and does not get to what imgsearch's own commands use."""
    clients = written(tmp_path / "c.toml", table("alice", "secret"))
    app = make_app(Handlers(), SOCKET, "own", operations=Operations(clients=clients))  # type: ignore[arg-type]
    for field in ("index", "model", "device", "dtype"):
        status, answer, _ = ask(app, "/query", json.dumps({"text": "a", field: "/other"}).encode(), "secret")
        assert (status, answer["error"]["message"]) == (
            400,
            f"{field}: only the server's owner may choose it",
        )
    status, answer, _ = ask(app, "/similar", b'{"image": "/etc/secret.png"}', "secret")
    assert (status, answer["error"]["message"].startswith("the image is not indexed")) == (400, True)
    for path in ("/load", "/embed", "/rerank", "/web"):
        assert ask(app, path, b"{}", "secret", **{protocol.VERSION_HEADER: protocol.version()})[0] == 403
    assert ask(app, "/query", b'{"text": "a", "index": "/other"}', "own")[0] == 200


def test_the_balancers_host_is_taken_only_if_it_was_named(tmp_path: Path) -> None:
    """A request for another host is refused, for the one that was named it is answered, but not without a token."""
    app = make_app(Handlers(), SOCKET, "own", operations=Operations(hosts=("photos.example",)))  # type: ignore[arg-type]
    answers = [
        ask(app, "/status", token=token, host=host)[0]
        for host, token in (("photos.example", "own"), ("other.example", "own"), ("photos.example", ""))
    ]
    assert answers == [200, 403, 401]


def test_ready_says_why_not() -> None:
    """No token is needed; a server is ready when its model is loaded, also later, and no longer once it stops."""
    handlers, readiness = Handlers("there is no index"), Readiness(warm=True)
    app = make_app(handlers, SOCKET, None, warm=True, readiness=readiness)  # type: ignore[arg-type]

    def ready() -> tuple[int, str]:
        status, answer, _ = ask(app, "/ready", host="10.0.0.7")
        return status, answer["reason"]

    assert ready() == (503, "loading the model")
    readiness.warmed(handlers.warm_up())
    assert ready() == (503, "there is no index")
    handlers.model = True
    assert ready() == (200, "")
    readiness.drain()
    assert ready() == (503, "stopping")
    assert ask(app, "/health")[:2] == (200, {"alive": True, "version": protocol.version(), "api": 1})
    assert ask(make_app(Handlers(), SOCKET, None), "/ready")[0] == 200  # type: ignore[arg-type]


def test_metrics_count_what_was_answered_and_what_was_refused(tmp_path: Path) -> None:
    """By address, status and client; addresses that do not exist are counted together."""
    clients = written(tmp_path / "c.toml", table("alice", "secret"))
    operations = Operations(clients=clients, metrics=True)
    app = make_app(Handlers(), SOCKET, "own", operations=operations)  # type: ignore[arg-type]
    for path, token in (
        ("/query", "secret"),
        ("/query", "secret"),
        ("/query", "no"),
        ("/x/1", "own"),
        ("/x/2", "own"),
    ):
        ask(app, path, b"{}", token)
    lines = ask(app, "/metrics", token="own")[1].splitlines()
    assert 'imgsearch_requests_total{client="alice",path="/query",status="200"} 2.0' in lines
    assert 'imgsearch_requests_total{client="",path="/query",status="401"} 1.0' in lines
    assert 'imgsearch_requests_total{client="owner",path="other",status="404"} 2.0' in lines
    assert 'imgsearch_request_seconds_count{path="/query"} 3.0' in lines
    assert "imgsearch_ready 1.0" in lines
    assert ask(make_app(Handlers(), SOCKET, "own"), "/metrics", token="own")[0] == 404  # type: ignore[arg-type]


@pytest.mark.parametrize("log_queries", [False, True])
def test_the_log_has_a_line_per_request_and_its_query_only_where_asked(
    tmp_path: Path, log_queries: bool
) -> None:
    """Each line is JSON; what was asked is in it with --log-queries alone."""
    path = tmp_path / "requests.jsonl"
    operations = Operations(log=str(path), log_queries=log_queries)
    app = make_app(Handlers(), SOCKET, "own", operations=operations)  # type: ignore[arg-type]
    ask(app, "/query", b'{"text": "my passport"}', "own")
    ask(app, "/query", b"not JSON", "own")
    ask(app, "/query/../secret", b"{}")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["client"], line["method"], line["path"], line["status"]) for line in lines] == [
        ("owner", "POST", "/query", 200),
        ("owner", "POST", "/query", 400),
        ("", "POST", "other", 401),
    ]
    assert ("passport" in path.read_text()) == log_queries
    assert [line.get("asked") for line in lines[:2]] == (
        [{"text": "my passport"}, None] if log_queries else [None] * 2
    )


def test_a_token_is_withdrawn_while_the_server_runs(tmp_path: Path) -> None:
    """The file is read again when it changes; one that can't be read is told once and changes nothing."""
    path, said = tmp_path / "c.toml", list[str]()
    clients = Clients(written(path, table("alice", "secret")), said.append)
    assert clients.find("secret") == Known("alice")
    written(path, table("bob", "another one"))
    assert (clients.find("secret"), clients.find("another one")) == (None, Known("bob"))
    written(path, "[bob")
    assert [clients.find("another one") for _ in range(2)] == [Known("bob")] * 2
    assert len(said) == 1
    assert said[0].endswith("; the clients stay as they were")


HASH = hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no client"),
        ("[a", "is not valid TOML"),
        ("a = 1", r"\[a\] takes per_minute and token_sha256, nothing else"),
        (f'[a]\ntoken = "x"\ntoken_sha256 = "{HASH}"', "nothing else"),
        ("[a]\nper_minute = 5", "token_sha256 of a must be the 64 hexadecimal digits"),
        (f'[a]\ntoken_sha256 = "{HASH}"\nper_minute = 0', "per_minute of a must be a whole number from 1 on"),
        (f'[a]\ntoken_sha256 = "{HASH}"\nper_minute = true', "per_minute of a must be a whole number"),
        (f'["a b"]\ntoken_sha256 = "{HASH}"', "can't be a client's name"),
        (f'[a]\ntoken_sha256 = "{HASH}"\n[b]\ntoken_sha256 = "{HASH}"', "a and b have the same token"),
    ],
)
def test_a_file_of_clients_that_is_wrong_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    """The line names the file and what is wrong in it."""
    with pytest.raises(UsageError, match=said) as refused:
        read_clients(written(tmp_path / "c.toml", text))
    assert "c.toml" in str(refused.value)
    assert "\n" not in str(refused.value)


@given(text=st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_file_of_clients_ends_in_anything_but_a_line(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is in the file, it is read, or refused by a UsageError."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    path.chmod(0o600)
    told = ""
    try:
        read_clients(str(path))
    except UsageError as error:
        told = str(error)
    assert "\n" not in told


def test_a_file_of_clients_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The line says how to close it."""
    path = written(tmp_path / "c.toml", table("a", "x"))
    os.chmod(path, 0o640)
    with pytest.raises(UsageError, match="others may read or change it; run: chmod 600"):
        read_clients(path)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Operations(log_queries=True), "log_queries needs log"),
        (lambda: Operations(drain_seconds=-1), "must be from 0 to 3600 seconds"),
        (lambda: Operations(drain_seconds=float("nan")), "must be from 0 to 3600 seconds"),
    ],
)
def test_options_that_make_no_sense_are_refused(make: Callable[[], Operations], line: str) -> None:
    """Before anything is started."""
    with pytest.raises(UsageError, match=line):
        make()


def test_a_draining_server_answers_until_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM makes it say that it is not ready; it ends after the time, or at once with a second signal."""
    clock = 100.0
    monkeypatch.setattr("imgsearch.tools.server.daemon.time.monotonic", lambda: clock)

    def begun() -> tuple[_Uvicorn, Readiness]:
        readiness = Readiness(warm=False)
        app = make_app(Handlers(), SOCKET, None, readiness=readiness)  # type: ignore[arg-type]
        server = _Uvicorn(app, readiness, 8.0, Silent())
        server.config.load()
        return server, readiness

    server, readiness = begun()
    server.stop(signal.SIGTERM)
    assert (readiness.reason, asyncio.run(server.on_tick(1))) == ("stopping", False)
    clock += 8
    assert asyncio.run(server.on_tick(1))
    for number in (signal.SIGTERM, signal.SIGINT):
        server, _ = begun()
        server.stop(signal.SIGTERM)
        server.stop(number)
        assert asyncio.run(server.on_tick(1))
