"""When and how the model last ran, kept best effort beside the index: losing it costs nothing but the memory of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from imgsearch.index import memory
from imgsearch.types import Runtime

NAME = memory.NAME


@dataclass(frozen=True, slots=True)
class Run:
    """A run that loaded the model. ``at`` in seconds since 1970; ``rate`` in pictures a second, 0 if it had none."""

    command: str
    at: float
    runtime: Runtime
    rate: float


def record(folder: str, command: str, runtime: Runtime, rate: float = 0.0) -> None:
    """Remember a run of ``command``; in a folder that can't be written, or when busy, do nothing.

    A run too short to have a ``rate`` (0) leaves the one that is known.
    """
    row = (command, time.time(), runtime.device, runtime.dtype, runtime.reason, rate)
    memory.write(
        folder,
        lambda db: db.execute(
            "INSERT INTO run VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (command) DO UPDATE SET at = excluded.at, "
            "device = excluded.device, dtype = excluded.dtype, reason = excluded.reason, "
            "rate = iif(excluded.rate > 0, excluded.rate, rate)",
            row,
        ),
    )


def last(folder: str, command: str | None = None) -> Run | None:
    """Return the last run (of ``command``), or None if none is remembered."""
    row = memory.read(
        folder,
        lambda db: db.execute(
            "SELECT command, at, device, dtype, reason, rate FROM run WHERE ?1 IS NULL OR command = ?1 "
            "ORDER BY at DESC LIMIT 1",
            (command,),
        ).fetchone(),
    )
    return Run(row[0], row[1], Runtime(row[2], row[3], row[4]), row[5]) if row else None
