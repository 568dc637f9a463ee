"""A client and a server that has too much to do, or that was stopped: who waits, and who gives up."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from imgsearch.client import connection
from imgsearch.client.connection import Address, NoServer, Server, ServerGone, ServerState, own_address
from imgsearch.errors import StorageError

STATE = asdict(ServerState(1, "0", 0.0, 0, None, None, None, None))


class FakeServer:
    """Answers /status, and everything else by ``answer``, a connection in a thread each; ``greetings`` counts."""

    def __init__(self, folder: Path, answer: Callable[[], tuple[int, bytes] | None]) -> None:
        self.address, self.answer, self.greetings = Address(str(folder)), answer, 0
        self.greets = True
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.address.socket)
        self._listening.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connected, _ = self._listening.accept()
            threading.Thread(target=self._talk, args=(connected,), daemon=True).start()

    def _talk(self, connected: socket.socket) -> None:
        with contextlib.suppress(OSError), connected, connected.makefile("rb") as lines:
            while request := lines.readline():
                length = 0
                while (header := lines.readline().strip().lower()) != b"":
                    name, _, value = header.partition(b":")
                    length = int(value) if name == b"content-length" else length
                if b"/status" in request and not self.greets:
                    threading.Event().wait()
                if b"/status" in request:
                    self.greetings += 1
                    found: tuple[int, bytes] | None = 200, json.dumps(STATE).encode()
                else:
                    found = self.answer()
                if found is None:  # it reads nothing more
                    threading.Event().wait()
                lines.read(length)
                status, body = found or (0, b"")
                connected.sendall(
                    b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
                )


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder with a short name that only this user may enter."""
    with tempfile.TemporaryDirectory(prefix="is-") as made:
        os.chmod(made, 0o700)
        yield Path(made)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_PAUSES", (0.001, 0.002))


def test_a_client_of_a_busy_server_waits_for_its_turn(folder: Path) -> None:
    """Over its limit a server is asked again until it answers, and the user is told once."""
    answers = iter([(503, b"{}"), (503, b"{}"), (503, b"{}"), (200, b'{"hits": []}')])
    fake, said = FakeServer(folder, lambda: next(answers)), []
    server = Server(fake.address, said.append)
    assert server.json("/query", {}) == {"hits": []}
    assert said == ["the server is busy: waiting"]


def test_a_server_that_stays_busy_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time for waiting the client does without the server."""
    monkeypatch.setattr(connection, "_BUSY_SECONDS", 0.0)
    server = Server(FakeServer(folder, lambda: (503, b"{}")).address)
    with pytest.raises(ServerGone, match="it is busy"):
        server.json("/query", {})


def test_a_slow_server_that_answers_greetings_is_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a pass takes, a server that lives is not given up."""
    monkeypatch.setattr(connection, "GREETING_SECONDS", 60.0)
    enough = threading.Event()

    def answer() -> tuple[int, bytes]:
        assert enough.wait(60)
        return 200, b'{"hits": []}'

    fake = FakeServer(folder, answer)
    server = Server(fake.address)
    server._http.sock.settimeout(0.01)  # type: ignore[union-attr]
    lives = server._lives

    def counted() -> bool:
        if fake.greetings > 3:
            enough.set()
        return lives()

    server._http.sock.lives = counted  # type: ignore[union-attr]
    assert server.json("/query", {}) == {"hits": []}
    assert fake.greetings > 3


@pytest.mark.parametrize("size", [2, 50_000_000], ids=["answering", "reading"])
def test_a_server_that_was_stopped_is_given_up(
    folder: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that neither answers nor reads, nor answers a greeting, holds its client only for a while."""
    fake = FakeServer(folder, lambda: None)
    server = Server(fake.address)
    fake.greets = False
    monkeypatch.setattr(connection, "GREETING_SECONDS", 0.1)
    server._http.sock.settimeout(0.1)  # type: ignore[union-attr]
    with pytest.raises(ServerGone, match="timed out"):
        server.message("/embed", bytes(size), 2)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("XDG_RUNTIME_DIR", "gone"), ("XDG_RUNTIME_DIR", "gone/deep"), ("IMGSEARCH_RUNTIME_DIR", "gone/run")],
)
def test_a_folder_for_sockets_that_is_not_there_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """Where a variable names a folder that does not exist, serve says which, and a client finds no server."""
    monkeypatch.delenv("IMGSEARCH_RUNTIME_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / value))
    with pytest.raises(StorageError, match=f"{variable} is .*gone.* set IMGSEARCH_RUNTIME_DIR"):
        own_address()
    with pytest.raises(NoServer):
        Server()
    assert list(tmp_path.iterdir()) == []


def test_outside_a_session_nobody_is_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the folder of a session, as in a container, a script that loads a model gets no warning."""
    for name in ("XDG_RUNTIME_DIR", "IMGSEARCH_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert own_address().folder
