"""The page's requests over HTTP: one-time links, sessions, and in which threads what they ask for is done."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html import escape
from typing import Any
from weakref import WeakKeyDictionary

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from imgsearch import deep
from imgsearch.errors import ImgsearchError, UsageError
from imgsearch.index.parts import searched
from imgsearch.search.thumbnails import thumbnail
from imgsearch.text import Message, Option
from imgsearch.tools import desktop
from imgsearch.tools.server.guard import is_navigation, refusal
from imgsearch.tools.server.peers import peer_is_other
from imgsearch.tools.server.requests import TooLong, json_response, read_body, read_json, run_in
from imgsearch.tools.server.resources import Resources
from imgsearch.tools.server.saved import NO_SAVED, SavedQueries
from imgsearch.tools.web import export, originals
from imgsearch.tools.web.answers import Answers, Catalogues, Embedded, NeedsModel
from imgsearch.tools.web.asked import MOST_KEYS, Asked
from imgsearch.tools.web.groups import DuplicateGroups
from imgsearch.tools.web.keys import NoImage
from imgsearch.tools.web.originals import Changed
from imgsearch.tools.web.overviews import Overviews
from imgsearch.tools.web.sessions import Session, Sessions
from imgsearch.tools.web.static_files import StaticFiles
from imgsearch.tools.web.uploads import MOST_BYTES, Crop, Uploads, decode
from imgsearch.types import Record, Vectors

PATHS = ("/open/", "/p/")
"""How the paths of the page begin; whatever answers there asks for a link or a session."""
COOKIE = "imgsearch"
_MOST_COOKIES = 16
_THREADS = {
    "searches": 1,
    "lists": 1,
    "single": 2,
    "thumbs": 3,
    "originals": 2,
    "uploads": 2,
    "duplicates": 1,
    "overview": 2,
    "exports": 2,
    "desktop": 1,
}
_MODELS = 2  # that have to embed a query: of the index and of its part
_UPLOADS_AT_ONCE = 3  # each up to 64 MB in memory
_ORIGINALS_AT_ONCE = 6  # each up to 64 MB in memory
_PIECE = 1 << 18  # bytes that are handed on at a time
_EXPORTS_AT_ONCE = 2
_UPLOAD_SECONDS = 120.0
_MOST_TYPED = 64  # vectors of a session's latest words
_ENDINGS = {"paths": "txt", "csv": "csv", "zip": "zip"}
_IMMUTABLE = "private, max-age=31536000, immutable"
_SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; frame-ancestors 'none'; sandbox"
"""An image alone in a window of the browser: nothing in it is carried out, whatever it may turn out to be."""
_AGAIN = "run “imgsearch web” again and open the link that it prints"
_ENDED = f"this page's session has ended; {_AGAIN}"
_USED = f"this link was used already, or is too old; {_AGAIN}"

Answer = Callable[[Request, "Visit"], Awaitable[Response]]


class Overtaken(ImgsearchError):
    """A query that was typed is not answered, since more has been typed meanwhile."""


@dataclass(slots=True)
class Memory:
    """What is in memory of a session: its uploads, and the vectors of what was typed last.

    So the next part of an answer, and words that are typed again, wait for no model. Nothing of it is written down.
    """

    uploads: Uploads = field(default_factory=Uploads)
    embedded: OrderedDict[tuple[str, int, str | None, str | None], Vectors] = field(
        default_factory=OrderedDict
    )

    def add(self, embedded: Embedded) -> None:
        """Keep some vectors; the oldest of too many go."""
        self.embedded.update(embedded)
        while len(self.embedded) > _MOST_TYPED:
            self.embedded.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Visit:
    """Who asks: the session, the answers for its index, and what is in memory of it."""

    session: Session
    answers: Answers
    memory: Memory


class Page:
    """The page: its sessions and threads. To be used on the event loop, in which ``routes`` answer."""

    def __init__(
        self,
        resources: Resources,
        queries: SavedQueries = NO_SAVED,
        idle_seconds: float = 900.0,
        spelled: Callable[[str], str] = str,
    ) -> None:
        """Take what the server's other requests use, too, and the saved queries.

        ``spelled`` puts the calls that an error names into the words of whoever started the server.
        """
        self.sessions = Sessions()
        self.questions = ThreadPoolExecutor(1, "questions")
        """The one thread in which the server's model embeds queries."""
        self._resources, self._queries, self._spelled = resources, queries, spelled
        self._catalogues = Catalogues(idle_seconds)
        self._memories: WeakKeyDictionary[Session, Memory] = WeakKeyDictionary()
        self._files = StaticFiles()
        self._pools = {name: ThreadPoolExecutor(count, f"page {name}") for name, count in _THREADS.items()}
        self._upload_slots = asyncio.Semaphore(_UPLOADS_AT_ONCE)
        self._original_slots = asyncio.Semaphore(_ORIGINALS_AT_ONCE)
        self._export_slots = asyncio.Semaphore(_EXPORTS_AT_ONCE)
        self._groups = DuplicateGroups()
        self._overviews = Overviews(resources, self.questions)

    def close(self) -> None:
        """Begin nothing more."""
        self._overviews.close()
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def close_idle(self) -> None:
        """Close the indexes that nobody has asked for long enough."""
        self._catalogues.close_idle()

    def new_link(self, port: int, index: str | None) -> str:
        """Return a link that opens the page once, for the index in the folder ``index`` (None: the server's)."""
        # Where there are documents alone, their part is the index.
        ticket = self.sessions.new_ticket(searched(index or self._resources.default_index)[0])
        return f"http://127.0.0.1:{port}/open/{ticket}"

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """The page's paths."""
        asks: dict[str, Answer] = {
            "search": self._search,
            "list": self._list,
            "overview": self._in("overview", lambda visit, data: visit.answers.overview(self._overviews)),
            "facets": self._in("lists", lambda visit, data: visit.answers.facets(data)),
            "months": self._in("lists", lambda visit, data: visit.answers.months(data)),
            "duplicates": self._in("duplicates", self._duplicates),
            "upload": self._upload,
            "export": self._export,
            "reveal": self._in("desktop", _reveal),
            "open": self._in("desktop", _open),
        }
        tells: dict[str, Answer] = {
            "": self._index,
            "static/{name:path}": self._static,
            "api/image/{key}": self._image,
            "api/status": self._status,
            "api/saved": self._saved,
            "thumb/{key}": self._thumb,
            "original/{key}": self._original,
        }
        return [
            Route("/open/{ticket}", self._open, methods=["GET"]),
            *(
                Route(f"/p/{{view}}/{path}", self._guarded(answer), methods=["GET"])
                for path, answer in tells.items()
            ),
            *(
                Route(f"/p/{{view}}/api/{name}", self._guarded(answer), methods=["POST"])
                for name, answer in asks.items()
            ),
            Route("/p/{rest:path}", self._nothing),
        ]

    # ---- who asks --------------------------------------------------------------------------------------------------

    async def _open(self, request: Request) -> Response:
        """Turn a one-time link into a session, whose cookie goes to the page's folder alone.

        Cookies are not kept apart by port: without that path, a browser would send this one to whatever another user of
        the machine serves on another port of 127.0.0.1. The folder's name is random, so nobody else can have it opened.
        """
        if request.method != "GET":  # a HEAD, by which programs look at links, would use it up
            return Response(status_code=405, headers={"allow": "GET"})
        if "prefetch" in request.headers.get("sec-purpose", "") + request.headers.get("purpose", ""):
            return Response(status_code=503)
        if "sec-fetch-dest" in request.headers and not is_navigation(request):
            return refusal(403, "forbidden", "this link is to be opened in a window of its own")
        client = request.client
        if client and peer_is_other(
            request.scope["server"], (client.host, client.port), frozenset({os.geteuid(), 0})
        ):
            # The link stands in the arguments of the browser that is started with it, where other users see it.
            return refusal(403, "forbidden", "this link is for another user of this computer")
        redeemed = self.sessions.redeem(request.path_params["ticket"])
        if redeemed is None:
            return _words_alone(_USED, 401)
        session, secret = redeemed
        place = f"/p/{session.view}/"
        answer: Response = RedirectResponse(place, 303)
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            # Of a link on another page, a redirect is that page's to a browser, and a strict cookie would not be sent.
            line = f'<meta http-equiv="refresh" content="0; url={escape(place)}">'
            answer = HTMLResponse(f"<!doctype html><title>imgsearch</title>{line}")
        answer.set_cookie(COOKIE, secret, path=place, httponly=True, samesite="strict")
        return answer

    def _guarded(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers a request of a session, and tells any other one that there is none."""

        async def guarded(request: Request) -> Response:
            session = self.sessions.find(request.path_params["view"], _secrets(request))
            if session is None:
                return (
                    _words_alone(_ENDED, 401) if is_navigation(request) else refusal(401, "session", _ENDED)
                )
            # The guard has looked at the origin, if there is one; a browser sends one with every POST.
            if request.method == "POST" and "origin" not in request.headers:
                return refusal(403, "forbidden", "the request has no Origin header")
            visit = Visit(session, self._answers(session), self._memories.setdefault(session, Memory()))
            try:
                if request.method == "GET":
                    await read_body(
                        request, 0
                    )  # so that what comes next is word that the browser has hung up
                return await answer(request, visit)
            except TooLong:
                raise
            except Overtaken as error:
                return _error(409, "stale", str(error))
            except Changed as error:
                return _error(410, type(error).__name__, str(error))
            except NoImage as error:
                return _error(404, type(error).__name__, str(error))
            except ImgsearchError as error:
                return _error(400, type(error).__name__, self._line(error))

        return guarded

    def _answers(self, session: Session) -> Answers:
        return Answers(session.index, self._resources, self._catalogues, self._queries)

    def _line(self, error: ImgsearchError) -> str:
        """Return an error as a person at the page reads it: options by their names, calls as they are typed."""
        said = ""
        for part in error.as_message.parts:
            if isinstance(part, Option):
                said += part.name.replace("_", " ") + ("" if part.value is None else f" {part.value}")
            else:
                said += self._spelled(Message(part))
        return said

    async def _nothing(self, request: Request) -> Response:
        return _error(404, "UsageError", "there is no such page")

    # ---- the page itself -------------------------------------------------------------------------------------------

    async def _index(self, request: Request, visit: Visit) -> Response:
        return self._files.answer(request, "index.html") or await self._nothing(request)

    async def _static(self, request: Request, visit: Visit) -> Response:
        name = request.path_params["name"]
        found = None if name == "index.html" else self._files.answer(request, name)
        return found or await self._nothing(request)

    # ---- what it asks for ------------------------------------------------------------------------------------------

    def _in(self, pool: str, work: Callable[[Visit, Any], Any]) -> Answer:
        """Return what answers with ``work`` on the JSON of a request, done in the threads of a pool."""

        async def answer(request: Request, visit: Visit) -> Response:
            data = await _read_json(request)
            return json_response(await run_in(request, self._pools[pool], work, visit, data))

        return answer

    async def _list(self, request: Request, visit: Visit) -> Response:
        """List images; those of a cluster beside the others, since the overview may have to be found first."""
        data = await _read_json(request)
        pool = "overview" if isinstance(data, dict) and data.get("cluster") is not None else "lists"
        return json_response(
            await run_in(request, self._pools[pool], visit.answers.listed, data, self._overviews)
        )

    async def _search(self, request: Request, visit: Visit) -> Response:
        """Answer a query: by what is remembered at once, else when the model has embedded its words."""
        data = await _read_json(request)
        typing = isinstance(data, dict) and bool(data.get("typing"))
        first = isinstance(data, dict) and not data.get("offset")
        if first:
            visit.session.typed += 1
        number = visit.session.typed
        answers, memory, pool = visit.answers, visit.memory, self._pools["searches"]
        uploads = memory.uploads

        def embed(needed: NeedsModel) -> Embedded:
            if typing and visit.session.typed != number:
                raise Overtaken("more has been typed since")
            return answers.embed(needed.folder, needed.inputs, remember=not typing)

        for _ in range(_MODELS):
            try:
                return json_response(
                    await run_in(request, pool, answers.search, data, uploads, dict(memory.embedded))
                )
            except NeedsModel as needed:
                memory.add(await run_in(request, self.questions, embed, needed))
        return json_response(
            await run_in(request, pool, answers.search, data, uploads, dict(memory.embedded))
        )

    async def _upload(self, request: Request, visit: Visit) -> Response:
        """Embed an image that was dropped on the page; nothing but its vector is kept."""
        crop = Crop.of(request.query_params)
        answers = visit.answers
        async with self._upload_slots:
            data = await read_body(request, MOST_BYTES, _UPLOAD_SECONDS)
            budgets = await run_in(request, self._pools["single"], answers.budgets)
            found = await run_in(request, self._pools["uploads"], decode, data, crop, budgets)
            del data
            vector: Vectors | None = None
            if found.sha256 is not None:
                vector = await run_in(request, self._pools["single"], answers.stored, found.sha256)
            if vector is None:
                vector = await run_in(
                    request, self.questions, answers.embed_image, found.pixels, found.budget
                )
        token = visit.memory.uploads.keep(vector)
        return json_response({"upload": token, "width": found.width, "height": found.height})

    async def _image(self, request: Request, visit: Visit) -> Response:
        key = request.path_params["key"]
        return json_response(await run_in(request, self._pools["single"], visit.answers.image, key))

    async def _status(self, request: Request, visit: Visit) -> Response:
        return json_response(await run_in(request, self._pools["single"], visit.answers.status))

    async def _saved(self, request: Request, visit: Visit) -> Response:
        return json_response(await run_in(request, self._pools["single"], visit.answers.saved))

    def _duplicates(self, visit: Visit, data: Any) -> dict[str, Any]:
        return visit.answers.duplicates(data, self._groups)

    async def _export(self, request: Request, visit: Visit) -> Response:
        """Send a selection: its paths, a table, or the files themselves."""
        asked = Asked(await _read_json(request))
        kind, keys = asked.text("as"), asked.texts("keys", MOST_KEYS)
        if kind not in export.KINDS:
            raise UsageError(f"as: choose one of {', '.join(export.KINDS)}")
        headers = {"content-disposition": f'attachment; filename="imgsearch.{_ENDINGS[kind]}"'}
        answers, pool = visit.answers, self._pools["single"]
        if kind == "paths":
            data = export.paths(await run_in(request, pool, answers.records, keys))
        elif kind == "csv":
            data = export.table(await run_in(request, pool, answers.images, keys))
        else:
            records = await run_in(request, pool, answers.to_export, keys)
            return StreamingResponse(self._streamed(export.zipped(records)), 200, headers, export.KINDS[kind])
        return Response(data, 200, headers, export.KINDS[kind])

    async def _streamed(self, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Yield what threads make, a piece at a time: as fast as the browser takes it, and no more than that."""
        loop, pool = asyncio.get_running_loop(), self._pools["exports"]
        async with self._export_slots:
            while (piece := await loop.run_in_executor(pool, next, pieces, None)) is not None:
                yield piece

    # ---- images ----------------------------------------------------------------------------------------------------

    async def _thumb(self, request: Request, visit: Visit) -> Response:
        size = request.query_params.get("size", "s")
        if size not in ("s", "l"):
            return _error(400, "UsageError", "size: choose s or l")
        return _rendered(await run_in(request, self._pools["thumbs"], self._make_thumb, visit, request, size))

    def _make_thumb(self, visit: Visit, request: Request, size: str) -> bytes:
        return thumbnail(*visit.answers.located(request.path_params["key"]), size)

    async def _original(self, request: Request, visit: Visit) -> Response:
        """Send the file itself if a browser shows it, else the large picture that was rendered of it."""

        def read() -> tuple[bytes, str] | None:
            return originals.original(visit.answers.record(request.path_params["key"]))

        await self._original_slots.acquire()
        try:
            found = await run_in(request, self._pools["originals"], read)
        except BaseException:
            self._original_slots.release()
            raise
        if found is None:
            self._original_slots.release()
            return _rendered(
                await run_in(request, self._pools["thumbs"], self._make_thumb, visit, request, "l")
            )
        data, kind = found
        headers = {"content-security-policy": _SANDBOX, "cache-control": "private, no-cache"}
        return _Held(data, kind, headers, self._original_slots)


class _Held(StreamingResponse):
    """Bytes that are sent as fast as they are taken, and a slot that is free when they are no longer in memory."""

    def __init__(self, data: bytes, kind: str, headers: dict[str, str], slot: asyncio.Semaphore) -> None:
        self._slot = slot
        pieces = (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
        super().__init__(_each(pieces), 200, headers | {"content-length": str(len(data))}, kind)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._slot.release()


async def _each(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _reveal(visit: Visit, data: Any) -> dict[str, Any]:
    """Show an image's file in the file manager of the desktop that the server runs on."""
    desktop.reveal(_file_of(visit.answers.record(Asked(data).text("key"))))
    return {}


def _open(visit: Visit, data: Any) -> dict[str, Any]:
    """Open an image's file on that desktop, a document at its page and a video at its time where the viewer can."""
    record = visit.answers.record(Asked(data).text("key"))
    desktop.open_files([_file_of(record)], [record.page])
    return {}


def _file_of(record: Record) -> str:
    """Return the first of an image's files that is there. Raises Changed if none is."""
    path = next((path for path in record.paths if deep.exists(path)), None)
    if path is None:
        raise Changed()
    return path


def _rendered(data: bytes) -> Response:
    headers = {"content-security-policy": _SANDBOX, "cache-control": _IMMUTABLE}
    return Response(data, headers=headers, media_type="image/webp")


def _secrets(request: Request) -> list[str]:
    """Return the values of the page's cookie: whatever else is on 127.0.0.1 may have set others of the same name."""
    pairs = (
        pair.strip().partition("=") for line in request.headers.getlist("cookie") for pair in line.split(";")
    )
    return [value for name, _, value in pairs if name == COOKIE][:_MOST_COOKIES]


async def _read_json(request: Request) -> Any:
    """Return the JSON of a request. One that any page could send without asking, as a form does, is none."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ImgsearchError("send JSON, with the content type application/json")
    return await read_json(request)


def _error(status: int, kind: str, message: str) -> Response:
    return json_response({"error": {"kind": kind, "message": message}}, status)


def _words_alone(message: str, status: int) -> Response:
    """Return a line as a page of its own, for whoever opens a link that is not good any more."""
    line = escape(message[0].upper() + message[1:])
    return HTMLResponse(
        f'<!doctype html><html lang="en"><title>imgsearch</title><p>{line}.</p></html>', status
    )
