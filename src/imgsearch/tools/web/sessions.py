"""Who may see the page: one-time links, and the sessions that they become. All in memory: they end with the server."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

LINK_SECONDS = 600.0
"""How long a link that nobody has opened stays good."""
MOST_LINKS = 16
MOST_SESSIONS = 32
_BYTES = 32  # of a secret
_VIEW_BYTES = 18  # 24 characters


@dataclass(eq=False)
class Session:
    """One browser that has opened a link. ``view`` is its id in the page's address, ``index`` the index's folder.

    ``typed`` counts its queries.

    The secret itself is not kept, only its hash: nothing that prints a session shows it.
    """

    view: str
    index: str
    _digest: bytes = field(repr=False)
    typed: int = 0

    def is_of(self, secret: str) -> bool:
        """Whether a cookie's value is this session's secret; takes as long for any wrong one."""
        return secrets.compare_digest(self._digest, _digest(secret))


class Sessions:
    """Links that were handed out and the sessions that were opened. To be used from one thread, the event loop's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without any."""
        self._clock = clock
        self._links: OrderedDict[bytes, tuple[float, str]] = (
            OrderedDict()
        )  # digest → when it was made, the index
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # by view, the one used last at the end

    def new_ticket(self, index: str) -> str:
        """Return the secret of a new one-time link to an index. The oldest of too many are void then."""
        ticket = secrets.token_urlsafe(_BYTES)
        self._links[_digest(ticket)] = self._clock(), index
        while len(self._links) > MOST_LINKS:
            self._links.popitem(last=False)
        return ticket

    def redeem(self, ticket: str) -> tuple[Session, str] | None:
        """Return a new session and its secret for a ticket, which is void then; None for one that is not good.

        Tickets are found by their hashes: how long that takes tells nothing of those that are good.
        """
        made, index = self._links.pop(_digest(ticket), (None, ""))
        if made is None or self._clock() - made > LINK_SECONDS:
            return None
        secret = secrets.token_urlsafe(_BYTES)
        session = Session(secrets.token_urlsafe(_VIEW_BYTES), index, _digest(secret))
        self._sessions[session.view] = session
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return session, secret

    def find(self, view: str, shown: Sequence[str]) -> Session | None:
        """Return the session of a view if one of the secrets that are ``shown`` is its own."""
        session = self._sessions.get(view)
        if session is None or not any(session.is_of(secret) for secret in shown):
            return None
        self._sessions.move_to_end(view)
        return session


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
