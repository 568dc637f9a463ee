"""The folder that a run writes into: what it may hold before, its checkpoints, and whether a run fits to go on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

from imgsearch.errors import StorageError, UsageError
from imgsearch.fs import FileLock, LockHeld
from imgsearch.text import Message, Option, error_line, format_bytes

CHECKPOINTS = "checkpoints"  # inside OUT, while the run goes on
_PLAN = "plan.json"


def check_out(out: str, resume: bool) -> None:
    """Raise UsageError for a folder with something in it, unless an interrupted run is to go on there.

    What a run left that ended before its first save, bad input mostly, is nothing.
    """
    if not os.path.exists(out):
        return
    if not os.path.isdir(out):
        raise UsageError(Option("out", out), ": is a file; choose a new folder")
    names = os.listdir(out)
    begun = os.path.exists(os.path.join(out, CHECKPOINTS, _PLAN))
    if not resume and names and not (names == [CHECKPOINTS] and begun and last_checkpoint(out) is None):
        hint = Message(", or resume the run there with ", Option("resume", True)) if begun else ""
        raise UsageError(Option("out", out), ": the folder is not empty; choose a new one", hint)
    if resume and "modules.json" in names:
        raise UsageError(
            Option("out", out),
            ": this run is finished; to train further, use ",
            Option("model", out),
            " and a new ",
            Option("out"),
        )
    if resume and names and not begun:
        raise UsageError(
            Option("resume", True),
            f": there is no run in {out}; give the ",
            Option("out"),
            " of the run to resume",
        )


@contextlib.contextmanager
def claimed(out: str) -> Iterator[None]:
    """Make the folder and keep other runs out of it meanwhile; if nothing is written there, it goes again.

    The kernel's lock on the folder ends with the process. Raises UsageError if another run has it, StorageError
    if the folder can't be made.
    """
    try:
        os.makedirs(out, exist_ok=True)
        # Opening it says whether it can be used at all.
        os.close(os.open(out, os.O_RDONLY))
    except OSError as error:
        raise StorageError(
            Option("out", out), f": the folder can't be created: {error_line(error)}"
        ) from error
    lock: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    try:
        lock = FileLock(out)
    except LockHeld as held:
        raise UsageError(
            Option("out", out), ": another run is writing there; wait for it to finish, or stop it"
        ) from held
    except OSError:
        pass  # a file system without locks, or without those of folders (NFS): the run goes without
    with lock:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.rmdir(out)


def check_room(out: str, parameters: int, result_bytes: int) -> None:
    """Raise StorageError if the disk has no room for the run's checkpoints and its result."""
    # Weights and two moments in float32; two checkpoints are kept, and the older goes when the third is there.
    needed = parameters * 4 * 3 * 3 + result_bytes
    parent = out
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    if (free := shutil.disk_usage(parent).free) < needed:
        raise StorageError(
            f"{parent} has {format_bytes(free)} free; the run's checkpoints need about {format_bytes(needed)}: "
            "free some disk space, or give an ",
            Option("out"),
            " on another disk",
        )


def last_checkpoint(out: str) -> str | None:
    """Return the folder of the newest whole checkpoint, None if there is none yet."""
    folder = os.path.join(out, CHECKPOINTS)
    found = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        step = name.removeprefix("checkpoint-")
        if step.isdecimal() and _is_whole(os.path.join(folder, name)):
            found.append((int(step), os.path.join(folder, name)))
    return max(found)[1] if found else None


def _is_whole(checkpoint: str) -> bool:
    """Tell whether the file that the trainer writes last is there and complete."""
    try:
        with open(os.path.join(checkpoint, "trainer_state.json"), encoding="utf-8") as file:
            return isinstance(json.load(file), dict)
    except (OSError, ValueError):
        return False


def step_of(checkpoint: str) -> int:
    """Return the step after which a checkpoint was saved."""
    return int(checkpoint.rpartition("-")[2])


def keep_plan(out: str, plan: dict[str, Any], resume: bool, defaults: dict[str, Any]) -> None:
    """Write down what decides the run's result; with ``resume``, compare with what the run began with.

    A run that was begun before there was an option had its default.
    Raises UsageError that names what is different, StorageError if the folder can't be written.
    """
    path = os.path.join(out, CHECKPOINTS, _PLAN)
    plan = json.loads(json.dumps(plan))  # as it will be read again
    if resume and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            before = json.loads(json.dumps(defaults)) | json.load(file)
        if other := [name for name in sorted({*before, *plan}) if before.get(name) != plan.get(name)]:
            differences = ", ".join(f"{name} ({before.get(name)}, now {plan.get(name)})" for name in other)
            raise UsageError(
                Option("resume", True),
                f": the run in {out} was started with other settings: {differences}; use the same ones",
            )
        return
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(plan, file, indent=1)
    except OSError as error:
        raise StorageError(f"{path} could not be written: {error_line(error)}") from error


def remove_checkpoints(out: str) -> None:
    """Remove what only going on with the run needs."""
    shutil.rmtree(os.path.join(out, CHECKPOINTS), ignore_errors=True)


def how_to_go_on(out: str) -> Message:
    """Say what an interrupted run has, and how to go on with it."""
    if (last := last_checkpoint(out)) is None:
        return Message(
            "interrupted before the first checkpoint was saved (",
            Option("save_steps", metavar="N"),
            " saves earlier); to start over, repeat it with ",
            Option("resume", True),
        )
    return Message(
        f"interrupted; to resume from step {step_of(last):,}, repeat it with ", Option("resume", True)
    )
