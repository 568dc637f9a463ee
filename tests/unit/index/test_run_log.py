"""When and how the model last ran is remembered, best effort."""

from __future__ import annotations

from pathlib import Path

from imgsearch.index import side_db
from imgsearch.types import Runtime

CPU = Runtime("cpu", "float32", "no accelerator")
CUDA = Runtime("cuda", "float16", "a CUDA device")


def test_the_last_run_is_remembered_and_its_rate_outlives_short_ones(tmp_path: Path) -> None:
    """The last run of any command is told, and a run too short to have a rate keeps the one that is known."""
    folder = str(tmp_path)
    side_db.record_run(folder, "index", CPU, 2.5)
    side_db.record_run(folder, "query", CUDA)
    side_db.record_run(folder, "index", CPU, 0.0)
    last = side_db.last_run(folder)
    assert last is not None
    assert (last.command, last.runtime, last.rate) == ("index", CPU, 2.5)
    asked = side_db.last_run(folder, "query")
    assert asked is not None
    assert asked.at < last.at


def test_what_can_not_be_remembered_is_no_error(tmp_path: Path) -> None:
    """Without a folder nothing is remembered and nothing is raised; a file that is no database is begun anew."""
    side_db.record_run(str(tmp_path / "nowhere"), "index", CPU)
    assert side_db.last_run(str(tmp_path / "nowhere")) is None
    (tmp_path / side_db.NAME).write_bytes(b"this is no database" * 100)
    assert side_db.last_run(str(tmp_path)) is None
    side_db.record_run(str(tmp_path), "index", CPU)
    last = side_db.last_run(str(tmp_path))
    assert last is not None
    assert (last.command, last.runtime) == ("index", CPU)


def test_a_rate_belongs_to_its_device_and_dtype(tmp_path: Path) -> None:
    """A run too short to have a rate does not keep the one of another device."""
    side_db.record_run(str(tmp_path), "index", CUDA, 300.0)
    side_db.record_run(str(tmp_path), "index", CPU)
    last = side_db.last_run(str(tmp_path), "index")
    assert last is not None
    assert (last.runtime, last.rate) == (CPU, 0.0)


def test_where_the_model_runs_is_told_only_when_it_has_changed(tmp_path: Path) -> None:
    """The first run of a command and one like the last one tell nothing; another device or dtype is told with both."""
    folder = str(tmp_path)
    assert side_db.moved(folder, "query", CPU) == ""
    side_db.record_run(folder, "query", CPU)
    side_db.record_run(folder, "index", CUDA)
    assert side_db.moved(folder, "query", CPU) == ""
    assert side_db.moved(folder, "query", CUDA) == (
        "the model now runs on cuda in float16 (last time: cpu in float32)"
    )


def test_advice_is_given_so_many_times_and_then_no_more(tmp_path: Path) -> None:
    """Each piece of advice is counted apart for each index, and is given no more than ``most`` times."""
    folder = str(tmp_path)
    assert [side_db.may_advise(folder, "query", 3) for _ in range(5)] == [True, True, True, False, False]
    assert side_db.may_advise(folder, "int8", 1)
    assert not side_db.may_advise(folder, "int8", 1)
