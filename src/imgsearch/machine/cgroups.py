"""The control groups of Linux that this process is in, by which a container or a session limits memory and cores."""

from __future__ import annotations

import os

ROOT = "/sys/fs/cgroup"
_OWN = "/proc/self/cgroup"


def groups(controller: str) -> list[str]:
    """List the paths of this process's group and of those around it; a container sees its own as the root, "".

    ``controller`` is "" for version 2 of control groups, of version 1 such as "memory".
    """
    try:
        with open(_OWN, encoding="utf-8", errors="surrogateescape") as file:
            entries = [line.split(":", 2) for line in file.read().splitlines()]
    except OSError:
        return []
    found = {""}
    for entry in entries:
        if len(entry) == 3 and controller in entry[1].split(","):
            parts = entry[2].strip("/").split("/")
            found |= {"/".join(parts[:count]) for count in range(len(parts) + 1)}
    return sorted(found)


def read(controller: str, group: str, name: str) -> str:
    """Return what a file of a group holds. Raises OSError where there is none such."""
    path = os.path.join(ROOT, controller, group, name)
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()
