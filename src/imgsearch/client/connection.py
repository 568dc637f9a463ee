"""This user's running server: where its socket lies, whether it can be trusted, one HTTP connection to it."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import stat
import struct
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from imgsearch.client import protocol
from imgsearch.errors import StorageError
from imgsearch.text import display_path, error_line
from imgsearch.types import Notify


@dataclass(frozen=True, slots=True)
class Address:
    """The files of a user's server: one folder that nobody else may enter."""

    folder: str

    @property
    def socket(self) -> str:
        """The Unix socket."""
        return os.path.join(self.folder, "serve.sock")

    @property
    def token(self) -> str:
        """The file with the token that HTTP clients must show."""
        return os.path.join(self.folder, "token")

    @property
    def lock(self) -> str:
        """The file whose kernel lock the running server holds."""
        return os.path.join(self.folder, "serve.lock")

    def problem(self) -> str | None:
        """Say why the folder can't be trusted: not this user's, or open to others; None if all is well."""
        try:
            found = os.lstat(self.folder)
        except OSError as error:
            return f"{self.folder}: {error_line(error)}"
        if not stat.S_ISDIR(found.st_mode):
            return f"{self.folder} is not a folder"
        if found.st_uid != os.geteuid():
            return f"{self.folder} belongs to another user"
        if found.st_mode & 0o077:
            return f"{self.folder} is open to other users"
        return None


def own_address() -> Address:
    """Return where this user's server is: IMGSEARCH_RUNTIME_DIR, else the user's folder for sockets.

    Raises StorageError where the system has no such folder for this user.
    """
    given = os.environ.get("IMGSEARCH_RUNTIME_DIR")
    if given:
        folder = os.path.abspath(os.path.expanduser(given))
        _check_is_there(os.path.dirname(folder), "IMGSEARCH_RUNTIME_DIR", given)
        return Address(folder)
    if base := os.environ.get("XDG_RUNTIME_DIR"):
        _check_is_there(base, "XDG_RUNTIME_DIR", base)
    import platformdirs

    try:
        with warnings.catch_warnings():
            # Outside a session there is no such folder, which is nothing that a script of its user should be warned of.
            warnings.simplefilter("ignore")
            return Address(platformdirs.user_runtime_dir("imgsearch", appauthor=False))
    except OSError as error:  # the place for it below /tmp may be somebody else's folder
        raise StorageError(
            f"there is no folder for sockets ({error_line(error)}); set IMGSEARCH_RUNTIME_DIR to one of your own"
        ) from error


def _check_is_there(folder: str, variable: str, value: str) -> None:
    """Raise StorageError for a folder that a variable names and that somebody else would have to make."""
    if not os.path.isdir(folder):
        raise StorageError(
            f"{variable} is {display_path(value)}, but there is no folder {display_path(folder)}; set "
            "IMGSEARCH_RUNTIME_DIR to a folder for the server's socket"
        )


def peer_uid(connected: socket.socket) -> int | None:
    """Return the user at the other end of a Unix socket, as the kernel knows it; None where it does not say.

    Linux says it by SO_PEERCRED (pid, uid, gid), macOS by LOCAL_PEERCRED (struct xucred: version, uid, …).
    """
    system: str = sys.platform  # a plain str, so that the type checker reads both branches
    try:
        if system == "linux":
            credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            return int(struct.unpack("3i", credentials)[1])
        if system == "darwin":
            return int(struct.unpack_from("II", connected.getsockopt(0, 1, 76))[1])
    except (OSError, struct.error):
        pass
    return None


# A server that lives answers a greeting at once, on a busy machine within seconds, also while it computes.
GREETING_SECONDS = 10.0
_BUSY_SECONDS = 600.0  # as long as a client waits for a place; then it does without the server
_PAUSES = (0.1, 2.0)  # seconds between two tries, at first and at most


class ServerGone(Exception):
    """The server does not answer, or not as one of ours: the work is done without it. Never shown as an error."""


class NoServer(ServerGone):
    """Nothing listens: no server was started, or it has ended."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """What a running server says of itself.

    ``model`` is the loaded checkpoint's folder, None while none is loaded; device and dtype are those it runs in.
    ``http`` is the loopback address if it listens there; ``requests`` counts what it was asked since it began.
    """

    pid: int
    version: str
    since: float
    requests: int
    http: str | None
    model: str | None
    device: str | None
    dtype: str | None


class _PatientSocket(socket.socket):
    """A Unix socket that waits for as long as the server at the other end lives, which may compute for minutes.

    While ``lives`` is None, it waits for no longer than its timeout.
    """

    lives: Callable[[], bool] | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive as any socket does."""
        while True:
            try:
                return super().recv_into(*args, **kwargs)
            except TimeoutError:
                self._check()

    def sendall(self, data: Any, *args: Any) -> None:
        """Send all, as any socket does; a server takes no more while it has enough to do."""
        with memoryview(data).cast("B") as rest:
            sent = 0
            while sent < len(rest):
                try:
                    sent += super().send(rest[sent : sent + _PIECE], *args)
                except TimeoutError:
                    self._check()

    def _check(self) -> None:
        if self.lives is None or not self.lives():
            raise TimeoutError("timed out")


_PIECE = 1 << 20  # bytes


class _UnixConnection(http.client.HTTPConnection):
    """HTTP to a Unix socket instead of a host and port."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=GREETING_SECONDS)
        self._path = path
        self.lives: Callable[[], bool] | None = None

    def connect(self) -> None:
        self.sock = _PatientSocket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
        if peer_uid(self.sock) not in (os.geteuid(), None):
            raise ConnectionRefusedError("another user's server")
        self.sock.lives = self.lives


class Server:
    """A connection to a running server. ``state`` is what it said when it was greeted."""

    def __init__(self, address: Address | None = None, notify: Notify = lambda line: None) -> None:
        """Greet the server at ``address``, this user's own if none is given; ``notify`` is told when it is busy.

        Raises NoServer, and ServerGone for one that does not answer or can't be trusted to be this user's.
        """
        try:
            self._address = address or own_address()
        except StorageError as error:
            raise NoServer from error
        if not os.path.exists(self._address.socket):
            raise NoServer
        if problem := self._address.problem():
            raise ServerGone(problem)
        self._notify = notify
        self._http = _UnixConnection(self._address.socket)
        data = self._json(*self._request("GET", "/status", b""))
        try:
            self.state = ServerState(**{name: data[name] for name in ServerState.__slots__})
        except (KeyError, TypeError) as error:
            raise ServerGone("it does not identify itself") from error
        # From now on it may load a model or compute for minutes. If it has died, the connection tells; if it was
        # stopped, a greeting does.
        self._http.lives = self._lives
        if isinstance(self._http.sock, _PatientSocket):
            self._http.sock.lives = self._lives

    def _lives(self) -> bool:
        return find_server(self._address) is not None

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def json(self, path: str, data: Any) -> dict[str, Any]:
        """Send JSON, return the JSON of the answer. Raises ServerGone, and the ImgsearchError that the server met."""
        return self._json(*self._request("POST", path, json.dumps(data).encode()))

    def message(self, path: str, message: bytes, inputs: int) -> bytes:
        """Send a message of ``protocol.pack`` with so many inputs, return the answer's. Raises as ``json`` does."""
        status, body = self._request("POST", path, message, {protocol.INPUTS_HEADER: str(inputs)})
        if status != 200:
            self._json(status, body)
        return body

    def _request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send a request and return the answer; while the server is busy, wait and ask again."""
        end, (pause, longest) = time.monotonic() + _BUSY_SECONDS, _PAUSES
        waiting = False
        while True:
            try:
                status, answer = self._request_once(method, path, body, headers)
            except _Busy:
                status, answer = 503, b""
            if status != 503:
                return status, answer
            if time.monotonic() > end:
                raise ServerGone("it is busy")
            if not waiting:
                self._notify("the server is busy: waiting")
                waiting = True
            time.sleep(random.uniform(pause / 2, pause))  # not all of those who wait at one moment
            pause = min(2 * pause, longest)

    def _request_once(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None
    ) -> tuple[int, bytes]:
        reused = self._http.sock is not None
        try:
            own = {protocol.VERSION_HEADER: protocol.version(), **(headers or {})}
            self._http.request(method, path, body, own)
            answer = self._http.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            if isinstance(error, FileNotFoundError | ConnectionRefusedError):
                raise NoServer("it has ended") from error
            if isinstance(error, BlockingIOError):  # so many wait to be let in that there is no place left
                raise _Busy from error
            if reused and isinstance(error, ConnectionError):
                # It may only have closed a connection that was quiet for long; asking twice changes nothing.
                return self._request_once(method, path, body, headers)
            raise ServerGone(error_line(error)) from error

    def _json(self, status: int, body: bytes) -> dict[str, Any]:
        if status == 409:
            raise ServerGone("another version has taken its place")
        try:
            data = json.loads(body)
        except ValueError as error:
            raise ServerGone(f"it answered with {status}") from error
        if met := protocol.error_from(data):
            raise met
        if status != 200 or not isinstance(data, dict):
            raise ServerGone(f"it answered with {status}")
        return data


class _Busy(Exception):
    """No connection can be made now."""


def find_server(address: Address | None = None) -> ServerState | None:
    """Return what this user's running server says of itself, None if none runs."""
    try:
        server = Server(address)
    except ServerGone:
        return None
    server.close()
    return server.state
