"""Who may ask the server: whoever comes through the Unix socket, and over TCP a token or the page, and no other site.

Anybody on this machine can connect to the port, and any site that this user visits can have the browser send requests
there. Nothing that they send is believed but what a browser itself says of a request, and secrets.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, MutableMapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgsearch.client import protocol
from imgsearch.errors import UsageError
from imgsearch.tools.server.operations.clients import Clients
from imgsearch.tools.server.operations.health import OPEN
from imgsearch.tools.server.requests import json_response

_NO_TOKEN = "missing or wrong token; send the one from the server's token file: Authorization: Bearer TOKEN"
_FOREIGN_HOST = "the request names another host; ask for 127.0.0.1 and the server's port"
_TOO_MANY = "more requests than this client may make in a minute; wait, and try again"
_OWNERS = "this address is for the server's owner alone"
_FOREIGN_SITE = "the request comes from another site"
OWNER = "owner"
"""Who asks with the server's own token, or through the Unix socket."""
HEADERS = {
    # Whatever an answer is taken for, nothing in it is carried out. The page and its images say what they need more.
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), display-capture=()",
    "cache-control": "no-store",
}
"""What every answer over TCP has, unless it says something else."""


class Guard:
    """Lets requests through the Unix socket pass, which nobody else can open, and others only with the token.

    The page's own paths pass too: whatever answers there asks for the session. So do those that say how the server is.
    Who has asked is in the request's state as ``client``.
    """

    def __init__(
        self,
        app: ASGIApp,
        socket_path: str,
        token: str | None,
        open_paths: Sequence[str] = (),
        clients: Clients | None = None,
        client_paths: Collection[str] = (),
        hosts: Sequence[str] = (),
    ) -> None:
        """Take the path of the Unix socket, the token if there is one, and how the page's paths begin.

        ``clients`` may ask for ``client_paths``, each with a token of its own, and requests may call the server by
        ``hosts`` too.
        """
        self._app, self._socket_path, self._token = app, socket_path, token
        self._open_paths, self._hosts = tuple(open_paths), frozenset(hosts)
        self._clients, self._client_paths = clients, frozenset(client_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or answer 401 or 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if is_local(scope, self._socket_path):
            scope.setdefault("state", {})["client"] = OWNER
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                _complete(message)
            await send(message)

        refused = self._refusal(scope)
        await (refused or self._app)(scope, receive, send_safely)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that may not pass."""
        if scope["path"] in OPEN:
            return None
        request = Request(scope)
        of_page = scope["path"].startswith(self._open_paths) if self._open_paths else False
        port = scope["server"][1]
        names = ["127.0.0.1"] if of_page else ["127.0.0.1", "localhost"]
        hosts = {f"{name}:{port}" for name in names} | ({*names} if port == 80 else set())
        # A name that somebody else's DNS leads here (rebinding) is that site's to a browser: it is refused.
        named = request.headers.getlist("host")
        of_balancer = not of_page and len(named) == 1 and named[0].lower() in self._hosts
        if named not in [[host] for host in hosts] and not of_balancer:
            return refusal(403, "forbidden", _FOREIGN_HOST)
        if not _is_of_site(request, {f"http://{host}" for host in hosts}):
            return refusal(403, "forbidden", _FOREIGN_SITE)
        return None if of_page else self._check_token(request)

    def _check_token(self, request: Request) -> Response | None:
        """Note who asks; return the answer to a request without a token, or of a client that asks too much."""
        state = request.scope.setdefault("state", {})
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        given = shown.strip() if scheme.lower() == "bearer" else ""
        if self._token and secrets.compare_digest(given.encode("latin-1"), self._token.encode()):
            state["client"] = OWNER
            return None
        client = self._clients.find(given) if self._clients and given else None
        if client is None or self._clients is None:
            return refusal(401, "UsageError", _NO_TOKEN)
        state["client"] = client.name
        if request.url.path not in self._client_paths:
            return refusal(403, "forbidden", _OWNERS)
        if not (seconds := self._clients.seconds_to_wait(client)):
            return None
        answer = refusal(429, "busy", _TOO_MANY)
        answer.headers["retry-after"] = str(seconds)
        return answer


def is_local(scope: Scope, socket_path: str) -> bool:
    """Whether a request came through the Unix socket: uvicorn gives its path and no port."""
    return scope.get("server") == (socket_path, None)


def refusal(status: int, kind: str, message: str) -> Response:
    """Return an error as JSON, after which the connection ends: the rest of the request is not read."""
    error = {"kind": kind, "message": message}
    said = {"error": error} if kind != "UsageError" else protocol.error_json(UsageError(message))
    answer = json_response(said, status)
    answer.headers["connection"] = "close"
    return answer


def is_navigation(request: Request) -> bool:
    """Whether a browser asks for a page of its own: an address typed, or a link followed, in no frame."""
    mode, to = (request.headers.get(f"sec-fetch-{name}") for name in ("mode", "dest"))
    return request.method == "GET" and mode == "navigate" and to == "document"


def _is_of_site(request: Request, origins: set[str]) -> bool:
    """Whether a browser says that no other site has sent a request; a program that is no browser says nothing.

    Another site may lead here by a link, as any text may; it never sees what is shown.
    """
    if not set(request.headers.getlist("origin")) <= origins:
        return False
    said = set(request.headers.getlist("sec-fetch-site"))
    return said <= {"same-origin", "none"} or is_navigation(request)


def _complete(message: MutableMapping[str, Any]) -> None:
    given = {name.lower() for name, _ in message.get("headers", [])}
    message["headers"] = [
        *message.get("headers", []),
        *((name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in given),
    ]
