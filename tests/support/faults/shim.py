"""The preloaded library from Python: how it is built, and how the process that has it arms it."""

from __future__ import annotations

import ctypes
import errno
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")

# Kinds of calls, as bits; the same numbers stand in shim.c.
WRITE, SYNC, RENAME, UNLINK, TRUNCATE, CREATE, OPEN, CLOSE = (1 << bit for bit in range(8))
ALL = (1 << 8) - 1

# What a call answers.
HALF, KILL = -1, -2
"""HALF of a write is done, and the next one of that file fails with ENOSPC; KILL: the process is killed instead."""
VERDICTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "half": HALF, "kill": KILL}
# Which calls can give that answer: a full disk still opens, deletes and closes.
KINDS = {"EIO": ALL, "ENOSPC": WRITE | SYNC | RENAME | TRUNCATE | CREATE, "half": WRITE, "kill": ALL}

# How syncs are done.
REAL, SKIP, LIE = range(3)
"""SKIP records a sync without doing it, which is faster; LIE answers success and does and records nothing."""


def missing() -> str:
    """Return why the library can't be had on this machine, or ""."""
    if not sys.platform.startswith("linux"):
        return "the fault shim works on Linux only"
    if shutil.which("gcc") is None:
        return "the fault shim is built with gcc, which is not installed"
    return ""


def build(folder: Path) -> Path:
    """Compile the library into ``folder`` and return its path."""
    library = folder / "shim.so"
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-O1",
        "-Wall",
        "-U_FORTIFY_SOURCE",
        "-o",
        str(library),
        str(SOURCE),
    ]
    done = subprocess.run([*command, "-ldl", "-lpthread"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


class Shim:
    """The library, as the process that it was preloaded into sees it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.shim_fired.restype = ctypes.c_char_p
        self._library.shim_calls.restype = ctypes.c_long
        self._library.shim_arm.argtypes = (ctypes.c_uint, ctypes.c_long, ctypes.c_int, ctypes.c_int)

    def watch(self, root: str) -> None:
        """Count calls for files below ``root`` from now on."""
        self._library.shim_root(root.encode())

    def arm(self, kinds: int, nth: int, verdict: int, sticky: bool) -> None:
        """Let the ``nth`` (from 1) of the calls of these kinds fail, and with ``sticky`` what comes after it."""
        self._library.shim_arm(kinds, nth, verdict, int(sticky))

    def sync(self, mode: int) -> None:
        """Choose how syncs are done: REAL, SKIP or LIE."""
        self._library.shim_sync(mode)

    def trace(self, path: str) -> None:
        """Record every change below the root to the end of a file; it begins with an empty root."""
        assert self._library.shim_trace(path.encode()), path

    def mark(self, text: str) -> None:
        """Put a remark into the trace."""
        self._library.shim_mark(text.encode())

    @property
    def fired(self) -> str:
        """Which call was made to fail, or ""."""
        return str(self._library.shim_fired().decode())

    def calls(self, kinds: Sequence[int]) -> list[int]:
        """Return for each set of kinds how many calls there were."""
        return [int(self._library.shim_calls(kind)) for kind in kinds]
