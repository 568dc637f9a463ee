"""Damage to every region of every file of an index: it must be noticed or do no harm.

    PYTHONPATH=tests python -m support.flipping --cases 4000

An index with everything in it is made: several segments, ANN files, deleted rows, copies, equal vectors, files that
were skipped, free pages, a rebuilt generation; once closed, once copied while a writer has its log open. For each
case one of its files is damaged in one of its regions, drawn evenly: a bit, a sector of zeros, an end cut off,
garbage at the end. A process of its own then opens it, searches by every strategy, reads vectors, files and counts,
writes to it as a run would, and searches again. Every answer is compared with that of the sound index.

What is wrong then has a name, see ``WRONG``. A process that ends by anything but its own exit, or hangs, is a crash;
an exception that is no ImgsearchError of one line is a traceback.

Prints a table by region, every case in which something was wrong, and one JSON line.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import random
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from imgsearch.errors import ImgsearchError
from imgsearch.index import side_db
from imgsearch.index.ann.builder import AnnBuilder
from imgsearch.index.reader import ImageIndex
from imgsearch.index.segments import HEADER_BYTES
from imgsearch.index.writer import IndexWriter
from imgsearch.tools.maintenance.verify import verify_index
from imgsearch.types import Runtime
from support import memory
from support.fakes import sha, spec, state, unit
from support.oracle import DIM, ROOT, Oracle, drop, put, small, world_of

ROWS_A_SEGMENT, EXACT_ROWS = 48, 40
RUNTIME = Runtime("cpu", "float32", "a test")
SECONDS = 60
MEMORY = 8 << 30
SECTOR = 512

WRONG = {
    "score": "a hit whose score is not the cosine of its picture's vector",
    "vector": "a stored vector that is another one",
    "path": "a hit, or a file, under a name that no file has",
    "hits": "too few or too many hits, a wrong choice, or a wrong order",
    "files": "the files that are known, or what is known of them",
    "counts": "figures that `status` shows",
    "roots": "folders, options or the date",
    "runs": "what is remembered of runs",
    "older": "the index as it was before its last commits",
}


@dataclass(frozen=True)
class Region:
    """Part of a file: bytes [start, stop) of ``path`` below the index's folder; ``what`` names its kind."""

    what: str
    path: str
    start: int
    stop: int


@dataclass
class Case:
    """One damage and what came of it."""

    region: str
    path: str
    kind: str
    offset: int
    detected: list[str] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)
    traceback: list[str] = field(default_factory=list)
    crash: str = ""
    verify: str = ""
    """What `verify` said of the damaged index; "" if it found it sound."""

    @property
    def outcome(self) -> str:
        """The worst that happened."""
        if self.crash or self.traceback:
            return "crash" if self.crash else "traceback"
        if self.wrong:
            return "wrong: " + ", ".join(sorted(self.wrong))
        return "detected" if self.detected else "harmless"


# ---- the sound index ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """What is in an index: the contents of files, and the reasons why others were skipped."""

    world: dict[str, str]
    skipped: dict[str, str]

    @cached_property
    def oracle(self) -> Oracle:
        """The answers."""
        return Oracle(self.world)

    @property
    def files(self) -> dict[str, bytes | None]:
        """The files as the catalogue knows them."""
        return {path: sha(name) for path, name in self.world.items()} | dict.fromkeys(self.skipped)

    def but(self, files: dict[str, str | None]) -> State:
        """Return this with other contents of some files, or without them (None)."""
        merged = {**self.world, **files}
        return State({path: name for path, name in merged.items() if name is not None}, self.skipped)


class Sound:
    """The index as it was before any damage, in ``closed`` and ``open``; ``states`` are its last ones, newest first."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.closed, self.open = os.path.join(folder, "closed"), os.path.join(folder, "open")
        with IndexWriter(self.closed, spec(DIM)) as writer:
            put(writer, {"old.jpg": "old"})
        with IndexWriter(self.closed, spec(DIM), rebuild=True) as writer:
            self.states = [self._fill(writer)]
            writer.publish()
        with IndexWriter(self.closed) as writer:
            self._grow(writer)
            # While it is open, the last changes stand in the log.
            shutil.copytree(self.closed, self.open)
        side_db.record_run(self.closed, "index", RUNTIME, 2.0)
        side_db.record_run(self.open, "index", RUNTIME, 2.0)
        self.queries = [*unit(2, 5, DIM), self.states[0].oracle.stored(sha("c7")).astype(np.float32)]
        with ImageIndex(self.closed) as index:
            self.created, self.roots = index.created, index.catalog.roots()
            self.rows = {row.path: row for row in index.catalog.files(1)}

    def _fill(self, writer: IndexWriter) -> State:
        files = {f"{'abc'[n % 3]}/{n:03}.jpg": f"c{n}" for n in range(150)}
        files |= {f"a/copy {n}.jpg": f"c{n}" for n in range(0, 150, 10)}
        files |= {f"b/twin {n}.jpg": f"c{n}~twin" for n in range(5, 150, 30)}
        # Long names, dropped again: their pages are free afterwards.
        put(writer, {**files, **{f"{'x' * 150}{n}.jpg": f"x{n}" for n in range(200)}})
        drop(writer, [f"{'x' * 150}{n}.jpg" for n in range(200)], contents=True)
        writer.compact(0.25)
        gone = [path for path in files if path.endswith("3.jpg")]
        drop(writer, gone)
        AnnBuilder(writer.data, writer.spec).finish()
        return State(files, {}).but(dict.fromkeys(gone))

    def _grow(self, writer: IndexWriter) -> None:
        more: dict[str, str | None] = {f"c/later {n}.jpg": f"later {n}" for n in range(12)}
        put(writer, more)  # type: ignore[arg-type]
        self.states.insert(0, self.states[0].but(more))
        skipped = {"b/no picture.jpg": "corrupt", "b/none either.gif": "corrupt", "gone.png": "vanished"}
        root = writer.catalog.put_root(ROOT, {})
        states = [state(root, path, None, error=error) for path, error in skipped.items()]
        writer.commit([], unit(0, dim=DIM), states)
        self.states.insert(0, State(self.states[0].world, skipped))

    def regions(self) -> list[Region]:
        """Return every region of every file, of both states."""
        found = []
        for top in ("closed", "open"):
            for path in sorted(Path(self.folder, top).rglob("*")):
                name = str(path.relative_to(self.folder))
                wanted = path.is_file() and (top == "closed" or "catalog" in name)
                if wanted and (size := path.stat().st_size):
                    found += [Region(what, name, *span) for what, *span in _parts(path, size)]
        return found


def _parts(path: Path, size: int) -> list[Any]:
    """Return (name, start, stop) of the regions of a file."""
    name = path.name
    if name.endswith(".f16"):
        return [
            ("segment: header's fields", 0, 64),
            ("segment: header's padding", 64, HEADER_BYTES),
            ("segment: rows", HEADER_BYTES, size),
        ]
    if name.endswith(".faiss"):
        return [("faiss: header", 0, 128), ("faiss: codes", 128, size)]
    if name == "catalog.sqlite":
        return _pages(path, size)
    if name.endswith("-wal"):
        return [
            (f"wal: {what}", 32 + frame * 4120 + start, 32 + frame * 4120 + stop)
            for frame in range((size - 32) // 4120)
            for what, start, stop in (("frame's header", 0, 24), ("page", 24, 4120))
        ] + [("wal: header", 0, 32)]
    return [(name, 0, size)]


def _pages(path: Path, size: int) -> list[tuple[str, int, int]]:
    """Return (owner, start, stop) of the pages of a database: tables and indexes by name, or free."""
    data = path.read_bytes()
    width = int.from_bytes(data[16:18], "big")
    owners = {}

    def walk(page: int, name: str) -> None:
        owners[page] = name
        at = (page - 1) * width + (100 if page == 1 else 0)
        if data[at] in (2, 5):  # an inner page
            cells = int.from_bytes(data[at + 3 : at + 5], "big")
            for cell in range(cells):
                place = (
                    int.from_bytes(data[at + 12 + 2 * cell : at + 14 + 2 * cell], "big") + (page - 1) * width
                )
                walk(int.from_bytes(data[place : place + 4], "big"), name)
            walk(int.from_bytes(data[at + 8 : at + 12], "big"), name)

    # As it stands: an ordinary connection would fold the log into it.
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as db:
        for name, root in db.execute(
            "SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0"
        ).fetchall():
            walk(root, name)
    walk(1, "schema")
    pages = [
        (f"catalogue: {owners.get(page, 'free page')}", (page - 1) * width, page * width)
        for page in range(2, size // width + 1)
    ]
    return [("catalogue: file header", 0, 100), ("catalogue: schema", 100, width), *pages]


# ---- damage -------------------------------------------------------------------------------------------------------


def damage(path: str, kind: str, offset: int, draw: random.Random) -> None:
    """Damage a file."""
    data = bytearray(Path(path).read_bytes())
    if kind == "bit":
        data[offset] ^= 1 << draw.randrange(8)
    elif kind == "sector":
        start = offset // SECTOR * SECTOR
        data[start : start + SECTOR] = bytes(len(data[start : start + SECTOR]))
    elif kind == "cut":
        del data[offset:]
    else:
        data += draw.randbytes(draw.choice([1, SECTOR, 5000]))
    Path(path).write_bytes(data)


class Probe:
    """What a program does with a damaged index, and what it got to see."""

    def __init__(self, sound: Sound, folder: str, case: Case) -> None:
        self.sound, self.folder, self.case = sound, folder, case

    def run(self) -> None:
        """Do it."""
        self.guard("verify", self._verify)
        found = self.read(self.sound.states[:1]) or self.sound.states[0]
        states = [found]
        self.guard("write", lambda: self._write(states))
        self.read(states[::-1])
        self.guard("runs", self._runs)

    def guard(self, what: str, work: Callable[[], None]) -> None:
        """Do one thing; an error of ours is damage that was noticed."""
        try:
            work()
        except ImgsearchError as error:
            if "\n" in str(error) or not str(error):
                self.case.traceback.append(f"{what}: not one line: {error!r}")
            self.case.detected.append(f"{what}: {error}")
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in where if "imgsearch" in frame.filename] or list(where)
            place = f"{os.path.basename(ours[-1].filename)}:{ours[-1].lineno} {ours[-1].name}"
            self.case.traceback.append(f"{what}: {error!r:.300} at {place}")

    def note(self, kind: str, what: object) -> None:
        """Keep the first thing of its kind that is wrong."""
        assert kind in WRONG
        self.case.wrong.setdefault(kind, str(what)[:300])

    def _verify(self) -> None:
        report = verify_index(self.folder)
        self.case.verify = "; ".join(f"{one.path} {one.what}" for one in report.damages)[:300]

    def _runs(self) -> None:
        run = side_db.last_run(self.folder, "index")
        if run is not None and (run.runtime != RUNTIME or run.rate != 2.0):
            self.note("runs", run)

    def read(self, states: list[State]) -> State | None:
        """Open it and ask everything; the answers must be those of one of the states. Return which, if any."""
        opened: list[ImageIndex] = []
        self.guard("open", lambda: opened.append(ImageIndex(self.folder)))
        known = None
        for index in opened:
            found: dict[str, bytes | None] = {}
            self.guard("files", lambda index=index, found=found: found.update(world_of(index)))  # type: ignore[misc]
            known = next((one for one in [*states, *self.sound.states] if one.files == found), None)
            if known is None and found:
                names = sorted(found.keys() - states[0].files.keys() - states[-1].files.keys())
                self.note("path" if names else "files", names or "other contents or fewer")
            elif known is not None and known not in states:
                self.note("older", f"{len(found)} files")
            self._read(index, known or states[0])
            index.close()
        return known

    def _read(self, index: ImageIndex, wanted: State) -> None:
        oracle = wanted.oracle

        def search(query: np.ndarray, k: int, **options: Any) -> None:
            hits = index.search(query[None], k, **options)[0]
            complete = index.strategy is None or index.strategy.name != "codes"
            asked = {name: value for name, value in options.items() if name != "exact"}
            wrong = oracle.wrong(hits, query, k, complete=complete, **asked)
            if wrong:
                self.note(_kind(wrong), f"{wrong} (k={k}, {options}, {index.strategy})")

        for query in self.sound.queries:
            for k, options in (
                (3, {"exact": True}),
                (500, {"exact": True}),
                (3, {}),
                (20, {}),
                (5, {"dim": DIM // 2}),
                (9, {"below": [f"{ROOT}/b"]}),
            ):
                self.guard("search", lambda k=k, o=options, query=query: search(query, k, **o))  # type: ignore[misc]

        def vector(content: bytes, name: str) -> None:
            found = index.vector(content)
            if found is None or not np.array_equal(found[0], oracle.stored(content)):
                self.note("vector" if found is not None else "hits", f"the vector of {name}: {found}")

        for content, name in oracle.contents.items():
            self.guard("vector", lambda content=content, name=name: vector(content, name))  # type: ignore[misc]

        def counts() -> None:
            files, contents, errors = index.catalog.counts()
            skipped = dict(Counter(wanted.skipped.values()))
            if (files, contents, errors) != (len(wanted.world), len(oracle.contents), skipped):
                self.note("counts", (files, contents, errors))

        def rows() -> None:
            for root in index.catalog.roots():
                for row in index.catalog.files(root.id):
                    known = self.sound.rows.get(row.path)
                    if known and (row.size, row.mtime_ns, row.error) != (
                        known.size,
                        known.mtime_ns,
                        known.error,
                    ):
                        self.note("files", f"{row}, not {known}")
            errors = [(path, error) for path, error, _ in index.catalog.errors()]
            if sorted(errors) != sorted((f"{ROOT}/{path}", error) for path, error in wanted.skipped.items()):
                self.note("files", errors)

        def roots() -> None:
            if index.catalog.roots() != self.sound.roots or index.created != self.sound.created:
                self.note("roots", f"{index.catalog.roots()} {index.created}")

        for what, work in (("counts", counts), ("rows", rows), ("roots", roots)):
            self.guard(what, work)

    def _write(self, states: list[State]) -> None:
        """Do what a run does: take a file in, drop one, compact, bring the ANN files up to date."""
        with IndexWriter(self.folder) as writer:
            states.append(states[0].but({"c/new.jpg": "new"}))
            put(writer, {"c/new.jpg": "new"})
            states.append(states[1].but({"a/000.jpg": None}))
            drop(writer, ["a/000.jpg"])
            writer.compact(0.05)
            AnnBuilder(writer.data, writer.spec).finish()


def _kind(wrong: str) -> str:
    if wrong.startswith("score"):
        return "score"
    return "path" if wrong.startswith(("files", "a hit that no file has")) else "hits"


def attempt(sound: Sound, region: Region, kind: str, seed: int) -> Case:
    """Damage a copy of the index and let a process use it."""
    draw = random.Random(seed)
    offset = draw.randrange(region.start, region.stop)
    case = Case(region.what, region.path, kind, offset)
    top, _, name = region.path.partition("/")
    before, after = os.pipe()
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        copy = os.path.join(folder, "index")
        shutil.copytree(os.path.join(sound.folder, top), copy)
        damage(os.path.join(copy, name), kind, offset, draw)
        pid = os.fork()
        if pid == 0:
            os.close(before)
            # What C libraries say is not ours to judge; memory is bounded so that no nonsense size hurts others.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.alarm(SECONDS)
            Probe(sound, copy, case).run()
            with os.fdopen(after, "w") as file:
                json.dump(asdict(case), file)
            os._exit(0)
        os.close(after)
        with os.fdopen(before) as file:
            said = file.read()
        _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        case.crash = (
            "hangs" if os.WTERMSIG(status) == signal.SIGALRM else signal.Signals(os.WTERMSIG(status)).name
        )
    elif status or not said:
        case.crash = f"exit status {status}"
    else:
        case = Case(**json.loads(said))
    return case


def sample(sound: Sound, cases: int, seed: int) -> list[Case]:
    """Damage every kind of region about equally often."""
    draw = random.Random(seed)
    kinds: dict[str, list[Region]] = {}
    for region in sound.regions():
        kinds.setdefault(region.what, []).append(region)
    found = []
    names = sorted(kinds)
    for number in range(cases):
        region = draw.choice(kinds[names[number % len(names)]])
        kind = draw.choice(["bit"] * 6 + ["sector"] * 2 + ["cut", "garbage"])
        found.append(attempt(sound, region, kind, draw.getrandbits(32)))
    return found


def main() -> None:
    """Read the arguments, damage, and print what came of it."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--cases", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=memory()) as folder, small(ROWS_A_SEGMENT, EXACT_ROWS):
        sound = Sound(os.path.realpath(folder))
        unharmed = attempt(sound, Region("nothing", "closed/writer.lock", 0, 1), "garbage", 1)
        assert unharmed.outcome == "harmless", unharmed
        cases = sample(sound, arguments.cases, arguments.seed)
    table: dict[str, Counter[str]] = {}
    for case in cases:
        table.setdefault(case.region, Counter())[case.outcome] += 1
        if case.outcome not in ("detected", "harmless"):
            print(json.dumps({"outcome": case.outcome, **asdict(case)}))
    for region, outcomes in sorted(table.items()):
        print(f"{region:45} {dict(outcomes.most_common())}")
    outcomes = Counter(case.outcome for case in cases)
    missed = sum(case.outcome.startswith("wrong") and not case.verify for case in cases)
    print(
        json.dumps(
            {
                "cases": len(cases),
                "outcomes": outcomes,
                "wrong_and_not_found_by_verify": missed,
                "seconds": round(time.monotonic() - began, 1),
            }
        )
    )
    sys.exit(0)


if __name__ == "__main__":
    main()
