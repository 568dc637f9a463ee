"""The first estimate of a run: measured on its first images, told once, and advice where int8 would be much faster."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from imgsearch.index import side_db
from imgsearch.indexing.options import IndexOptions
from imgsearch.indexing.pace import Pace
from imgsearch.model.locate import DEFAULT_MODEL
from imgsearch.types import ModelOptions, Runtime
from support.fakes import FakeEncoder, FakeModel, Notes


class Encoder(FakeEncoder):
    """A fake for which int8 is so many times as fast."""

    def __init__(self, speedup: float = 1.0) -> None:
        super().__init__(FakeModel())
        self.speedup = speedup

    def expect(self, images: int) -> str:
        """Prepare nothing."""
        return ""

    def int8_speedup(self) -> float:
        """Return what was given."""
        return self.speedup


class Clock:
    """Stands in the place of time.monotonic."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def told(
    folder: Path,
    clock: Clock,
    *,
    per_image: float,
    total: int,
    speedup: float = 1.0,
    options: IndexOptions | None = None,
) -> list[str]:
    """Return the lines of a run of so many images, each of which takes ``per_image`` seconds, all in the model."""
    notes = Notes()
    pace = Pace(str(folder), Encoder(speedup), options or IndexOptions(), notes)
    for done in range(1, total + 1):
        clock.now += per_image
        pace.tell(done, total, done * per_image)
    return notes.shell.splitlines()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give a clock that a test sets."""
    return Clock(monkeypatch)


def test_the_estimate_is_measured_on_the_first_images(tmp_path: Path, clock: Clock) -> None:
    """After 16 images the rest is told once, at their pace; a fast run is measured on the images of three seconds."""
    assert told(tmp_path, clock, per_image=0.5, total=9616) == [
        "about 80 min left (measured on the first 16 images)"
    ]
    assert told(tmp_path, clock, per_image=0.01, total=10_300) == [
        "about 2 min left (measured on the first 300 images)"
    ]


def test_a_short_run_is_not_estimated(tmp_path: Path, clock: Clock) -> None:
    """Where a few seconds are left, or fewer than 16 images are there, nothing is told."""
    assert told(tmp_path, clock, per_image=0.1, total=100) == []
    assert told(tmp_path, clock, per_image=10, total=15) == []


def test_what_the_plan_told_is_not_told_again(tmp_path: Path, clock: Clock) -> None:
    """With the last run's rate the plan has an estimate; on another device or dtype it is measured again."""
    side_db.record_run(str(tmp_path), "index", Runtime("cpu", "float32", ""), 2.0)
    assert told(tmp_path, clock, per_image=0.5, total=9616) == []
    side_db.record_run(str(tmp_path), "index", Runtime("cuda", "float16", ""), 200.0)
    assert len(told(tmp_path, clock, per_image=0.5, total=9616)) == 1


def test_int8_is_advised_once_with_both_times_where_it_is_twice_as_fast(tmp_path: Path, clock: Clock) -> None:
    """The line names both times and the option; the next run over this index does not repeat it."""
    first = told(tmp_path, clock, per_image=2.0, total=9016, speedup=4)
    assert first == [
        "about 5 h 00 min left (measured on the first 16 images); with --dtype int8 about 75 min, slightly less "
        "accurate. To switch, interrupt this run and run it again with that option"
    ]
    assert told(tmp_path, clock, per_image=2.0, total=9016, speedup=4) == [
        "about 5 h 00 min left (measured on the first 16 images)"
    ]


@pytest.mark.parametrize(
    ("total", "speedup", "options"),
    [
        (9016, 1.9, IndexOptions()),
        (100, 4, IndexOptions()),
        (9016, 4, IndexOptions(model=ModelOptions(dtype="float32"))),
        (9016, 4, IndexOptions(advise=False)),
    ],
    ids=["less than twice as fast", "a few minutes", "the dtype was chosen", "without advice"],
)
def test_int8_is_not_advised_where_it_is_not_worth_it(
    tmp_path: Path, clock: Clock, total: int, speedup: float, options: IndexOptions
) -> None:
    """A gain below two, a short run, and a dtype that was asked for are no reason for advice."""
    lines = told(tmp_path, clock, per_image=2.0, total=total, speedup=speedup, options=options)
    assert len(lines) == 1
    assert "int8" not in lines[0]


def test_int8_shortens_only_what_the_model_does(tmp_path: Path, clock: Clock) -> None:
    """However fast int8 is, reading and decoding take as long as before."""
    notes = Notes()
    pace = Pace(str(tmp_path), Encoder(speedup=1e9), IndexOptions(), notes)
    clock.now += 32
    pace.tell(16, 9016, 24.0)  # the model worked three quarters of the time
    assert "about 5 h 00 min left" in notes.shell
    assert "with --dtype int8 about 75 min" in notes.shell


def test_a_run_that_ends_before_anything_is_told_tells_nothing(tmp_path: Path, clock: Clock) -> None:
    """Where enough is measured only with the last image, nothing is left to tell."""
    assert told(tmp_path, clock, per_image=0.2, total=16) == []
    assert told(tmp_path, clock, per_image=0.19, total=16, speedup=9.0) == []


def hours(folder: Path, clock: Clock, named: str = DEFAULT_MODEL, **options: Any) -> str:
    """Return the lines of a run of 25,216 images at two seconds each, of which the model takes all."""
    notes = Notes()
    pace = Pace(str(folder), Encoder(), IndexOptions(**{"suggest": True, **options}), notes, model=named)
    clock.now += 32
    pace.tell(16, 25_216, 32.0)
    return notes.shell


def test_a_smaller_model_is_named_once_where_the_usual_one_takes_hours(tmp_path: Path, clock: Clock) -> None:
    """The line has both times and says that one is an estimate; the next run over this index does not repeat it."""
    assert hours(tmp_path, clock).splitlines()[-1] == (
        "about 14 h on this computer with Qwen3-VL-Embedding-2B; for photos, google/siglip2-base-patch16-256 would "
        "take about 2 h 55 min (an estimate; see 'imgsearch models')"
    )
    assert "siglip2" not in hours(tmp_path, clock)


def test_no_smaller_model_is_named_to_who_has_chosen_or_does_not_read(tmp_path: Path, clock: Clock) -> None:
    """A model that was asked for is the one that is wanted, and a pipe is nobody to advise."""
    assert "siglip2" not in hours(tmp_path, clock, suggest=False)
    assert "siglip2" not in hours(tmp_path, clock, advise=False)
    assert "siglip2" not in hours(tmp_path, clock, named="Qwen/Qwen3-VL-Embedding-8B")
    assert "siglip2" not in hours(tmp_path, clock, model=ModelOptions(model=DEFAULT_MODEL))
    assert "siglip2" in hours(tmp_path, clock)
