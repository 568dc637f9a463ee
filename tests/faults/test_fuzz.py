"""A sample of `make fuzz`: each target stands a hundred cases."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fuzz import TARGETS
from support import TESTS

_CASES = {"documents": 160, "foreign": 5}
"""Of documents there are many kinds; a foreign index is asked by four commands."""


@pytest.mark.parametrize("target", TARGETS)
def test_a_sample_of_damage_is_stood(target: str) -> None:
    """What is damaged at random gives an answer or a reason, in bounded time and memory, never another exception."""
    # In a process of its own: a target may put a model in place for good.
    cases = _CASES.get(target, 30)
    command = [sys.executable, "-m", "fuzz", target, "--cases", str(cases), "--seed", "7"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{target}: {cases:,} cases" in done.stdout
