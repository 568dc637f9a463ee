"""A sample of `make fuzz`: each target stands a few hundred cases."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fuzz import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_a_sample_of_damage_is_stood(target: str, tmp_path: Path) -> None:
    """What is damaged at random gives an answer or a reason, never another exception."""
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        TARGETS[target](random.Random(f"{target}/{number}/sample"), folder)
