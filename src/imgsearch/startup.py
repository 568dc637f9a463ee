"""Imports without Python's search for cycles, which takes a seventh of the time of many modules."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected(module: str) -> Iterator[None]:
    """Import ``module`` in the block: no cycles are sought, and what is there at its end is not looked at any more.

    Modules live as long as the process; torch alone makes half a million objects, which every full search would visit.
    Where the module has been imported before, nothing is changed: a server loads models again and again, and garbage
    that happens to be there must not be kept each time.
    """
    if module in sys.modules:
        yield
        return
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if on:
            gc.enable()
