"""How long the commands take that load no model: help, status, an unchanged index, similar of an indexed photo.

Theory: each is Python's start, the imports and a few file reads; faiss costs some 60 ms where a search needs it.
The goal for `--help` is 0.3 s.

    python benchmarks/start_up.py [--pictures 50] [--runs 9]

Draws its own pictures, indexes them with a tiny random checkpoint, then runs the commands in turn (A B C D, A B C
D, …) as whole processes. Prints medians and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from imgsearch.media.gallery import draw_gallery
from imgsearch.model.random_checkpoint import write_random_checkpoint


def main() -> None:
    """Make the index, time the commands, print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=50, help="drawn originals, each with three copies")
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    program = [sys.executable, "-m", "imgsearch"]
    with tempfile.TemporaryDirectory() as scratch:
        pictures, index, model = (str(Path(scratch) / name) for name in ("pictures", "index", "model"))
        first = next(iter(draw_gallery(pictures, options.pictures)))
        write_random_checkpoint(model)
        make = [*program, "index", pictures, "--index", index, "--model", model]
        subprocess.run(make, check=True, capture_output=True)
        commands = {
            "--help": [*program, "--help"],
            "status": [*program, "status", "--index", index],
            "index, unchanged": [*program, "index", "--index", index],
            "similar, indexed": [*program, "similar", first, "--index", index],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.runs):
            for name, command in commands.items():
                began = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                seconds[name].append(time.perf_counter() - began)
    medians = {name: round(statistics.median(runs), 3) for name, runs in seconds.items()}
    for name, median in medians.items():
        print(f"{name:18} {median:6.3f} s  ({min(seconds[name]):.3f} to {max(seconds[name]):.3f})")
    print(json.dumps({"benchmark": "start_up", "pictures": 4 * options.pictures, "median_seconds": medians}))


if __name__ == "__main__":
    main()
