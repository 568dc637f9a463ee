"""Files are written in one step, locks say who holds them, and what lies below what is decided by whole names."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from imgsearch import fs
from imgsearch.fs import FileLock, LockHeld, atomic_write, is_at_or_below, is_below


@pytest.mark.parametrize(
    ("path", "folder", "below", "at_or_below"),
    [
        ("/a/b", "/a", True, True),
        ("/a/b/c", "/a", True, True),
        ("/a", "/a", False, True),
        ("/ab", "/a", False, False),
        ("/a", "/a/b", False, False),
        ("/a", "/", True, True),
        ("/", "/", False, True),
        ("/a/b", "/a/", True, True),
        ("a/b", "a", True, True),
    ],
)
def test_what_lies_below_a_folder_is_decided_by_whole_names(
    path: str, folder: str, below: bool, at_or_below: bool
) -> None:
    """A folder is not below itself, and a name that only begins like it is elsewhere."""
    assert is_below(path, folder) is below
    assert is_at_or_below(path, folder) is at_or_below


def test_a_file_is_synced_then_renamed_then_its_folder_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new bytes are durable before they have the name, and the name is durable when the block has ended."""
    path = tmp_path / "file"
    path.write_text("old")
    steps: list[tuple[str, str]] = []
    monkeypatch.setattr(fs, "sync_file", lambda descriptor: steps.append(("file", path.read_text())))
    monkeypatch.setattr(fs, "sync_folder", lambda folder: steps.append((folder, path.read_text())))
    with atomic_write(str(path)) as file:
        file.write(b"new")
    assert steps == [("file", "old"), (str(tmp_path), "new")]
    with atomic_write(str(path), durable=False) as file:
        file.write(b"newer")
    assert len(steps) == 2
    assert path.read_text() == "newer"


def test_a_file_in_the_working_directory_needs_no_folder_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare name is written where we stand."""
    monkeypatch.chdir(tmp_path)
    with atomic_write("file") as file:
        file.write(b"new")
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_a_file_that_could_not_be_written_leaves_the_old_one_alone(
    tmp_path: Path, error: type[BaseException]
) -> None:
    """An error or Ctrl-C in the block leaves the file as it was and nothing beside it."""
    (tmp_path / "file").write_text("old")

    def write() -> None:
        with atomic_write(str(tmp_path / "file")) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        write()
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


HOLD = (
    "import sys; from imgsearch.fs import FileLock; FileLock(sys.argv[1]); print('held', flush=True); input()"
)


def test_a_lock_names_its_holder_and_ends_with_its_process(tmp_path: Path) -> None:
    """The second one is told which process has it; a killed holder holds nothing."""
    path = str(tmp_path / "lock")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LockHeld) as refused:
        FileLock(path)
    assert refused.value.pid == holder.pid
    assert refused.value.holder == f"process {holder.pid} on {os.uname().nodename}"
    holder.kill()
    holder.communicate()
    with FileLock(path), pytest.raises(LockHeld, match=f"process {os.getpid()} on"):
        FileLock(path)
    FileLock(path).release()


def test_a_released_lock_names_nobody(tmp_path: Path) -> None:
    """Whoever asks before the next holder has written its name is not told the last one's."""
    path = tmp_path / "lock"
    FileLock(str(path)).release()
    assert path.read_bytes() == b""


def test_a_folder_is_locked_without_a_file_in_it(tmp_path: Path) -> None:
    """Who holds a folder's lock is not known, and nothing is written for it."""
    with FileLock(str(tmp_path)), pytest.raises(LockHeld, match="another process"):
        FileLock(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_who_waits_for_a_lock_says_so_and_has_it_next(tmp_path: Path) -> None:
    """A lock that is removed when it is released is held by one at a time all the same."""
    path = str(tmp_path / "lock")
    first = FileLock(path, remove=True)
    waits, has = threading.Event(), threading.Event()

    def second() -> None:
        with FileLock(path, remove=True, waiting=waits.set):
            assert os.path.exists(path)
            has.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert waits.wait(10)
    assert not has.is_set()
    first.release()
    assert has.wait(10)
    thread.join()
    assert os.listdir(tmp_path) == []


def test_a_link_is_followed_only_where_nobody_else_may_lay_it(tmp_path: Path) -> None:
    """A lock file that is a link is locked where it leads; without ``follow`` it is refused, and left as it was."""
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with FileLock(str(tmp_path / "link")), pytest.raises(LockHeld):
        FileLock(str(tmp_path / "real"))
    (tmp_path / "other").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic"):
        FileLock(str(tmp_path / "lock"), follow=False)
    assert (tmp_path / "other").read_text() == "precious"


def test_a_bare_process_id_names_the_holder(tmp_path: Path) -> None:
    """A lock that says no more than a process id, as servers wrote it before 0.1.0, is told with that process."""
    path = tmp_path / "serve.lock"
    with FileLock(str(path)):
        path.write_text("1234\n")
        with pytest.raises(LockHeld) as held:
            FileLock(str(path))
    assert (held.value.pid, held.value.host) == (1234, "")
