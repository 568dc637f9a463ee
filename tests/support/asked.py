"""Requests to the server's application without a process around it, over TCP, and the clients that may send them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

SOCKET = "/run/serve.sock"


def written(path: Path, text: str) -> str:
    """Write a file that its owner alone can read."""
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def table(name: str, token: str, more: str = "") -> str:
    """Return a client's table."""
    return f'[{name}]\ntoken_sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n{more}\n'


def ask(
    app: Any, path: str, body: bytes = b"", token: str = "", **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """Send a request over TCP, a GET without a body; return status, answer (JSON if it is) and headers."""
    sent: list[dict[str, Any]] = []
    given = {"host": "127.0.0.1:7788", **({"authorization": f"Bearer {token}"} if token else {}), **headers}
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if parts:
            return parts.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST" if body else "GET",
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "server": ("127.0.0.1", 7788),
    }
    asyncio.run(app(scope, receive, send))
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    data = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(data) if "json" in told["content-type"] else data.decode(), told
