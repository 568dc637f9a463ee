"""Fixtures of the fault tests, and how much of the work is done: a seeded sample, or all of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.faults import shim
from support.faults.server import Server

FULL = os.environ.get("IMGSEARCH_FAULTS") == "full"
"""Every call and thousands of power cuts, for as long as that takes; else samples, for CI."""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the preloaded library; where it can't be had the test is skipped."""
    if why := shim.missing():
        pytest.skip(why)
    return shim.build(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def server(library: Path) -> Iterator[Server]:
    """Give a process that runs workloads under the library."""
    running = Server(library)
    yield running
    running.close()
