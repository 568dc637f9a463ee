"""A real disk that fills up, and a drive that is unmounted between two runs: what was indexed stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from imgsearch.errors import FolderError, StorageError
from imgsearch.index import segments
from imgsearch.index.ann.scan import exact_scores
from imgsearch.index.reader import ImageIndex
from imgsearch.index.writer import IndexWriter
from support import fakes
from support.cli import imgsearch
from support.fakes import COLOURS, FakeModel, indexed, paint, run, sha, spec, state, unit
from support.faults import rig, shim
from support.faults.checks import check
from support.faults.drives import Double, Drive, Loop, loop, stuff
from support.faults.server import Order, Server
from support.faults.workload import plan, small

fake_model = fakes.fake_model
library, server = rig.library, rig.server

DIM = 2048
BATCH = 256


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Loop]:
    """Give a mounted file system of 64 MB; the test is skipped, with the reason, where mounting is refused."""
    with loop(tmp_path) as drive:
        yield drive


@pytest.fixture(params=["a loop device", "a double"])
def drive(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    """Give a drive to unmount: a real one where the machine allows mounting, and anywhere a double of one."""
    if request.param == "a double":
        yield Double(tmp_path, monkeypatch)
    else:
        with loop(tmp_path) as real:
            yield real


def add(writer: IndexWriter, batch: int) -> None:
    """Commit a batch of vectors with a file each."""
    names = [f"{batch}/{number}" for number in range(BATCH)]
    root = writer.catalog.put_root("/pictures", {})
    writer.commit(
        [(sha(name), 0, 640, 480) for name in names],
        unit(BATCH, batch, DIM),
        [state(root, name, sha(name)) for name in names],
    )


def looks_whole(folder: str, batches: int) -> None:
    """Every committed row is found by a search, first and with its exact score."""
    with ImageIndex(folder) as index:
        assert index.catalog.counts() == (batches * BATCH, batches * BATCH, {})
        for batch in range(batches):
            rows = unit(BATCH, batch, DIM)
            picked = [0, batch % BATCH, BATCH - 1]
            for number, hits in zip(picked, index.search(rows[picked], 1), strict=True):
                score = exact_scores(rows[number : number + 1].astype("<f2"), rows[number])[0]
                assert [(record.paths, score) for record, score in hits] == [
                    ((f"/pictures/{batch}/{number}",), score)
                ]


def test_a_disk_that_fills_up_keeps_what_was_acknowledged(disk: Loop) -> None:
    """Vectors go in until the disk is full: one line of error, all commits searchable there, and on with more room."""
    ballast = disk.point / "ballast"
    ballast.write_bytes(bytes(30 << 20))
    folder, batches = str(disk.point / "index"), 0
    with patch.object(segments, "SEGMENT_BYTES", 4 << 20):
        with IndexWriter(folder, spec(DIM)) as writer:
            said = ""
            while not said:
                try:
                    add(writer, batches)
                    batches += 1
                except StorageError as error:
                    said = str(error)
        assert "disk is full" in said
        assert "\n" not in said
        assert batches * BATCH * DIM * 2 > 8 << 20
        filler = stuff(disk.point)
        looks_whole(folder, batches)
        with pytest.raises(StorageError), IndexWriter(folder) as writer:
            add(writer, batches)
        looks_whole(folder, batches)
        filler.unlink()
        ballast.unlink()
        with IndexWriter(folder) as writer:
            add(writer, batches)
        looks_whole(folder, batches + 1)


def test_a_run_on_a_full_disk_ends_with_one_line(disk: Loop, tmp_path: Path, fake_model: FakeModel) -> None:
    """`imgsearch index` says in a line that the disk is full, `query` answers there, and the next run completes it."""
    folder, pictures = disk.point / "index", tmp_path / "pictures"
    paint(pictures / "red.png", "red")
    assert imgsearch("index", pictures, "--index", folder).code == 0
    draw = np.random.default_rng(1)
    for number in range(600):
        # Long names, so that it is the catalogue that has no room.
        name = f"{number} {'x' * 200}.png"
        paint(pictures / name, tuple(draw.integers(0, 256, 3).tolist()), size=(40, 40))
    filler = stuff(disk.point)
    done = imgsearch("index", pictures, "--index", folder)
    assert done.code == 2
    said = [line for line in done.err.splitlines() if "could not" in line or "disk" in line]
    assert len(said) == 1
    assert "everything saved before is intact" in said[0]
    assert "Traceback" not in done.err
    found = imgsearch("query", "red", "--index", folder, "--paths", "-n", 1)
    assert (found.code, found.lines) == (0, [str(pictures / "red.png")])
    assert imgsearch("status", "--index", folder).code == 0
    filler.unlink()
    assert imgsearch("index", pictures, "--index", folder).code == 0
    assert len(indexed(folder)) == 601


def test_an_index_that_finds_no_room_at_all_is_made_by_the_next_run(
    disk: Loop, tmp_path: Path, fake_model: FakeModel
) -> None:
    """On a disk that is full before an index is made a run fails with a line, and with room the next one makes it."""
    folder, pictures = disk.point / "index", tmp_path / "pictures"
    paint(pictures / "red.png", "red")
    filler = stuff(disk.point)
    done = imgsearch("index", pictures, "--index", folder)
    assert done.code == 2
    assert "disk" in done.err.splitlines()[-1]
    filler.unlink()
    assert imgsearch("index", pictures, "--index", folder).code == 0
    assert indexed(folder, pictures) == {"red.png"}


def test_a_disk_that_stays_full_by_a_double(server: Server, tmp_path: Path) -> None:
    """The double of a full disk, for machines that mount nothing: from some write on, no write finds room."""
    steps, disk = plan(9), tmp_path / "disk"
    for nth in (200, 400, 600):
        disk.mkdir()
        order = Order(str(disk), 9, kinds=shim.WRITE, nth=nth, verdict=shim.VERDICTS["ENOSPC"], sticky=True)
        outcome = server.run(order)
        assert outcome.ours
        assert "\n" not in outcome.error
        with small():
            check(str(disk / "index"), [step.after for step in steps[outcome.done : outcome.begun + 1]])
            assert server.run(Order(str(disk), 9, first=outcome.done + 1)).error == ""
            check(str(disk / "index"), [steps[-1].after])
        disk.rename(tmp_path / f"looked at {nth}")


def test_a_drive_that_is_unmounted_between_runs_loses_nothing(
    drive: Drive, tmp_path: Path, fake_model: FakeModel
) -> None:
    """Nothing of an unmounted drive is pruned, and mounted again every picture is current without the model."""
    pictures, folder = drive.point / "pictures", tmp_path / "index"
    for name in COLOURS:
        paint(pictures / f"{name}.png", name)
    assert run(folder, pictures).indexed == len(COLOURS)
    embedded = fake_model.embedded
    drive.take()
    for paths in ([], [pictures]):
        with pytest.raises(FolderError):
            run(folder, *paths, prune_empty=True)
    assert len(indexed(folder)) == len(COLOURS)
    (drive.point / "pictures").mkdir()
    with pytest.raises(FolderError, match="nothing is mounted at"):
        run(folder, pictures, prune_empty=True)
    (drive.point / "pictures").rmdir()
    drive.put()
    result = run(folder)
    assert (result.unchanged, result.indexed, result.pruned) == (len(COLOURS), 0, 0)
    assert fake_model.embedded == embedded
    assert len(indexed(folder)) == len(COLOURS)
