"""How long the whole process `imgsearch similar PHOTO` takes for an indexed photo in an index of many pictures.

Theory: Python's start and the imports are 0.1 s whatever the index holds; loading faiss some 60 ms; then the codes
(dim / 8 bytes a vector and a few) are read and checksummed, one thread a core: 272 MB at 1,000,000 × 2,048, some 0.2 s;
the search itself is 15 ms. Target: 1.2 s at 1,000,000 pictures with the files cached.

    python benchmarks/process_similar.py --rows 1000000 [--dim 2048] [--runs 11]

The index is the invented one of synthetic.py. One real picture is drawn and its file committed among the invented ones
with the vector of row 0 slightly moved, so that row 0 has to be its nearest neighbour. The parts are taken from a
process that does the same through the library, a clock read between the steps; what they leave over of the whole is
Python's start, the command line and the exit. Runs alternate between whole and parts.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys

import measure
import synthetic

PARTS = """
import sys
import measure
clock = [("", measure.now())]
def lap(name):
    clock.append((name, measure.now()))
import imgsearch.cli, imgsearch.search, imgsearch.index.reader
lap("imports")
import faiss
lap("import faiss")
from imgsearch.index.reader import ImageIndex
from imgsearch.search import similar
from imgsearch.search.examples import stored_vector
from imgsearch.search.hits import SearchOptions
index = ImageIndex(sys.argv[1])
lap("open the index")
vector = stored_vector(index, sys.argv[2])
lap("find the photo's vector")
views = index.snapshot.views(index.catalog)
lap("load the codes")
similar(index, sys.argv[2], None, SearchOptions())
lap("search, first")
similar(index, sys.argv[2], None, SearchOptions())
lap("search, warm")
print(measure.json.dumps({
    name: (then - before) * 1e3 for (_, before), (name, then) in zip(clock, clock[1:])
}))
"""


def main() -> None:
    """Make the index, put the photo in, time the processes, print a table and one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--work", default="/tmp/imgsearch-benchmarks", help="where indexes are kept")
    options = parser.parse_args()
    folder, _ = synthetic.make_index(options.work, options.rows, options.dim)
    photo = put_photo(folder, options.dim)
    command = [sys.executable, "-m", "imgsearch", "similar", photo, "--index", folder, "--json"]
    shown = subprocess.run(command, check=True, capture_output=True).stdout.splitlines()
    paths = [measure.json.loads(line)["path"] for line in shown]
    if paths[0] != photo or synthetic.number_of(paths[1]) != 0:
        raise SystemExit(f"the photo and its neighbour should stand first, not {paths[:2]}")
    whole: list[float] = []
    bare: list[float] = []
    laps: list[dict[str, float]] = []
    for _ in range(options.runs):
        for taken, argv in ((bare, [sys.executable, "-c", ""]), (whole, command)):
            began = measure.now()
            subprocess.run(argv, check=True, capture_output=True)
            taken.append((measure.now() - began) * 1e3)
        laps.append(measure.run(PARTS, folder, photo))
    parts = {"start Python": statistics.median(bare)}
    parts |= {name: statistics.median(lap[name] for lap in laps) for name in laps[0]}
    seconds = statistics.median(whole) / 1e3
    print(f"imgsearch similar PHOTO among {options.rows:,} × {options.dim}: median of {options.runs} runs")
    print(f"{'whole process':26}{seconds * 1e3:8.0f} ms  ({min(whole):.0f} to {max(whole):.0f})")
    for name, taken in parts.items():
        print(f"  {name:24}{taken:8.1f} ms")
    result = {
        "rows": options.rows,
        "dim": options.dim,
        "seconds": round(seconds, 3),
        "parts_ms": {name: round(taken, 1) for name, taken in parts.items()},
    }
    print(measure.json.dumps({"benchmark": "process_similar", **result}))


def put_photo(folder: str, dim: int) -> str:
    """Commit a real picture's file among the invented ones, unless it is there; return its path."""
    import numpy as np
    from PIL import Image

    from imgsearch.index.rows import FileState
    from imgsearch.index.writer import IndexWriter
    from imgsearch.types import SourceFile

    with IndexWriter(folder) as writer:
        (root,) = writer.catalog.roots()
        photo = os.path.join(root.path, "photo.png")
        if writer.catalog.file(root.id, "photo.png"):
            return photo
        Image.new("RGB", (640, 480), (200, 120, 40)).save(photo)
        state = os.stat(photo)
        with open(photo, "rb") as file:
            key = hashlib.sha256(file.read()).digest()
        first = next(synthetic.stored(folder, dim))[:1].astype(np.float32)
        moved = (
            first + 0.1 * np.random.default_rng(0).standard_normal(first.shape, dtype=np.float32) / dim**0.5
        )
        moved /= np.linalg.norm(moved)
        source = SourceFile(root.path, "photo.png", state.st_size, state.st_mtime_ns)
        writer.commit([(key, 0, 640, 480)], moved, [FileState(root.id, source, key)])
    return photo


if __name__ == "__main__":
    main()
