"""The server's requests over HTTP: who may ask, how much, in which thread it is done, and errors as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from imgsearch.errors import ImgsearchError, UsageError
from imgsearch.remote import wire
from imgsearch.serve.desk import Desk

_SMALL = 2**20  # bytes: a question, not a batch of pictures
_LARGE_AT_ONCE = 2  # batches that are held in memory: one is computed while the next one arrives
_REST_SECONDS = 1.0


class OnlyOwner:
    """Lets requests through the Unix socket pass, which nobody else can open, and others only with the token."""

    def __init__(self, app: ASGIApp, socket_path: str, token: str | None) -> None:
        """Take the path of the Unix socket, and the token of the TCP port if there is one."""
        self._app, self._socket_path, self._token = app, socket_path, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or answer 401."""
        if scope["type"] != "http" or self._may(scope):
            await self._app(scope, receive, send)
            return
        message = "show the token that the server wrote to its file: Authorization: Bearer TOKEN"
        await JSONResponse({"error": {"kind": "UsageError", "message": message}}, 401)(scope, receive, send)

    def _may(self, scope: Scope) -> bool:
        # uvicorn gives a Unix socket's path and no port.
        if scope.get("server") == (self._socket_path, None):
            return True
        shown = dict(scope["headers"]).get(b"authorization", b"")
        return self._token is not None and secrets.compare_digest(shown, f"Bearer {self._token}".encode())


def make_app(desk: Desk, socket_path: str, token: str | None, *, warm: bool = False) -> Starlette:
    """Return the application that answers by ``desk``; with ``warm`` the default index's model is loaded at once.

    Questions and batches of pictures are done in one thread each, in the order in which they come: a question waits
    for other questions and never for a whole batch, and torch keeps no team of threads a request.
    """
    questions = ThreadPoolExecutor(1, "questions")
    batches = ThreadPoolExecutor(1, "batches")
    large = asyncio.Semaphore(_LARGE_AT_ONCE)

    async def done(pool: ThreadPoolExecutor, work: Callable[..., Any], *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *given)

    def counted(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def count(request: Request) -> Response:
            desk.requests += 1
            return await answer(request)

        return count

    async def status(request: Request) -> Response:
        return JSONResponse(desk.status())

    async def load(request: Request) -> Response:
        _same_version(request)
        return JSONResponse(await done(questions, desk.load, await _json(request)))

    async def embed(request: Request) -> Response:
        _same_version(request)
        if int(request.headers.get("content-length", wire.MOST_BYTES)) <= _SMALL:
            answer = await done(questions, desk.embed, await _body(request, _SMALL))
        else:
            async with large:
                answer = await done(batches, desk.embed, await _body(request, wire.MOST_BYTES))
        return Response(answer, media_type="application/octet-stream")

    async def query(request: Request) -> Response:
        return JSONResponse(await done(questions, desk.query, await _json(request)))

    async def similar(request: Request) -> Response:
        return JSONResponse(await done(questions, desk.similar, await _json(request)))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async def rest() -> None:
            while True:
                await asyncio.sleep(_REST_SECONDS)
                await done(questions, desk.rest)

        if warm:
            questions.submit(desk.warm)
        resting = asyncio.create_task(rest())
        yield
        resting.cancel()
        for pool in (questions, batches):
            pool.shutdown(wait=False, cancel_futures=True)

    return Starlette(
        routes=[
            Route("/status", status, methods=["GET"]),
            Route("/load", counted(load), methods=["POST"]),
            Route("/embed", counted(embed), methods=["POST"]),
            Route("/query", counted(query), methods=["POST"]),
            Route("/similar", counted(similar), methods=["POST"]),
        ],
        middleware=[Middleware(OnlyOwner, socket_path=socket_path, token=token)],
        exception_handlers={
            ImgsearchError: _refused,
            ClientDisconnect: _gone,
            Exception: _bug,
        },
        lifespan=lifespan,
    )


def _refused(request: Request, error: Exception) -> Response:
    """Answer with what the user can mend."""
    assert isinstance(error, ImgsearchError)
    return JSONResponse(wire.error_json(error), 400)


def _gone(request: Request, error: Exception) -> Response:
    """Answer nobody: the client has hung up."""
    return Response(status_code=499)


def _bug(request: Request, error: Exception) -> Response:
    """Answer with the bare fact; the traceback goes where the server was started."""
    traceback.print_exception(error, file=sys.stderr)
    return JSONResponse({"error": {"kind": "bug", "message": "the server met a bug of its own"}}, 500)


def _same_version(request: Request) -> None:
    theirs = request.headers.get(wire.VERSION_HEADER, "none")
    if theirs != wire.version():
        raise UsageError(
            f"the server is imgsearch {wire.version()}, the client {theirs}: restart the server with 'imgsearch serve'"
        )


async def _json(request: Request) -> Any:
    try:
        return json.loads(await _body(request, _SMALL))
    except ValueError as error:
        raise UsageError(f"the request is no JSON ({error})") from error


async def _body(request: Request, most: int) -> bytes:
    """Read a request's body; UsageError as soon as it is longer than ``most`` bytes."""
    parts, length = [], 0
    async for part in request.stream():
        parts.append(part)
        length += len(part)
        if length > most:
            raise UsageError(f"the request is longer than {most:,} bytes")
    return b"".join(parts)
