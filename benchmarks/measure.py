"""What the benchmarks measure with: one core or all, memory as the kernel counts it, latencies and their summary."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

# Random checkpoints of any size come from there.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "recipes"))

__all__ = [
    "Timed",
    "alternate",
    "available",
    "environment",
    "forget",
    "json",
    "memory",
    "now",
    "on_cores",
    "peak",
    "quantiles",
    "run",
    "said",
    "size",
    "timed",
]

now = time.perf_counter


def on_cores(count: int | None) -> int:
    """Keep this process, and what it starts, on so many cores (None: all); to be called before numpy is imported.

    Libraries size their thread pools by the cores that they may use, when they are loaded.
    """
    cores = sorted(os.sched_getaffinity(0))
    if count:
        cores = cores[-count:]
        os.sched_setaffinity(0, cores)
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(len(cores))
    return len(cores)


def memory(process: int | str = "self") -> dict[str, float]:
    """Return a process's resident memory in MB: all, its own (anonymous), and that of mapped files."""
    found = {}
    with open(f"/proc/{process}/status") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in ("VmRSS", "RssAnon", "RssFile"):
                found[name] = int(rest.split()[0]) * 1024 / 1e6
    return found


@contextlib.contextmanager
def peak(interval: float = 0.02) -> Iterator[list[float]]:
    """Watch this process's anonymous memory; at the end of the block the list holds its peak in MB."""
    found, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(interval):
            found[0] = max(found[0], memory()["RssAnon"])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def available() -> int:
    """Return the bytes of memory that the machine could still give."""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))


def alternate(contenders: dict[str, Callable[[int], object]], rounds: int) -> dict[str, list[float]]:
    """Let each contender answer question 0, then each question 1, …: A B A B; return milliseconds by name."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, ask in contenders.items():
            began = now()
            ask(number)
            taken[name].append((now() - began) * 1e3)
    return taken


def quantiles(taken: Sequence[float]) -> dict[str, float]:
    """Return median and 95th percentile of milliseconds."""
    ordered = sorted(taken)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {"median_ms": round(statistics.median(ordered), 3), "p95_ms": round(p95, 3)}


def size(*paths: str) -> int:
    """Return the bytes of files and of everything in folders."""
    total = 0
    for path in paths:
        if os.path.isdir(path):
            total += sum(size(os.path.join(path, name)) for name in os.listdir(path))
        elif os.path.exists(path):
            total += os.lstat(path).st_size
    return total


def forget(folder: str) -> None:
    """Ask the kernel to drop the files of a folder from its cache, so that they are read from the disk again."""
    for path in glob.glob(os.path.join(glob.escape(folder), "**"), recursive=True):
        if os.path.isfile(path):
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def run(code: str, *arguments: str) -> dict[str, float]:
    """Run a piece of Python in a fresh process that finds the same modules; return the JSON that it prints last."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=env, stdout=subprocess.PIPE, check=True, text=True
    )
    return said(done.stdout)


class Timed(NamedTuple):
    """How a whole process went: ``peak_mb`` of resident memory, ``own_mb`` of it not of files, and what it wrote.

    ``cpu`` is the processors' seconds, which other work on the machine changes less than the clock's.
    """

    seconds: float
    cpu: float
    peak_mb: float
    own_mb: float
    out: str
    err: str


def environment(folder: str) -> dict[str, str]:
    """Return the environment of timed processes: Python keeps all bytecode in ``folder``, so only first runs compile.

    An environment that uv has installed has none at first, and where PYTHONDONTWRITEBYTECODE is set it stays so: its
    imports would take several times as long as those of one by pip. And no command asks a running server.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": folder, "IMGSEARCH_SERVER": "off"}


def timed(argv: Sequence[str], env: dict[str, str] | None = None) -> Timed:
    """Run a command as a user does and time it from its start to its end; SystemExit if it fails.

    ``peak_mb`` is the kernel's count and holds the pages of mapped files, which are the page cache's own; ``own_mb``
    is looked up every 20 ms, on Linux only. A child's count begins with its parent's, so a benchmark that reports
    memory keeps itself small and leaves heavy imports to other processes.
    """
    own = [0.0]

    def watch() -> None:
        while not over.wait(0.02):
            with contextlib.suppress(OSError):  # it has ended, or there is no /proc
                own[0] = max(own[0], memory(process.pid).get("RssAnon", 0.0))

    over = threading.Event()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        began = now()
        process = subprocess.Popen(argv, stdout=out, stderr=err, env=env)
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = now() - began
        over.set()
        thread.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        written = out.read(), err.read()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} failed ({process.returncode}): {written[1].strip()[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Timed(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6, own[0], *written)


def said(text: str) -> dict[str, Any]:
    """Return the JSON line that a process wrote last."""
    return dict(json.loads(text.splitlines()[-1]))
