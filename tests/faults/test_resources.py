"""File handles, threads, memory and disk space that run out are told as that, and are no property of a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgsearch.errors import exhausted
from support.cli import imgsearch
from support.fakes import paint

FULL = os.environ.get("IMGSEARCH_FAULTS") == "full"
RUN = "sys.argv = ['imgsearch', *sys.argv[1:]]\nfrom imgsearch.__main__ import main\nmain()\n"
FEW_FILES = "import resource, sys\nresource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv.pop(1)),) * 2)\n"
NO_THREADS = """
import sys, threading
started, most, start = [], int(sys.argv.pop(1)), threading.Thread.start
def few(self):
    if len(started) >= most:
        raise RuntimeError("can't start new thread")
    started.append(self)
    start(self)
threading.Thread.start = few
"""
LITTLE_MEMORY = (
    "import resource, sys\nresource.setrlimit(resource.RLIMIT_AS, (int(sys.argv.pop(1)) << 20,) * 2)\n"
)


def run(program: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own that ``program`` has put under a limit."""
    command = [sys.executable, "-c", program + RUN, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Give a folder with four painted pictures."""
    for name in ("red", "green", "blue", "white"):
        paint(tmp_path / "pictures" / f"{name}.png", name, size=(64, 64))
    return tmp_path / "pictures"


# Each number fails at another call; each is a process that loads the model.
@pytest.mark.parametrize("handles", range(7, 13) if FULL else [7, 11])
def test_file_handles_that_run_out_end_the_run(pictures: Path, tmp_path: Path, handles: int) -> None:
    """With too few file handles, a run ends with that as its error, and no image is skipped for it."""
    index = tmp_path / "index"
    words = ("index", pictures, "--index", index, "--model", "demo", "--quiet")
    done = run(FEW_FILES, handles, *words)
    if done.returncode:  # else they were enough
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "too many open files: raise the limit (ulimit -n)" in done.stderr
    assert imgsearch(*words).code == 0
    (status,) = imgsearch("status", "--json", "--index", index).objects
    assert (status["files"], status["errors"]) == (4, {})


@pytest.mark.parametrize("threads", [0, 1, 2] if FULL else [0, 1])
def test_threads_that_run_out_end_the_run_or_fewer_do(pictures: Path, tmp_path: Path, threads: int) -> None:
    """With too few threads, a run does with those that there are, or ends with that as its error."""
    index = tmp_path / "index"
    done = run(NO_THREADS, threads, "index", pictures, "--index", index, "--model", "demo", "--quiet")
    if done.returncode:
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "no thread could be started" in done.stderr
    else:
        (status,) = imgsearch("status", "--json", "--index", index).objects
        assert (status["files"], status["errors"]) == (4, {})
    assert threads or done.returncode


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no such limit")
@pytest.mark.parametrize("mebibytes", [200, 600])
def test_memory_that_runs_out_ends_the_run(pictures: Path, tmp_path: Path, mebibytes: int) -> None:
    """With too little address space to load the model, one line says so."""
    index = tmp_path / "index"
    done = run(LITTLE_MEMORY, mebibytes, "index", pictures, "--index", index, "--model", "demo", "--quiet")
    assert (done.returncode, done.stderr.splitlines()[-1][:24]) == (2, "imgsearch: out of memory"), (
        done.stderr
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "lost", [ValueError("field 'x' is required for Y"), SystemError("error return without exception set")]
)
def test_memory_that_python_lost_track_of_ends_the_run(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: Exception
) -> None:
    """Where Python loses a MemoryError while it loads the model, the command says the same one line."""

    def fail(*_: object, **__: object) -> None:
        raise lost

    monkeypatch.setattr("imgsearch.indexing.run.load_encoder", fail)
    done = imgsearch("index", pictures, "--index", tmp_path / "index", "--model", "demo", "--quiet")
    assert (done.code, done.err[:24]) == (2, "imgsearch: out of memory"), done.err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["query", "--help"], ["help", "index"], ["--help-all"]]
)
def test_a_full_disk_behind_help_is_an_error(words: list[str]) -> None:
    """Help that can't be written ends with one line and code 2, as every other answer does."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "imgsearch", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "imgsearch: the answer could not be written to stdout: No space left on device\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(24, "Too many open files", "/a.png"), "ulimit -n"),
        (OSError(23, "Too many open files in system"), "the system has no file handles"),
        (ImportError("libx.so: cannot open shared object file: Too many open files"), "ulimit -n"),
        (OSError("libgomp.so.1: failed to map segment from shared object"), "ulimit -v"),
        (MemoryError(), "ulimit -v"),
        (OSError(12, "Cannot allocate memory"), "ulimit -v"),
        (ValueError("field 'target' is required for AnnAssign"), "ulimit -v"),
        (SystemError("error return without exception set"), "ulimit -v"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
    ],
    ids=str,
)
def test_what_has_run_out_is_recognised(error: Exception, words: str) -> None:
    """However a library says that something has run out, the line says what, and what to do."""
    assert words in str(exhausted(error))


@pytest.mark.parametrize(
    "error",
    [OSError(2, "No such file"), OSError("odd"), ImportError("no module"), RuntimeError("odd"), ValueError()],
)
def test_other_errors_are_left_as_they_are(error: Exception) -> None:
    """What means nothing of the kind stays the error that it is."""
    assert exhausted(error) is None
