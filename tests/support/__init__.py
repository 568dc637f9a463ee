"""What tests share: the predictable fake model, drawn pictures, tiny checkpoints, a loopback hub, rigs for faults."""

import os
import shutil
from pathlib import Path

import psutil

TESTS = Path(__file__).parents[1]
"""The folder of the tests; on PYTHONPATH, a process of its own finds this package."""

ROOT = TESTS.parent
"""The checkout."""

FULL = os.environ.get("IMGSEARCH_FAULTS") == "full"
"""`make faults`: many more of what is drawn at random, for as long as that takes; else samples, for CI."""

_ROOM = 4 << 30


def memory() -> str | None:
    """Return a folder in memory, if the system has one with room, for tests to which a drive's syncs are only time."""
    folder = "/dev/shm"
    if not os.access(folder, os.W_OK) or shutil.disk_usage(folder).free < _ROOM:
        return None
    return folder if psutil.virtual_memory().available > 2 * _ROOM else None
