"""A writer that is killed in any phase of its work loses nothing that it had acknowledged, and the next one goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from support import TESTS

KILLING = ["-m", "support.killing"]
FULL = os.environ.get("IMGSEARCH_FAULTS") == "full"
"""500 kills, at least 30 of them in each phase; else 6, one in each."""


@pytest.mark.timeout(1800 if FULL else 300)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_writer_loses_nothing_that_it_had_acknowledged() -> None:
    """After each kill the index is whole and as it was after the last finished step or the one under way.

    What is checked after each kill, and how, stands in the program, which raises at the first thing amiss.
    """
    kills, each = (500, 30) if FULL else (6, 1)
    done = subprocess.run(
        [sys.executable, *KILLING, "--kills", str(kills), "--seed", "7"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["kills"] >= kills
    assert set(figures["phases"]) == {"ingest", "prune", "compact", "build", "rebuild", "publish"}
    assert min(figures["phases"].values()) >= each
