"""Damage to any region of any file of an index is noticed or does no harm; what can't be noticed is known and named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from support import TESTS

FLIPPING = ["-m", "support.flipping"]
FULL = os.environ.get("IMGSEARCH_FAULTS") == "full"
"""4,000 damages, else 50: one in each kind of region, of which there are 49."""

UNNOTICED: dict[str, set[str]] = {
    # SQLite's pages have no checksums: only `verify` reads enough to notice what does not fit together.
    "catalogue": {"hits", "path", "files", "counts", "roots", "vector", "older"},
    # SQLite takes a frame of its log that does not match its checksum for the log's end.
    "wal": {"older"},
    # A picture whose vector is damaged is no hit where it should be one; where it is one, that is an error.
    "segment": {"hits"},
}
"""What may be wrong without anybody noticing at once, by the kind of file; all else is noticed or harmless."""


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    """Give all cases in which something was wrong."""
    done = subprocess.run(
        [sys.executable, *FLIPPING, "--cases", "4000" if FULL else "50", "--seed", "3"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    lines = done.stdout.splitlines()
    figures = json.loads(lines[-1])
    assert figures["cases"] >= (4000 if FULL else 50)
    assert figures["outcomes"]["detected"] > figures["cases"] / 20
    return [json.loads(line) for line in lines if line.startswith('{"outcome"')]


@pytest.mark.timeout(3600 if FULL else 300)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_damage_is_one_line_and_never_a_traceback_or_a_crash(cases: list[dict[str, Any]]) -> None:
    """Whatever is damaged, reader and writer end with an error of one line or not at all."""
    broken = [case for case in cases if case["crash"] or case["traceback"]]
    assert broken == []


def test_no_hit_has_a_score_that_is_not_its_pictures(cases: list[dict[str, Any]]) -> None:
    """The score of every hit is the cosine of the vector that was stored for that picture, whatever was damaged."""
    assert [case for case in cases if "score" in case["wrong"]] == []


def test_what_goes_unnoticed_is_known(cases: list[dict[str, Any]]) -> None:
    """Other than that, only what is listed above can be wrong; `verify` finds it, but for a log that lost its end."""
    surprises = []
    for case in cases:
        allowed = UNNOTICED.get(case["region"].partition(":")[0], set())
        wrong = set(case["wrong"])
        if not wrong <= allowed or (wrong & {"hits", "path", "vector"} and not case["verify"]):
            surprises.append(case)
    print(Counter(kind for case in cases for kind in case["wrong"]))
    assert surprises == []
