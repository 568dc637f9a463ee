"""How many processor cores this process may use, and why: by the machine, a quota, and what the user wishes.

Whatever starts a thread a core asks here: more threads than cores only wait for each other, and a container that has
used its quota stands still until its next period.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from imgsearch.errors import UsageError
from imgsearch.machine import cgroups
from imgsearch.text import Message, Option


@dataclass(frozen=True, slots=True)
class Cores:
    """How many cores may be used, at least 1, and why so many."""

    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Wish:
    threads: int | None = None
    leave_free: int = 0


_wish = _Wish()


@contextmanager
def limited(threads: int | None = None, *, leave_free: int = 0) -> Iterator[None]:
    """Have ``usable`` give at most so many cores in the block, and leave some free of those that there are.

    What is not given stays as it is. It holds for the whole process, for it is the process that uses them. Raises
    UsageError for less than one thread.
    """
    global _wish
    if threads is not None and threads < 1:
        raise UsageError(Option("threads", threads), ": must be at least 1")
    before = _wish
    _wish = _Wish(before.threads if threads is None else threads, leave_free or before.leave_free)
    try:
        yield
    finally:
        _wish = before


def is_asked_for() -> bool:
    """Whether the user has named a number of threads, which then stands against what libraries take by themselves."""
    return _wish.threads is not None


def usable() -> Cores:
    """Return how many cores this process may use now: the fewest of what the following allow.

    These are the machine, the affinity (taskset, cpusets), the quotas of control groups (``cpu.max`` of version 2,
    ``cpu.cfs_quota_us`` of version 1, of each group that is around this process; a part of a core counts as one, since
    only so a quota can be used whole), and what ``limited`` asks for.
    """
    there = _allowed()
    wish = _wish
    most = there.count
    if wish.leave_free and most > wish.leave_free:
        most -= wish.leave_free
        there = Cores(most, f"{there.reason}; {wish.leave_free} is left free")
    if wish.threads is None:
        return there
    if wish.threads > most:
        return Cores(most, Message(there.reason, "; no more for ", Option("threads", wish.threads)))
    return Cores(wish.threads, Message("as asked for by ", Option("threads", wish.threads)))


def _allowed() -> Cores:
    """Return the cores that the system lets this process use."""
    machine = os.cpu_count() or 1
    count, reason = machine, "all of this machine"
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
        if count < machine:
            reason = f"the process is limited to {count} of the machine's {machine} cores"
    quota = _quota()
    if quota is not None and math.ceil(quota) < count:
        return Cores(max(1, math.ceil(quota)), f"a quota of {quota:.3g} of the machine's {machine} cores")
    return Cores(count, reason)


def _quota() -> float | None:
    """Return how many cores the tightest quota of the groups around this process allows; None without one."""
    found = []
    for controller, read in (("", _of_version_2), ("cpu", _of_version_1), ("cpu,cpuacct", _of_version_1)):
        for group in cgroups.groups(controller.partition(",")[0]):
            try:
                quota, period = read(controller, group)
            except (OSError, ValueError):
                continue  # no such group, or no limit: "max"
            if quota > 0 and period > 0:  # version 1 says -1 for no limit
                found.append(quota / period)
    return min(found, default=None)


def _of_version_2(controller: str, group: str) -> tuple[int, int]:
    """Return the microseconds that a group may compute in a period of so many."""
    quota, period = cgroups.read(controller, group, "cpu.max").split()
    return int(quota), int(period)


def _of_version_1(controller: str, group: str) -> tuple[int, int]:
    """Return the microseconds that a group may compute in a period of so many."""
    quota = cgroups.read(controller, group, "cpu.cfs_quota_us")
    return int(quota), int(cgroups.read(controller, group, "cpu.cfs_period_us"))
