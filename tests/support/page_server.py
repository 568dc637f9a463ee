"""The page's real server, in a thread of the test's process, over an index that the fake model has made."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from imgsearch.client.connection import Address, find_server
from imgsearch.startup import StopSignals
from imgsearch.tools.server import resources
from imgsearch.tools.server.daemon import PageOptions, ServeOptions, serve
from support import fakes
from support.fakes import FakeModel, Notes
from support.serving import PATIENCE, until

NAVIGATION = {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
"""What a browser says of an address that somebody has typed."""


@dataclass
class Answered:
    """An answer: its status, its headers by their names in lower case, its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Browser:
    """What a browser has after it has opened a link: the page's address and a cookie that goes there alone."""

    server: PageServer
    path: str
    cookie: str

    def headers(self, **others: str) -> dict[str, str]:
        """Return the headers that a browser sends with a request of the page."""
        own = {
            "cookie": f"imgsearch={self.cookie}",
            "origin": self.server.origin,
            "sec-fetch-site": "same-origin",
        }
        return own | {name.replace("_", "-"): value for name, value in others.items()}

    def get(self, path: str = "", **headers: str) -> Answered:
        """Ask for something below the page's address."""
        sent = self.headers(**headers)
        del sent["origin"]
        return self.server.ask("GET", self.path + path, sent)

    def post(self, path: str, data: Any = None, body: bytes | None = None, **headers: str) -> Answered:
        """Send JSON, or bytes as they are."""
        kind = "application/json" if body is None else "application/octet-stream"
        sent = self.headers(**{"content_type": kind} | headers)
        return self.server.ask(
            "POST", self.path + path, sent, json.dumps(data).encode() if body is None else body
        )


@dataclass
class PageServer:
    """A server that runs. ``link`` is the one-time link that it has opened, "" without a page."""

    address: Address
    link: str
    index: str
    notes: Notes
    model: FakeModel

    @property
    def port(self) -> int:
        """The page's port."""
        found = re.match(r"http://127\.0\.0\.1:(\d+)/", self.link)
        assert found
        return int(found[1])

    @property
    def origin(self) -> str:
        """The page's origin."""
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Answered:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answered(answer.status, named, answer.read())
        finally:
            connection.close()

    def new_link(self, **asked: Any) -> str:
        """Ask for one more link, as ``imgsearch web`` does while a server runs."""
        from imgsearch.client.connection import Server

        server = Server(self.address)
        try:
            return str(server.json("/web", asked)["link"])
        finally:
            server.close()

    def opened(self, link: str | None = None) -> Browser:
        """Open a link, a new one if none is given."""
        path = (link or self.new_link()).removeprefix(self.origin)
        answer = self.ask(
            "GET",
            path,
            {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
        )
        assert answer.status == 303, answer
        found = re.match(r"imgsearch=([^;]+);", answer.headers["set-cookie"])
        assert found
        return Browser(self, answer.headers["location"], found[1])

    def connected(self) -> socket.socket:
        """Return a bare connection to the port."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)


@contextmanager
def page_server(index: str, model: FakeModel, **options: Any) -> Iterator[PageServer]:
    """Run the server of ``imgsearch web`` for an index during the block, with the fake model in memory.

    ``options`` are further ones of ServeOptions; with ``page=None`` it is that of ``imgsearch serve``.
    """
    signals, notes, links = StopSignals(), Notes(), list[str]()
    ready = threading.Event()

    class Loaded:
        def __init__(self, spec: Any, notify: object) -> None:
            model.loads += 1

        def encoder(self, spec: Any) -> fakes.FakeEncoder:
            return model.encoder(spec.dim)

    def opened(link: str) -> None:
        links.append(link)
        ready.set()

    with tempfile.TemporaryDirectory(prefix="is-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(resources, "LoadedModel", Loaded)
        os.chmod(folder, 0o700)
        address = Address(folder)
        chosen = ServeOptions(**{"index": index, "page": PageOptions(opened, 0), **options})
        thread = threading.Thread(target=serve, args=(chosen, notes, address, signals), daemon=True)
        thread.start()
        try:
            if chosen.page:
                assert ready.wait(PATIENCE), notes.text
            else:
                until(lambda: find_server(address))
            yield PageServer(address, links[0] if links else "", index, notes, model)
        finally:
            signals._take(signal.SIGINT, None)
            thread.join(PATIENCE)
        assert not thread.is_alive()


def indexed_gallery(folder: Path) -> str:
    """Paint some pictures and index them; return the index's folder. Needs the fake model."""
    for name in ("red", "green", "blue", "white", "yellow", "black"):
        fakes.paint(folder / "pictures" / f"{name}.png", name, size=(96, 64))
    index = str(folder / "index")
    fakes.run(index, folder / "pictures")
    return index
