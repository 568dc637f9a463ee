"""An image by its address: fetched with limits, and never from this machine or its local network.

http.client does what is needed and no more: it follows no redirects, keeps no cookies, unpacks nothing, and uses no
proxy of the environment, behind which nobody could check where a name leads to.
"""

from __future__ import annotations

import io
import ipaddress
import re
import socket
import ssl
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, BinaryIO
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import imgsearch
from imgsearch.errors import InputError
from imgsearch.text import Option, display_path, error_line, format_bytes, format_duration

_CHUNK = 1 << 16
_REDIRECTS = {301, 302, 303, 307, 308}
_KEPT = "%/:=&?~#+!$,;'@()*[]"  # of a path and a query: what need not be quoted, or is already
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")
_INSTEAD = "download the image and give the file"


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """How much an address may cost: ``bytes``, ``seconds`` in all and for connecting, and ``redirects``."""

    bytes: int = 50_000_000
    seconds: float = 30.0
    connect_seconds: float = 10.0
    redirects: int = 5


_LIMITS = FetchLimits()


def fetch(
    address: str, file: BinaryIO, *, allow_private: bool = False, limits: FetchLimits = _LIMITS
) -> None:
    """Write the bytes at an http or https address to ``file``; whether they are an image shows when they are read.

    A name is looked up once, and the connection goes to an address that was checked: so a name can't lead elsewhere
    the second time. Each redirect is checked as the first address is. ``allow_private`` lets all addresses pass.

    Raises InputError, which names the address and says what to do.
    """
    clock = _Clock(limits)
    target = _Target.of(address)
    name = typed = target.shown
    for _ in range(limits.redirects + 1):
        try:
            location = _get(target, file, clock, allow_private=allow_private)
        except InputError as error:
            raise InputError(f"{name}: ", error.as_message) from error
        except TimeoutError as error:
            took = f"takes longer than {format_duration(limits.seconds)}"
            raise InputError(f"{name}: {took}; {_INSTEAD}") from error
        except (OSError, HTTPException) as error:
            raise InputError(f"{name}: {_said(error)}; {_INSTEAD}") from error
        if location is None:
            return
        try:
            target = _Target.of(location, target.url)
        except InputError as error:
            raise InputError(f"{typed} leads to ", error.as_message) from error
        name = f"{typed} leads to {target.shown}"
    raise InputError(f"{typed}: more than {limits.redirects} redirects; {_INSTEAD}")


def is_public(address: str) -> bool:
    """Whether an IP address, as the system's resolver gives it, is one of the public internet."""
    ip: Any = ipaddress.ip_address(address.partition("%")[0])
    if ip.version == 6:
        if ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        elif ip not in _UNICAST or ip.sixtofour or ip.teredo:  # tunnels hide where they lead to
            return False
    return bool(ip.is_global and not ip.is_multicast and not ip.is_reserved)


class _Clock:
    """The time that is left for an address."""

    def __init__(self, limits: FetchLimits) -> None:
        self.limits = limits
        self._end = time.monotonic() + limits.seconds

    def left(self) -> float:
        """Return the seconds that are left. Raises TimeoutError where none are."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


@dataclass(frozen=True, slots=True)
class _Target:
    """An address in its parts: what to connect to, what to ask for, and how it is shown to a person."""

    scheme: str
    host: str
    port: int
    netloc: str
    path: str
    url: str

    @staticmethod
    def of(url: str, base: str = "") -> _Target:
        """Read an address, which may be one relative to ``base``.

        Raises InputError for one that is not fetched; it shows no password.
        """
        try:
            parts = urlsplit(urljoin(base, url))
            host = (parts.hostname or "").rstrip(".").encode("idna").decode("ascii")
            port = parts.port
        except ValueError as error:  # UnicodeError is one
            raise InputError(f"{_without_login(url)}: not an address; {_INSTEAD}") from error
        shown = _without_login(parts.geturl())
        if parts.scheme not in ("http", "https"):
            raise InputError(f"{shown}: only http and https addresses are fetched; {_INSTEAD}")
        if "@" in parts.netloc:
            raise InputError(f"{shown}: addresses with a user name or password are not fetched; {_INSTEAD}")
        if not host or re.search(r"[\0- \x7f]", url):
            raise InputError(f"{shown}: not an address; {_INSTEAD}")
        standard = 443 if parts.scheme == "https" else 80
        name = f"[{host}]" if ":" in host else host
        return _Target(
            parts.scheme,
            host,
            standard if port is None else port,
            name if port in (None, standard) else f"{name}:{port}",
            _path(parts),
            parts._replace(fragment="").geturl(),
        )

    @property
    def shown(self) -> str:
        """The address as it stands in a message."""
        return display_path(self.url)


def _without_login(url: str) -> str:
    return display_path(re.sub(r"//[^/]*@", "//", url))


def _path(parts: SplitResult) -> str:
    query = f"?{quote(parts.query, _KEPT)}" if parts.query else ""
    return (quote(parts.path, _KEPT) or "/") + query


def _get(target: _Target, file: BinaryIO, clock: _Clock, *, allow_private: bool) -> str | None:
    """Write what a server sends to ``file``; return the address that it redirects to instead, if it does."""
    addresses = _look_up(target, clock)
    if not allow_private:
        for address in addresses:
            if not is_public(address):
                where = address if address == target.host else f"{target.host} is {address}, which"
                raise InputError(
                    f"{where} is on this machine or its local network; to fetch it anyway: ",
                    Option("allow_private", True),
                )
    with closing(_connect(target, addresses, clock)) as sock:
        connection = HTTPConnection(target.host, target.port)
        connection.sock = _Timed(sock, clock)
        headers = {
            "Host": target.netloc,
            "User-Agent": f"imgsearch/{imgsearch.__version__}",
            "Accept": "image/*,*/*;q=0.5",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        connection.request("GET", target.path, headers=headers)
        response = connection.getresponse()
        location = response.getheader("Location")
        if response.status in _REDIRECTS and location:
            # Bytes that are not ASCII are UTF-8, whatever http.client takes them for.
            return location.strip().encode("latin-1").decode("utf-8", "replace")
        if response.status != 200:
            raise InputError(f"the server answers {_status(response.status)}; {_INSTEAD}")
        _copy(response, file, clock.limits.bytes)
    return None


def _status(code: int) -> str:
    try:
        return f"{code} ({HTTPStatus(code).phrase})"
    except ValueError:
        return str(code)


def _copy(response: HTTPResponse, file: BinaryIO, most: int) -> None:
    """Write the body to ``file``. Raises InputError for one that is too large, cut off, empty, or a web page."""
    size, head = 0, b""
    while (response.length or 0) + size <= most and (chunk := response.read(_CHUNK)):
        size += len(chunk)
        if size > most:
            break
        head = head or chunk
        file.write(chunk)
    if (response.length or 0) + size > most:
        raise InputError(f"larger than {format_bytes(most, 0)}; {_INSTEAD}")
    if response.length:
        raise InputError(
            f"the connection ended after {size:,} of {size + response.length:,} bytes; try again"
        )
    if not size:
        raise InputError(f"the server sends nothing; {_INSTEAD}")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise InputError("a web page, not an image; give the address of the image itself")


def _look_up(target: _Target, clock: _Clock) -> list[str]:
    """Return the IP addresses of a host, as often as its name is written, also in figures of any base."""
    found: list[Any] = []

    def work() -> None:
        try:
            found.extend(socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError, OverflowError) as error:
            found.append(error)

    # A resolver can't be given a time: it is left behind.
    thread = threading.Thread(target=work, name="look up", daemon=True)
    thread.start()
    thread.join(clock.left())
    if not found:
        raise TimeoutError
    if isinstance(found[0], Exception):
        raise InputError(
            f"can't find {target.host} ({error_line(found[0])}); check the address and your connection"
        )
    return [str(entry[4][0]) for entry in found]


def _connect(target: _Target, addresses: list[str], clock: _Clock) -> socket.socket:
    """Return a socket that is connected to the first of the checked addresses that answers."""
    failure: OSError = TimeoutError()
    for address in addresses:
        timeout = min(clock.left(), clock.limits.connect_seconds)
        try:
            sock = socket.create_connection((address, target.port), timeout)
            break
        except OSError as error:
            failure = error
    else:
        raise InputError(f"can't connect to {target.host} ({_said(failure)}); {_INSTEAD}") from failure
    if target.scheme == "http":
        return sock
    with closing(sock):  # an error closes it; else the secure one has taken it over
        sock.settimeout(clock.left())
        return ssl.create_default_context().wrap_socket(sock, server_hostname=target.host)


class _Timed:
    """A socket of which every read and write has the time that is left, as far as http.client uses one.

    A timeout of the socket's own begins again with each byte that comes.
    """

    def __init__(self, sock: socket.socket, clock: _Clock) -> None:
        self._sock, self._clock = sock, clock

    def sendall(self, data: bytes) -> None:
        """Send all of ``data``."""
        self._sock.settimeout(self._clock.left())
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return what reads from the socket."""
        return io.BufferedReader(_TimedReader(self._sock, self._clock))

    def close(self) -> None:
        """Leave the socket open: http.client closes it before the body is read, trusting in a count of readers."""


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, clock: _Clock) -> None:
        super().__init__()
        self._sock, self._clock = sock, clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._clock.left())
        return self._sock.recv_into(buffer)


def _said(error: OSError | HTTPException) -> str:
    """Return what went wrong with a connection, in the words of whoever noticed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return "no secure connection can be made"
    if isinstance(error, HTTPException):
        return "the answer breaks the rules of HTTP"
    return "no answer" if isinstance(error, TimeoutError) else error_line(error)
