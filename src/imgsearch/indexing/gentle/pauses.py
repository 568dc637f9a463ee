"""When a run waits, and when it stops: asked between batches, it commits first, and Ctrl-C ends any wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from imgsearch.indexing.gentle.deadline import RunStopped, deadline
from imgsearch.indexing.gentle.senses import Senses
from imgsearch.text import format_duration
from imgsearch.types import Reporter

EVERY_SECONDS = 5.0
"""So often the machine is asked: that costs a millisecond."""


class Pauses:
    """What a run asks between batches, whether it is to wait or to stop; a run that is neither gentle nor ends at a
    certain time may ask as well.

    ``total`` is the seconds that it has waited.
    """

    def __init__(
        self,
        reporter: Reporter,
        *,
        gentle: bool = False,
        until: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        reason: Callable[[float], str] | None = None,
        today: Callable[[], datetime] = datetime.now,
    ) -> None:
        """Begin now: ``until`` is the time at which to stop, as ``deadline`` reads it. Raises UsageError."""
        self.total = 0.0
        self._reporter, self._clock, self._sleep = reporter, clock, sleep
        self._reason = (reason or Senses().reason) if gentle else None
        self._until, self._today = until, today
        self._ends = None if until is None else deadline(until, today())
        self._asked = clock()
        self._told: set[str] = set()
        if self._reason:
            self._reason(self._asked)  # from here on it is known how busy others are

    def check(self, commit: Callable[[], None]) -> None:
        """Wait while there is a reason to, after a ``commit``. Raises RunStopped once the time to stop has come."""
        self._stop_if_over()
        now = self._clock()
        if self._reason is None or now - self._asked < EVERY_SECONDS:
            return
        self._asked = now
        why = self._reason(now)
        if not why:
            return
        commit()
        began, shown = self._clock(), ""
        try:
            while why:
                kind = why.partition(" (")[0]
                if kind != shown:
                    self._tell(why, kind)
                    shown = kind
                self._stop_if_over()
                self._sleep(self._nap())
                why = self._reason(self._clock())
        finally:
            self._asked = self._clock()
            self.total += self._asked - began
        self._reporter.detail(f"continued after {format_duration(self._asked - began)}")

    def _tell(self, why: str, kind: str) -> None:
        """Show why nothing happens: in the progress of each pause, and as a line the first time of its kind."""
        self._reporter.advance(0, f"paused: {why}")
        if kind not in self._told:
            self._told.add(kind)
            self._reporter.say(f"paused: {why}; continues automatically")

    def _nap(self) -> float:
        """Return how many seconds to sleep: no longer than to the end."""
        if self._ends is None:
            return EVERY_SECONDS
        return max(0.0, min(EVERY_SECONDS, self._ends - self._today().timestamp()))

    def _stop_if_over(self) -> None:
        if self._ends is not None and self._today().timestamp() >= self._ends:
            raise RunStopped(f"stopped at {self._until}")
