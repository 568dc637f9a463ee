"""A process with the shim in it that has imported everything and forks a child for every run that is asked for.

LD_PRELOAD=shim.so python -m faults.server        requests and answers are JSON lines
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from imgsearch.errors import ImgsearchError
from imgsearch.index import segments
from support import TESTS
from support.faults import checks, commands, shim, workload

HANGS_AFTER = 60
"""Seconds after which a run counts as hung."""


@dataclass(frozen=True)
class Order:
    """A run that is wanted: the steps of ``plan(seed)`` from ``first`` on, on the index in ``root``/index.

    With ``commands``, those of ``script(seed)`` instead.
    """

    root: str
    seed: int
    first: int = 0
    commands: bool = False
    kinds: int = 0
    nth: int = 0
    verdict: int = 0
    sticky: bool = False
    again: bool = False
    trace: str = ""
    sync: int = shim.SKIP
    careless: str = ""
    """The index never syncs its vectors ("rows") or its folders ("folders"): what a test of the tests needs."""


@dataclass
class Outcome:
    """How a run went: the last step that was ``begun`` and ``done``; ``error`` as "Class: message" or ""."""

    begun: int = -1
    done: int = -1
    error: str = ""
    ours: bool = False
    """The error is an ImgsearchError."""
    fired: str = ""
    calls: dict[str, int] = field(default_factory=dict)
    signal: int = 0


class Server:
    """The process, from the test's side."""

    def __init__(self, library: Path) -> None:
        own = {
            "LD_PRELOAD": str(library),
            "PYTHONPATH": str(TESTS),
            # Threads would not survive a fork.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.faults.server"],
            env={**os.environ, **own},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, order: Order) -> Outcome:
        """Carry out one order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the server died"
        return Outcome(**json.loads(line))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _child(order: Order, out: int) -> None:
    """Do what is ordered, and tell of it."""
    device = shim.Shim()

    def tell(**what: Any) -> None:
        os.write(out, json.dumps(what).encode() + b"\n")

    def begin(number: int) -> None:
        device.mark(f"begin {number}")
        tell(begun=number)

    def done(number: int) -> None:
        device.mark(f"done {number}")
        tell(done=number)

    signal.alarm(HANGS_AFTER)
    if order.careless == "rows":
        segments.sync_file = lambda descriptor: None
    elif order.careless == "folders":
        os.fsync = lambda descriptor: None
    device.watch(order.root)
    device.sync(order.sync)
    if order.trace:
        device.trace(order.trace)
    device.arm(order.kinds, order.nth, order.verdict, order.sticky)
    try:
        index = os.path.join(order.root, "index")
        with workload.small():
            if order.commands:
                commands.live(index, order.seed, order.first, begin, done)
            else:
                steps, look = workload.plan(order.seed), checks.check_search
                workload.live(index, steps, order.first, look=look, begin=begin, done=done, again=order.again)
    except ImgsearchError as error:
        tell(error=f"{type(error).__name__}: {error}", ours=True)
    except BaseException:
        tell(error=traceback.format_exc())
    counted = dict(zip(shim.KINDS, device.calls(list(shim.KINDS.values())), strict=True))
    tell(fired=device.fired, calls=counted)


def _run(order: Order) -> Outcome:
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        try:
            _child(order, writable)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writable)
    outcome = Outcome()
    with open(readable, encoding="utf-8") as lines:
        for line in lines:
            for name, value in json.loads(line).items():
                setattr(outcome, name, value)
    _, status = os.waitpid(pid, 0)
    outcome.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return outcome


def main() -> None:
    """Serve until the input ends."""
    import_module("faiss")  # once, and not in every child
    for line in sys.stdin:
        print(json.dumps(asdict(_run(Order(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    main()
