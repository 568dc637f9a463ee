"""How the process is set up and left: what is set before torch is loaded, imports without garbage collection, signals.

The package calls `set_openmp_waiting` when it is imported; no other module does anything but define names.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Self


def set_openmp_waiting() -> None:
    """Let OpenMP's threads sleep soon at their barriers; a user's own settings stand. Before torch is loaded.

    They spin there; when another program holds a core, each barrier then costs a time slice and the forward pass
    runs many times slower. With no spinning at all a barrier costs the waking of a thread, a tenth to a fifth of a
    pass on an idle machine. Some twenty microseconds of it are nearly the best of both (benchmarks/LOG.md).

    OpenMP reads it once, when torch is loaded. The package calls this before all else when it is imported: it holds
    for whoever imports torch through imgsearch, or after it. A program that imports torch first sets
    OMP_WAIT_POLICY and GOMP_SPINCOUNT itself.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # GNU's OpenMP heeds this one


def quieten() -> None:
    """Keep other libraries' warnings and bars away from the command line's user; a developer's own settings win."""
    import logging  # on use: who only imports the package need not wait for it

    for name, value in (
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
    ):
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())


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


def collect() -> None:
    """Free all that nothing refers to any more but in a circle, also of what ``uncollected`` has put aside.

    Errors that an import has caught are such circles. They hold the frames of whoever imported, and these what they
    have loaded since: a model, once it is unloaded, would stay in memory.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def leave(code: object) -> None:
    """End at once after a command that has loaded torch for our own forward, or that leaves threads at work.

    Python takes half a second to take torch apart, to free what the system frees anyway; whoever asked a question waits
    for it. And it would wait for threads: after Ctrl-C one may be decoding still. Every command has closed its files by
    now. transformers' trainer may have things to do at the end: with it the end is the usual one, but for Ctrl-C.
    """
    hurried = code == INTERRUPTED or "transformers" not in sys.modules
    if isinstance(code, int) and hurried and ("torch" in sys.modules or threading.active_count() > 1):
        os._exit(code)


INTERRUPTED = 130
"""The exit code after Ctrl-C, as a shell has it."""


class StopSignals:
    """Takes note of SIGTERM, SIGHUP and Ctrl-C in a block, from its first moment to its last; they end nothing there.

    ``number`` is the first signal that came, 0 before.
    """

    def __init__(self) -> None:
        """Take note of nothing yet."""
        self.number = 0
        self._then: Callable[[int], None] | None = None
        self._before: dict[int, Any] = {}

    def hand_to(self, then: Callable[[int], None]) -> None:
        """Call ``then`` with each signal from now on, and with one that has come already."""
        self._then = then
        if self.number:
            then(self.number)

    def __enter__(self) -> Self:
        """Begin; in the main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        """Let signals do what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: object) -> None:
        self.number = self.number or number
        if self._then:
            self._then(number)


class StopByInterrupt:
    """Makes of SIGTERM, SIGHUP and Ctrl-C in a block a KeyboardInterrupt, which lets work end as it should.

    Where that takes longer than some seconds, as in a pass of a model, which nothing can interrupt, the process ends
    there. ``number`` is the first signal that came, 0 before.
    """

    def __init__(self, seconds: float, last: Callable[[int], None]) -> None:
        """Call ``last`` with the signal before the process is ended after ``seconds``."""
        self.number = 0
        self._seconds, self._last = seconds, last
        self._ended = threading.Event()
        self._before: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """The exit code for the signal that came."""
        return INTERRUPTED if self.number == signal.SIGINT else 0

    def __enter__(self) -> Self:
        """Begin; in the main thread only."""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        # Written to as soon as a signal comes; a handler only runs when the main thread is back in Python.
        self._before_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._take)
        threading.Thread(target=self._wait, name="stop", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let signals do what they did before."""
        self._ended.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before_fd)
        os.close(self._writer)  # the thread closes the other end

    def _take(self, number: int, frame: object) -> None:
        self.number = self.number or number
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)  # whoever puts Ctrl-C off for a moment puts this off too

    def _wait(self) -> None:
        """End the process if a signal has come and the block continues."""
        while (data := os.read(self._reader, 1)) and data[0] not in self._before:
            pass
        if data and not self._ended.wait(self._seconds):
            self.number = self.number or data[0]
            self._last(self.number)
            os._exit(self.exit_code)
        os.close(self._reader)
