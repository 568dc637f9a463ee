"""One writer and many readers, each a process of its own: every answer must be that of one committed state.

    PYTHONPATH=tests python -m support.crowd --readers 8 --seconds 60

The writer stamps its states: one commit gives every file the bytes of the next epoch, the next transaction drops
every other file, and so on; between them it compacts, makes ANN files in the background, opens anew, and makes
the index anew and publishes that as the next epoch. It says in shared memory which state it is about to commit and
which it has committed. A reader notes the latter before it asks and the former after it has its answer: what it
got must be, by a full comparison in float64, the answer of one state between the two.

Prints one JSON line.
"""

from __future__ import annotations

import os

# One thread: a pool of OpenMP threads does not survive a fork.
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import mmap
import random
import tempfile
import time
import traceback
from collections import Counter
from functools import lru_cache

import faiss
import numpy as np

from imgsearch.index.ann.builder import AnnBuilder
from imgsearch.index.reader import ImageIndex
from imgsearch.index.writer import IndexWriter
from support import memory
from support.fakes import sha, spec, state, unit
from support.oracle import DIM, ROOT, Oracle, drop, small

FILES = 120
ROWS_A_SEGMENT, EXACT_ROWS = 100, 90


class Board:
    """What the processes tell each other: numbers in shared memory."""

    BEGUN, COMMITTED, STOP, EPOCHS, READERS = range(5)

    def __init__(self) -> None:
        # An array, because it writes a number at once and not byte by byte.
        self.numbers = np.frombuffer(mmap.mmap(-1, 8 * 64), np.uint64)

    def __getitem__(self, place: int) -> int:
        return int(self.numbers[place])

    def __setitem__(self, place: int, number: int) -> None:
        self.numbers[place] = number


def names(epoch: int) -> dict[str, str]:
    """Return the contents of an epoch's files by path."""
    return {f"{'abc'[place % 3]}/{place:04}.jpg": f"{epoch:06}.{place:04}" for place in range(FILES)}


@lru_cache(4)
def rows(epoch: int) -> object:
    """Return the vectors of an epoch (FILES, DIM), some of which are equal."""
    found = unit(FILES, epoch, DIM)
    found[1::10] = found[::10]
    return found


@lru_cache(8)
def oracle(number: int) -> Oracle:
    """Return the answers of a state: all files of an epoch, or every other one of them."""
    step = 1 + number % 2
    world = dict(sorted(names(number // 2).items(), key=lambda item: item[1])[::step])
    return Oracle(world, DIM, rows(number // 2)[::step])  # type: ignore[index]


class Writer:
    """The one who writes."""

    def __init__(self, folder: str, board: Board) -> None:
        self.folder, self.board = folder, board
        self.writer = IndexWriter(folder, spec(DIM))
        self.done: Counter[str] = Counter()

    def commit(self, epoch: int, paths: slice = slice(None)) -> None:
        """Give files the bytes of an epoch, in one transaction that names them."""
        root = self.writer.catalog.put_root(ROOT, {})
        files = sorted(names(epoch).items(), key=lambda item: item[1])[paths]
        contents = [(sha(name), 0, 40, 30) for _, name in files]
        states = [state(root, path, sha(name)) for path, name in files]
        self.writer.commit(contents, rows(epoch)[paths], states)  # type: ignore[index]

    def run(self) -> None:
        """Go from epoch to epoch until it is told to stop."""
        epoch = 0
        while not self.board[Board.STOP]:
            builder = AnnBuilder(self.writer.data, self.writer.spec)
            builder.schedule()
            self.board[Board.BEGUN] = 2 * epoch + 1
            drop(self.writer, [path for path, name in names(epoch).items() if int(name[-4:]) % 2])
            self.board[Board.COMMITTED] = 2 * epoch + 1
            builder.join()
            if epoch % 3 == 1:
                self.done["compacted"] += self.writer.compact().segments
            if epoch % 3 == 2:
                builder.finish()
            self.done["ann files"] += len(self.writer.catalog.ann_files())
            epoch += 1
            if epoch % 5 == 4:
                self.writer.close()
                self.writer = IndexWriter(self.folder, spec(DIM), rebuild=True)
                self.commit(epoch, slice(0, 50))
                self.commit(epoch, slice(50, None))
                self.board[Board.BEGUN] = 2 * epoch
                self.writer.publish()
                self.done["published"] += 1
            else:
                self.board[Board.BEGUN] = 2 * epoch
                self.commit(epoch)
            self.board[Board.COMMITTED] = 2 * epoch
            if epoch % 5 == 2:
                self.writer.close()
                self.writer = IndexWriter(self.folder)
            self.done["epochs"] = self.board[Board.EPOCHS] = epoch
        self.writer.close()


class Reader:
    """One who asks."""

    def __init__(self, folder: str, board: Board, seed: int) -> None:
        self.folder, self.board, self.draw = folder, board, random.Random(seed)
        self.index = ImageIndex(folder)
        self.done: Counter[str] = Counter()

    def run(self, place: int) -> None:
        """Ask until it is told to stop; ``place`` on the board counts the questions."""
        kinds = [
            self.everything,
            self.nearest,
            self.nearest,
            self.folder_only,
            self.prefix,
            self.vector,
            self.fresh,
        ]
        while not self.board[Board.STOP]:
            self.draw.choice(kinds)()
            self.board[place] += 1

    def search(
        self, k: int, dim: int | None = None, exact: bool = False, below: tuple[str, ...] = ()
    ) -> None:
        """Ask one question, and raise if the answer is not that of one state."""
        query = unit(1, self.draw.getrandbits(20), DIM)
        first = self.board[Board.COMMITTED]
        hits = self.index.search(query, k, dim, exact=exact, below=below)[0]
        last = self.board[Board.BEGUN]
        strategy = self.index.strategy.name if self.index.strategy else ""
        self.done[strategy] += 1
        whole = strategy != "codes"
        wrong = {
            number: oracle(number).wrong(hits, query[0], k, dim, below, complete=whole)
            for number in range(first, last + 1)
        }
        assert "" in wrong.values(), f"no state answers so: {wrong} (k={k}, {self.index.strategy})"

    def everything(self) -> None:
        """All pictures, by a scan."""
        self.search(2 * FILES, exact=True)

    def nearest(self) -> None:
        """The nearest few, by whatever is quickest."""
        self.search(self.draw.randint(1, 12))

    def folder_only(self) -> None:
        """Those in a folder."""
        self.search(self.draw.randint(1, 50), below=(f"{ROOT}/{self.draw.choice('abc')}",))

    def prefix(self) -> None:
        """At a smaller dimension."""
        self.search(5, dim=self.draw.randint(8, DIM - 1))

    def vector(self) -> None:
        """A stored vector: while its picture is there it is, after that perhaps."""
        first = self.board[Board.COMMITTED]
        content = self.draw.choice(list(oracle(first | 1).contents))
        found = self.index.vector(content)
        last = self.board[Board.BEGUN]
        self.done["vector"] += 1
        assert found is not None or last // 2 > first // 2, f"{content.hex()} of epoch {first // 2} is lost"
        assert found is None or (found[0] == oracle(first | 1).stored(content)).all()

    def fresh(self) -> None:
        """Another index is opened; its counts are those of one moment, too."""
        first = self.board[Board.COMMITTED]
        old, self.index = self.index, ImageIndex(self.folder)
        counts = self.index.catalog.counts()
        last = self.board[Board.BEGUN]
        old.close()
        self.done["opened"] += 1
        wanted = [(many := len(oracle(number).contents), many, {}) for number in range(first, last + 1)]
        assert counts in wanted, f"counts {counts} of no state, {first} to {last}: {wanted}"


def process(folder: str, work: object) -> int:
    """Fork a process that does ``work`` and leaves what it did, or its error, in ``folder``."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        found = work()  # type: ignore[operator]
        with open(os.path.join(folder, str(os.getpid())), "w", encoding="utf-8") as file:
            json.dump(found, file)
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def crowd(folder: str, readers: int, seconds: float, searches: int, epochs: int) -> dict[str, object]:
    """Let them work until that time is over, every reader has asked that often, and there were so many epochs."""
    board, index = Board(), os.path.join(folder, "index")
    first = Writer(index, board)
    first.commit(0)
    first.writer.close()

    def write() -> Counter[str]:
        writer = Writer(index, board)
        writer.run()
        return writer.done

    def read(place: int) -> Counter[str]:
        reader = Reader(index, board, place)
        reader.run(place)
        reader.index.close()
        return reader.done

    began = time.monotonic()
    places = range(Board.READERS, Board.READERS + readers)
    pids = [process(folder, write), *(process(folder, lambda place=place: read(place)) for place in places)]
    left, failed = set(pids), 0
    while left:
        pid, status = os.waitpid(-1, 0 if board[Board.STOP] else os.WNOHANG)
        if pid:
            left.discard(pid)
            failed += status != 0
        busy = time.monotonic() - began < seconds or board[Board.EPOCHS] < epochs
        if pid or not (busy or any(board[place] < searches for place in places)):
            board[Board.STOP] = 1  # all is done, or one has died
        elif not board[Board.STOP]:
            time.sleep(0.02)
    assert not failed, f"{failed} processes failed, see above"
    done: list[Counter[str]] = []
    for pid in pids:
        with open(os.path.join(folder, str(pid)), encoding="utf-8") as file:
            done.append(Counter(json.load(file)))
    asked = sum(done[1:], Counter())
    return {
        "readers": readers,
        "questions": sum(board[place] for place in places),
        "writer": done[0],
        "asked": asked,
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> None:
    """Read the arguments, let them work, and print the figures."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0, help="at least so long")
    parser.add_argument("--searches", type=int, default=0, help="at least so many questions a reader")
    parser.add_argument("--epochs", type=int, default=10, help="at least so many states times two")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=memory()) as folder, small(ROWS_A_SEGMENT, EXACT_ROWS):
        print(json.dumps(crowd(os.path.realpath(folder), **vars(arguments))))


if __name__ == "__main__":
    main()
