"""The progress bar on a terminal: tqdm's, with the program's own words beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

# A terminal echoes "^C" behind the bar. Where that fits into the line, it goes away with the bar.
_ECHO = 2


class Bar(tqdm):  # type: ignore[type-arg]
    """A bar that is drawn at once, and is gone when it is closed."""

    monitor_interval = 0  # else a thread of its own watches over each bar

    def __init__(self, total: int, describe: Callable[[float | None], str]) -> None:
        """Draw it; ``describe`` is given the latest rate, units per second, and returns what stands beside the bar.

        With ``total`` 0 nobody knows how many units there will be, and only the description is shown.
        """
        self._describe = describe
        super().__init__(
            total=total or None,
            bar_format="{percentage:3.0f}% {bar:24} {described}" if total else "{described}",
            file=sys.stderr,
            dynamic_ncols=True,
            leave=False,
            smoothing=0.1,
            miniters=1,  # a batch may take seconds: every step is worth drawing
        )

    @property
    def format_dict(self) -> dict[str, Any]:
        """Return what a line is drawn from."""
        state = super().format_dict
        columns = max(1, state["ncols"] - _ECHO) if state["ncols"] else None
        return {**state, "ncols": columns, "described": self._describe(state["rate"])}
