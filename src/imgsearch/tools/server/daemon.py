"""The server's process: its lock, its sockets, its token, who may connect, and a clean end."""

from __future__ import annotations

import asyncio
import json
import math
import os
import secrets
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from imgsearch.client import protocol
from imgsearch.client.connection import Address, own_address, peer_uid
from imgsearch.errors import ServerRunning, StorageError, UsageError
from imgsearch.fs import FileLock, LockHeld
from imgsearch.startup import StopSignals
from imgsearch.text import Option, error_line, format_duration
from imgsearch.tools.server.api import versioned
from imgsearch.tools.server.app import make_app
from imgsearch.tools.server.handlers import Handlers
from imgsearch.tools.server.operations import NO_OPERATIONS, Operations
from imgsearch.tools.server.operations.health import Readiness
from imgsearch.tools.server.resources import Resources
from imgsearch.tools.server.saved import NO_SAVED, SavedQueries
from imgsearch.tools.web.app import Page
from imgsearch.types import Reporter, Silent

_TCP_CONNECTIONS = 64  # of which a browser has six
_BACKLOG = 2048  # connections that may wait to be taken
_SILENT_SECONDS = 10.0  # until the first request of a TCP connection
_STUCK_SECONDS = 60.0  # for which a client over TCP may take nothing of its answer
_QUIET_SECONDS = 600  # a client may decode for long between two batches
_SHUTDOWN_SECONDS = 10  # for requests in work when the server is stopped
_HASTY_SECONDS = 1  # when somebody presses Ctrl-C and waits
_LONGEST_PATH = 103  # bytes of a Unix socket's address on macOS; Linux takes 107


PAGE_PORT = 7788
"""The port of loopback on which the page is, or the next that is free."""


@dataclass(frozen=True, slots=True)
class PageOptions:
    """How to open the page in the browser.

    ``port`` as in ``ServeOptions``, but that None is ``PAGE_PORT`` or one that is free. ``opened`` is called once with
    the link, when it can be opened. ``spelled`` puts what errors tell to do into the words of who starts the server.
    """

    opened: Callable[[str], None]
    port: int | None = None
    spelled: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How to serve: ``port`` of loopback HTTP (None: no HTTP, 0: any that is free), ``idle_seconds`` until the model
    is let go, ``index`` where a request names none, ``warm`` whether its model is loaded at once, ``saved`` the queries
    that `@name` in a request stands for. With ``page`` the page in the browser is opened. ``operations`` are for one
    that answers others too. ``store`` is the address of the store that is asked in place of an index.
    """

    port: int | None = None
    idle_seconds: float = 900.0
    index: str | None = None
    warm: bool = True
    saved: SavedQueries = NO_SAVED
    page: PageOptions | None = None
    operations: Operations = NO_OPERATIONS
    store: str | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for what can't be meant."""
        if self.store is not None and (self.index is not None or self.page):
            raise UsageError(Option("store"), " is asked in place of an index; give no ", Option("index"))
        if self.port is not None and not 0 <= self.port <= 65535:
            raise UsageError(Option("port", self.port), ": must be from 1 to 65535, or 0 for any free port")
        if not self.idle_seconds > 0:
            raise UsageError(Option("idle_seconds", self.idle_seconds), ": must be above 0")


def serve(
    options: ServeOptions,
    reporter: Reporter,
    address: Address | None = None,
    signals: StopSignals | None = None,
) -> None:
    """Answer this user's requests until SIGTERM, SIGHUP or Ctrl-C, of which ``signals`` may have taken note already.

    Running requests then have ten seconds to finish, after Ctrl-C one. A pass of the model can't be interrupted: its
    thread may be at it when this returns, and Python would wait for it.

    Raises ServerRunning (there is one already), StorageError (no folder for the socket), UsageError (a port in use,
    operations that can't be), MissingExtra.
    """
    address = address or own_address()
    with ExitStack() as stack:
        # From before the socket is there until it is gone.
        signals = signals or stack.enter_context(StopSignals())
        stack.enter_context(_lock(address))
        resources = Resources(options.index, options.idle_seconds, reporter.say)
        handlers = _handlers(resources, options)
        sockets = [stack.enter_context(_unix_socket(address))]
        token = None
        spelled = options.page.spelled if options.page else str
        # The page shows an index.
        page = (
            Page(resources, options.saved, options.idle_seconds, spelled) if options.store is None else None
        )
        ports = _Ports(handlers)
        if options.port is not None:
            sockets.append(ports.listen(options.port))
            token = stack.enter_context(_token(address))
        elif options.page:
            sockets.append(ports.listen(options.page.port))
        readiness = Readiness(warm=options.warm)
        app = make_app(
            handlers,
            address.socket,
            token,
            warm=options.warm,
            page=page,
            open_port=ports.open,
            operations=options.operations,
            readiness=readiness,
            questions=handlers.questions,
            searches=handlers.searches,
        )
        if token is not None:
            reporter.say(f"{handlers.http} (token file: {address.token})")
        server = ports.server = _Uvicorn(app, readiness, options.operations.drain_seconds, reporter)
        signals.hand_to(server.stop)
        if not server.should_exit:
            reporter.say(
                f"process {os.getpid()} listens on {address.socket}; "
                "your other imgsearch commands use it automatically"
            )
            if options.page and page:
                options.page.opened(page.new_link(ports.port, None))
            server.run(sockets)
    reporter.say("stopped")


def _handlers(resources: Resources, options: ServeOptions) -> Handlers:
    if options.store is None:
        return Handlers(resources, options.saved)
    from imgsearch.tools.server.stored import StoreHandlers, held_store  # on use: few servers ask a store

    return StoreHandlers(resources, held_store(options.store), options.saved)


class _Uvicorn(uvicorn.Server):
    """uvicorn with our settings. Who presses Ctrl-C waits for the end; who sends SIGTERM can wait for the answers.

    For ``drain_seconds`` after SIGTERM requests are still taken, while ``readiness`` says that none should be sent: a
    balancer takes some time to hear of that.
    """

    def __init__(
        self,
        app: Starlette,
        readiness: Readiness | None = None,
        drain_seconds: float = 0.0,
        reporter: Reporter | None = None,
    ) -> None:
        self._readiness, self._reporter = readiness or Readiness(warm=False), reporter or Silent()
        self._drain_seconds = drain_seconds
        self._ends_at = math.inf
        super().__init__(
            uvicorn.Config(
                app,
                http=_OwnersProtocol,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # else anybody here could tell whose address a request has
                timeout_keep_alive=_QUIET_SECONDS,
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            )
        )

    async def listen_too(self, listening: socket.socket) -> None:
        """Take the connections of one more socket, as those of the first ones are taken."""

        def protocol_of_one() -> _OwnersProtocol:
            return _OwnersProtocol(self.config, self.server_state, self.lifespan.state)

        loop = asyncio.get_running_loop()
        self.servers.append(await loop.create_server(protocol_of_one, sock=listening))

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever hands them to ``stop``: there must be no moment between two handlers."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Look, ten times a second, whether it is time to end."""
        self.should_exit |= time.monotonic() >= self._ends_at
        return await super().on_tick(counter)

    def stop(self, number: int) -> None:
        """End the server soon; a second signal does so at once."""
        drains = number == signal.SIGTERM and self._drain_seconds > 0 and not self._readiness.is_draining
        self._readiness.drain()
        if drains:
            self._ends_at = time.monotonic() + self._drain_seconds
            self._reporter.say(f"stopping in {format_duration(self._drain_seconds)}")
            return
        self.force_exit = self.should_exit and number == signal.SIGINT
        self.should_exit = True
        if number == signal.SIGINT:
            self.config.timeout_graceful_shutdown = _HASTY_SECONDS


class _Ports:
    """The server's one port of loopback: open from the start, or from when the page is asked for."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._opening = asyncio.Lock()
        self.port = 0
        self.server: _Uvicorn | None = None

    def listen(self, wanted: int | None) -> socket.socket:
        """Return a socket that listens on a port. Raises UsageError. uvicorn closes it at its end."""
        listening = _tcp_socket(wanted)
        self.port = listening.getsockname()[1]
        self._handlers.http = f"http://127.0.0.1:{self.port}"
        return listening

    async def open(self, wanted: int | None) -> int:
        """Return the port; listen on the one that is ``wanted`` before if there is none yet. Raises UsageError."""
        assert self.server is not None
        async with self._opening:
            if not self.port:
                await self.server.listen_too(self.listen(wanted))
            elif wanted not in (None, 0, self.port):
                raise UsageError(
                    Option("port", wanted), f": the server that is running has its port already: {self.port}"
                )
            return self.port


class _OwnersProtocol(H11Protocol):
    """HTTP that hangs up on any other user who got hold of the Unix socket, and on strangers who only hold the port.

    Anybody on the machine can connect to the port: so its connections are few, and end if nothing is asked: after a
    while, or at once where another one needs the place.
    """

    _over_tcp: ClassVar[dict[_OwnersProtocol, None]] = {}  # the oldest first
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connected = transport.get_extra_info("socket")
        if connected.family == socket.AF_UNIX:
            if not may_ask(peer_uid(connected)):
                transport.abort()
        elif self._has_place():
            self._over_tcp[self] = None
            self.loop.call_later(_SILENT_SECONDS, self._hang_up_if_silent)
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over_tcp.pop(self, None)
        if self._stuck is not None:
            self._stuck.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP; uvicorn calls this while it handles h11's error."""
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        refused = protocol.error_json(UsageError(f"the request is not valid HTTP ({error or msg})"))
        body = json.dumps(versioned(refused)).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        parts = (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage())
        for part in parts:
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()

    def _has_place(self) -> bool:
        """Whether there is a place for one more; of those that ask nothing now, one may lose its own for it.

        First the one that has been silent for longest, then the oldest whose answer has been given: a browser keeps
        its connections, and makes new ones when it needs them.
        """
        if len(self._over_tcp) < _TCP_CONNECTIONS:
            return True
        of_no_use = next((other for other in self._over_tcp if other._is_silent()), None)
        of_no_use = of_no_use or next((other for other in self._over_tcp if other._is_idle()), None)
        if of_no_use is None:
            return False
        self._over_tcp.pop(of_no_use)
        of_no_use.transport.abort()
        return True

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def pause_writing(self) -> None:
        """Wait for a client that takes its answer slowly; hang up on one over TCP that takes nothing of it any more."""
        super().pause_writing()
        if self in self._over_tcp:
            self._stuck = self.loop.call_later(_STUCK_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on with the answer."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        super().resume_writing()

    def _is_silent(self) -> bool:
        return not self.scope

    def _hang_up_if_silent(self) -> None:
        if self._is_silent() and not self.transport.is_closing():
            self.transport.abort()


def may_ask(uid: int | None) -> bool:
    """Whether a user at the other end of the Unix socket is this one, or root; nobody is let in unknown."""
    return uid is not None and uid in (os.geteuid(), 0)


@contextmanager
def _lock(address: Address) -> Iterator[None]:
    """Hold the lock of the one running server; a dead process holds none."""
    try:
        os.makedirs(address.folder, 0o700, exist_ok=True)
        if problem := address.problem():
            raise StorageError(
                f"{problem}; the server's socket needs a private folder: set IMGSEARCH_RUNTIME_DIR to one"
            )
        lock = FileLock(address.lock, mode=0o600, follow=False)
    except LockHeld as held:
        raise ServerRunning(
            f"a server is already running (process {held.pid}); to start another, stop it first with: kill {held.pid}"
            if held.pid
            else "another server is starting"
        ) from held
    except OSError as error:
        raise StorageError(
            f"{address.folder}: {error_line(error)}; set IMGSEARCH_RUNTIME_DIR to a folder for the server's socket"
        ) from error
    with lock:
        yield


@contextmanager
def _unix_socket(address: Address) -> Iterator[socket.socket]:
    """Listen on the Unix socket, mode 0600; what a dead server left there is taken away. The lock must be held."""
    path = address.socket
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise StorageError(
            f"{path} is too long for a socket (at most {_LONGEST_PATH} bytes); set IMGSEARCH_RUNTIME_DIR to a "
            "folder with a shorter path"
        )
    try:
        if os.path.lexists(path):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise StorageError(f"{path} exists and is not a socket; move or delete it")
            os.unlink(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The folder is closed to others, so nobody comes in between the two lines.
        listening.bind(path)
        os.chmod(path, 0o600)
        listening.listen(_BACKLOG)
    except OSError as error:
        raise StorageError(f"{path}: {error_line(error)}; the server can't listen there") from error
    try:
        with _own_file(path):
            yield listening
    finally:
        listening.close()


def _tcp_socket(port: int | None) -> socket.socket:
    """Return a socket that listens on a port of loopback; for None on ``PAGE_PORT``, or one that is free.

    Raises UsageError.
    """
    candidates = [port] if port is not None else [*range(PAGE_PORT, PAGE_PORT + 10), 0]
    for candidate in candidates:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", candidate))
            listening.listen()
            return listening
        except OSError as error:
            listening.close()
            failure = error
    raise UsageError(
        f"port {port}: {error_line(failure)}; choose another with ",
        Option("port", metavar="N"),
        ", or 0 for any free port",
    ) from failure


@contextmanager
def _token(address: Address) -> Iterator[str]:
    """Write a new token to its file, mode 0600, for as long as the server runs."""
    token = secrets.token_urlsafe(32)
    try:
        if os.path.lexists(address.token):
            os.unlink(address.token)
        with open(os.open(address.token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token + "\n")
    except OSError as error:
        raise StorageError(f"{address.token}: {error_line(error)}; the token can't be written") from error
    with _own_file(address.token):
        yield token


@contextmanager
def _own_file(path: str) -> Iterator[None]:
    """Remove a file at the end of the block, unless another server has put its own there after a clean-up."""
    made = os.lstat(path)
    try:
        yield
    finally:
        try:
            if os.path.samestat(made, os.lstat(path)):
                os.unlink(path)
        except OSError:
            pass  # it is gone already, or the folder is closed: the next server takes it away
