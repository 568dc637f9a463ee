"""A run that leaves the machine to others: when it waits, goes on and stops, by a clock and senses that are played."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from imgsearch.errors import UsageError
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing import run as run_module
from imgsearch.indexing.gentle import pauses as pauses_module
from imgsearch.indexing.gentle import priority
from imgsearch.indexing.gentle.deadline import RunStopped, deadline
from imgsearch.indexing.gentle.pauses import Pauses
from imgsearch.indexing.gentle.senses import Senses
from imgsearch.indexing.options import IndexOptions
from imgsearch.indexing.run import index_pictures
from imgsearch.machine import cores
from imgsearch.types import Silent
from support import fakes
from support.fakes import FakeModel, paint

fake_model = fakes.fake_model

EVENING = datetime(2026, 3, 5, 22, 15, 30)


class Lines(Silent):
    """A reporter that keeps what is told."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.said: list[str] = []
        self.shown: list[str] = []

    def say(self, line: str) -> None:
        """Keep a line."""
        self.said.append(line)

    def advance(self, n: int = 1, where: str = "") -> None:
        """Keep what the progress shows."""
        self.shown.append(where)


class Played:
    """A clock that goes on by sleeping and working alone, and reasons to wait for each time that is asked."""

    def __init__(self, *reasons: str) -> None:
        """Give the ``reasons``, after the first question of all, in their order, and then none."""
        self.now = 1000.0
        self.reasons = ["", *reasons]
        self.reporter = Lines()
        self.commits: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.now += seconds

    def reason(self, now: float) -> str:
        """Give the next reason."""
        return self.reasons.pop(0) if self.reasons else ""

    def pauses(self, until: str | None = None, gentle: bool = True) -> Pauses:
        """Begin a run at this evening."""
        began = self.now
        today: Callable[[], datetime] = lambda: EVENING + timedelta(seconds=self.now - began)  # noqa: E731
        told: dict[str, Any] = {"clock": lambda: self.now, "sleep": self.sleep, "reason": self.reason}
        return Pauses(self.reporter, gentle=gentle, until=until, today=today, **told)

    def work(self, pauses: Pauses, seconds: float = 10.0) -> None:
        """Have a batch take so long, and ask after it."""
        self.now += seconds
        pauses.check(lambda: self.commits.append(self.now))


def test_a_run_waits_while_there_is_a_reason_and_goes_on_by_itself() -> None:
    """It commits first, waits as long as there is a reason, and knows for how long it has waited."""
    played = Played("on battery (40 %)", "on battery (39 %)", "the machine is busy (90 %)")
    pauses = played.pauses()
    played.work(pauses)
    assert played.commits == [1010.0]
    assert (pauses.total, played.now) == (15.0, 1025.0)
    played.work(pauses)
    assert (pauses.total, played.now) == (15.0, 1035.0)


def test_a_reason_is_shown_each_time_and_told_once_of_its_kind() -> None:
    """The progress shows why with each pause; a line comes with the first of each kind."""
    played = Played("on battery (40 %)", "on battery (39 %)", "", "on battery (38 %)")
    pauses = played.pauses()
    played.work(pauses)
    played.work(pauses)
    assert played.reporter.shown == ["paused: on battery (40 %)", "paused: on battery (38 %)"]
    assert played.reporter.said == ["paused: on battery (40 %); continues automatically"]


def test_the_machine_is_not_asked_after_every_file() -> None:
    """Between two questions there are some seconds, however quick the files are."""
    played = Played("on battery (40 %)")
    pauses = played.pauses()
    for _ in range(4):
        played.work(pauses, 1.0)
    assert (played.commits, played.reasons) == ([], ["on battery (40 %)"])


def test_a_run_that_is_not_gentle_never_waits() -> None:
    """Without being asked for it, a run takes no notice of the machine."""
    played = Played("on battery (40 %)")
    played.reasons.pop(0)
    pauses = played.pauses(gentle=False)
    played.work(pauses)
    assert (pauses.total, played.commits) == (0.0, [])


def test_ctrl_c_ends_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes through at once, and what has been waited is counted."""
    played = Played(*["on battery (40 %)"] * 9)
    pauses = played.pauses()

    def pressed(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pauses, "_sleep", pressed)
    with pytest.raises(KeyboardInterrupt):
        played.work(pauses)
    assert played.commits == [1010.0]


@pytest.mark.parametrize("paused", [False, True])
def test_the_time_to_stop_comes_between_batches_and_in_a_pause(paused: bool) -> None:
    """Once the time has come, the next question ends the run, also in the middle of a wait."""
    played = Played(*["on battery (40 %)"] * 99 * paused)
    pauses = played.pauses(until="22:16")
    played.work(pauses, 4.0)
    played.now += 0.0 if paused else 20.0
    with pytest.raises(RunStopped, match=r"^stopped at 22:16$"):
        played.work(pauses)
    assert 30 <= played.now - 1000.0 <= 40


# ---- the time of day --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until", "meant"),
    [
        ("07:00", datetime(2026, 3, 6, 7)),
        ("7:00", datetime(2026, 3, 6, 7)),
        (" 22:16 ", datetime(2026, 3, 5, 22, 16)),
        ("22:15", datetime(2026, 3, 6, 22, 15)),
        ("00:00", datetime(2026, 3, 6)),
        ("2026-03-08 07:00", datetime(2026, 3, 8, 7)),
        ("2026-03-08T07:00:30", datetime(2026, 3, 8, 7, 0, 30)),
    ],
)
def test_a_time_is_the_next_one_that_clocks_here_show(until: str, meant: datetime) -> None:
    """A time of day is today's or tomorrow's; a date with a time is that moment."""
    assert deadline(until, EVENING) == meant.timestamp()


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the clocks of a zone that changes them."""
    import time

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_nights_on_which_clocks_change_and_other_zones() -> None:
    """From 22:00 to 07:00 are 8 or 10 hours in such nights, and a moment may name its zone."""
    for evening, hours in ((datetime(2026, 3, 28, 22), 8), (datetime(2026, 10, 24, 22), 10)):
        assert deadline("07:00", evening) - evening.timestamp() == hours * 3600
    winter = datetime(2026, 1, 1, 12)
    assert deadline("2026-01-01T12:30+00:00", winter) - winter.timestamp() == 1.5 * 3600


@pytest.mark.parametrize(
    "until", ["", "7", "24:00", "07:60", "7 am", "-1:00", "07:00:00", "2026-03-08", "٧:٠٠x"]
)
def test_what_is_no_time_is_told_in_one_line(until: str) -> None:
    """Anything else is refused before the run begins, with an example."""
    with pytest.raises(UsageError, match="give a time like 07:00, or a date and a time"):
        IndexOptions(until=until)


def test_a_moment_that_is_over_is_refused() -> None:
    """A date in the past is a slip."""
    with pytest.raises(UsageError, match="that time has passed"):
        deadline("2026-03-05 22:15", EVENING)


# ---- what the machine tells -------------------------------------------------------------------------------------


class Machine:
    """A machine whose battery, temperature and work are played."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Begin on power, cool and idle, with two cores."""
        self.battery: Any = None
        self.sensors: dict[str, list[Any]] = {}
        self.busy = 0.0
        monkeypatch.setattr(psutil, "sensors_battery", lambda: self.battery, raising=False)
        monkeypatch.setattr(psutil, "sensors_temperatures", lambda: self.sensors, raising=False)
        times = lambda: SimpleNamespace(user=self.busy, nice=7 * self.busy, system=0.0)  # noqa: E731
        monkeypatch.setattr(psutil, "cpu_times", times)
        monkeypatch.setattr(os, "times", lambda: SimpleNamespace(user=0.0, system=0.0))
        monkeypatch.setattr(os, "cpu_count", lambda: 2)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Give a machine that is played."""
    return Machine(monkeypatch)


def _battery(percent: float, plugged: bool | None = False) -> SimpleNamespace:
    return SimpleNamespace(percent=percent, power_plugged=plugged)


def test_a_battery_below_its_level_is_a_reason_until_it_is_charged(machine: Machine) -> None:
    """On battery it waits below 50 %, then until 55 % or until the power is back."""
    senses, told = Senses(), []
    for battery in (None, _battery(60), _battery(49), _battery(53), _battery(56), _battery(30, True)):
        machine.battery = battery
        told.append(senses.reason(0.0))
    assert told == ["", "", "on battery (49 %)", "on battery (53 %)", "", ""]
    machine.battery = _battery(10, None)
    assert senses.reason(0.0) == ""


def test_a_hot_processor_is_a_reason_until_it_has_cooled_down(machine: Machine) -> None:
    """Its own limit counts where it makes sense, and only a processor's sensors."""
    senses, told = Senses(), []
    sensor = lambda now, high: SimpleNamespace(current=now, high=high, critical=None)  # noqa: E731
    for now, high in ((79, 80), (80, 80), (75, 80), (69, 80), (89, 65261.8), (91, None)):
        machine.sensors = {"coretemp": [sensor(now, high)], "nvme": [sensor(99, 80)]}
        told.append(senses.reason(0.0))
    hot = "the processor is hot ({} °C)".format
    assert told == ["", hot(80), hot(75), "", "", hot(91)]


def test_others_that_need_the_processor_are_a_reason(machine: Machine) -> None:
    """What others have used of all cores since the last question counts; processes of low priority do not."""
    senses, told = Senses(), []
    for now, busy in ((0.0, 5.0), (10.0, 17.0), (20.0, 35.0), (20.5, 35.1), (30.0, 36.0)):
        machine.busy = busy
        told.append(senses.reason(now))
    share = "the machine is busy ({} %)".format
    assert told == ["", share(60), share(90), share(90), ""]


def test_what_the_system_does_not_tell_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sensors, and where asking for them fails, the run goes on."""

    def fails() -> None:
        raise OSError("no such file")

    monkeypatch.delattr(psutil, "sensors_battery", raising=False)
    monkeypatch.setattr(psutil, "sensors_temperatures", fails, raising=False)
    monkeypatch.setattr(psutil, "cpu_times", fails)
    senses = Senses()
    assert [senses.reason(now) for now in (0.0, 10.0)] == ["", ""]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux shows priorities by thread")
def test_the_priority_is_the_lowest_for_threads_and_children_too() -> None:
    """Processor and disk serve others first: for threads that are there, those to come, and processes started."""
    code = """
import os, subprocess, sys, threading
stay = threading.Event(); threading.Thread(target=stay.wait).start()
from imgsearch.indexing.gentle.priority import lower
lower()
import psutil
print(sorted({os.getpriority(os.PRIO_PROCESS, int(one)) for one in os.listdir("/proc/self/task")}))
ask = "import os, psutil; print(os.nice(0), int(psutil.Process().ionice().ioclass))"
print(subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True).stdout.strip())
stay.set()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[19]", "19 3"]


# ---- a whole run ------------------------------------------------------------------------------------------------


def test_a_run_stops_at_its_time_and_the_next_one_continues(
    fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was embedded before the time is kept, the line tells how to continue, and the next run does."""
    for number in range(6):
        paint(tmp_path / "photos" / f"{number}.png", (40 * number, 0, 0))
    clock = iter(EVENING + timedelta(seconds=10 * number) for number in range(99))
    monkeypatch.setattr(run_module, "Pauses", partial(Pauses, today=lambda: next(clock)))
    options = IndexOptions(until="22:16", batch_size=1)
    folder = str(tmp_path / "index")
    with pytest.raises(RunStopped, match=r"^stopped at 22:16: \d of 6 images indexed\. Run the same command"):
        index_pictures([str(tmp_path / "photos")], folder, options)
    with ImageIndex(folder) as index:
        before = index.catalog.counts()[0]
    assert 0 < before < 6
    assert index_pictures([], folder).indexed == 6 - before


def test_a_gentle_run_leaves_a_core_free_and_says_for_how_long_it_has_waited(
    fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The priority is lowered, one core is left, and the pauses are part of the summary."""
    lowered: list[int] = []
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(priority, "lower", lambda: lowered.append(cores.usable().count))
    monkeypatch.setattr(pauses_module, "EVERY_SECONDS", 0.0)
    reasons = ["", "the machine is busy (90 %)", ""]
    told: dict[str, Any] = {
        "reason": lambda now: reasons.pop(0) if reasons else "",
        "sleep": lambda seconds: None,
    }
    monkeypatch.setattr(run_module, "Pauses", partial(Pauses, **told))
    paint(tmp_path / "photos" / "a.png", "red")
    result = index_pictures([str(tmp_path / "photos")], str(tmp_path / "index"), IndexOptions(gentle=True))
    assert (len(lowered), result.indexed, result.cores) == (
        1,
        1,
        cores.Cores(3, "all of this machine; 1 is left free"),
    )
    assert result.paused > 0
    assert " of it paused" in result.summary()
