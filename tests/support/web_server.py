"""A web server on a loopback port that answers each path with the bytes that a test gives, header and all."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO

from support import TESTS

CERTIFICATE = str(TESTS / "support" / "web_server.pem")
"""A certificate of "public.example" that only who is told to trusts, with its key."""
Answer = bytes | Callable[[BinaryIO, threading.Event], None]
"""What is sent; or what sends it, until the event tells that the server closes."""


def ok(body: bytes, kind: str = "image/png", *headers: str, length: int | None = None) -> bytes:
    """Return a whole answer; ``length`` is what it says of its length, if that is not true."""
    size = len(body) if length is None else length
    lines = [f"Content-Type: {kind}", f"Content-Length: {size}", *headers]
    return b"HTTP/1.1 200 OK\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(to: str, code: int = 302) -> bytes:
    """Return an answer that leads elsewhere."""
    return f"HTTP/1.1 {code} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


class WebServer:
    """Use as a context manager. ``requests`` are the paths that were asked for, ``headers`` those of the last one."""

    def __init__(self, answers: dict[str, Answer] | None = None) -> None:
        self.answers: dict[str, Answer] = answers or {}
        self.requests: list[str] = []
        self.headers: dict[str, str] = {}
        self._closing = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.requests.append(self.path)
                web.headers = dict(self.headers.items())
                answer = web.answers.get(self.path, b"HTTP/1.1 404 Nope\r\nContent-Length: 0\r\n\r\n")
                try:
                    if isinstance(answer, bytes):
                        self.wfile.write(answer)
                    else:
                        answer(self.wfile, web._closing)
                except OSError:
                    pass  # whoever asked has gone

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def encrypt(self, certificate: str) -> list[str | None]:
        """Speak TLS from now on; return the list that the names go to which clients ask for."""
        asked: list[str | None] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.sni_callback = lambda _sock, name, _context: asked.append(name)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        return asked

    def start(self) -> None:
        """Answer from now on, until the block or the process ends."""
        self._thread.start()

    def __enter__(self) -> WebServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
