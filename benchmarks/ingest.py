"""How many vectors a second become durable without the model, by block size and through `imgsearch import`.

Theory: a row is 2 × dim bytes written, synced once a block, and two rows of SQLite with their indexes and triggers,
synced once a block too: at 2,048 dimensions 4 KB against some 550 bytes, so the disk's rate and SQLite's 50,000
inserts a second bound it, and small blocks pay two syncs each. Target: 10,000 a second at 2,048 dimensions.

    python benchmarks/ingest.py [--rows 50000] [--dim 2048] [--runs 3]

Vectors are invented beforehand and not part of the time. `import --no-files` is the whole process: Python's start,
reading the .npy file twice (it is checked first), committing, and what it does for searches afterwards. Runs
alternate, each into a new index; medians. How long one sync of this disk takes is shown, since it explains the small
blocks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import numpy as np

import measure
import synthetic
from imgsearch.index.writer import IndexWriter
from imgsearch.types import Vectors

BLOCKS = (256, 1024, 8192)


def main() -> None:
    """Ingest in every way in turn, print a table and one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", default="/tmp/imgsearch-benchmarks", help="where scratch indexes are made")
    options = parser.parse_args()
    os.makedirs(options.work, exist_ok=True)
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=options.work) as scratch:
        vectors = np.concatenate(list(synthetic.Distribution(options.dim).pictures(options.rows)))
        array, names = os.path.join(scratch, "vectors.npy"), os.path.join(scratch, "paths.txt")
        np.save(array, vectors.astype(np.float16))
        with open(names, "w") as file:
            file.writelines(
                os.path.join(scratch, "pictures", synthetic.picture_name(number)) + "\n"
                for number in range(options.rows)
            )
        sync = sync_ms(scratch)
        print(f"one sync of 4 KB: {sync:.2f} ms\n")
        for _ in range(options.runs):
            for block in BLOCKS:
                rate = options.rows / commit(os.path.join(scratch, "index"), vectors, block)
                rates.setdefault(f"commit, blocks of {block:,}", []).append(rate)
            rate = options.rows / import_files(os.path.join(scratch, "index"), array, names)
            rates.setdefault("imgsearch import --no-files", []).append(rate)
    result = {name: round(statistics.median(found)) for name, found in rates.items()}
    for name, rate in result.items():
        print(
            f"{name:30}{rate:8,} durable vectors a second  ({min(rates[name]):,.0f} to {max(rates[name]):,.0f})"
        )
    said = {"rows": options.rows, "dim": options.dim, "sync_ms": round(sync, 3), "rows_a_second": result}
    print(measure.json.dumps({"benchmark": "ingest", **said}))


def commit(folder: str, vectors: Vectors, block: int) -> float:
    """Commit all vectors to a new index, ``block`` at a time; return the seconds, and remove the index."""
    with IndexWriter(folder, synthetic.spec(vectors.shape[1])) as writer:
        root = writer.catalog.put_root("/invented", {})
        seconds = 0.0
        for first in range(0, len(vectors), block):
            rows = vectors[first : first + block]
            contents, states = synthetic.named(root, "/invented", first, len(rows))
            began = measure.now()
            writer.commit(contents, rows, states)
            seconds += measure.now() - began
    shutil.rmtree(folder)
    return seconds


def import_files(folder: str, array: str, names: str) -> float:
    """Run the command on files; return the seconds of its whole process, and remove the index."""
    root = os.path.join(os.path.dirname(array), "pictures")
    command = [sys.executable, "-m", "imgsearch", "import", array, "--paths", names, "--no-files"]
    began = measure.now()
    subprocess.run([*command, "--root", root, "--index", folder], check=True, capture_output=True)
    seconds = measure.now() - began
    shutil.rmtree(folder)
    return seconds


def sync_ms(folder: str, times: int = 50) -> float:
    """Return how long an append of 4 KB and its fdatasync take: the median, in milliseconds."""
    taken = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(times):
            began = measure.now()
            os.write(file.fileno(), bytes(4096))
            os.fdatasync(file.fileno())
            taken.append((measure.now() - began) * 1e3)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
