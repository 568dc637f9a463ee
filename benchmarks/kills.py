"""Kills that hit: an indexing run is killed (SIGKILL) at random moments, and the index must not care.

    python benchmarks/kills.py --kills 50

A tree of drawn pictures is indexed with a tiny random checkpoint of the real architecture. Again and again the
tree gets new, changed, copied, moved and deleted pictures, and a process, forked after its imports and with the
model loaded, runs `index_pictures` over it and is killed at a moment drawn uniformly between its first write and
its last commit (the length of that stretch is measured on a run that is not killed). A kill counts only if the
process really died of it, after the first write and before the last commit.

After each kill: SQLite finds its file sound, every committed row matches its checksum and is finite and of unit
length, every file names a picture that is there, nothing that was in the index or was acknowledged by a commit
and is still on the disk is lost, nothing that was dropped is back, a search answers with exact scores and
existing files. Then the next run goes on from there, sometimes to be killed as well, else to the end: then the
index is exactly the tree, and only what had not been committed has been embedded. At the very end every vector
is compared with those of an index made in one go.

A phase is as likely to be hit as it is long; one that no kill has hit in the end is waited for. Drives answer a sync
in 0.03 ms (a virtual one) to 10 ms (a disk), so the process that is killed waits --sync-ms at every sync, as it would
for a drive; without that, on a fast one, hardly any kill falls between the write of the vectors and the commit that
names them.

Prints a histogram of the kills by phase, and one JSON line.
"""

from __future__ import annotations

import os

# One thread: a pool of OpenMP threads does not survive a fork.
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import hashlib
import json
import mmap
import random
import select
import shutil
import signal
import sqlite3
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from imgsearch.index import segments
from imgsearch.index.catalog import Catalog
from imgsearch.index.reader import ImageIndex
from imgsearch.index.segments import SegmentWriter, row_crc
from imgsearch.indexing import ingest, run
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.search import query, similar
from imgsearch.search.hits import SearchOptions
from imgsearch.types import MIN_PIXELS, ImageEncoder, Input, ModelOptions, PixelBudget

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "recipes"))
from random_checkpoint import write_random_checkpoint

PHASES = ("other", "decode", "embed", "append", "commit", "prune")
# What one round does to the tree; as many files come as go.
NEW, TWINS, CHANGED, COPIED, MOVED, DELETED = 10, 2, 4, 4, 3, 16
BASE = 60

Files = dict[str, bytes]
"""sha256 by absolute path."""


class Shared:
    """What the process that is to be killed leaves behind: its phase and what its commits acknowledged."""

    _SIZE = 1 << 20
    _AT = 1024  # acknowledgements begin here; their end stands at 8

    def __init__(self) -> None:
        """Set up the memory; a forked child shares it."""
        self.memory = mmap.mmap(-1, self._SIZE)
        self._end = self._AT

    def clear(self) -> None:
        """Forget everything."""
        self.memory[: self._AT] = bytes(self._AT)
        struct.pack_into("<Q", self.memory, 8, self._AT)

    def enter(self, phase: int) -> int:
        """Note the phase, give the time to the one before, and return that."""
        before, now = self.memory[0], time.monotonic()
        (spent, since) = struct.unpack_from("<dd", self.memory, 64 + 16 * before)
        if since:
            struct.pack_into("<dd", self.memory, 64 + 16 * before, spent + now - since, 0.0)
        struct.pack_into("<d", self.memory, 72 + 16 * phase, now)
        self.memory[0] = phase
        return before

    @property
    def phase(self) -> str:
        """The phase that the process is or was in."""
        return PHASES[self.memory[0]]

    def spent(self) -> dict[str, float]:
        """Return the seconds in each phase."""
        return {
            name: struct.unpack_from("<d", self.memory, 64 + 16 * place)[0]
            for place, name in enumerate(PHASES)
        }

    def mark(self, name: str) -> None:
        """Note that, and when, the first write has begun or the last commit has ended."""
        place = 16 if name == "begun" else 24
        struct.pack_into("<d", self.memory, place, time.monotonic())

    def at(self, name: str) -> float:
        """Return the time of a mark, 0 if it was not reached."""
        return float(struct.unpack_from("<d", self.memory, 16 if name == "begun" else 24)[0])

    def acknowledge(self, kind: bytes, key: bytes, path: str = "") -> None:
        """Add a file that a commit has made durable (F, sha256, path), or an id that was dropped (D)."""
        data = kind + key + struct.pack("<H", len(os.fsencode(path))) + os.fsencode(path)
        (end,) = struct.unpack_from("<Q", self.memory, 8)
        self.memory[end : end + len(data)] = data
        struct.pack_into("<Q", self.memory, 8, end + len(data))

    def acknowledged(self) -> Iterator[tuple[bytes, bytes, str]]:
        """Yield what was acknowledged, in order."""
        (end,) = struct.unpack_from("<Q", self.memory, 8)
        at = self._AT
        while at < end:
            kind = self.memory[at : at + 1]
            width = 32 if kind == b"F" else 8
            key = self.memory[at + 1 : at + 1 + width]
            (length,) = struct.unpack_from("<H", self.memory, at + 1 + width)
            at += 3 + width + length
            yield kind, key, os.fsdecode(self.memory[at - length : at])


class Tree:
    """The pictures on the disk."""

    def __init__(self, folder: str, rng: random.Random) -> None:
        """Draw the first ones."""
        self.folder, self.rng, self.count = folder, rng, 0
        for _ in range(BASE):
            self.draw(self.fresh())

    def fresh(self) -> str:
        """Return a path that no picture has had."""
        self.count += 1
        return os.path.join(self.folder, f"{self.count % 7}", f"{self.count:05d}.png")

    def draw(self, path: str) -> None:
        """Write a picture that no other is like."""
        noise = np.random.default_rng(self.rng.getrandbits(64)).integers(0, 256, (6, 8, 3), np.uint8)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Image.fromarray(noise).resize((640, 480), Image.Resampling.BILINEAR).save(path, compress_level=1)

    def files(self) -> Files:
        """Return every picture with its sha256."""
        paths = sorted(str(path) for path in Path(self.folder).rglob("*.png"))
        return {path: hashlib.sha256(Path(path).read_bytes()).digest() for path in paths}

    def change(self) -> None:
        """Do one round of what people do to their pictures."""
        paths = sorted(self.files())
        chosen = self.rng.sample(paths, CHANGED + COPIED + MOVED + DELETED)
        for path in chosen[:CHANGED]:
            self.draw(path)
        for path in chosen[CHANGED : CHANGED + COPIED]:
            shutil.copyfile(path, self._made(self.fresh()))
        for path in chosen[CHANGED + COPIED : CHANGED + COPIED + MOVED]:
            os.rename(path, self._made(self.fresh()))
        for path in chosen[-DELETED:]:
            os.unlink(path)
        for number in range(NEW):
            self.draw(path := self.fresh())
            if number < TWINS:
                shutil.copyfile(path, self._made(self.fresh()))

    @staticmethod
    def _made(path: str) -> str:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path


class Bench:
    """The tree, its index, and the model that every process inherits."""

    def __init__(self, folder: str, seed: int, sync_seconds: float, model: str | None = None) -> None:
        """Load the checkpoint ``model``, or write one, and draw the tree."""
        self.rng, self.sync_seconds = random.Random(seed), sync_seconds
        self.index, self.model = os.path.join(folder, "index"), model or os.path.join(folder, "model")
        if model is None:
            write_random_checkpoint(self.model)
        self.tree = Tree(os.path.join(folder, "pictures"), self.rng)
        self.shared = Shared()
        self.pixels = PixelBudget(MIN_PIXELS, MIN_PIXELS)
        self.encoder = Qwen3VLEmbedder(self.model, device="cpu", budget=self.pixels)
        self.question = self.encoder.embed([Input(text="a picture")])
        self.dimension = self.encoder.dim
        self.runtime = self.encoder.runtime

    def run(self, index: str | None = None) -> ingest.IndexResult:
        """Bring the index up to date."""
        choice = ModelOptions(model=self.model, device="cpu", pixels=self.pixels)
        # So many kills meet files that are decoded alone, after a kill before: these are not to blame.
        options = ingest.IndexOptions(model=choice, batch_size=1, retry=True)
        return run.index_pictures([self.tree.folder], index or self.index, options)

    # ---- the process that is killed -------------------------------------------------------------------------

    def attempt(self, delay: float | None, phase: str = "") -> tuple[bool, float]:
        """Fork a run and kill it ``delay`` seconds after its first write, or never; or when it enters a ``phase``.

        Returns whether the kill hit, and the seconds from the first write to the last commit if it did not.
        """
        self.shared.clear()
        before, begun = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(before)
            try:
                self._instrument(begun)
                self.run()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os.close(begun)
        os.read(before, 1)
        # The pipe ends with the process: there is no waiting for one that is through already.
        if phase:
            # It is looked for so often that the shortest phase is met, and not so often that the run waits for a core.
            while self.shared.phase != phase and not select.select([before], [], [], 0.0002)[0]:
                pass
        else:
            select.select([before], [], [], delay)
        if delay is not None:
            os.kill(pid, signal.SIGKILL)
        os.close(before)
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        require(killed or status == 0, f"the run failed by itself (status {status})")
        hit = killed and self.shared.at("begun") > 0 and self.shared.at("finished") == 0
        return hit, self.shared.at("finished") - self.shared.at("begun")

    def _instrument(self, begun: int) -> None:
        """Make the code of this process, which is to be killed, say where it is and what it has acknowledged."""
        shared = self.shared

        def during(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
            number = PHASES.index(phase)

            def run(*args: Any, **keywords: Any) -> Any:
                before = shared.enter(number)
                try:
                    return function(*args, **keywords)
                finally:
                    shared.enter(before)

            return run

        def commit(self: Catalog, segment: int, first: int, contents: Any, states: Any) -> None:
            real_commit(self, segment, first, contents, states)
            for state in states:
                path = os.path.join(state.source.root, state.source.path)
                if state.content is not None:
                    shared.acknowledge(b"F", state.content, path)

        def drop_files(self: Catalog, ids: list[int]) -> None:
            real_drop(self, ids)
            for id in ids:
                shared.acknowledge(b"D", struct.pack("<Q", id))

        def decode_ahead(*args: Any, **keywords: Any) -> Iterator[Any]:
            items = real_decode(*args, **keywords)
            waiting = during("decode", lambda: next(items, None))
            try:
                while (item := waiting()) is not None:
                    yield item
            finally:
                items.close()

        def carry_out(self: ingest.Ingest, load: Callable[[], ImageEncoder]) -> Any:
            shared.mark("begun")
            os.write(begun, b"x")
            result = real_carry_out(self, load)
            shared.mark("finished")
            return result

        def sync_file(descriptor: int) -> None:
            time.sleep(self.sync_seconds)
            real_sync(descriptor)

        @contextmanager
        def transaction(self_: Catalog, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
            with real_transaction(self_, kind) as database:
                yield database
                if kind == "IMMEDIATE":
                    time.sleep(self.sync_seconds)

        real_commit, real_drop, real_decode = Catalog.commit, Catalog.drop_files, ingest.decode_ahead
        real_carry_out, real_transaction, real_sync = (
            ingest.Ingest.carry_out,
            Catalog.transaction,
            segments.sync_file,
        )
        product: Any = ingest
        product.decode_ahead, product.COMMIT_SECONDS, product._DROP_AT_ONCE = decode_ahead, 0.0, 1
        product.Ingest.carry_out = carry_out
        classes: list[Any] = [Catalog, SegmentWriter, self.encoder]
        vars(segments)["sync_file"] = sync_file
        classes[0].transaction = transaction
        classes[0].commit = during("commit", commit)
        classes[0].drop_files = during("prune", drop_files)
        classes[1].append = during("append", SegmentWriter.append)
        classes[2].embed = during("embed", self.encoder.embed)
        vars(run)["load_encoder"] = lambda *args: self.encoder

    # ---- what must hold -------------------------------------------------------------------------------------

    def rows(self, index: str | None = None) -> tuple[Files, dict[bytes, np.ndarray], set[int]]:
        """Return the files, the vectors by content, and the ids of the files; require that all of it is sound."""
        index = index or self.index
        database = sqlite3.connect(f"file:{index}/catalog.sqlite?mode=ro", uri=True)
        require(database.execute("PRAGMA integrity_check").fetchall() == [("ok",)], "integrity_check")
        require(database.execute("PRAGMA foreign_key_check").fetchall() == [], "foreign_key_check")
        contents = database.execute("SELECT sha256, segment, row, crc FROM content").fetchall()
        database.close()
        files: Files = {}
        stored: dict[bytes, np.ndarray] = {}
        ids = set()
        with ImageIndex(index) as opened:
            mapped = {
                number: opened.snapshot.segment(number, rows).take(np.arange(rows))
                for number, rows in opened.catalog.segments()
                if rows
            }
            for sha256, segment, row, crc in contents:
                vector = mapped[segment][row]
                require(row_crc(vector) == crc, f"checksum of row {row}")
                length = float(np.linalg.norm(vector.astype(np.float64)))
                require(abs(length - 1) < 0.01, f"row {row} has length {length}")
                stored[sha256] = vector.astype(np.float64) / length
            for root in opened.catalog.roots():
                for file in opened.catalog.files(root.id):
                    path = os.path.join(root.path, file.path)
                    require(path not in files, f"{path} is there twice")
                    require(file.content is not None, f"{path} was skipped: {file.error} {file.detail}")
                    require(file.content in stored, f"{path} names a picture that is not there")
                    files[path] = file.content or b""
                    ids.add(file.id)
            self._search(opened, files)
        return files, stored, ids

    def _search(self, opened: ImageIndex, files: Files) -> None:
        found = query(opened, Fixed(self), [Input(text="a picture")], SearchOptions(n=10_000))[0]
        shown = [path for hit in found for path in (hit.path, *hit.copies)]
        there = {content for path, content in files.items() if os.path.exists(path)}
        # A file that is gone is shown only where no other file has its bytes.
        wanted = [path for path, content in files.items() if os.path.exists(path) or content not in there]
        require(sorted(shown) == sorted(wanted), "a search for everything gives every file once")
        require(all(hit.missing != os.path.exists(hit.path) for hit in found), "missing files are marked")
        scores = [hit.score for hit in found]
        require(
            bool(np.isfinite(scores).all()) and scores == sorted(scores)[::-1], "finite scores, best first"
        )
        for path in self.rng.sample(sorted(files), min(3, len(files))):
            if os.path.exists(path) and hashlib.sha256(Path(path).read_bytes()).digest() == files[path]:
                first = similar(opened, path, _Unused(), SearchOptions(n=3))[0]
                require(first.path == path and abs(first.score - 1) < 1e-3, f"{path} is like itself")

    def check_after_kill(self, before: Files) -> int:
        """Require that nothing committed is lost; return how many contents are still to be embedded."""
        files, stored, ids = self.rows()
        now = self.tree.files()
        for path, content in before.items():
            if now.get(path) == content:
                require(files.get(path) == content, f"{path} was in the index and is lost")
        for kind, key, path in self.shared.acknowledged():
            if kind == b"F":
                require(files.get(path) == key, f"{path} was acknowledged and is lost")
            else:
                require(struct.unpack("<Q", key)[0] not in ids, "a dropped file is back")
        return len(set(now.values()) - stored.keys())

    def finish(self, left: int) -> None:
        """Run to the end, and require that the index is the tree and that only ``left`` pictures were embedded."""
        result = self.run()
        require(result.indexed == left, f"{left} pictures were left to embed, not {result.indexed}")
        require(self.rows()[0] == self.tree.files(), "the index is the tree, each picture once")


class Fixed:
    """An encoder that knows one question, so that checks cost no forward pass."""

    def __init__(self, bench: Bench) -> None:
        """Take the question's vector from the bench."""
        self.dim, self.runtime, self._vector = bench.dimension, bench.runtime, bench.question
        self.prepare = bench.encoder.prepare

    def embed(self, inputs: Any, normalize: bool = True) -> Any:
        """Return the one vector for each input."""
        return np.repeat(self._vector, len(inputs), axis=0)


class _Unused:
    """Stands for a model that must not be asked."""

    def embed(self, inputs: Any) -> Any:
        """Say that it was."""
        raise AssertionError("an indexed picture answers from its stored vector")


def require(holds: bool, what: str) -> None:
    """Stop the benchmark if something does not hold."""
    if not holds:
        raise AssertionError(what)


def kills(bench: Bench, wanted: int, most: int) -> dict[str, Any]:
    """Kill until ``wanted`` kills have hit and each phase has one, or ``most`` have hit."""
    began = time.monotonic()
    bench.run()
    bench.tree.change()
    _, window = bench.attempt(None)
    spent = bench.shared.spent()
    bench.finish(0)
    phases: Counter[str] = Counter()
    attempts = again = 0
    while phases.total() < wanted or (
        phases.total() < most and len(set(phases) - {"other"}) < len(PHASES) - 1
    ):
        before = bench.rows()[0]
        bench.tree.change()
        while True:
            attempts += 1
            # A phase that is so short that no moment has hit it is waited for.
            missing = [phase for phase in PHASES[1:] if phase not in phases]
            aim = missing[0] if missing and phases.total() >= wanted else ""
            hit, _ = bench.attempt(bench.rng.uniform(0, window), aim)
            left = bench.check_after_kill(before)
            if not hit:
                break
            phases[bench.shared.phase] += 1
            if phases.total() >= most or bench.rng.random() < 0.5:
                break
            again += 1
            before = bench.rows()[0]
        bench.finish(left)
    single = bench.index + "-in-one-go"
    bench.run(single)
    (_, grown, _), (_, fresh, _) = bench.rows(), bench.rows(single)
    nearest = min(float(grown[content] @ fresh[content]) for content in fresh)
    require(nearest > 0.9999, f"a vector differs from that of an index made in one go: cosine {nearest}")
    return {
        "kills": phases.total(),
        "attempts": attempts,
        "killed_while_going_on_from_a_kill": again,
        "phases": {name: phases[name] for name in PHASES},
        "share_of_time": {name: round(seconds / sum(spent.values()), 3) for name, seconds in spent.items()},
        "window_seconds": round(window, 3),
        "lost": 0,
        "twice": 0,
        "bad_checksums": 0,
        "pictures_at_the_end": len(bench.rows()[0]),
        "vectors_at_the_end": len(grown),
        "least_cosine_with_an_index_made_in_one_go": round(nearest, 6),
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> None:
    """Read the arguments, kill, and print the figures."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="how many kills must hit")
    parser.add_argument("--sync-ms", type=float, default=2.0, help="what a sync of the drive takes")
    parser.add_argument("--model", metavar="FOLDER", help="a checkpoint instead of a tiny random one")
    parser.add_argument("--seed", type=int, default=1, help="of the pictures and of the moments")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sync_seconds = arguments.sync_ms / 1000
        bench = Bench(os.path.realpath(folder), arguments.seed, sync_seconds, arguments.model)
        found = kills(bench, arguments.kills, 8 * arguments.kills)
    print(f"{'phase':8} {'kills':>5}  share of an undisturbed run's time")
    for name in PHASES:
        count, share = found["phases"][name], found["share_of_time"][name]
        print(f"{name:8} {count:5}  {share:6.1%}  {'#' * count}")
    print(json.dumps(found))
    sys.exit(0 if all(found["phases"][name] for name in PHASES[1:]) else 1)


if __name__ == "__main__":
    main()
