"""How long embeddings of deleted images wait: by the time that passes, not by what a clock shows that is wrong."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.index.catalog import Catalog
from imgsearch.index.writer import GRACE_SECONDS, IndexWriter
from support import fakes
from support.fakes import FakeModel, paint, run, sha, spec, state, unit

fake_model = fakes.fake_model

DAY = 86_400.0
NOW = 1_800_000_000.0  # 2027
IN_1995 = 800_000_000.0


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """An index whose only image was deleted at ``NOW``."""
    folder = str(tmp_path / "index")
    with IndexWriter(folder, spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})
        writer.commit([(sha("a"), 0, 4, 3)], unit(1, 0), [state(root, "a.png", sha("a"))])
        writer.catalog.drop_files([1])
        deleted(writer.catalog, NOW)
        tell(writer.catalog, NOW)
    return folder


def deleted(catalog: Catalog, at: float) -> None:
    """Have the image been deleted when the clock showed ``at``: SQLite's own can't be set."""
    with catalog.transaction() as db:
        db.execute("UPDATE dead SET since = ?", (int(at),))


def tell(catalog: Catalog, kept: float | str) -> None:
    """Have the last run been when the clock showed ``kept``."""
    catalog.put_meta("clock", str(kept))


def age(catalog: Catalog, now: float) -> float:
    """Return how many days the image has waited, as compaction counts them."""
    (since,) = catalog.database.query(int, "SELECT since FROM dead")
    return (now - since) / DAY


@pytest.mark.parametrize(
    "clock",
    [
        [IN_1995, NOW + DAY],
        [IN_1995, IN_1995 + DAY, NOW + 3 * DAY],
        [3_000_000_000.0, NOW + DAY],
        [0.0, NOW + DAY],
    ],
    ids=["1995 for a run", "1995 for two", "the year 2065", "1970"],
)
def test_a_wrong_clock_does_not_end_the_wait(folder: str, clock: list[float]) -> None:
    """Whatever the clock showed in between, an image that was deleted a few days ago is still retained."""
    with IndexWriter(folder) as writer:
        tell(writer.catalog, NOW)
        deleted(writer.catalog, NOW)
        for now in clock:
            writer.catalog.keep_time(now)
            assert writer.catalog.deleted_counts(now - GRACE_SECONDS) == {}
        assert writer.catalog.retained() == 1


def test_what_was_deleted_while_the_clock_was_wrong_waits_like_the_rest(folder: str) -> None:
    """An image that was deleted "in 1995" is not thirty years old when the clock has been corrected."""
    with IndexWriter(folder) as writer:
        tell(writer.catalog, IN_1995)
        deleted(writer.catalog, IN_1995)
        writer.catalog.keep_time(NOW)
        assert age(writer.catalog, NOW) == 10


def test_a_clock_that_is_set_right_during_a_run_makes_nobody_wait_for_ever(folder: str) -> None:
    """An image that was deleted after the correction has not been deleted in the future."""
    with IndexWriter(folder) as writer:
        tell(writer.catalog, IN_1995)
        deleted(writer.catalog, NOW)
        writer.catalog.keep_time(NOW)
        assert age(writer.catalog, NOW) == 0


def test_an_embedding_is_dropped_after_thirty_days_of_daily_runs(folder: str) -> None:
    """With a clock that goes right the wait is as long as it is promised."""
    with IndexWriter(folder) as writer:
        tell(writer.catalog, NOW)
        deleted(writer.catalog, NOW)
        due = []
        for day in range(1, 33):
            now = NOW + day * DAY
            writer.catalog.keep_time(now)
            if writer.catalog.deleted_counts(now - GRACE_SECONDS):
                due.append(day)
        assert due == [30, 31, 32]


@pytest.mark.parametrize("kept", ["", "nan", "-1e9", "1e300", "yesterday"])
def test_an_index_that_kept_no_time_believes_no_clock_further_than_ten_days(folder: str, kept: str) -> None:
    """With a note of the last run that is missing or makes no sense, old deletions are ten days old at most."""
    with IndexWriter(folder) as writer:
        for since, days in ((IN_1995, 10), (NOW - 3 * DAY, 3), (NOW + 99 * DAY, 0)):
            tell(writer.catalog, kept)
            deleted(writer.catalog, since)
            writer.catalog.keep_time(NOW)
            assert age(writer.catalog, NOW) == days


@given(clock=st.lists(st.floats(0, 4e9), min_size=1, max_size=2))
def test_no_two_runs_end_the_wait(tmp_path_factory: pytest.TempPathFactory, clock: list[float]) -> None:
    """It takes more than two runs, at whatever times, to drop what has just been deleted."""
    folder = str(tmp_path_factory.mktemp("index") / "index")
    with IndexWriter(folder, spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})
        writer.commit([(sha("a"), 0, 4, 3)], unit(1, 0), [state(root, "a.png", sha("a"))])
        tell(writer.catalog, NOW)
        writer.catalog.drop_files([1])
        deleted(writer.catalog, NOW)
        for now in clock:
            writer.catalog.keep_time(now)
            assert writer.catalog.deleted_counts(now - GRACE_SECONDS) == {}


def test_a_run_after_the_correction_keeps_the_embeddings(
    tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that were pruned in 1995, by the clock, come back without the model when their folder does."""
    pictures, folder = tmp_path / "pictures", tmp_path / "index"
    for colour in ("red", "green", "blue"):
        paint(pictures / f"{colour}.png", colour)
    run(folder, pictures)
    for colour in ("red", "green"):
        (pictures / f"{colour}.png").rename(tmp_path / f"{colour}.png")
    clock = [IN_1995]
    monkeypatch.setattr("imgsearch.index.writer.time.time", lambda: clock[0])
    assert run(folder).pruned == 2
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as db, db:
        db.execute("UPDATE dead SET since = ?", (int(IN_1995),))
    clock[0] = NOW
    run(folder)
    for colour in ("red", "green"):
        (tmp_path / f"{colour}.png").rename(pictures / f"{colour}.png")
    again = run(folder)
    assert (again.indexed, again.reused) == (0, 2)
    assert fake_model.embedded == 3
