"""What changes below some folders, as the system reports it: watchfiles on inotify, FSEvents or by polling."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

from imgsearch.types import is_utf8

_STEP_MS = 400
"""How often a waiting watch looks for changes and for Ctrl-C."""
_QUIET_SECONDS = 1.0
_WITHOUT = 60  # empty sets


def follow(folders: Sequence[str]) -> Generator[set[str], None, None]:
    """Yield the absolute paths that have changed below ``folders``; after each quiet second an empty set.

    Changes between two sets are in the second one. Folders that are moved away or unmounted report nothing more, and
    what comes in their place isn't followed. Without folders it ends after a minute. Raises OSError where the system
    can't follow so many, or one is not there. Ctrl-C raises KeyboardInterrupt.
    """
    named = [folder for folder in folders if is_utf8(folder)]  # watchfiles knows no other
    if not named:
        for _ in range(_WITHOUT):
            time.sleep(_QUIET_SECONDS)
            yield set()
        return
    from watchfiles import watch  # on use: it is an extra

    for changes in watch(
        *named,
        watch_filter=None,
        step=_STEP_MS,
        rust_timeout=int(1000 * _QUIET_SECONDS),
        yield_on_timeout=True,
        raise_interrupt=True,
        ignore_permission_denied=True,
    ):
        yield {path for _, path in changes}
