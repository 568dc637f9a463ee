"""Many read while one writes, compacts and makes the index anew; nobody sees half of anything, and two never write."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from imgsearch.errors import IndexLocked, IndexMismatch
from imgsearch.index.reader import ImageIndex
from imgsearch.index.writer import IndexWriter
from support import TESTS
from support.fakes import sha, spec, unit
from support.oracle import DIM, Oracle, put, world_of

CROWD = ["-m", "support.crowd"]
FULL = os.environ.get("IMGSEARCH_FAULTS") == "full"
"""8 readers for a minute; else 4 for at least 150 questions each."""


@pytest.mark.timeout(600 if FULL else 300)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_every_answer_is_that_of_one_committed_state() -> None:
    """During commits, prunes, compactions, builds and rebuilds no reader gets an error or a mixture of two states.

    What readers ask, and how an answer is compared, stands in the program, which raises at the first thing amiss.
    """
    work = ["--readers", "8", "--seconds", "60"] if FULL else ["--readers", "4", "--searches", "150"]
    done = subprocess.run(
        [sys.executable, *CROWD, *work, "--epochs", "60" if FULL else "24"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["questions"] >= (3200 if FULL else 600)
    assert min(figures["writer"][what] for what in ("epochs", "compacted", "ann files", "published")) > 0
    assert set(figures["asked"]) == {"exact", "codes", "selected", "prefix", "vector", "opened"}


_HOLDER = """
import sys
from imgsearch.index.writer import IndexWriter
from support.oracle import put
writer = IndexWriter(sys.argv[1])
print("held", flush=True)
for number in range(10 ** 6):
    put(writer, {f"{number}.jpg": f"c{number}"})
    print(number, flush=True)
"""


class Holder:
    """Another process that holds the writer lock and commits one picture after the other."""

    def __init__(self, folder: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, folder],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        assert self.line() == "held"

    def line(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def kill(self) -> list[int]:
        """Kill it; return the pictures that it said it had committed and were not read yet."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        # A number that was not printed to its end does not count.
        said = self.process.stdout.read().decode().split("\n")[:-1]
        self.process.stdout.close()
        return [int(line) for line in said]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Give the folder of an empty index."""
    with IndexWriter(str(tmp_path / "index"), spec(DIM)):
        pass
    return str(tmp_path / "index")


@pytest.fixture
def holder(folder: str) -> Iterator[Holder]:
    """Give a process that writes."""
    running = Holder(folder)
    yield running
    if running.process.poll() is None:
        running.kill()


def test_a_second_writer_is_told_who_the_first_is_until_that_is_dead(folder: str, holder: Holder) -> None:
    """However it opens the index, a second writer is refused with pid and host; a killed one holds nothing."""
    who = f"process {holder.process.pid} on {socket.gethostname()}"
    for arguments in ({}, {"spec": spec(DIM)}, {"spec": spec(DIM), "rebuild": True}):
        with pytest.raises(IndexLocked, match=f"another imgsearch .{who}") as refused:
            IndexWriter(folder, **arguments)  # type: ignore[arg-type]
        assert "\n" not in str(refused.value)
        assert refused.value.exit_code == 2
    done = [int(holder.line()) for _ in range(5)] + holder.kill()
    with IndexWriter(folder) as writer:
        found = world_of(writer)
        # The last one may have been committed and not said.
        assert len(found) - len(done) in (0, 1)
        assert found == {f"{number}.jpg": sha(f"c{number}") for number in range(len(found))}
        put(writer, {"next.jpg": "next"})


def test_of_several_that_begin_at_once_one_writes(folder: str) -> None:
    """Of processes that open the index at the same moment one gets it, the others are told by name who has it."""
    code = (
        "import sys; from imgsearch.errors import IndexLocked; from imgsearch.index.writer import IndexWriter\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "try:\n    writer = IndexWriter(sys.argv[1]); print('held', flush=True)\n"
        "except IndexLocked as error:\n    print(error, flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", code, folder],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(4)
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for _ in range(2):  # go; then, when all have answered, end
            for writer in writers:
                assert writer.stdin is not None
                writer.stdin.write("\n")
                writer.stdin.flush()
            said = [writer.stdout.readline().strip() for writer in writers if writer.stdout]
            if any(said):
                answers = dict(zip((writer.pid for writer in writers), said, strict=True))
    (holder,) = [pid for pid, answer in answers.items() if answer == "held"]
    others = [answer for pid, answer in answers.items() if pid != holder]
    # One that asked between lock and name is told that it is another process.
    assert all(
        f"another imgsearch (process {holder} on " in answer or "another imgsearch is" in answer
        for answer in others
    )


def test_a_reader_of_an_index_made_anew_with_another_model_is_told_so_every_time(folder: str) -> None:
    """Its questions are of a model that the index no longer has: each gets one line, and never an old answer."""
    with IndexWriter(folder) as writer:
        put(writer, {"old.jpg": "old"})
    with ImageIndex(folder) as reader:
        assert len(reader.search(unit(1, dim=DIM), 5)[0]) == 1
        with IndexWriter(folder, spec(DIM, "another/model"), rebuild=True) as writer:
            put(writer, {"new.jpg": "new"})
            assert len(reader.search(unit(1, dim=DIM), 5)[0]) == 1
            writer.publish()
        for _ in range(3):
            with pytest.raises(IndexMismatch, match="rebuilt with another model") as told:
                reader.search(unit(1, dim=DIM), 5)
            assert "\n" not in str(told.value)
        with pytest.raises(IndexMismatch):
            reader.vector(sha("old"))
    with ImageIndex(folder) as reader:
        query = unit(1, dim=DIM)
        assert Oracle({"new.jpg": "new"}).wrong(reader.search(query, 5)[0], query[0], 5) == ""


def test_a_reader_outlives_any_number_of_rebuilds(folder: str) -> None:
    """One that was opened before them answers from the newest index, whose files are the only ones left."""
    query = unit(1, dim=DIM)
    with ImageIndex(folder) as reader:
        for number in range(4):
            world = {f"{number}/{place}.jpg": f"c{number * place}" for place in range(number + 2)}
            with IndexWriter(folder, spec(DIM), rebuild=True) as writer:
                put(writer, world)
                writer.publish()
            assert Oracle(world).wrong(reader.search(query, 50)[0], query[0], 50) == ""
            assert np.shape(reader.vector(sha("c0"))) == (1, DIM)
        catalogues = [path.parent for path in Path(folder).rglob("catalog.sqlite")]
        assert catalogues == [Path(reader.data)]
