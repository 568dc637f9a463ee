"""Kills that hit the storage: a writer is killed (SIGKILL) at random moments of every phase of its work.

    PYTHONPATH=tests python -m support.killing --kills 500

A process, forked after its imports, works on an index of vectors: it takes files in, drops some, compacts, makes
ANN files, makes the index anew and publishes that. The phase in which it is to die is drawn from a shuffled
deck of all phases, the moment uniformly within the phase's duration, which is measured on runs that are not killed;
the process says through a pipe when the phase begins. A kill counts only if the process died of it within the
phase. In that phase every sync, commit, rename and unlink takes as long as on a drive, and rows are written in
pieces, so that kills fall between the steps and not always into computation.

The process notes each step before it begins and, with the paths, after it is through (for a commit: after COMMIT
returned). After each kill the index must be in the state of the last finished step, or in that of the one that was
under way, whole; see ``Bench.check`` for the rest. Then the next process goes on from there.

Prints a histogram of the kills by phase, and one JSON line.
"""

from __future__ import annotations

import os

# One thread: a pool of OpenMP threads does not survive a fork.
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import mmap
import random
import re
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from imgsearch import fs
from imgsearch.index import generations, segments
from imgsearch.index.ann import builder, rabitq
from imgsearch.index.ann.builder import AnnBuilder
from imgsearch.index.database import Database
from imgsearch.index.reader import ImageIndex
from imgsearch.index.segments import segment_name
from imgsearch.index.writer import IndexWriter
from support import memory
from support.fakes import sha, spec, unit
from support.faults.checks import check_counts, check_database
from support.oracle import DIM, ROOT, Oracle, drop, put, small, world_of

PHASES = ("ingest", "prune", "compact", "build", "rebuild", "publish")
FILES = 260
"""About so many files are in the index after a prune; a segment has a third of them."""
ROWS_A_SEGMENT, EXACT_ROWS = 96, 50
PIECE = 1024


class Log:
    """Steps that the process began and finished, in a file; what it wrote before it died stays."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._write = os.write  # before anybody slows it down

    def clear(self) -> None:
        """Forget everything; to be called before the fork."""
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def note(self, **entry: Any) -> None:
        """Add an entry."""
        self._write(self._descriptor, json.dumps(entry).encode() + b"\n")

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries; a last one that was not written to its end does not count."""
        return [json.loads(line) for line in Path(self.path).read_bytes().split(b"\n")[:-1]]


class Bench:
    """The index and what it must hold: ``world``, and ``begun``, the files of a rebuild that is not published."""

    def __init__(self, folder: str, seed: int, sync_seconds: float) -> None:
        self.folder, self.sync_seconds = os.path.join(folder, "index"), sync_seconds
        self.draw = random.Random(seed)
        self.log = Log(os.path.join(folder, "log"))
        self.shared = mmap.mmap(-1, 16)  # 0: whether the phase has ended
        self.world: dict[str, str] = {}
        self.begun: dict[str, str] | None = None
        self.count = 0
        self.queries = unit(3, seed, DIM)
        with IndexWriter(self.folder, spec(DIM)):
            pass

    # ---- the process that is killed -------------------------------------------------------------------------

    def attempt(self, phase: str, delay: float | None) -> tuple[bool, float]:
        """Fork a process that works up to the end of ``phase``; kill it ``delay`` seconds after that began, or never.

        Returns whether the kill hit, and how long the phase took if nothing was killed.
        """
        self.log.clear()
        self.shared[0] = 0
        before, begun = os.pipe()
        seed = self.draw.getrandbits(32)
        pid = os.fork()
        if pid == 0:
            os.close(before)
            try:
                self.work(phase, random.Random(seed), begun)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        os.close(begun)
        self.log.close()
        os.read(before, 1)
        since = time.monotonic()
        # The pipe ends with the process: there is no waiting for one that is through already.
        select.select([before], [], [], delay)
        taken = time.monotonic() - since
        if delay is not None:
            os.kill(pid, signal.SIGKILL)
        os.close(before)
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        require(killed or status == 0, f"the process failed by itself (status {status}) up to {phase}")
        return killed and self.shared[0] == 0, taken

    def work(self, last: str, draw: random.Random, begun: int) -> None:
        """Go through the phases up to ``last``; ends the process."""
        writer = IndexWriter(self.folder)
        for phase in PHASES:
            if phase == "rebuild":
                writer.close()
            if phase == last:
                self.slow_down()
                os.write(begun, b"x")
            writer = getattr(self, phase)(writer, draw)
            if phase == last:
                break
        self.shared[0] = 1
        os._exit(0)

    def ingest(self, writer: IndexWriter, draw: random.Random) -> IndexWriter:
        """Take in new files, changed ones, copies, ones that are back, and such as moved."""
        builder = AnnBuilder(writer.data, writer.spec) if draw.random() < 0.3 else None
        for _ in range(4):
            files = {f"{draw.choice('abc')}/{self.fresh()}.jpg": f"c{self.count}" for _ in range(20)}
            known = sorted(self.world)
            for path in draw.sample(known, min(len(known), 6)):
                files[path] = draw.choice([f"c{self.fresh()}", f"c{draw.randint(1, self.count)}", "c1~twin"])
            with self.step("index", files):
                put(writer, files)
            if builder:
                builder.schedule()
        if builder:
            builder.stop()
        return writer

    def prune(self, writer: IndexWriter, draw: random.Random) -> IndexWriter:
        """Drop files until as many are left as shall be, some with their contents."""
        for part in range(4):
            # Mostly old ones: so segments die.
            known = sorted(self.world, key=lambda path: int(re.sub(r"\D", "", path)))
            many = max(10, (len(known) - FILES) // (4 - part))
            gone = draw.sample(known[: 2 * many], min(many, len(known)))
            with self.step("index", dict.fromkeys(gone)):
                drop(writer, gone, contents=part == 2)
        return writer

    def compact(self, writer: IndexWriter, draw: random.Random) -> IndexWriter:
        """Compact; with ``before`` in the past, what was pruned moves along."""
        writer.compact(draw.choice([0.25, 0.1, 0.0]), before=draw.choice([None, None, 0.0]))
        return writer

    def build(self, writer: IndexWriter, draw: random.Random) -> IndexWriter:
        """Make the ANN files that are due."""
        AnnBuilder(writer.data, writer.spec).finish()
        return writer

    def rebuild(self, writer: IndexWriter, draw: random.Random) -> IndexWriter:
        """Make the index anew, or go on with that."""
        writer = IndexWriter(self.folder, spec(DIM), rebuild=True)
        done = self.begun or {}
        gone = sorted(done.keys() - self.world)
        with self.step("rebuild", dict.fromkeys(gone)):
            drop(writer, gone)
        left = sorted(path for path in self.world if done.get(path) != self.world[path])
        for start in range(0, len(left), 70):
            files = {path: self.world[path] for path in left[start : start + 70]}
            with self.step("rebuild", files):
                put(writer, files)
        return writer

    def publish(self, writer: IndexWriter, draw: random.Random) -> IndexWriter:
        """Let the new index take the old one's place."""
        self.log.note(begin="publish")
        writer.publish()
        self.log.note(done="publish")
        writer.close()
        return writer

    def fresh(self) -> int:
        """Return a number that no content has had."""
        self.count += 1
        return self.count

    @contextmanager
    def step(self, where: str, files: dict[str, Any]) -> Iterator[None]:
        """Note that ``files`` get these contents, or go (None), in one transaction that names them."""
        self.log.note(begin=where, files=files, count=self.count)
        yield
        self.log.note(done=where)
        if where == "index":
            self.world = changed(self.world, files)

    def slow_down(self) -> None:
        """Let this process wait for the drive as for a slow one, and write in pieces."""
        seconds = self.sync_seconds

        def slow(function: Callable[..., Any], share: float = 1.0) -> Callable[..., Any]:
            def run(*args: Any, **keywords: Any) -> Any:
                time.sleep(share * seconds)
                return function(*args, **keywords)

            return run

        @contextmanager
        def transaction(self: Database, kind: str = "IMMEDIATE") -> Iterator[Any]:
            with real_transaction(self, kind) as database:
                yield database
                if kind == "IMMEDIATE":
                    time.sleep(seconds)

        def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
            time.sleep(seconds / 20)
            return real_pwrite(descriptor, data[:PIECE], offset)

        def write(descriptor: int, data: memoryview) -> int:
            time.sleep(seconds / 20)
            return real_write(descriptor, data[: 4 * PIECE])

        real_sync_file, real_sync_folder = fs.sync_file, fs.sync_folder
        real_transaction, real_pwrite, real_write = Database.transaction, os.pwrite, os.write
        for module in (segments, builder, fs):
            vars(module)["sync_file"] = slow(real_sync_file)
        for module in (segments, fs):
            vars(module)["sync_folder"] = slow(real_sync_folder)
        product: Any = Database
        product.transaction = transaction
        vars(rabitq)["os"] = Slowed(write=write)
        vars(segments)["os"] = Slowed(pwrite=pwrite, ftruncate=slow(os.ftruncate, 0.2))
        for name in ("unlink", "replace"):
            setattr(os, name, slow(getattr(os, name), 0.2))

    # ---- what must hold -------------------------------------------------------------------------------------

    def learn(self) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        """Read the log; return the states in which the index and the unpublished rebuild may be, the oldest first."""
        index, rebuilt = [self.world], [self.begun or {}]
        entries = self.log.entries()
        for place, entry in enumerate(entries):
            if "begin" not in entry:
                continue
            finished = place + 1 < len(entries)
            self.count = entry.get("count", self.count)
            target, new = index, rebuilt[-1]
            if entry["begin"] != "publish":
                target = index if entry["begin"] == "index" else rebuilt
                new = changed(target[-1], entry["files"])
            if finished:
                del target[:]
            target.append(new)
        return index, rebuilt

    def check(self) -> None:
        """Require that nothing acknowledged is lost and that the index is sound, as it lies there and reopened."""
        allowed, rebuilt = self.learn()
        with ImageIndex(self.folder) as index:
            self.world = self.check_one(index, allowed)
        begun = generations.unfinished(self.folder)
        published = bool(self.log.entries()) and self.log.entries()[-1].get("begin", "") == "publish"
        published = published or {"done": "publish"} in self.log.entries()
        require(begun is not None or published or not rebuilt[0], "what a rebuild had acknowledged is lost")
        self.begun = None
        if begun is not None:
            with ImageIndex(begun[1]) as index:
                self.begun = self.check_one(index, rebuilt)
        # Half of the time the next process is the first to write after the kill.
        if self.draw.random() < 0.5:
            self.check_reopened()

    def check_one(self, index: ImageIndex, allowed: list[dict[str, str]]) -> dict[str, str]:
        """Require that an index is in one of the allowed states, and whole; return the state."""
        have = world_of(index)
        wanted = [{path: sha(name) for path, name in world.items()} for world in allowed]
        require(have in wanted, f"a state that was never committed: {differences(have, wanted)}")
        world = allowed[wanted.index(have)]
        # SQLite itself, every row's checksum, what triggers count, the names of files.
        check_database(index.catalog.path)
        with index.catalog.transaction("DEFERRED") as db:
            rows = db.execute("SELECT sha256, segment, row, crc FROM content").fetchall()
        counts = dict(index.catalog.segments())
        for _, segment, row, crc in rows:
            stored = index.snapshot.segment(segment, counts[segment]).take(np.array([row]))[0]
            require(segments.row_crc(stored) == crc, f"checksum of row {row} of segment {segment}")
        check_counts(index, dict(world))
        for number, one in index.catalog.ann_files().items():
            require(number in counts, f"an ANN file of segment {number}, which is not there")
            why = rabitq.damage(os.path.join(index.data, "faiss", one.name), one.bytes, one.crc)
            require(why == "", why)
        self.check_search(
            index, Oracle(world), {content: index.catalog.locate(content) for content, *_ in rows}
        )
        return world

    def check_search(self, index: ImageIndex, oracle: Oracle, places: dict[bytes, Any]) -> None:
        """Require that searches answer as a comparison with every row would, and that every file's vector is there."""
        ids = {content: place.content for content, place in places.items()}
        for content, name in oracle.contents.items():
            found = index.vector(content)
            require(
                found is not None and bool((found == oracle.stored(content)).all()), f"the vector of {name}"
            )
        for k in (1, 10, 1000):
            for exact in (True, False):
                for query in self.queries:
                    hits = index.search(query[None], k, exact=exact)[0]
                    assert index.strategy is not None
                    wrong = oracle.wrong(hits, query, k, complete=index.strategy.name != "codes", ids=ids)
                    require(wrong == "", f"{wrong} (k={k}, {index.strategy})")
        hits = index.search(self.queries[:1], 10, below=[f"{ROOT}/b"])[0]
        complete = index.strategy.name != "codes"
        wrong = oracle.wrong(hits, self.queries[0], 10, None, [f"{ROOT}/b"], complete, ids)
        require(wrong == "", wrong)
        require(not index.snapshot.problems, f"{index.snapshot.problems}")

    def check_reopened(self) -> None:
        """Require that a new writer opens, and leaves only files that something names."""
        with IndexWriter(self.folder) as writer:
            require(world_of(writer) == {path: sha(name) for path, name in self.world.items()}, "reopened")
            begun = generations.unfinished(self.folder)
            for folder, named in (
                ("vectors", {segment_name(number) for number, rows in writer.catalog.segments() if rows}),
                ("faiss", {one.name for one in writer.catalog.ann_files().values()}),
            ):
                path = os.path.join(writer.data, folder)
                found = set(os.listdir(path)) if os.path.isdir(path) else set()
                empty = {segment_name(number) for number, rows in writer.catalog.segments() if not rows}
                require(
                    found - empty == named, f"{folder} holds {found - named} too much, {named - found} not"
                )
            data = {os.path.dirname(path) for path in map(str, Path(self.folder).rglob("catalog.sqlite"))}
            wanted = {writer.data} | ({begun[1]} if begun else set())
            require(wanted <= data, f"{wanted - data} without a catalogue")
            for old in data - wanted:
                # Killed before it was a generation: the next rebuild clears it away.
                require(old > writer.data, f"{old} is out of use")


def changed(world: dict[str, str], files: dict[str, str | None]) -> dict[str, str]:
    """Return a world in which files have these contents, or are gone (None)."""
    merged = {**world, **files}
    return {path: name for path, name in merged.items() if name is not None}


def differences(have: dict[str, Any], wanted: list[dict[str, Any]]) -> str:
    """Say how the files found differ from each of the allowed states."""
    found = []
    for world in wanted:
        lost, more = sorted(world.keys() - have), sorted(have.keys() - world)
        other = sorted(path for path in have.keys() & world if have[path] != world[path])
        found.append(
            f"{len(lost)} lost ({lost[:4]}), {len(more)} more ({more[:4]}), {len(other)} others ({other[:4]})"
        )
    return "; or ".join(found)


def require(holds: bool, what: str) -> None:
    """Stop if something does not hold."""
    if not holds:
        raise AssertionError(what)


class Slowed:
    """The module os with some functions replaced, for one module alone."""

    def __init__(self, **functions: Any) -> None:
        vars(self).update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def kills(bench: Bench, wanted: int) -> dict[str, Any]:
    """Kill until ``wanted`` kills have hit, each phase about equally often."""
    began = time.monotonic()
    for _ in range(2):  # the first fills the index
        durations = {}
        for phase in PHASES:
            _, durations[phase] = bench.attempt(phase, None)
            bench.check()
    hits: Counter[str] = Counter()
    attempts = 0
    deck: list[str] = []
    while hits.total() < wanted:
        if not deck:
            deck = list(PHASES)
            bench.draw.shuffle(deck)
        attempts += 1
        hit, _ = bench.attempt(deck[-1], bench.draw.uniform(0, durations[deck[-1]]))
        try:
            bench.check()
        except BaseException:
            print(f"after attempt {attempts}, phase {deck[-1]}, a hit: {hit}", file=sys.stderr)
            raise
        if hit:
            hits[deck.pop()] += 1
    bench.check_reopened()
    return {
        "kills": hits.total(),
        "attempts": attempts,
        "phases": {phase: hits[phase] for phase in PHASES},
        "phase_ms": {phase: round(1000 * seconds) for phase, seconds in durations.items()},
        "files": len(bench.world),
        "contents_in_all": bench.count,
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> None:
    """Read the arguments, kill, and print the figures."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--kills", type=int, default=500, help="how many kills must hit")
    parser.add_argument("--sync-ms", type=float, default=2.0, help="what a sync of the drive takes")
    parser.add_argument("--seed", type=int, default=1, help="of the work and of the moments")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    with (
        tempfile.TemporaryDirectory(dir=memory()) as folder,
        small(ROWS_A_SEGMENT, EXACT_ROWS),
    ):
        found = kills(
            Bench(os.path.realpath(folder), arguments.seed, arguments.sync_ms / 1000), arguments.kills
        )
    for phase in PHASES:
        count, length = found["phases"][phase], found["phase_ms"][phase]
        print(f"{phase:8} {count:5}  of {length:5} ms  {'#' * count}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
