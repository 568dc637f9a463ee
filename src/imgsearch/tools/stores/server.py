"""Calls to a Milvus server that may be slow, restarting, full or gone: what is temporary is tried again."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from imgsearch.errors import MissingExtra, StoreError
from imgsearch.text import Call, error_line, format_duration
from imgsearch.tools.stores.address import CA, TLS, TOKEN, Address

if TYPE_CHECKING:
    from pymilvus import MilvusClient

T = TypeVar("T")

OLDEST, TESTED = (2, 3, 2), (2, 3, 5)
"""The oldest server that has all that is asked of it (lists as fields), and the one that tests run against."""
_FLOAT16, _PATTERNS, _RABITQ = (2, 4, 0), (2, 4, 0), (2, 6, 0)
_TO_CONNECT = 10.0
_TO_ANSWER = 60.0
TO_PING = 3.0
"""Seconds for an answer to whether a server is there."""
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0
_NO_COLLECTION = 100
_FULL = re.compile(r"(memory|disk|storage) quota|quota exceeded|no space left|force deny", re.IGNORECASE)
_NOT_THERE = re.compile(r"fail connecting", re.IGNORECASE)
_SLOWER = re.compile(r"rate limit|rate exceed", re.IGNORECASE)
_REFUSED_TOKEN = re.compile(r"unauthenticated|auth check|permission ?denied|privilege", re.IGNORECASE)
_OUR_FAULT = re.compile(
    r"cannot parse|invalid parameter|should divide the dim|expected dim|not support", re.IGNORECASE
)


class Server:
    """A connection to a server, that outlives the server's restarts.

    ``patience`` is for how many seconds a call is tried again. ``connect`` makes the client, ``sleep`` and ``now`` are
    the clock: tests have their own.
    """

    def __init__(
        self,
        uri: str,
        shown: str,
        *,
        patience: float = _TO_ANSWER,
        connect: Callable[[], Any] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect, and ask for the version. Raises StoreError, MissingExtra."""
        self.shown, self.patience = shown, patience
        self._connect = connect or (lambda: _client(uri))
        self._sleep, self._now = sleep, now
        self._client: Any = None
        self._closed = False
        self._is_encrypted = uri.startswith("https://")
        self._is_server = uri.startswith(("http://", "https://"))  # else a file of milvus-lite
        text = str(self.call(lambda client: client.get_server_version(timeout=_TO_CONNECT), patience=0.0))
        found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
        self.version = tuple(map(int, found.groups())) if found else (0, 0, 0)
        if self._is_server and self.version < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise StoreError(f"{shown}: the server is Milvus {text}; {oldest} or newer is required")

    @classmethod
    def at(cls, address: Address) -> Server:
        """Connect to the server of an address."""
        return cls(address.uri, address.shown)

    @property
    def has_float16(self) -> bool:
        """Whether vectors can be stored as float16: an older server ends when it gets such a type."""
        return self._is_server and self.version >= _FLOAT16

    @property
    def has_patterns(self) -> bool:
        """Whether a part of a text can be looked for."""
        return self.version >= _PATTERNS

    @property
    def has_rabitq(self) -> bool:
        """Whether it has IVF_RABITQ."""
        return self.version >= _RABITQ

    def call(self, work: Callable[[MilvusClient], T], patience: float | None = None) -> T:
        """Return what ``work`` returns, trying again what may pass. Raises StoreError."""
        end = self._now() + (self.patience if patience is None else patience)
        wait = _FIRST_WAIT
        while True:
            try:
                if self._client is None:
                    self._client = self._connect()
                return work(self._client)
            except Exception as error:
                if (refused := self._refusal(error)) is not None:
                    raise refused from error
                if self._closed or self._now() + wait > end:
                    raise self._silence(error, patience) from error
                self._forget_client()
                self._sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)

    def _refusal(self, error: Exception) -> Exception | None:
        """Return what is raised for an error that trying again does not help; None for any other."""
        if isinstance(error, StoreError | MissingExtra):
            return error
        text = _text_of(error)
        if _NOT_THERE.search(text) and _REFUSED_TOKEN.search(str(error.__cause__)):
            text = "wrong user, password or API key"  # which is found when the connection is made
            return StoreError(f"{self.shown}: the server refuses access; set {TOKEN} ({text})")
        if getattr(error, "code", None) == _NO_COLLECTION:
            return StoreError(
                f"{self.shown}: there is no such collection; make one of an index with: ",
                Call("sync_store", {"address": self.shown}),
            )
        if _REFUSED_TOKEN.search(text):
            return StoreError(f"{self.shown}: the server refuses access; set {TOKEN} ({text})")
        if _FULL.search(text) and not _SLOWER.search(text):
            return StoreError(
                f"{self.shown}: the server is full ({text}); what was stored stays; add memory or disk space, "
                "and run the same command again"
            )
        if _OUR_FAULT.search(text):
            return StoreError(f"{self.shown}: the server refuses the call ({text})")
        if not _is_of_the_server(error):
            return error  # a bug of ours shows its traceback
        return None

    def _silence(self, error: Exception, patience: float | None) -> StoreError:
        text = _text_of(error)
        if patience == 0.0:
            why = "" if _NOT_THERE.search(text) else f" ({text})"
            # The client says the same of a server that is gone, of one without TLS, and of another certificate.
            trusted = f"the one in {CA}" if os.environ.get(CA) else "of a known authority"
            asked = (
                f"and is its certificate {trusted}?"
                if self._is_encrypted
                else f"If it wants TLS, set {TLS}=1"
            )
            how = f" with TLS{why}; is it running, " if self._is_encrypted else f"{why}; is it running? "
            return StoreError(f"{self.shown}: no Milvus server answers there{how}{asked}")
        told = format_duration(self.patience)
        return StoreError(
            f"{self.shown}: the server has not answered for {told} ({text}); when it does, run the same command again"
        )

    def _forget_client(self) -> None:
        client, self._client = self._client, None
        try:
            if client is not None:
                client.close()
        except Exception:
            pass  # it was broken before

    def close(self) -> None:
        """Close the connection; a call of another thread is not tried again."""
        self._closed = True
        self._forget_client()


def _client(uri: str) -> Any:
    """Connect to a server. Raises MissingExtra, and what the client raises."""
    # gRPC's C++ part writes on the terminal what it tries again; what fails for good comes as an exception.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise MissingExtra("a store on a Milvus server", "milvus") from error
    for name, logger in logging.root.manager.loggerDict.items():
        if name.split(".")[0] == "pymilvus" and isinstance(logger, logging.Logger):
            logger.disabled = True  # it writes a traceback of each call that fails
    extra: dict[str, Any] = {"server_pem_path": os.environ[CA]} if os.environ.get(CA) else {}
    # By itself it would share its connection with all other clients of this process, and could not be closed.
    if uri.startswith(("http://", "https://")):
        extra["dedicated"] = True
    return MilvusClient(uri, token=os.environ.get(TOKEN, ""), timeout=_TO_CONNECT, **extra)


def _is_of_the_server(error: Exception) -> bool:
    from grpc import RpcError
    from pymilvus.exceptions import MilvusException, ParamError

    return isinstance(error, MilvusException | RpcError | ConnectionError | TimeoutError) and not isinstance(
        error, ParamError
    )


def _text_of(error: Exception) -> str:
    """Return what an error says, without what every one of them has around it."""
    return error_line(Exception(getattr(error, "message", "") or str(error)), 160, first=True)
