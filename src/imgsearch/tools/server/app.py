"""The server's requests over HTTP: how much may be asked, in which thread it is done, and errors as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from imgsearch.client import protocol
from imgsearch.errors import ImgsearchError, StoreError, UsageError, exhausted
from imgsearch.search import SearchKind
from imgsearch.search.examples import read_image
from imgsearch.text import Call
from imgsearch.tools.server.api import ADDRESSES
from imgsearch.tools.server.guard import OWNER, Guard, is_local
from imgsearch.tools.server.handlers import Handlers, may_name_images
from imgsearch.tools.server.operations import NO_OPERATIONS, Operations
from imgsearch.tools.server.operations.clients import Clients
from imgsearch.tools.server.operations.health import HEALTH, READY, Readiness
from imgsearch.tools.server.operations.metrics import METRICS, Metrics
from imgsearch.tools.server.operations.observer import Observer, open_log
from imgsearch.tools.server.requests import TooLong, json_response, read_body, read_json, run_in
from imgsearch.tools.web.app import PATHS, Page

_QUESTION_BYTES = 128 * 2**20  # one picture of 5 million pixels as patches
_BATCH_SLOTS = 2  # that are held in memory at a time: one is computed while the next one arrives
_IDLE_CHECK_SECONDS = 1.0
_AT_ONCE = 64  # requests of a kind; more are told to come again
_IMAGE_THREADS = 2  # that read and decode the images of questions
_CLIENT_PATHS = (*(address.path for address in ADDRESSES), METRICS)
"""Where others than the owner may ask: what is there for other programs, and only of the index that is served."""
_OWNERS_FIELDS = ("index", "model", "device", "dtype")
_IMAGE_SLOTS = 4  # such images in memory at a time


OpenPort = Callable[[int | None], Awaitable[int]]
"""Listens on a loopback port, the one that is asked for, unless the server does already; returns the port."""


async def _no_port(wanted: int | None) -> int:
    raise UsageError("this server opens no port")


def make_app(
    handlers: Handlers,
    socket_path: str,
    token: str | None,
    *,
    warm: bool = False,
    page: Page | None = None,
    open_port: OpenPort = _no_port,
    operations: Operations = NO_OPERATIONS,
    readiness: Readiness | None = None,
    questions: ThreadPoolExecutor | None = None,
    searches: ThreadPoolExecutor | None = None,
) -> Starlette:
    """Return the application that answers by ``handlers``; with ``warm`` the default index's model is loaded at once.

    ``page`` is the page in the browser, for which ``open_port`` opens the port if a link to it is asked for.
    ``readiness`` is told when the model is there. Raises UsageError or MissingExtra for ``operations`` that can't be.

    Questions and batches of pictures are done in one thread each, in the order in which they come: a question waits
    for other questions and never for a whole batch, and torch keeps no team of threads a request. The image of a
    question is read and decoded beside, in threads of its own: it may take long, and nobody else waits for it.
    ``questions`` is the thread of questions, if handlers have it already; ``searches`` are other ones in which whole
    searches are answered, if these mostly wait, as for a store.
    """
    readiness = readiness or Readiness(warm=warm)
    clients = Clients(operations.clients, handlers.say) if operations.clients else None
    strangers = handlers.for_clients() if clients else handlers
    metrics = Metrics(lambda: not not_ready(), handlers.has_model) if operations.metrics else None
    write = open_log(operations.log) if operations.log else None
    questions = questions or (page.questions if page else ThreadPoolExecutor(1, "questions"))
    searches = searches or questions
    batches = ThreadPoolExecutor(1, "batches")
    images = ThreadPoolExecutor(_IMAGE_THREADS, "images")
    batch_slots = asyncio.Semaphore(_BATCH_SLOTS)
    image_slots = asyncio.Semaphore(_IMAGE_SLOTS)

    def counted(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        at_once = 0

        async def count(request: Request) -> Response:
            nonlocal at_once
            if at_once >= _AT_ONCE:
                return _busy()
            handlers.requests += 1
            at_once += 1
            try:
                return await answer(request)
            finally:
                at_once -= 1

        return count

    def not_ready() -> str:
        """Return why no requests should be sent here, "" if they should: a model that came later is as good."""
        return "" if handlers.has_model() and not readiness.is_draining else readiness.reason

    async def health(request: Request) -> Response:
        return json_response({"alive": True})

    async def ready(request: Request) -> Response:
        reason = not_ready() or await asyncio.to_thread(handlers.trouble)
        return json_response({"ready": not reason, "reason": reason}, 503 if reason else 200)

    async def figures(request: Request) -> Response:
        assert metrics is not None
        return Response(metrics.text(), media_type=metrics.content_type)

    async def status(request: Request) -> Response:
        return json_response(handlers.status())

    async def load(request: Request) -> Response:
        _same_version(request)
        return json_response(await run_in(request, questions, handlers.load, await read_json(request)))

    async def embed(request: Request) -> Response:
        _same_version(request)
        if request.headers.get(protocol.INPUTS_HEADER) == "1":
            message = await read_body(request, _QUESTION_BYTES)
            answer = await run_in(request, questions, handlers.embed, message)
        else:
            async with batch_slots:
                message = await read_body(request, protocol.MAX_MESSAGE_BYTES)
                answer = await run_in(request, batches, handlers.embed, message)
        return Response(answer, media_type="application/octet-stream")

    async def rerank(request: Request) -> Response:
        _same_version(request)
        message = await read_body(request, _QUESTION_BYTES)
        answer = await run_in(request, questions, handlers.rerank, message)
        return Response(answer, media_type="application/octet-stream")

    async def web(request: Request) -> Response:
        """Give a link that opens the page once, to whoever can ask through the Unix socket."""
        _same_version(request)
        data = await read_json(request)
        if page is None or not isinstance(data, dict) or not is_local(request.scope, socket_path):
            raise UsageError("a link to the page is given over the Unix socket alone")
        wanted, index = data.get("port"), data.get("index")
        if not isinstance(wanted, int | None) or not isinstance(index, str | None):
            raise UsageError("port is a number, index a path")
        return json_response({"link": page.new_link(await open_port(wanted), index)})

    async def query(request: Request) -> Response:
        return await search(request, "query")

    async def similar(request: Request) -> Response:
        return await search(request, "similar")

    async def search(request: Request, kind: SearchKind) -> Response:
        data = await _read_asked(request)
        asked = handlers if _is_owner(request) else strangers
        answer = asked.query if kind == "query" else asked.similar
        if not may_name_images(data):
            return json_response(await run_in(request, searches, answer, data))
        files = await run_in(request, searches, asked.images_to_read, kind, data)
        if files and not _is_owner(request):
            raise UsageError("the image is not indexed; only the server's owner may name other files")
        if not files:
            return json_response(await run_in(request, searches, answer, data))
        async with image_slots:
            read = [await run_in(request, images, read_image, *file) for file in files]
            return json_response(await run_in(request, searches, answer, data, *read))

    async def from_catalogue(request: Request, answer: Callable[[Any], dict[str, Any]]) -> Response:
        return json_response(await run_in(request, searches, answer, await _read_asked(request)))

    async def list_images(request: Request) -> Response:
        return await from_catalogue(request, handlers.listed)

    async def facets(request: Request) -> Response:
        return await from_catalogue(request, handlers.counted)

    async def show(request: Request) -> Response:
        return await from_catalogue(request, handlers.shown)

    def warm_up() -> None:
        readiness.warmed(handlers.warm_up())

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async def release_idle() -> None:
            while True:
                await asyncio.sleep(_IDLE_CHECK_SECONDS)
                await asyncio.get_running_loop().run_in_executor(
                    questions, _run_logged, handlers.release_idle
                )
                if page:
                    page.close_idle()

        if warm:
            questions.submit(_run_logged, warm_up)
        idle_checks = asyncio.create_task(release_idle())
        yield
        idle_checks.cancel()
        if page:
            page.close()
        for pool in (questions, searches, batches, images):
            pool.shutdown(wait=False, cancel_futures=True)

    own_routes = [
        Route(HEALTH, health, methods=["GET"]),
        Route(READY, ready, methods=["GET"]),
        *([Route(METRICS, figures, methods=["GET"])] if metrics else []),
        Route("/status", status, methods=["GET"]),
        Route("/load", counted(load), methods=["POST"]),
        Route("/embed", counted(embed), methods=["POST"]),
        Route("/rerank", counted(rerank), methods=["POST"]),
        Route("/query", counted(query), methods=["POST"]),
        Route("/similar", counted(similar), methods=["POST"]),
        Route("/list", counted(list_images), methods=["POST"]),
        Route("/facets", counted(facets), methods=["POST"]),
        Route("/show", counted(show), methods=["POST"]),
        Route("/web", web, methods=["POST"]),
    ]
    guard = Middleware(
        Guard,
        socket_path=socket_path,
        token=token,
        open_paths=PATHS,
        clients=clients,
        client_paths=_CLIENT_PATHS,
        hosts=operations.hosts,
    )
    observer = Middleware(
        Observer,
        paths=[route.path for route in own_routes],
        metrics=metrics,
        write=write,
        log_queries=operations.log_queries,
    )
    app = Starlette(
        routes=[*own_routes, *(page.routes if page else ())],
        middleware=[observer, guard] if metrics or write else [guard],
        exception_handlers={
            _OtherVersion: _other_version,
            TooLong: _too_long,
            ImgsearchError: _bad_request,
            HTTPException: _not_found,
            ClientDisconnect: _disconnected,
            Exception: _bug,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # such an answer would not be JSON
    return app


def _is_owner(request: Request) -> bool:
    return bool(request.scope.get("state", {}).get("client") == OWNER)


async def _read_asked(request: Request) -> Any:
    """Read what is asked for; clients ask the index that is served, as it is served. Raises as ``read_json`` does."""
    data = await read_json(request)
    if isinstance(data, dict) and not _is_owner(request):
        for name in _OWNERS_FIELDS:
            if data.get(name) not in (None, "auto"):
                raise UsageError(f"{name}: only the server's owner may choose it")
    return data


class _OtherVersion(UsageError):
    """A client of another version: it has to do without this server."""


def _run_logged(work: Callable[[], None]) -> None:
    """Do what nobody waits for; a bug in it shows where the server was started, and the server goes on."""
    try:
        work()
    except Exception:
        traceback.print_exc(file=sys.stderr)


def _bad_request(request: Request, error: Exception) -> Response:
    """Answer with what the user can mend; or, of a store, who runs it: then asking again may help."""
    assert isinstance(error, ImgsearchError)
    return json_response(
        protocol.error_json(error, {"below": "in"}), 503 if isinstance(error, StoreError) else 400
    )


def _other_version(request: Request, error: Exception) -> Response:
    """Answer so that the client does without this server."""
    return json_response({"error": {"kind": "version", "message": str(error)}}, 409)


def _busy() -> Response:
    """Answer that there is too much to do; imgsearch's own commands wait and ask again."""
    error = {"kind": "busy", "message": "the server is busy; try again"}
    answer = json_response({"error": error}, 503)
    answer.headers["retry-after"] = "1"
    return answer


def _too_long(request: Request, error: Exception) -> Response:
    """Answer that the request is too long; its rest is not read."""
    assert isinstance(error, TooLong)
    answer = json_response(protocol.error_json(error), 413)
    answer.headers["connection"] = "close"
    return answer


def _not_found(request: Request, error: Exception) -> Response:
    """Answer that there is no such path, or not by this method."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    answer = json_response(protocol.error_json(UsageError(message)), error.status_code)
    answer.headers.update(error.headers or {})
    return answer


def _disconnected(request: Request, error: Exception) -> Response:
    """Answer nobody: the client has hung up."""
    return Response(status_code=499)


def _bug(request: Request, error: Exception) -> Response:
    """Answer with the bare fact; the traceback goes where the server was started. What has run out is told as that."""
    if spent := exhausted(error):
        return json_response(protocol.error_json(spent), 500)
    traceback.print_exception(error, file=sys.stderr)
    return json_response(
        {"error": {"kind": "bug", "message": "internal error: this is a bug in imgsearch"}}, 500
    )


def _same_version(request: Request) -> None:
    theirs = request.headers.get(protocol.VERSION_HEADER, "none")
    if theirs != protocol.version():
        raise _OtherVersion(
            f"the server is imgsearch {protocol.version()}, the client {theirs}: restart the server with '",
            Call("serve"),
            "'",
        )
