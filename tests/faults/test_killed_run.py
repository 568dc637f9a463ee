"""Runs that are killed at any moment lose nothing that was committed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from support import ROOT
from support.faults import rig

KILLS = ROOT / "benchmarks" / "kills.py"
MOST = 24 if rig.FULL else 2
"""Kills, and one more for each phase without any; IMGSEARCH_FAULTS=full (`make faults`) makes more of them."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_run_loses_nothing_and_the_next_one_goes_on(tiny_checkpoint: str) -> None:
    """After each of some kills, in every phase of a run the index is sound, and the next run completes it.

    What is checked after each kill, and how, stands in the benchmark, which raises at the first thing amiss.
    """
    done = subprocess.run(
        [sys.executable, KILLS, "--kills", str(MOST), "--seed", "7", "--model", tiny_checkpoint],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["kills"] >= MOST
    assert all(figures["phases"][phase] for phase in ("decode", "embed", "append", "commit", "prune"))
    assert figures["lost"] == figures["twice"] == figures["bad_checksums"] == 0
