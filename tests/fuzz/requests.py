"""Requests of strangers to the server: whatever arrives, an answer is JSON, and the next request is answered."""

from __future__ import annotations

import http.client
import json
import logging
import random
import socket
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from imgsearch.client import protocol
from imgsearch.tools.server import daemon
from imgsearch.tools.server.app import make_app
from imgsearch.tools.server.handlers import Handlers
from imgsearch.tools.server.resources import Resources
from support import fakes
from support.fakes import paint, run

_FIELDS = (
    *("text", "image", "n", "min_score", "within", "dim", "exact", "in", "index", "model", "device", "x"),
    *("more", "less", "literal", "sort", "seed", "offset", "after", "rating", "keyword"),
)
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        3,
        1e300,
        10**30,
        "",
        "red",
        "red + blue",
        "- red",
        "2:red - /etc/passwd",
        "red July 2023",
        "/etc/passwd",
        "\ud800",
        "a\0b",
    ),
    *([], ["/"], {}, [{"path": "/x"}], "x" * 9999),
)
_PATHS = (
    *(b"/status", b"/query", b"/similar", b"/list", b"/facets", b"/show", b"/embed", b"/load"),
    *(b"/", b"/query/", b"//", b"/%00", b"*"),
)
_METHODS = (b"GET", b"POST", b"POST", b"POST", b"PUT", b"HEAD", b"BREW")
_HEADERS = (
    b"imgsearch-version: " + protocol.version().encode(),
    b"imgsearch-inputs: 1",
    b"authorization: Bearer x",
    b"connection: upgrade\r\nupgrade: websocket",
    b"transfer-encoding: gzip",
    b"content-length: 5",
    b"x: " + b"x" * 70_000,
)
_ENOUGH = 60.0  # seconds for an answer; one that does not come is a failure


@cache
def _server() -> str:
    """Start a server of a painted gallery in a thread, once; return the path of its socket."""
    fakes.install(pytest.MonkeyPatch())
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())
    place = Path(tempfile.mkdtemp(prefix="is-fuzz-"))
    for name in ("red", "green", "blue"):
        paint(place / "gallery" / f"{name}.png", name)
    run(place / "index", place / "gallery")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path := str(place / "serve.sock"))
    listening.listen()
    resources = Resources(str(place / "index"), 60, lambda line: None)
    app = make_app(Handlers(resources), path, None)
    threading.Thread(target=daemon._Uvicorn(app).run, args=([listening],), daemon=True).start()
    return path


def case(random: random.Random, folder: Path) -> None:
    """Send one request, and then a right one."""
    sent = _request(random)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_ENOUGH)
        client.connect(_server())
        try:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            if answer := _answer(client, head=sent.startswith(b"HEAD")):
                json.loads(answer)
        except ConnectionError:
            pass  # it may hang up on what it does not read
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_ENOUGH)
        client.connect(_server())
        client.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert "pid" in json.loads(_answer(client))


def _answer(client: socket.socket, *, head: bool = False) -> bytes:
    """Return the body of an answer, b"" where the server has hung up without one."""
    answer = http.client.HTTPResponse(client, method="HEAD" if head else None)
    try:
        answer.begin()
    except http.client.BadStatusLine:
        return b""
    assert answer.headers["content-type"] in ("application/json", "application/octet-stream"), answer.status
    assert answer.status != 500, answer.read()
    return answer.read()


def _request(random: random.Random) -> bytes:
    """Draw a request: one that is nearly right, sometimes cut or with bytes changed."""
    data = {random.choice(_FIELDS): random.choice(_VALUES) for _ in range(random.randrange(4))}
    body = json.dumps(data).encode()
    if random.random() < 0.2:
        body = random.choice((b"[" * 100_000, b"NaN", random.randbytes(100), protocol.pack({"inputs": data})))
    lines = [random.choice(_METHODS) + b" " + random.choice(_PATHS) + b" HTTP/1.1", b"host: x"]
    lines += random.sample(_HEADERS, random.choice((0, 0, 1, 1, 2)))
    request = b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", b""]) + body
    if random.random() < 0.3:
        request = request[: random.randrange(len(request) + 1)]
    if random.random() < 0.3:
        changed = bytearray(request)
        for _ in range(random.randrange(1, 4)):
            if changed:
                changed[random.randrange(len(changed))] = random.randrange(256)
        request = bytes(changed)
    return request
