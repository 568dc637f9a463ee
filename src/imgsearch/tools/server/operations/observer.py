"""Sees every request over HTTP come and go: it counts them, and writes a line of JSON for each."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgsearch.errors import UsageError
from imgsearch.text import Option, error_line
from imgsearch.tools.server.operations.metrics import Metrics

_MOST_ASKED = 64 * 1024  # bytes of a request that a line may hold


class Observer:
    """Middleware outside of all others, so that what these refuse is seen too.

    Who asked is the ``client`` that ``guard.Guard`` has noted, "" for requests that it refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        paths: Collection[str],
        metrics: Metrics | None = None,
        write: Callable[[str], None] | None = None,
        log_queries: bool = False,
    ) -> None:
        """Count by ``metrics``, ``write`` lines; ``paths`` are told by name, all others together."""
        self._app, self._paths, self._metrics = app, frozenset(paths), metrics
        self._write, self._log_queries = write, log_queries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a request answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, sent, asked = time.monotonic(), 0, 0, bytearray()

        async def receive_noted() -> Message:
            message = await receive()
            if len(asked) <= _MOST_ASKED:
                asked.extend(message.get("body", b""))
            return message

        async def send_noted(message: Message) -> None:
            nonlocal status, sent
            status = message.get("status", status)
            sent += len(message.get("body", b""))
            await send(message)

        wants_asked = self._log_queries and self._write is not None
        scope.setdefault("state", {})
        if self._metrics:
            self._metrics.begin()
        try:
            await self._app(scope, receive_noted if wants_asked else receive, send_noted)
        finally:
            seconds = time.monotonic() - began
            path = scope["path"] if scope["path"] in self._paths else "other"
            client = str(scope["state"].get("client", ""))
            if self._metrics:
                self._metrics.end(path, status, client, seconds)
            if self._write:
                line = {
                    "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "client": client,
                    "method": scope["method"],
                    "path": path,
                    "status": status,
                    "ms": round(1000 * seconds, 1),
                    "bytes": sent,
                }
                if wants_asked and (told := _asked(bytes(asked))) is not None:
                    line["asked"] = told
                self._write(json.dumps(line))


def _asked(body: bytes) -> object:
    """Return a request as JSON has it; None for anything else, or more than a line may hold."""
    if not body or len(body) > _MOST_ASKED:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def open_log(path: str) -> Callable[[str], None]:
    """Return what appends a line to a file, or prints it to stdout for "-"; a file moved away is created again.

    Raises UsageError for a file that can't be written.
    """
    handler: logging.Handler
    try:
        handler = (
            logging.StreamHandler(sys.stdout)
            if path == "-"
            else logging.handlers.WatchedFileHandler(path, encoding="ascii")
        )
    except OSError as error:
        raise UsageError(Option("log", path), f": {error_line(error)}") from error
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.Logger(
        "imgsearch.requests", logging.INFO
    )  # no child of the root: nobody else's settings count
    logger.addHandler(handler)
    return logger.info
