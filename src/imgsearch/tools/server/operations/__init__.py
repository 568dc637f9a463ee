"""What a server needs that answers others than its owner: clients with tokens, health, metrics, a log, a slow end."""

from __future__ import annotations

from dataclasses import dataclass

from imgsearch.errors import UsageError
from imgsearch.text import Option


@dataclass(frozen=True, slots=True)
class Operations:
    """How a server is run for others.

    ``clients`` is the file of those who may ask over TCP (operations/clients.py). With ``metrics`` there is /metrics.
    ``log`` is the file that gets a line of JSON per request, "-" for stdout; what was asked is in it only with
    ``log_queries``. ``drain_seconds`` pass between SIGTERM, from when on /ready says no, and the end. ``hosts`` are the
    names, beside 127.0.0.1, by which requests may call the server: those of the balancer before it.
    """

    clients: str | None = None
    metrics: bool = False
    log: str | None = None
    log_queries: bool = False
    drain_seconds: float = 0.0
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise UsageError for what can't be meant."""
        if not 0 <= self.drain_seconds <= 3600:
            raise UsageError(Option("drain_seconds", self.drain_seconds), ": must be from 0 to 3600 seconds")
        if self.log_queries and not self.log:
            raise UsageError(Option("log_queries"), " needs ", Option("log", metavar="FILE"))


NO_OPERATIONS = Operations()
"""A server for its owner alone."""
