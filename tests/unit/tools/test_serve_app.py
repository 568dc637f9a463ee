"""The server's application without a process around it: what waits for what, how much is read, and bugs."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette

from imgsearch.client import protocol
from imgsearch.errors import IndexDamaged
from imgsearch.tools.server import app as app_module
from imgsearch.tools.server import requests
from imgsearch.tools.server.api import API
from imgsearch.tools.server.app import make_app

SOCKET = "/run/serve.sock"


class Handlers:
    """Answers as it is told; ``entered`` is set when a batch is begun, which ends when ``leave`` is set."""

    def __init__(self) -> None:
        self.requests = 0
        self.asked: list[Any] = []
        self.entered, self.leave = threading.Event(), threading.Event()

    def embed(self, message: bytes) -> bytes:
        if message == b"question":
            return b"a vector"
        self.entered.set()
        assert self.leave.wait(60)
        return b"vectors"

    def query(self, data: Any, image: object = None) -> dict[str, Any]:
        self.asked.append(data)
        if data == "damage":
            raise IndexDamaged("the index is damaged")
        if data == "wait":
            self.entered.set()
            assert self.leave.wait(60)
            return {}
        return {"hits": [1 / data["divisor"]]} if image is None else {"hits": [image]}

    def images_to_read(self, kind: str, data: Any) -> list[tuple[str]]:
        return [(data["image"],)]

    def status(self) -> dict[str, Any]:
        return {"pid": 1}

    def release_idle(self) -> None:
        pass


class Client:
    """Asks the application as uvicorn does for a request over the Unix socket, or over TCP if ``tcp``."""

    def __init__(self, app: Starlette, *, tcp: bool = False) -> None:
        self._app, self._server = app, ("127.0.0.1", 7788) if tcp else (SOCKET, None)
        self.stops = self.hangs_up = False

    async def __call__(
        self, path: str, *parts: bytes, headers: dict[str, str] | None = None, method: str = "POST"
    ) -> tuple[int, bytes]:
        """Send a request whose body comes in parts; return status and body of the answer, without its versions."""
        self.read = 0
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if self.read == len(parts):
                if self.hangs_up:
                    return {"type": "http.disconnect"}
                await asyncio.Event().wait()
            part = parts[self.read]
            self.read += 1
            return {"type": "http.request", "body": part, "more_body": self.stops or self.read < len(parts)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [
                (name.encode(), value.encode())
                for name, value in {"host": "127.0.0.1:7788", **(headers or {})}.items()
            ],
            "server": self._server,
        }
        try:
            await self._app(scope, receive, send)  # type: ignore[arg-type]
        except ZeroDivisionError:
            pass  # starlette hands a bug on when it is answered
        self.headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], self._unversioned(
            b"".join(message.get("body", b"") for message in sent[1:])
        )

    def _unversioned(self, body: bytes) -> bytes:
        """Return an answer without the versions that each has, errors too."""
        if self.headers.get("content-type") != "application/json":
            return body
        data = json.loads(body)
        assert (data.pop("version"), data.pop("api")) == (protocol.version(), API)
        return json.dumps(data).encode()


@asynccontextmanager
async def started(app: Starlette) -> AsyncIterator[None]:
    """Run the application's lifespan around the block."""
    async with app.router.lifespan_context(app):
        yield


def test_a_question_is_answered_while_a_batch_is_computed() -> None:
    """Who asks a question during a long index run gets the answer before the batch in work is done."""

    async def work() -> None:
        handlers = Handlers()
        app = make_app(handlers, SOCKET, None)  # type: ignore[arg-type]
        async with started(app):
            headers = {protocol.VERSION_HEADER: protocol.version(), protocol.INPUTS_HEADER: "8"}
            batch = asyncio.create_task(Client(app)("/embed", b"x", headers=headers))
            await asyncio.to_thread(handlers.entered.wait, 60)
            assert await Client(app)("/query", b'{"divisor": 2}') == (200, b'{"hits": [0.5]}')
            one = {**headers, protocol.INPUTS_HEADER: "1"}
            assert await Client(app)("/embed", b"question", headers=one) == (200, b"a vector")
            assert not batch.done()
            handlers.leave.set()
            assert await batch == (200, b"vectors")

    asyncio.run(work())


def test_a_request_that_is_too_long_is_not_read_to_its_end() -> None:
    """Reading stops as soon as a request is longer than a question may be, whatever it says of its length."""

    async def work() -> None:
        app = make_app(Handlers(), SOCKET, None)  # type: ignore[arg-type]
        client = Client(app)
        status, body = await client("/query", *[b"x" * 2**19] * 10, headers={"content-length": "3"})
        assert (status, client.read) == (413, 3)
        assert "longer than" in json.loads(body)["error"]["message"]

    asyncio.run(work())


def test_a_question_is_answered_while_an_image_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that takes long, or for ever, holds up nobody but who asks with it."""
    decoding, decoded = threading.Event(), threading.Event()

    def read_image(path: str) -> str:
        decoding.set()
        assert decoded.wait(60)
        return f"pixels of {path}"

    monkeypatch.setattr(app_module, "read_image", read_image)

    async def work() -> None:
        app = make_app(Handlers(), SOCKET, None)  # type: ignore[arg-type]
        with_image = asyncio.create_task(Client(app)("/query", b'{"image": "/a.png"}'))
        await asyncio.to_thread(decoding.wait, 60)
        assert await Client(app)("/query", b'{"divisor": 2}') == (200, b'{"hits": [0.5]}')
        assert not with_image.done()
        decoded.set()
        assert await with_image == (200, b'{"hits": ["pixels of /a.png"]}')

    asyncio.run(work())


def test_what_nobody_waits_for_is_not_begun() -> None:
    """A question whose client has hung up while it waited costs the others no time."""

    async def work() -> None:
        handlers = Handlers()
        app = make_app(handlers, SOCKET, None)  # type: ignore[arg-type]
        first = asyncio.create_task(Client(app)("/query", b'"wait"'))
        await asyncio.to_thread(handlers.entered.wait, 60)
        gone = Client(app)
        gone.hangs_up = True
        assert (await gone("/query", b'{"divisor": 3}'))[0] == 499
        handlers.leave.set()
        assert (await first)[0] == 200
        assert await Client(app)("/query", b'{"divisor": 1}') == (200, b'{"hits": [1.0]}')
        assert handlers.asked == ["wait", {"divisor": 1}]

    asyncio.run(work())


def test_over_the_limit_the_answer_is_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests beyond the limit get 503 as JSON, what the server is doing is told anyway, and places come free."""
    monkeypatch.setattr(app_module, "_AT_ONCE", 1)

    async def work() -> None:
        handlers = Handlers()
        app = make_app(handlers, SOCKET, None)  # type: ignore[arg-type]
        first = asyncio.create_task(Client(app)("/query", b'"wait"'))
        await asyncio.to_thread(handlers.entered.wait, 60)
        second = Client(app)
        status, body = await second("/query", b'{"divisor": 1}')
        assert (status, json.loads(body)["error"]["kind"]) == (503, "busy")
        assert second.headers["retry-after"] == "1"
        assert await Client(app)("/status", method="GET") == (200, b'{"pid": 1}')
        handlers.leave.set()
        await first
        assert await Client(app)("/query", b'{"divisor": 1}') == (200, b'{"hits": [1.0]}')

    asyncio.run(work())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/nothing", 404),
        ("POST", "/query/", 404),
        ("POST", "/", 404),
        ("GET", "/query", 405),
        ("DELETE", "/status", 405),
    ],
)
def test_what_is_not_there_is_told_as_json(method: str, path: str, status: int) -> None:
    """An address or a method that there is not gets an error as JSON, never a page or a redirection."""

    async def work() -> None:
        client = Client(make_app(Handlers(), SOCKET, None))  # type: ignore[arg-type]
        found, body = await client(path, b"{}", method=method)
        assert (found, json.loads(body)["error"]["kind"]) == (status, "UsageError")
        assert client.headers["content-type"] == "application/json"
        assert ("allow" in client.headers) == (status == 405)

    asyncio.run(work())


def test_names_that_are_no_utf_8_arrive() -> None:
    """Lone bytes in a file's name come as the escapes that the command line's JSON has for them."""

    async def work() -> None:
        handlers = Handlers()
        handlers.query = lambda data: {"hits": [data["text"]]}  # type: ignore[method-assign]
        app = make_app(handlers, SOCKET, None)  # type: ignore[arg-type]
        status, body = await Client(app)("/query", json.dumps({"text": "a\udcff.png"}).encode())
        assert (status, json.loads(body)) == (200, {"hits": ["a\udcff.png"]})

    asyncio.run(work())


def test_a_request_whose_rest_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that stops while it sends holds nobody up for longer than the time for a piece."""
    monkeypatch.setattr(requests, "_PART_SECONDS", 0.05)

    async def work() -> None:
        app = make_app(Handlers(), SOCKET, None)  # type: ignore[arg-type]
        client = Client(app)
        client.stops = True
        status, body = await client("/query", b'{"divisor"')
        assert (status, json.loads(body)["error"]["message"]) == (
            400,
            "the request is incomplete: the rest did not arrive",
        )

    asyncio.run(work())


def test_a_bug_is_an_answer_and_a_traceback_where_the_server_was_started(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A bug of the server costs its client one answer and shows its traceback on the server's stderr."""

    async def work() -> None:
        app = make_app(Handlers(), SOCKET, None)  # type: ignore[arg-type]
        status, body = await Client(app)("/query", b'{"divisor": 0}')
        assert status == 500
        assert protocol.error_from(json.loads(body)) is None
        assert await Client(app)("/query", b'{"divisor": 1}') == (200, b'{"hits": [1.0]}')

    asyncio.run(work())
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_what_a_user_can_mend_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    """An error of ours arrives with its class and line, and the server says nothing."""

    async def work() -> None:
        app = make_app(Handlers(), SOCKET, None)  # type: ignore[arg-type]
        status, body = await Client(app)("/query", b'"damage"')
        found = protocol.error_from(json.loads(body))
        assert (status, type(found), str(found)) == (400, IndexDamaged, "the index is damaged")

    asyncio.run(work())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("token", "shown", "status"),
    [
        ("secret", "Bearer secret", 200),
        ("secret", "bearer secret", 200),
        ("secret", "BEARER  secret", 200),
        ("secret", "Basic secret", 401),
        ("secret", "Bearersecret", 401),
        ("secret", "Bearer secre", 401),
        ("secret", "secret", 401),
        ("secret", "", 401),
        ("sëcret", "Bearer ?", 401),
        (None, "Bearer None", 401),
        (None, "Bearer ", 401),
    ],
)
def test_over_tcp_only_the_token_opens(token: str | None, shown: str, status: int) -> None:
    """A request over TCP passes with exactly the token; without a token of the server's none passes."""

    async def work() -> None:
        app = make_app(Handlers(), SOCKET, token)  # type: ignore[arg-type]
        found = await Client(app, tcp=True)("/query", b'{"divisor": 1}', headers={"authorization": shown})
        assert found[0] == status

    asyncio.run(work())
