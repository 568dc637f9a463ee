"""Starts real servers for the tests, and asks them as a stranger would: by a plain HTTP client."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgsearch.client.connection import Address

PATIENCE = 120.0
"""Seconds after which a server that does not do what it should is a failure."""


@dataclass
class Running:
    """A server in a process of its own. ``said`` is the file with what it says."""

    address: Address
    process: subprocess.Popen[bytes]
    said: Path

    def text(self) -> str:
        """Return everything that it has said."""
        return self.said.read_text()

    def wait_for(self, words: str) -> str:
        """Wait until it has said ``words``; return the line."""
        until(lambda: words in self.text() or self.process.poll() is not None)
        lines = [line for line in self.text().splitlines() if words in line]
        assert lines, self.text()
        return lines[0]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def ask(self, path: str, data: Any = None, **headers: str) -> tuple[int, Any]:
        """Send a request over the Unix socket; return the status and the JSON of the answer."""
        body = None if data is None else json.dumps(data).encode()
        return ask(self.address.socket, path, body, **headers)


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds; fail if it never does."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.02)


def ask(to: str | tuple[str, int], path: str, body: bytes | None, **headers: str) -> tuple[int, Any]:
    """Send one request to a Unix socket or a port; return the status and the JSON of the answer."""
    import http.client

    family = socket.AF_UNIX if isinstance(to, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connected:
        connected.settimeout(PATIENCE)
        connected.connect(to)
        client = http.client.HTTPConnection("localhost", None if isinstance(to, str) else to[1])
        client.sock = connected
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        client.request("GET" if body is None else "POST", path, body, named)
        answer = client.getresponse()
        return answer.status, json.loads(answer.read())


@contextmanager
def running(
    folder: Path,
    *options: object,
    ready: str = "listens on",
    program: Sequence[str] = ("-m", "imgsearch", "serve"),
) -> Iterator[Running]:
    """Run ``imgsearch serve`` with its socket in ``folder`` during the block, from when it has said ``ready``."""
    address, said = Address(str(folder)), folder.parent / f"{folder.name}.said"
    command = [sys.executable, *program, *map(str, options)]
    with open(said, "wb") as file:
        process = subprocess.Popen(
            command, env={**os.environ, "IMGSEARCH_RUNTIME_DIR": str(folder)}, stdout=file, stderr=file
        )
    found = Running(address, process, said)
    try:
        found.wait_for(ready)
        yield found
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
