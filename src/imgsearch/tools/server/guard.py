"""Who may ask the server: whoever comes through the Unix socket, and over TCP a token or the page, and no other site.

Anybody on this machine can connect to the port, and any site that this user visits can have the browser send requests
there. Nothing that they send is believed but what a browser itself says of a request, and secrets.
"""

from __future__ import annotations

import secrets
from collections.abc import MutableMapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgsearch.client import protocol
from imgsearch.errors import UsageError
from imgsearch.tools.server.requests import json_response

_NO_TOKEN = "missing or wrong token; send the one from the server's token file: Authorization: Bearer TOKEN"
_FOREIGN_HOST = "the request names another host; ask for 127.0.0.1 and the server's port"
_FOREIGN_SITE = "the request comes from another site"
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

    The page's own paths pass too: whatever answers there asks for the session.
    """

    def __init__(
        self, app: ASGIApp, socket_path: str, token: str | None, open_paths: Sequence[str] = ()
    ) -> None:
        """Take the path of the Unix socket, the token if there is one, and how the page's paths begin."""
        self._app, self._socket_path, self._token = app, socket_path, token
        self._open_paths = tuple(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or answer 401 or 403."""
        if scope["type"] != "http" or is_local(scope, self._socket_path):
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
        request = Request(scope)
        of_page = scope["path"].startswith(self._open_paths) if self._open_paths else False
        port = scope["server"][1]
        names = ["127.0.0.1"] if of_page else ["127.0.0.1", "localhost"]
        hosts = {f"{name}:{port}" for name in names} | ({*names} if port == 80 else set())
        # A name that somebody else's DNS leads here (rebinding) is that site's to a browser: it is refused.
        if request.headers.getlist("host") not in [[host] for host in hosts]:
            return refusal(403, "forbidden", _FOREIGN_HOST)
        if not _is_of_site(request, {f"http://{host}" for host in hosts}):
            return refusal(403, "forbidden", _FOREIGN_SITE)
        if of_page or self._has_token(request):
            return None
        return refusal(401, "UsageError", _NO_TOKEN)

    def _has_token(self, request: Request) -> bool:
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        if self._token is None or scheme.lower() != "bearer":
            return False
        return secrets.compare_digest(shown.strip().encode("latin-1"), self._token.encode())


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
