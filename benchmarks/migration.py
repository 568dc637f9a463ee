"""An index of an older imgsearch is brought up to date: how long it takes, also interrupted, and what runs cost after.

    git worktree add --detach /elsewhere COMMIT
    python benchmarks/migration.py --old /elsewhere [--files 100000] [--runs 3] [--scratch DIR]

Theory: the next `index` run reads what each image tells of itself, by its header: open, fstat, one read of a few KB
and a row in the catalogue, some 0.5 ms of Python for a small JPEG, in a thousand files a transaction; no model, no
pixel. So 100,000 files take a minute or two of one core and no more memory than an unchanged run does. An unchanged run
asks the same questions as before, so it should stay within 20 % of the old program's.

The old checkout, of a version whose catalogue has format 2, makes an index of so many small JPEG files, each a content
of its own with a date, a camera and a place, with invented vectors: neither side needs a model. Copies of it are then
brought up to date by this checkout; one run is killed (SIGKILL) in the middle, and the next has to resume. Unchanged
runs of both, each on its own copy, take turns (A B A B). Prints medians, the processors' seconds beside the clock's,
since other work on the machine changes those less, and one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

import measure

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAKE = """
import hashlib, io, os, sys
from PIL import Image
import synthetic
from imgsearch.index.rows import FileState
from imgsearch.index.writer import IndexWriter
from imgsearch.types import SourceFile

pictures, index, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
exif = Image.Exif()
exif.update({271: "FUJIFILM", 272: "X-T5"})
exif.get_ifd(0x8769).update({36867: "2023:07:14 00:00:00", 42036: "XF23mmF1.4 R"})
exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)})
drawn = io.BytesIO()
Image.effect_noise((64, 48), 64).convert("RGB").save(drawn, "JPEG", exif=exif)
dim = 256
with IndexWriter(index, synthetic.spec(dim)) as writer:
    root, first = writer.catalog.put_root(pictures, {}), 0
    for block in synthetic.Distribution(dim).pictures(count):
        contents, states = [], []
        for number in range(first, first + len(block)):
            name = f"{number // 1000:06}/{number:09}.jpg"
            clock = f"{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}".encode()
            data = drawn.getvalue().replace(b"00:00:00", clock) + b"%09d" % number
            path = os.path.join(pictures, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
            known, key = os.stat(path), hashlib.sha256(data).digest()
            contents.append((key, 0, 64, 48))
            states.append(FileState(root, SourceFile(pictures, name, known.st_size, known.st_mtime_ns), key))
        writer.commit(contents, block, states)
        first += len(block)
synthetic.build(index)
"""
"""What the old checkout runs to make the index: in its own words, which this one may have changed."""


def known(index: str) -> int:
    """Return of how many contents an index has metadata; 0 for one of the old format."""
    with contextlib.closing(sqlite3.connect(f"file:{index}/catalog.sqlite?mode=ro", uri=True)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'metadata'").fetchone():
            return 0
        return int(db.execute("SELECT count(*) FROM metadata").fetchone()[0])


class Side:
    """One checkout's program, run on an index."""

    def __init__(self, checkout: str, bytecode: str) -> None:
        """Take the folder of the checkout."""
        source = os.path.join(checkout, "src")
        self.env = {**measure.environment(bytecode), "PYTHONPATH": source}

    def argv(self, index: str) -> list[str]:
        """Return the command that brings an index up to date."""
        return [sys.executable, "-m", "imgsearch", "index", "--index", index, "--json"]

    def run(self, index: str, files: int) -> measure.Timed:
        """Run it to its end; every file has to be found unchanged."""
        done = measure.timed(self.argv(index), self.env)
        if measure.said(done.out)["unchanged"] != files:
            raise SystemExit(f"{files} files should be unchanged: {done.out}")
        return done

    def kill_at(self, index: str, count: int) -> int:
        """Run it until so many contents are known, and kill it; return how many are kept."""
        process = subprocess.Popen(
            self.argv(index), env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while known(index) < count:
                if process.poll() is not None:
                    raise SystemExit("the run ended before it could be killed")
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return known(index)


def main() -> None:
    """Make the index, migrate copies of it, compare the runs after."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--old", required=True, metavar="DIR", help="a checkout of the older version")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scratch", default=tempfile.gettempdir())
    options = parser.parse_args()
    load, files = os.getloadavg()[0], options.files
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        scratch = os.path.realpath(scratch)
        pictures, made = os.path.join(scratch, "pictures"), os.path.join(scratch, "made")
        old, new = (Side(place, os.path.join(scratch, "bytecode")) for place in (options.old, ROOT))
        cwd = os.path.join(options.old, "benchmarks")
        subprocess.run(
            [sys.executable, "-c", MAKE, pictures, made, str(files)], env=old.env, cwd=cwd, check=True
        )

        def copy(name: str) -> str:
            return shutil.copytree(made, os.path.join(scratch, name))

        before, after = copy("before"), copy("after")
        old.run(before, files)  # untimed: bytecode, and the file system's cache
        migrated = [new.run(after, files)]
        if known(after) != files:
            raise SystemExit(f"{known(after)} of {files} contents have metadata")
        unchanged: dict[str, list[measure.Timed]] = {"old": [], "new": []}
        for _ in range(options.runs):
            unchanged["old"].append(old.run(before, files))
            unchanged["new"].append(new.run(after, files))
        for turn in range(1, options.runs):
            place = copy(f"again{turn}")
            migrated.append(new.run(place, files))
            shutil.rmtree(place)
        broken = copy("broken")
        kept = new.kill_at(broken, files // 2)
        resumed = new.run(broken, files)
        if known(broken) != files:
            raise SystemExit(f"{known(broken)} of {files} contents have metadata after the second run")
    show(files, load, migrated, unchanged, kept, resumed)


def show(
    files: int,
    load: float,
    migrated: list[measure.Timed],
    unchanged: dict[str, list[measure.Timed]],
    kept: int,
    resumed: measure.Timed,
) -> None:
    """Print the figures and the JSON line."""
    runs = {"migration": migrated, "unchanged, old": unchanged["old"], "unchanged, new": unchanged["new"]}
    seconds = {name: statistics.median(run.seconds for run in some) for name, some in runs.items()}
    cpu = {name: statistics.median(run.cpu for run in some) for name, some in runs.items()}
    peaks = {name: max(run.peak_mb for run in some) for name, some in runs.items()}
    print(f"{files:,} files, medians of {len(migrated)}; load at the start {load:.1f}")
    for name in runs:
        print(f"{name:15} {seconds[name]:7.2f} s  {cpu[name]:7.2f} s of processors  {peaks[name]:5.0f} MB")
    extra = seconds["migration"] - seconds["unchanged, new"]
    print(f"migration: {files / seconds['migration']:,.0f} files/s, {files / extra:,.0f} without the walk")
    ratio = {
        name: what["unchanged, new"] / what["unchanged, old"]
        for name, what in {"clock": seconds, "processors": cpu}.items()
    }
    print(
        f"unchanged, new / old: {ratio['clock']:.2f} by the clock, {ratio['processors']:.2f} by the processors"
    )
    print(
        f"killed with {kept:,} known; the next run took {resumed.seconds:.2f} s for the other {files - kept:,}"
    )
    result = {
        "files": files,
        "load_at_start": load,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_mb": peaks,
        "unchanged_ratio": ratio,
        "kept_at_kill": kept,
        "resumed_seconds": resumed.seconds,
    }
    print(json.dumps({"benchmark": "migration", **result}))


if __name__ == "__main__":
    main()
