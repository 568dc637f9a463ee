"""Fixtures that many test files share, how the property tests run, what is quick, and where the time went."""

from __future__ import annotations

import atexit
import gc
import inspect
import os
import shutil
import sys
import tempfile
from collections import Counter
from functools import cache
from types import CodeType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from support import TESTS, memory
from support.checkpoints import (
    tiny_checkpoint,
    tiny_checkpoint_bare,
    tiny_copy,
    tiny_embedder,
    tiny_reranker,
)
from support.tiny_models import tiny_clip, tiny_gemma3, tiny_siglip2

# Thousands of tests make an index, and each makes it durable by thirty syncs of the drive, which in memory are nothing.
if "TMPDIR" not in os.environ and (_folder := memory()):
    os.environ["TMPDIR"] = tempfile.tempdir = _folder
# No server of whoever runs the tests may answer for them.
os.environ["IMGSEARCH_RUNTIME_DIR"] = os.path.join(
    tempfile.gettempdir(), f"imgsearch-no-server-{os.getpid()}"
)
# Nor may their config file count, or what they have searched for.
for _kind in ("CONFIG", "STATE"):
    os.environ[f"XDG_{_kind}_HOME"] = os.path.join(
        tempfile.gettempdir(), f"imgsearch-tests-{os.getpid()}", _kind.lower()
    )
atexit.register(shutil.rmtree, os.path.dirname(os.environ["XDG_STATE_HOME"]), ignore_errors=True)
# A thousand processes that tests start would each compile the sources again, twice what a start takes otherwise.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Users don't set it, and it hides what Python's exit does with a stream that could not be written.
os.environ.pop("PYTHONUNBUFFERED", None)
# Workers side by side (pytest-xdist) each keep to one core, and so do the processes that they start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

__all__ = [
    "tiny_checkpoint",
    "tiny_checkpoint_bare",
    "tiny_clip",
    "tiny_copy",
    "tiny_embedder",
    "tiny_gemma3",
    "tiny_reranker",
    "tiny_siglip2",
]

# No deadlines: a shared machine may stall for a moment, and speed is for benchmarks/. CI draws the same examples
# every time, so that a change is blamed only for what it did; elsewhere each run looks at new ones.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, max_examples=30)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# `pytest -m quick` is the loop at the desk: every test but those of the rooms below, those that start a process
# (in their own code, their fixtures' or a helper's), and those marked slow, each with its reason:
#     @pytest.mark.slow("measures memory, in processes of its own")
SLOW_ROOMS = ("faults", "parity", "web")
# The last two are those of support.serving and support.mcp_client.
STARTS_PROCESSES = {"subprocess", "fork", "running", "connected"}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the options
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Let `pytest -m quick` use the cores, as `make test` does: the loop at the desk may take a minute.

    Not in a worker, which gets the same options: it would start workers of its own, and so on.
    """
    option = config.option
    alone = option.numprocesses is None and not option.usepdb and "PYTEST_XDIST_WORKER" not in os.environ
    if option.markexpr == "quick" and alone and not hasattr(config, "workerinput"):
        option.numprocesses, option.dist = min(4, os.cpu_count() or 1), "worksteal"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is quick, if anybody asks for it: to read the tests' code for that takes a while."""
    for item in items if "quick" in config.option.markexpr else ():
        slow = room_of(item.nodeid) in SLOW_ROOMS or item.get_closest_marker("slow")
        if not slow and not (isinstance(item, pytest.Function) and starts_process(item)):
            item.add_marker(pytest.mark.quick)


def pytest_collection_finish() -> None:
    """Put aside what the imports left: tests that look for garbage need not go through torch each time."""
    gc.collect()
    gc.freeze()


def starts_process(item: pytest.Function) -> bool:
    """Tell whether a test, one of its module's fixtures or a helper of the module that it calls starts a process."""
    fixtures = [found[-1].func for found in item._fixtureinfo.name2fixturedefs.values()]
    return any(_reaches_process(function, set()) for function in (item.function, *fixtures))


def _reaches_process(function: Any, seen: set[CodeType]) -> bool:
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    if code is None or code in seen or not code.co_filename.startswith(str(TESTS)):
        return False
    seen.add(code)
    names = _names(code)
    if names & STARTS_PROCESSES:
        return True
    known = inspect.unwrap(function).__globals__
    return any(_reaches_process(known.get(name), seen) for name in names)


@cache
def _names(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))


# ---- where the time went ------------------------------------------------------------------------------------

_seconds: Counter[str] = Counter()
_tests: Counter[str] = Counter()


def room_of(nodeid: str) -> str:
    """Return the folder of a test below tests/: "cli", "faults", "unit/model"."""
    return os.path.dirname(nodeid.partition("::")[0]).removeprefix("tests/")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count a test's seconds, those of its fixtures too, for its room."""
    _seconds[room_of(report.nodeid)] += report.duration
    _tests[room_of(report.nodeid)] += report.when == "call"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seconds by room, those of all workers together."""
    if _tests.total() > 1:
        terminalreporter.section("seconds by room")
        for room, seconds in _seconds.most_common():
            terminalreporter.write_line(f"{seconds:7.1f} s {_tests[room]:6,} tests  {room}")
        terminalreporter.write_line(f"{_seconds.total():7.1f} s {_tests.total():6,} tests")
