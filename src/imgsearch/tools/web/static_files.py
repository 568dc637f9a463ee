"""The page's own files: only those that ship, compressed once, and not sent again while they are as they were."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
from dataclasses import dataclass
from functools import cached_property

from starlette.requests import Request
from starlette.responses import Response

FOLDER = os.path.join(os.path.dirname(__file__), "static")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What the page may do: run its own scripts, ask its own server, show its images; no script ever makes HTML of text."""


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent: its bytes, the same compressed, and what names this state of it."""

    state: tuple[int, int]
    plain: bytes
    packed: bytes
    tag: str
    type: str


class StaticFiles:
    """The files below static/. A name of none of them is never made a path of."""

    def __init__(self, folder: str = FOLDER) -> None:
        """Name the folder; nothing is read yet."""
        self._folder = folder
        self._known: dict[str, StaticFile] = {}

    def answer(self, request: Request, name: str) -> Response | None:
        """Return the answer to a request for a file; None if there is none of this name."""
        file = self._file(name)
        if file is None:
            return None
        headers = {
            "cache-control": "no-cache",  # ask again each time: after an update the page is of one version
            "etag": file.tag,
            "vary": "accept-encoding",
            "content-security-policy": POLICY,
        }
        if file.tag in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        body = file.plain
        if "gzip" in request.headers.get("accept-encoding", ""):
            body, headers["content-encoding"] = file.packed, "gzip"
        return Response(body, headers=headers, media_type=file.type)

    def _file(self, name: str) -> StaticFile | None:
        kind = _TYPES.get(os.path.splitext(name)[1])
        if kind is None or name not in self._names:
            return None
        path = os.path.join(self._folder, name)
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            return None
        state = found.st_mtime_ns, found.st_size
        known = self._known.get(name)
        if known is None or known.state != state:
            with open(path, "rb") as file:
                plain = file.read()
            tag = f'"{hashlib.sha256(plain).hexdigest()[:32]}"'
            known = StaticFile(state, plain, gzip.compress(plain, 9, mtime=0), tag, kind)
            self._known[name] = known
        return known

    @cached_property
    def _names(self) -> frozenset[str]:
        """The files that there are, by their paths in the folder."""
        return frozenset(
            os.path.relpath(os.path.join(folder, name), self._folder)
            for folder, _, names in os.walk(self._folder)
            for name in names
        )
