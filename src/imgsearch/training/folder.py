"""The folder that a run writes into: what it may hold before, its checkpoints, and whether a run fits to go on."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

from imgsearch.errors import StorageError, UsageError

CHECKPOINTS = "checkpoints"  # inside OUT, while the run goes on
_PLAN = "plan.json"


def check_out(out: str, resume: bool) -> None:
    """Raise UsageError for a folder with something in it, unless an interrupted run is to go on there."""
    if not os.path.exists(out):
        return
    if not os.path.isdir(out):
        raise UsageError(f"--out {out}: it is a file; name a new folder")
    if not resume and os.listdir(out):
        raise UsageError(
            f"--out {out}: the folder is not empty; name a new one, or go on there with --resume"
        )
    if resume and os.path.exists(os.path.join(out, "modules.json")):
        raise UsageError(f"--out {out}: this run is finished; to train on, use --model {out} and a new --out")


def check_room(out: str, parameters: int, result_bytes: int) -> None:
    """Raise StorageError if the disk has no room for the run's checkpoints and its result."""
    # Weights and two moments in float32; two checkpoints are kept, and the older goes when the third is there.
    needed = parameters * 4 * 3 * 3 + result_bytes
    parent = out
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    if (free := shutil.disk_usage(parent).free) < needed:
        raise StorageError(
            f"{parent} has {free / 1e9:.1f} GB free; the run's checkpoints take about {needed / 1e9:.1f} GB: "
            "make room, or give an --out on another disk"
        )


def last_checkpoint(out: str) -> str | None:
    """Return the folder of the newest whole checkpoint, None if there is none yet."""
    folder = os.path.join(out, CHECKPOINTS)
    found = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        step = name.removeprefix("checkpoint-")
        # The trainer writes this file last.
        if step.isdecimal() and os.path.exists(os.path.join(folder, name, "trainer_state.json")):
            found.append((int(step), os.path.join(folder, name)))
    return max(found)[1] if found else None


def step_of(checkpoint: str) -> int:
    """Return the step after which a checkpoint was saved."""
    return int(checkpoint.rpartition("-")[2])


def keep_plan(out: str, plan: dict[str, Any], resume: bool) -> None:
    """Write down what decides the run's result; with ``resume``, compare with what the run began with.

    Raises UsageError that names what is different, StorageError if the folder can't be written.
    """
    path = os.path.join(out, CHECKPOINTS, _PLAN)
    plan = json.loads(json.dumps(plan))  # as it will be read again
    if resume and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            before = json.load(file)
        if other := [name for name in sorted({*before, *plan}) if before.get(name) != plan.get(name)]:
            said = ", ".join(f"{name} ({before.get(name)}, now {plan.get(name)})" for name in other)
            raise UsageError(f"--resume: the run in {out} began with another {said}; give what it began with")
        return
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(plan, file, indent=1)
    except OSError as error:
        raise StorageError(f"{path} could not be written: {error.strerror}") from error


def remove_checkpoints(out: str) -> None:
    """Remove what only --resume needs."""
    shutil.rmtree(os.path.join(out, CHECKPOINTS), ignore_errors=True)


def how_to_go_on(out: str) -> str:
    """Say what an interrupted run has, and how to go on with it."""
    if (last := last_checkpoint(out)) is None:
        return (
            "interrupted before the first checkpoint was saved (--save-steps N saves sooner); "
            "the same command with --resume starts again"
        )
    return f"interrupted; the same command with --resume goes on from step {step_of(last):,}"
