"""Any index that somebody else may have made: no command crashes, waits or touches anything outside of it."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import fakes, hostile
from support.fakes import paint, run

FULL = os.environ.get("IMGSEARCH_FAULTS") == "full"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Give a folder with an index of five pictures, the pictures, and a folder of other things."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        fakes.install(patched)
        made = Path(folder)
        for name in ("red", "green", "blue", "yellow", "white"):
            paint(made / "gallery" / f"{name}.png", name)
        run(made / "index", made / "gallery")
        (made / "outside").mkdir()
        (made / "outside" / "secret").write_text("my own words")
        (made / "outside" / "00000009.f16").write_bytes(b"not yours")
        yield made


@pytest.mark.timeout(3600 if FULL else 600)
@settings(max_examples=1000 if FULL else 4)
@given(st.randoms(use_true_random=False))
def test_an_index_of_any_kind_is_used_or_refused_in_one_line(place: Path, rng: random.Random) -> None:
    """Whatever manifest, options, schema, numbers, links and vectors say, every command works or says why it can't."""
    with tempfile.TemporaryDirectory() as folder:
        mine = Path(folder)
        shutil.copytree(place / "index", mine / "index")
        done = hostile.spoil(rng, mine / "index", place / "outside")
        # Only now: what spoils an index may itself write through a link that it has made.
        before = {name: hostile.tree(place / name) for name in ("outside", "gallery")}
        try:
            hostile.use(mine / "index", place / "gallery", place / "outside")
        except BaseException as error:
            error.add_note(str(done))
            raise
        assert {name: hostile.tree(place / name) for name in before} == before, done
