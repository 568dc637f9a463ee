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
    side_db.record_run(folder, "index", CUDA, 0.0)
    last = side_db.last_run(folder)
    assert last is not None
    assert (last.command, last.runtime, last.rate) == ("index", CUDA, 2.5)
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
