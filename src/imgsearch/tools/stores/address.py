"""The address of a store, as somebody types it; what is secret comes from the environment alone."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from imgsearch.errors import UsageError
from imgsearch.text import Option, display_path

SCHEME = "milvus"
PORT = 19530
TOKEN, TLS, CA = "IMGSEARCH_STORE_TOKEN", "IMGSEARCH_STORE_TLS", "IMGSEARCH_STORE_CA"
"""Variables: user:password or an API key; 1 to encrypt the connection; the certificate to trust."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_CHOICES = {"consistency": ("strong", "bounded"), "index": ("autoindex", "ivf_rabitq")}


@dataclass(frozen=True, slots=True)
class Address:
    """Which collection of which server. ``shown`` is how a message names it.

    ``consistency`` "bounded" lets a search miss what was put in a few seconds ago; ``index`` is the kind of index that
    a new collection gets.
    """

    host: str
    port: int
    collection: str
    consistency: str = "strong"
    index: str = "autoindex"

    @property
    def shown(self) -> str:
        """Return it without its options."""
        return f"{SCHEME}://{self._host}:{self.port}/{self.collection}"

    @property
    def uri(self) -> str:
        """Return what the server's client connects to."""
        secure = os.environ.get(TLS, "") not in ("", "0") or bool(os.environ.get(CA))
        return f"{'https' if secure else 'http'}://{self._host}:{self.port}"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def parse(text: str) -> Address:
    """Return the address ``milvus://HOST:PORT/COLLECTION``. Raises UsageError for anything else."""

    def refused(why: str) -> UsageError:
        # What is secret may hold any character, and stand behind a question mark as well.
        host = text.partition("?")[0].rpartition("@")
        shown = display_path(f"{SCHEME}://…@{host[2]}" if host[1] else host[2])
        return UsageError(Option("store", shown), f": {why}")

    try:
        parts = urlsplit(text)
        port = parts.port or PORT
    except ValueError:
        raise refused("not an address, as in milvus://localhost:19530/photos") from None
    if parts.scheme != SCHEME or not parts.hostname:
        raise refused("not an address, as in milvus://localhost:19530/photos")
    if parts.username is not None or parts.password is not None:
        raise refused(f"an address has no password; set {TOKEN} to user:password or to an API key")
    collection = parts.path.strip("/")
    if not _NAME.fullmatch(collection):
        raise refused(
            "the name of a collection has letters, digits and underscores, as in milvus://localhost/photos"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        if value.lower() not in _CHOICES.get(name, ()):
            known = ", ".join(f"{name}={'|'.join(values)}" for name, values in _CHOICES.items())
            wrong = f"{name}={value}" if name in _CHOICES else name
            raise refused(f"{wrong} is not an option; these are: {known}")
    chosen = {name: value.lower() for name, value in options.items()}
    return Address(parts.hostname, port, collection, **chosen)
