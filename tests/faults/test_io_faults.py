"""Whichever call to the disk fails, the index is as it was at the last commit, and the next run goes on."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imgsearch.errors import IndexMissing
from support.faults import commands, rig, shim
from support.faults.checks import check
from support.faults.server import Order, Outcome, Server
from support.faults.workload import plan, small

library, server = rig.library, rig.server

SAMPLE, COMMANDS = 4, 2
"""Runs a kind of failure in CI, of the writer and of whole commands; IMGSEARCH_FAULTS=full makes every call fail."""
SEED = 4


@pytest.fixture(autouse=True)
def few_rows() -> Iterator[None]:
    """Let this process, too, know small segments."""
    with small():
        yield


@pytest.fixture(scope="module")
def calls(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, dict[str, int]]:
    """Give how many calls of each kind a run makes in which none fails: of the writer, and of commands (True)."""
    found = {}
    for whole in (False, True):
        plain = Order(str(tmp_path_factory.mktemp("plain") / "disk"), SEED, commands=whole)
        fresh(plain)
        counted = server.run(plain)
        assert counted.error == "", counted.error
        found[whole] = counted.calls
    return found


def orders(calls: int, plain: Order, verdict: str, sample: int) -> Iterator[Order]:
    """Give the runs: each makes one of so many calls fail, or that one and what comes after it."""
    draw = random.Random(f"{plain.seed} {verdict}")
    every = range(1, calls + 1)
    assert len(every) > 300
    for nth in every if rig.FULL else spread(draw, len(every), sample):
        sticky = verdict != "kill" and draw.random() < 0.4
        yield replace(
            plain,
            kinds=shim.KINDS[verdict],
            nth=nth,
            verdict=shim.VERDICTS[verdict],
            sticky=sticky,
            again=not sticky and draw.random() < 0.4,
        )


def spread(draw: random.Random, calls: int, sample: int) -> list[int]:
    """Draw one call from each of ``sample`` equal stretches of a run, so that none goes without."""
    ends = [1 + calls * number // sample for number in range(sample + 1)]
    return [draw.randrange(start, end) for start, end in itertools.pairwise(ends)]


def fresh(order: Order) -> None:
    """Empty the disk."""
    shutil.rmtree(order.root, ignore_errors=True)
    os.makedirs(order.root)


def settle(server: Server, order: Order, outcome: Outcome) -> None:
    """Look at what a run has left behind, and let the next one go on to the end."""
    steps = commands.script(order.seed) if order.commands else plan(order.seed)
    if order.verdict != shim.KILL:
        assert outcome.signal == 0, f"ended by signal {outcome.signal}"
        one_line = outcome.ours and "\n" not in outcome.error
        assert not outcome.error or one_line, "not one line of an error of ours"
        assert outcome.error or outcome.done == len(steps) - 1, "an end without an error, and not at the end"
    try:
        look(order, outcome.begun, outcome.done)
    except IndexMissing:
        assert outcome.done < 0, "an index that was acknowledged is not there"
    went_on = server.run(Order(order.root, order.seed, first=outcome.done + 1, commands=order.commands))
    assert went_on.error == "", went_on.error
    look(order, len(steps) - 1, len(steps) - 1)


def look(order: Order, begun: int, done: int) -> None:
    """Check an index that is in the state after the step ``done``, or on the way to the one after ``begun``."""
    index = os.path.join(order.root, "index")
    if order.commands:
        commands.check(index, order.seed, begun, done)
    else:
        check(index, [step.after for step in plan(order.seed)[max(done, 0) : begun + 1]])


@pytest.mark.timeout(7200 if rig.FULL else 300)
@pytest.mark.parametrize("who", ["the writer", "commands"])
@pytest.mark.parametrize("verdict", sorted(shim.VERDICTS))
def test_a_call_that_fails_loses_nothing_that_was_acknowledged(
    server: Server, calls: dict[bool, dict[str, int]], tmp_path: Path, verdict: str, who: str
) -> None:
    """Each call of a run fails in its turn: a line of error, and the last acknowledged state or the next one, whole.

    So it is, but for the line of error, where the process is killed in the place of that call.
    """
    plain = Order(str(tmp_path / "disk"), SEED, commands=who == "commands")
    sample = COMMANDS if plain.commands else SAMPLE
    wrong, fired = [], 0
    for order in orders(calls[plain.commands][verdict], plain, verdict, sample):
        fresh(order)
        outcome = server.run(order)
        fired += outcome.fired != "" or outcome.signal == signal.SIGKILL
        try:
            settle(server, order, outcome)
        except Exception as error:
            wrong.append(f"{order}\n  {outcome.fired}: {outcome.error}\n  {type(error).__name__}: {error}")
    assert not wrong, f"{len(wrong)} of {fired}:\n" + "\n".join(wrong[:10])
    # A thread that makes ANN files may save a call or two, so that the last ones are never made.
    assert fired >= (270 if rig.FULL else sample - 1)


def test_the_shim_sees_every_kind_of_call(server: Server, tmp_path: Path) -> None:
    """SQLite's calls are among those that fail: without any of the index's own, its log and its journal are seen."""
    seen = set()
    for kind in (shim.WRITE, shim.SYNC, shim.UNLINK, shim.CREATE, shim.TRUNCATE):
        for nth in (2, 6, 30):
            order = Order(str(tmp_path / "disk"), SEED, kinds=kind, nth=nth, verdict=errno.EIO)
            fresh(order)
            seen.add(server.run(order).fired.replace(str(tmp_path / "disk" / "index"), ""))
    assert {"write of /catalog.sqlite-journal", "write of /catalog.sqlite-wal"} & seen
    assert {"sync of /catalog.sqlite-wal", "sync of /catalog.sqlite"} & seen
    assert any(call.startswith("unlink of /catalog.sqlite") for call in seen)
