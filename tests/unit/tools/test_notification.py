"""Notifications on the desktop: what its program gets, and that nothing that fails there matters to a run."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from imgsearch.cli import output
from imgsearch.cli.notifying import notifying
from imgsearch.errors import UsageError
from imgsearch.indexing.gentle.deadline import RunStopped
from imgsearch.tools.notification import notify

PROGRAM = "osascript" if sys.platform == "darwin" else "notify-send"


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the file that takes the last argument of each notification, one a line; there is no other program."""
    monkeypatch.setenv("PATH", str(tmp_path))
    shown = tmp_path / "shown"
    _install(tmp_path, f'for last; do :; done; echo "$last" >> "{shown}"')
    return shown


def _install(folder: Path, script: str) -> None:
    program = folder / PROGRAM
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_a_line_is_shown_as_it_is(desktop: Path) -> None:
    """The text is an argument of its own, read by no shell; it can't move a cursor."""
    assert notify('$(touch x) "600 indexed"; \x1b[2J') == ""
    assert desktop.read_text() == '$(touch x) "600 indexed"; \\x1b[2J\n'


@pytest.mark.parametrize(
    ("script", "why"),
    [("echo no bus >&2; echo it is dead >&2; exit 1", "failed: it is dead"), ("exit 3", "failed")],
)
def test_a_program_that_fails_is_told(desktop: Path, script: str, why: str) -> None:
    """The last line that it wrote is the reason."""
    _install(desktop.parent, script)
    assert notify("done") == f"{PROGRAM} {why}"


def test_a_program_that_hangs_or_can_not_be_run_is_told(
    desktop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a desktop that does not answer."""

    def hangs(command: list[str], **options: object) -> None:
        raise subprocess.TimeoutExpired(command, 5.0)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert notify("done") == f"{PROGRAM} does not answer"
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(desktop.parent))
    (desktop.parent / PROGRAM).write_bytes(b"\x00nothing to run")
    assert notify("done").startswith(f"{PROGRAM}: ")


def test_a_missing_program_is_one_line_and_no_error(
    desktop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that could not be told on the desktop has done its work all the same."""
    (desktop.parent / PROGRAM).unlink()
    with notifying(wanted=True) as told:
        told.append("3 indexed")
    line = capsys.readouterr().err
    assert line.startswith(f"no notification: {PROGRAM} is not installed")
    assert line.count("\n") == 1


def test_the_end_of_a_run_is_told_however_it_ends_but_by_ctrl_c(desktop: Path) -> None:
    """The summary, an error, and the time to stop are shown; who presses Ctrl-C knows."""
    with notifying(wanted=True) as told:
        told += ["part one", "3 indexed"]
    with pytest.raises(UsageError), notifying(wanted=True):
        raise UsageError("no such folder")
    with pytest.raises(RunStopped), notifying(wanted=True):
        raise RunStopped("stopped at 07:00")
    with pytest.raises(KeyboardInterrupt), notifying(wanted=True):
        raise KeyboardInterrupt
    assert desktop.read_text().splitlines() == ["3 indexed", "no such folder", "stopped at 07:00"]


def test_nothing_is_shown_unless_asked_for(desktop: Path) -> None:
    """Without the option no program is started."""
    output.settings.level = output.NORMAL
    with notifying(wanted=False) as told:
        told.append("3 indexed")
    assert not desktop.exists()
