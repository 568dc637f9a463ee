"""Indexes of somebody else: manifest, catalogue, links and vectors, changed at random; no command crashes or strays."""

from __future__ import annotations

import random
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest

from support import fakes, hostile
from support.fakes import paint, run

_AT_ONCE = 4
"""Commands that one case runs, of all that there are."""


@cache
def _place() -> Path:
    """Make an index, its pictures and a folder of other things, once; a model that needs no weights stays installed."""
    fakes.install(pytest.MonkeyPatch())
    place = Path(tempfile.mkdtemp(prefix="imgsearch-fuzz-"))
    for name in ("red", "green", "blue", "yellow", "white"):
        paint(place / "gallery" / f"{name}.png", name)
    run(place / "index", place / "gallery")
    (place / "outside").mkdir()
    (place / "outside" / "secret").write_text("my own words")
    return place


def case(random: random.Random, folder: Path) -> None:
    """Have some commands use an index that was changed; nothing outside of it may change."""
    place, index = _place(), folder / "index"
    shutil.copytree(place / "index", index)
    done = hostile.spoil(random, index, place / "outside")
    # Only now: what spoils an index may itself write through a link that it has made.
    before = [hostile.tree(place / name) for name in ("outside", "gallery")]
    chosen = random.sample(hostile.COMMANDS, _AT_ONCE)
    try:
        hostile.use(index, place / "gallery", place / "outside", chosen)
        assert [hostile.tree(place / name) for name in ("outside", "gallery")] == before
    except BaseException as error:
        error.add_note(f"{done}, then {chosen}")
        raise
