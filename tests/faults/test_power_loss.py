"""Power loss at any moment: whatever of the unsynced writes arrived, the index is one that was committed."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imgsearch.errors import IndexMissing
from support.faults import rig, shim
from support.faults.checks import check
from support.faults.power import MARK, Disk, Event, read_trace
from support.faults.server import Order, Server
from support.faults.workload import plan, small

library, server = rig.library, rig.server

SEEDS = (1, 2, 3)
CUTS = 5000 if rig.FULL else 27
"""Power cuts, shared out among the seeds."""


@pytest.fixture(autouse=True)
def few_rows() -> Iterator[None]:
    """Let this process, too, know small segments."""
    with small():
        yield


class Recorded:
    """A workload that was run on ``root`` and recorded, broken off and gone on with a few times."""

    def __init__(
        self,
        server: Server,
        folder: Path,
        seed: int,
        kills: int = 0,
        sync: int = shim.SKIP,
        careless: str = "",
    ) -> None:
        """Let it be killed ``kills`` times, and then run to its end."""
        self.server, self.seed, self.root = server, seed, folder / "disk"
        self.root.mkdir(parents=True)
        trace, draw, done = folder / "trace", random.Random(f"{seed} kills"), -1
        order = Order(str(self.root), seed, trace=str(trace), sync=sync, careless=careless)
        for _ in range(kills):
            nth = draw.randrange(1, 250)
            killing = replace(order, first=done + 1, kinds=shim.ALL, nth=nth, verdict=shim.KILL)
            outcome = server.run(killing)
            assert outcome.signal == signal.SIGKILL
            done = max(done, outcome.done)
        outcome = server.run(replace(order, first=done + 1))
        assert outcome.error == "", outcome.error
        self.events: list[Event] = read_trace(trace)

    def cuts(self, count: int) -> Iterator[str]:
        """Cut the power at ``count`` moments; yield what was wrong after each, or ""."""
        moments = random.Random(f"{self.seed} moments")
        points = sorted(moments.randrange(1, len(self.events) + 1) for _ in range(count))
        disk, at = Disk(str(self.root)), 0
        begun = done = -1
        for number, point in enumerate(points):
            for event in self.events[at:point]:
                if event.op == MARK:
                    what, step = event.path.split()
                    begun, done = (int(step), done) if what == "begin" else (begun, int(step))
                disk.apply(event)
            at = point
            draw = random.Random(f"{self.seed} {number}")
            put_down(disk, self.root, draw)
            try:
                self._look(begun, done, draw)
            except Exception as error:
                yield f"seed {self.seed}, cut {number} after event {point}: {type(error).__name__}: {error}"
            else:
                yield ""

    def _look(self, begun: int, done: int, draw: random.Random) -> None:
        steps, index = plan(self.seed), str(self.root / "index")
        # Who comes first after the restart, a reader or the next writer, is as it happens.
        if draw.random() < 0.7:
            try:
                check(index, [step.after for step in steps[max(done, 0) : max(begun, 0) + 1]])
            except IndexMissing:
                assert done < 0, "an index that was acknowledged is not there"
        if draw.random() < 0.5:
            went_on = self.server.run(Order(str(self.root), self.seed, first=done + 1))
            assert went_on.error == "", went_on.error
            check(index, [steps[-1].after])


def put_down(disk: Disk, root: Path, draw: random.Random | None) -> None:
    """Make the folder what a disk is found to be after a power cut, or, without ``draw``, without one."""
    shutil.rmtree(root)
    root.mkdir()
    for path, data in disk.files(draw):
        if data is None:
            os.mkdir(path)
        elif not path.endswith("-shm"):
            Path(path).write_bytes(data)
        elif draw and draw.random() < 0.3:
            # SQLite's cache: what is left of it after a restart means nothing.
            Path(path).write_bytes(draw.randbytes(draw.choice([0, 3, 32768])))


@pytest.mark.timeout(7200 if rig.FULL else 300)
@pytest.mark.parametrize(("seed", "kills"), [(1, 0), (2, 0), (3, 4)])
def test_a_power_cut_loses_nothing_that_was_acknowledged(
    server: Server, tmp_path: Path, seed: int, kills: int
) -> None:
    """After a cut the index opens, is one that was committed and no older than the last acknowledged, and goes on.

    What a run left that was killed is no danger to what the next one acknowledges.
    """
    recorded = Recorded(server, tmp_path, seed, kills)
    wrong = [what for what in recorded.cuts(CUTS // len(SEEDS)) if what]
    assert not wrong, f"{len(wrong)} cuts:\n" + "\n".join(wrong[:10])


@pytest.mark.parametrize("seed", SEEDS if rig.FULL else SEEDS[:1])
def test_the_trace_holds_every_write(server: Server, tmp_path: Path, seed: int) -> None:
    """Replayed without a cut, the trace gives the very files that the workload left, but for SQLite's -shm."""
    recorded = Recorded(server, tmp_path, seed)
    real = {str(path): path.read_bytes() for path in recorded.root.rglob("*") if path.is_file()}
    disk = Disk(str(recorded.root))
    for event in recorded.events:
        disk.apply(event)
    replayed = {path: data for path, data in disk.files() if data is not None}
    assert [path for path in real if "faiss" in path or path.endswith(".f16")]
    assert sorted(real) == sorted(replayed)
    assert [path for path in real if real[path] != replayed[path] and not path.endswith("-shm")] == []


@pytest.mark.parametrize(
    "how",
    [{"sync": shim.LIE}, {"careless": "rows"}, {"careless": "folders"}],
    ids=["a disk that lies", "a writer that syncs no vectors", "a writer that syncs no folders"],
)
def test_a_sync_that_does_nothing_is_found_out(server: Server, tmp_path: Path, how: dict[str, Any]) -> None:
    """The test above can fail: without real syncs, of everything or only of some, cuts lose what was acknowledged."""
    recorded = Recorded(server, tmp_path, SEEDS[0], **how)
    assert any(recorded.cuts(CUTS // len(SEEDS)))
