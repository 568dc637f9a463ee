"""The lowest priority for this process and for those that it starts: for the processor, and for the disk."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

_NICEST = 19


def lower() -> None:
    """Let others have the processor and the disk first, from now on: a process can't take that back.

    On Linux each thread has a priority of its own, and those that it starts get the same: so this belongs before what
    starts threads, and takes those that there are. What the system refuses stays as it was.
    """
    if sys.platform == "linux":
        for thread in _threads():
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, thread, _NICEST)
            with suppress(OSError):
                # It gives way at once to whatever wakes up; by nice alone it ends its turn first.
                os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    else:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, _NICEST)
    background = getattr(os, "PRIO_DARWIN_BG", None)
    if background is not None:  # macOS, from Python 3.12 on: the disk too, and the cores that save power
        with suppress(OSError):
            os.setpriority(getattr(os, "PRIO_DARWIN_PROCESS"), 0, background)  # noqa: B009
    _lower_disk()


def _threads() -> list[int]:
    """Return the threads of this process by their numbers."""
    try:
        return [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return [0]


def _lower_disk() -> None:
    """Have the disk serve this thread, and those that it starts, when it has nothing else to do."""
    import psutil  # on use: few runs are gentle

    if hasattr(psutil, "IOPRIO_CLASS_IDLE"):
        with suppress(OSError, psutil.Error):
            psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
