"""Measures the peak of resident memory while a full-size checkpoint loads, per target dtype.

Theory: the weights are read in pieces of 16 MiB into their own place, so the peak is Python with torch and
transformers plus the weights once. The goal is 1.2 times the weights' size in the target dtype, everything
counted (ru_maxrss of a fresh process).

    python benchmarks/load_memory.py FOLDER     writes a random checkpoint of the published 2B configuration
                                                into FOLDER (4.3 GB, kept for the next run) and loads it
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

LOAD = """
import json, resource, sys, time

from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.reference import load_model
from imgsearch.types import Runtime

began = time.perf_counter()
model = load_model(Checkpoint(sys.argv[1]), Runtime("cpu", sys.argv[2], "benchmark"))
seconds = time.perf_counter() - began
unit = 1 if sys.platform == "darwin" else 1024
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
weights = sum(parameter.numel() * parameter.itemsize for parameter in model.parameters())
print(json.dumps({"peak": peak, "weights": weights, "seconds": seconds}))
"""


def main() -> None:
    """Write the checkpoint if it is not there, load it in each dtype, print a table and one line of JSON."""
    folder = sys.argv[1]
    if not os.path.exists(os.path.join(folder, "model.safetensors")):
        sys.path.insert(
            0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "recipes")
        )
        from random_checkpoint import PUBLISHED_2B, write_random_checkpoint

        began = time.perf_counter()
        write_random_checkpoint(folder, PUBLISHED_2B, dtype="bfloat16")
        print(f"wrote {folder} in {time.perf_counter() - began:.0f} s")
    results = {}
    print(f"{'dtype':10} {'weights':>9} {'peak':>9} {'ratio':>6} {'load':>7}")
    for dtype in ("float32", "float16", "bfloat16"):
        command = [sys.executable, "-c", LOAD, folder, dtype]
        run = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        ratio = run["peak"] / run["weights"]
        results[dtype] = {"ratio": round(ratio, 3), "seconds": round(run["seconds"], 1)}
        sizes = f"{run['weights'] / 1e9:6.2f} GB {run['peak'] / 1e9:6.2f} GB"
        print(f"{dtype:10} {sizes} {ratio:6.3f} {run['seconds']:5.1f} s")
    print(json.dumps({"benchmark": "load_memory", "results": results}))


if __name__ == "__main__":
    main()
