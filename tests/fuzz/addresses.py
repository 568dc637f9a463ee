"""Answers of anybody's web server, damaged: what is fetched is at most what was sent, or one line says why not."""

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path

from fuzz.decoders import damaged
from imgsearch.errors import InputError
from imgsearch.search.fetching import FetchLimits, fetch
from support.web_server import WebServer, ok, redirect

_LIMITS = FetchLimits(bytes=10_000, seconds=10.0, redirects=3)
_ANSWERS = (
    ok(b"x" * 3_000),
    ok(b"x" * 30_000),
    ok(b"x" * 100, "text/html", "Set-Cookie: a=b", "Content-Encoding: gzip"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbyt\r\n2\r\nes\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 3_000,
    b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"bytes"),
    redirect("/b"),
    redirect("//127.0.0.1:1/\xfc?\u0430=%zz#x", 308),
    redirect("http://[::1]:99999/", 301),
)


@cache
def _web() -> WebServer:
    """Start a server, once."""
    web = WebServer()
    web.start()
    return web


def case(random: random.Random, folder: Path) -> None:
    """Fetch one damaged answer, or one good one by a damaged address."""
    web, file = _web(), io.BytesIO()
    web.answers = {path: damaged(random, random.choice(_ANSWERS)) for path in ("/a", "/b")}
    address = f"{web.url}/a"
    if random.random() < 0.3:
        # Not the host: it must stay this machine's.
        address = f"{web.url}/{damaged(random, b'a/../a?b=%20&c#d').decode('latin-1')}"
    try:
        fetch(address, file, allow_private=True, limits=_LIMITS)
    except InputError as error:
        if "\n" in str(error):
            raise
    assert file.tell() <= _LIMITS.bytes
