"""The memory that this process can still have: by the machine, by a container's limit, and by a limit of its own."""

from __future__ import annotations

import resource

from imgsearch.machine import cgroups

# Where a version of control groups has its folders, and the files for the limit, what is used, and what of it is
# cached files, which the system gives up when it must.
_VERSIONS = (
    ("", "memory.max", "memory.current", ("active_file", "inactive_file")),
    (
        "memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_active_file", "total_inactive_file"),
    ),
)


def free() -> int:
    """Return how many bytes can still be had without going over any limit."""
    import psutil  # on use: not every command needs to know

    return min([psutil.virtual_memory().available, *_left_by_limits(), *_left_of_addresses()])


def _left_of_addresses() -> list[int]:
    """Return what `ulimit -v` leaves, in bytes, if there is such a limit."""
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return []
    import psutil

    return [max(0, most - psutil.Process().memory_info().vms)]


def _left_by_limits() -> list[int]:
    """Return what each limit on this process's control group and on those around it leaves, in bytes."""
    free = []
    for controller, limit_file, used_file, cached in _VERSIONS:
        for group in cgroups.groups(controller):
            try:
                limit = int(cgroups.read(controller, group, limit_file))
                told = cgroups.read(controller, group, "memory.stat")
                stat = dict(line.split() for line in told.splitlines())
                used = int(cgroups.read(controller, group, used_file))
                used -= sum(int(stat.get(name, 0)) for name in cached)
            except (OSError, ValueError):
                continue  # no such group, or its limit is "max"
            free.append(max(0, limit - used))
    return free
