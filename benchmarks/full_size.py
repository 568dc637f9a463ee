"""The main job on the published 2B configuration with random weights: load, index 8 pictures, answer, find similar.

Theory: 2.13 billion parameters in float32 are 8.5 GB, and loading straight into the dtype keeps the peak near
that; a picture of 57,600 pixels costs about 0.37 teraflop.

    python benchmarks/full_size.py [--scratch DIR] [--photos DIR] [--dtype float32] [--keep]

Each step is a whole process, as a user runs it. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import measure
from imgsearch.media import formats

RECIPES = str(Path(__file__).parents[1] / "recipes")
# Written and drawn in processes of their own: on Linux a child's peak memory begins with its parent's.
DRAW = """
import sys
sys.path.insert(0, sys.argv[2])
from shapes.gallery import draw_gallery
draw_gallery(sys.argv[1])
"""
# Bytecode is written once, before the first step.
COMPILE = "import imgsearch.cli, imgsearch.indexing.run, imgsearch.search, imgsearch.model.embedder"
WRITE = """
import sys
sys.path.insert(0, sys.argv[2])
from random_checkpoint import PUBLISHED_2B, write_random_checkpoint
write_random_checkpoint(sys.argv[1], PUBLISHED_2B, dtype="bfloat16")
"""


def timed(argv: list[str], env: dict[str, str]) -> dict[str, float]:
    """Run a command; return its wall seconds and its peak resident memory in GB."""
    run = measure.timed(argv, env)
    sys.stderr.write(run.out + run.err)
    return {"seconds": run.seconds, "peak_gb": run.peak_mb / 1e3}


def eight_pictures(photos: str | None, folder: Path) -> None:
    """Copy the first 8 photographs of a folder, or the first 8 pictures of a gallery of shapes."""
    if photos is None:
        with tempfile.TemporaryDirectory(dir=folder.parent) as gallery:
            subprocess.run([sys.executable, "-c", DRAW, gallery, RECIPES], check=True)
            eight_pictures(gallery, folder)
        return
    folder.mkdir()
    found = sorted(
        path
        for path in Path(photos).rglob("*")
        if path.suffix.lower() in formats.EXTENSIONS and path.name[0] != "a"
    )
    for path in itertools.islice(found, 8):
        shutil.copy(path, folder)


def main() -> None:
    """Write the checkpoint, run the steps, print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", default=tempfile.gettempdir())
    parser.add_argument("--photos")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--keep", action="store_true", help="keep the checkpoint for the next run")
    options = parser.parse_args()
    checkpoint = Path(options.scratch) / "imgsearch-2b-random"
    if not (checkpoint / "config.json").exists():
        subprocess.run(
            [sys.executable, "-c", WRITE, str(checkpoint), RECIPES],
            check=True,
        )
    weights = sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
    weights *= {"float32": 2, "float16": 1, "bfloat16": 1}[options.dtype]
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        pictures, index = Path(scratch) / "pictures", str(Path(scratch) / "index")
        eight_pictures(options.photos, pictures)
        program = [sys.executable, "-m", "imgsearch"]
        first = str(min(pictures.iterdir()))
        where = ["--index", index]
        model = ["--model", str(checkpoint), "--device", "cpu", "--dtype", options.dtype]
        steps = {
            "index 8 pictures": [*program, "index", str(pictures), *where, *model, "--stats"],
            "index, unchanged": [*program, "index", str(pictures), *where],
            "query": [*program, "query", "red car at night", *where, "--dtype", options.dtype, "-n", "3"],
            "similar, indexed": [*program, "similar", first, *where, "-n", "3"],
        }
        env = measure.environment(str(Path(scratch) / "bytecode"))
        timed([sys.executable, "-c", COMPILE], env)
        results = {name: timed(argv, env) for name, argv in steps.items()}
    print(f"{'step':18} {'seconds':>8} {'peak GB':>8} {'peak / weights':>15}")
    for name, result in results.items():
        print(
            f"{name:18} {result['seconds']:8.1f} {result['peak_gb']:8.2f} {result['peak_gb'] * 1e9 / weights:15.2f}"
        )
    print(
        json.dumps({"benchmark": "full_size", "dtype": options.dtype, "weights_gb": weights / 1e9, **results})
    )
    if not options.keep:
        shutil.rmtree(checkpoint)


if __name__ == "__main__":
    main()
