"""How many cores may be used: by drawn machines, affinities and trees of control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgsearch.errors import UsageError
from imgsearch.machine import cgroups, cores
from imgsearch.machine.cores import limited, usable
from imgsearch.model import runtime

NO_LIMIT = {"": "max 100000\n", "cpu": "-1\n"}
QUOTAS = st.none() | st.integers(1, 40)  # tenths of a core


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder that stands for the system's control groups on a machine of 16 cores."""
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.setattr(cgroups, "ROOT", str(tmp_path))
    monkeypatch.setattr(cgroups, "_OWN", str(tmp_path / "own"))
    return tmp_path


def _draw(root: Path, version: str, path: str, quotas: dict[str, int | None]) -> None:
    """Draw a tree of groups; this process is in ``path``, and ``quotas`` are tenths of a core by group."""
    own = f"0::/{path}\n" if version == "" else f"12:memory:/other\n4:{version}:/{path}\n"
    (root / "own").write_text(own)
    for group, tenths in quotas.items():
        folder = root / version / group
        folder.mkdir(parents=True, exist_ok=True)
        if version == "":
            limit = NO_LIMIT[""] if tenths is None else f"{tenths * 5000} 50000\n"
            (folder / "cpu.max").write_text(limit)
        else:
            (folder / "cpu.cfs_quota_us").write_text(
                NO_LIMIT["cpu"] if tenths is None else f"{tenths * 10000}\n"
            )
            (folder / "cpu.cfs_period_us").write_text("100000\n")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["", "cpu", "cpu,cpuacct"]), st.lists(QUOTAS, min_size=1, max_size=4))
def test_the_tightest_quota_on_the_way_up_counts(
    machine: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    tenths: list[int | None],
) -> None:
    """Of all groups around a process the tightest quota counts, in either version; a part of a core is one."""
    root = tmp_path_factory.mktemp("groups")
    parts = [f"g{number}" for number in range(len(tenths) - 1)]
    paths = ["/".join(parts[:count]) for count in range(len(tenths))]
    _draw(root, version, paths[-1], {"beside": 1, **dict(zip(paths, tenths, strict=True))})
    monkeypatch.setattr(cgroups, "ROOT", str(root))
    monkeypatch.setattr(cgroups, "_OWN", str(root / "own"))
    found = min((tenth for tenth in tenths if tenth is not None), default=160)
    assert usable().count == -(-found // 10)


def test_a_quota_is_named_as_the_reason(machine: Path) -> None:
    """Whoever has fewer cores than the machine is told why."""
    _draw(machine, "", "pod/container", {"pod/container": 15})
    assert usable() == cores.Cores(2, "a quota of 1.5 of the machine's 16 cores")


def test_a_container_that_sees_only_its_own_group_hears_its_quota(machine: Path) -> None:
    """Where a container's group is mounted as the root, the path that the kernel names leads nowhere."""
    _draw(machine, "cpu", "docker/0a1b", {"": 20})
    assert usable().count == 2


@pytest.mark.parametrize("own", ["", "nonsense\n", "0::/../..\n", "4:cpu\n"])
def test_groups_that_can_not_be_read_limit_nothing(machine: Path, own: str) -> None:
    """Odd lines, missing files and files without a number are no limit."""
    (machine / "own").write_text(own)
    (machine / "cpu.max").write_text("much\n")
    assert usable().count == 16
    (machine / "own").unlink()
    assert usable() == cores.Cores(16, "all of this machine")


def test_affinity_counts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is kept to some cores uses no more, and a quota of more changes nothing."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7})
    _draw(machine, "", "a", {"a": 40})
    assert usable() == cores.Cores(3, "the process is limited to 3 of the machine's 16 cores")


def test_a_wish_counts_as_far_as_there_are_cores(machine: Path) -> None:
    """A number of threads is taken as it is, up to the cores that there are, and holds for its block."""
    with limited(5):
        assert usable() == cores.Cores(5, "as asked for by threads=5")
        with limited():
            assert usable().count == 5
    with limited(99):
        assert usable() == cores.Cores(16, "all of this machine; no more for threads=99")
    assert usable().count == 16


def test_a_core_is_left_free_where_there_is_more_than_one(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One core is left to others, unless there is only one."""
    with limited(leave_free=1):
        assert usable() == cores.Cores(15, "all of this machine; 1 is left free")
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
        assert usable().count == 1


def test_less_than_one_thread_is_refused() -> None:
    """No thread at all can't be meant."""
    with pytest.raises(UsageError, match="threads=0: must be at least 1"), limited(0):
        pass


def test_torch_computes_on_the_cores_that_may_be_used(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch gets no more threads than there are cores for us, a wish as it is, and its own number again later."""
    given: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: given[-1] if given else 8)
    monkeypatch.setattr(runtime, "_threads_of_torch", lambda: 8)
    _draw(machine, "", "a", {"a": 30})
    runtime.use_cores()
    with limited(2):
        runtime.use_cores()
    (machine / "a" / "cpu.max").write_text("max 100000\n")
    runtime.use_cores()
    with limited(12):
        runtime.use_cores()
    assert given == [3, 2, 8, 12]
