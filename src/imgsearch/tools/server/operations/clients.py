"""Who may ask a server over TCP: clients by name, each with a token of its own and so many requests a minute.

They are in a TOML file, which holds no token but its hash:

    [alice]
    token_sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    per_minute = 600

The file is read again when it changes, so that a token can be withdrawn while the server runs.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import stat
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from imgsearch.errors import MissingExtra, UsageError
from imgsearch.text import display_path, error_line

_FIELDS = {"token_sha256", "per_minute"}
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Client:
    """One who may ask: ``per_minute`` requests at most, None for any number."""

    name: str
    per_minute: int | None = None


class Clients:
    """The clients of a file, by their tokens. Used by one thread."""

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        """Read the file. ``say`` is told if a later version of it can't be read, while the one before holds.

        Raises UsageError for a file that others can read or that is not as described above, MissingExtra.
        """
        try:
            from limits.storage import MemoryStorage  # on use: it is an extra
            from limits.strategies import MovingWindowRateLimiter
        except ImportError as error:
            raise MissingExtra("a server with clients", "operations") from error
        self._path, self._say = path, say
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._state = _state(path)
        self._by_hash = read_clients(path)

    def find(self, token: str) -> Client | None:
        """Return the client that a token is of."""
        self._read_again()
        # The token is compared by its hash: how long that takes tells nothing of a token that would be right.
        return self._by_hash.get(hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest())

    def seconds_to_wait(self, client: Client) -> int:
        """Count a request of a client; return 0, or after how many seconds it may come again, uncounted."""
        if client.per_minute is None:
            return 0
        from limits import RateLimitItemPerMinute

        item = RateLimitItemPerMinute(client.per_minute)
        if self._limiter.hit(item, client.name):
            return 0
        return max(1, math.ceil(self._limiter.get_window_stats(item, client.name).reset_time - time.time()))

    def _read_again(self) -> None:
        state = _state(self._path)
        if state == self._state:
            return
        self._state = state
        try:
            self._by_hash = read_clients(self._path)
        except UsageError as error:
            self._say(f"{error}; the clients stay as they were")


def _state(path: str) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_size, status.st_mtime_ns


def read_clients(path: str) -> dict[str, Client]:
    """Return the clients of a file by the SHA-256 of their tokens. Raises UsageError, with what is wrong with it."""
    shown = display_path(path)
    try:
        with open(path, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise UsageError(f"{shown}: others may read or change it; run: chmod 600 {shown}")
            tables = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"{shown}: {error_line(error)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{shown} is not valid TOML: {error_line(error)}") from error
    clients: dict[str, Client] = {}
    for name, table in tables.items():
        digest, client = _client(shown, name, table)
        if digest in clients:
            raise UsageError(f"{shown}: {clients[digest].name} and {name} have the same token")
        clients[digest] = client
    if not clients:
        raise UsageError(f"{shown} names no client; each is a table, such as [alice], with token_sha256")
    return clients


def _client(shown: str, name: str, table: Any) -> tuple[str, Client]:
    """Return the hash of a client's token, and the client. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{shown}: {name!r} can't be a client's name, which is up to 64 letters, digits, '.', '_' and '-'"
        )
    if not isinstance(table, dict) or not set(table) <= _FIELDS:
        raise UsageError(f"{shown}: [{name}] takes {' and '.join(sorted(_FIELDS))}, nothing else")
    digest, most = table.get("token_sha256"), table.get("per_minute")
    if not isinstance(digest, str) or not _HASH.fullmatch(digest.lower()):
        raise UsageError(f"{shown}: token_sha256 of {name} must be the 64 hexadecimal digits of a SHA-256")
    if most is not None and (type(most) is not int or not 1 <= most <= 10**9):
        raise UsageError(f"{shown}: per_minute of {name} must be a whole number from 1 on")
    return digest.lower(), Client(name, most)
