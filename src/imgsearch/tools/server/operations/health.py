"""Whether a server lives, and whether requests should be sent to it: what balancers and orchestrators ask."""

from __future__ import annotations

HEALTH, READY = "/health", "/ready"
OPEN = (HEALTH, READY)
"""Addresses that are answered without a token, whoever asks: they tell nothing of what is indexed."""


class Readiness:
    """Whether requests should be sent to a server; not while it still loads its model, nor while it ends."""

    def __init__(self, *, warm: bool) -> None:
        """Begin; with ``warm`` the model is loaded first."""
        self._not_yet = "loading the model" if warm else ""
        self._draining = False

    @property
    def is_draining(self) -> bool:
        """Whether the server is about to end."""
        return self._draining

    @property
    def reason(self) -> str:
        """Why no requests should be sent here; "" if they should."""
        return "stopping" if self._draining else self._not_yet

    def warmed(self, problem: str) -> None:
        """Take note that the model is loaded; or of the ``problem`` that kept it from being so."""
        self._not_yet = problem

    def drain(self) -> None:
        """Take note that the server is about to end."""
        self._draining = True
