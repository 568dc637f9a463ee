"""What tests share: the predictable fake model, drawn pictures, tiny checkpoints, a loopback hub, rigs for faults."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
"""The folder of the tests; on PYTHONPATH, a process of its own finds this package."""

ROOT = TESTS.parent
"""The checkout."""
