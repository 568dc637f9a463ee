"""A sample of `make fuzz`: each target stands some cases."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fuzz import TARGETS
from support import TESTS

_CASES = {"documents": 160, "foreign": 5}
"""Of documents there are many kinds; a foreign index is asked by four commands."""
_OTHERS = [target for target in TARGETS if target not in _CASES]


@pytest.mark.parametrize(
    ("targets", "cases"), [*(([target], cases) for target, cases in _CASES.items()), (_OTHERS, 30)], ids=str
)
def test_a_sample_of_damage_is_stood(targets: list[str], cases: int) -> None:
    """What is damaged at random gives an answer or a reason, in bounded time and memory, never another exception."""
    # In a process of its own: a target may put a model in place for good.
    command = [sys.executable, "-m", "fuzz", *targets, "--cases", str(cases), "--seed", "7"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [target for target in targets if f"{target}: {cases:,} cases" not in done.stdout] == []
