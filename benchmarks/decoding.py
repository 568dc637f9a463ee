"""Decoding ahead of the model: in threads, as `imgsearch index` does, or in processes.

Theory: reading, libjpeg's draft decoding, Pillow's resize and NumPy's copies all let go of Python's lock, so that two
threads should keep two cores as busy as two processes do; what Python does between them is some tenths of a
millisecond a picture. A process must send its patches over: 224 × 256 pixels are 1.4 MB, copied twice. Decoding a
picture of 12 megapixels takes 0.05 to 0.06 s of a core, one of 1 megapixel 0.01 s; the model takes 0.3 s and more.

    python benchmarks/decoding.py [--count 48] [--rounds 5] [--pixels 57344]

Draws its own files (as end_to_end.py, of 12 and 1 megapixels) and brings them to patches in one thread, in those that
`imgsearch index` has, and in as many processes as there are cores, in turns (A B C A B C), each through
``indexing.decode.decode_ahead``. The processes are started beforehand, untimed. Prints pictures a second and one
JSON line.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import end_to_end
import measure
from imgsearch.indexing.decode import decode_ahead
from imgsearch.model import image as pixels
from imgsearch.types import PixelBudget, SourceFile

LAYOUT = pixels.PatchLayout(patch=16, temporal=2, merge=2, mean=(0.5,) * 3, std=(0.5,) * 3, rescale=1 / 255)
AHEAD = 16  # pictures in memory, as with batches of 8


def sources(folder: str) -> list[SourceFile]:
    """List the files of a folder."""
    return [SourceFile(folder, name, 0, 0) for name in sorted(os.listdir(folder))]


def decode(found: list[SourceFile], budget: PixelBudget) -> int:
    """Bring files to patches by the threads of this process; return how many numbers these are."""
    prepare = functools.partial(pixels.prepare, budget=budget, layout=LAYOUT)
    done = decode_ahead(found, prepare, lambda sha256: False, budget, 1000, AHEAD)
    return sum(page.patches.pixel_values.size for file in done for page in file.pages)  # type: ignore[union-attr]


def decode_one(source: SourceFile, budget: PixelBudget) -> object:
    """Bring one file to patches in whatever process this is called in."""
    prepare = functools.partial(pixels.prepare, budget=budget, layout=LAYOUT)
    return list(decode_ahead([source], prepare, lambda sha256: False, budget, 1000, 1))


def main() -> None:
    """Draw the files, decode them in every way in turn, print the table and the JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pixels", type=int, default=57_344)
    options = parser.parse_args()
    cores, budget, result = os.cpu_count() or 1, PixelBudget(4096, options.pixels), {}
    with (
        tempfile.TemporaryDirectory() as work,
        ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool,
    ):
        for name, small in (("12 megapixels", False), ("1 megapixel", True)):
            folder = os.path.join(work, name)
            end_to_end.draw(argparse.Namespace(pictures=folder, count=options.count, small=small))
            found = sources(folder)

            def in_processes(number: int, found: list[SourceFile] = found) -> None:
                for _ in pool.map(decode_one, found, [budget] * len(found)):
                    pass

            def alone(number: int, found: list[SourceFile] = found) -> None:
                for source in found:
                    decode([source], budget)

            ways = {"one at a time": alone, "threads": lambda number, found=found: decode(found, budget)}
            ways["processes"] = in_processes
            for way in ways.values():
                way(0)
            taken = measure.alternate(ways, options.rounds)
            result[name] = {way: options.count * 1e3 / statistics.median(ms) for way, ms in taken.items()}
    ways_said = list(next(iter(result.values())))
    print(f"pictures a second, {cores} cores; medians of {options.rounds}")
    print(f"{'':16}" + "".join(f"{way:>16}" for way in ways_said))
    for name, rates in result.items():
        print(f"{name:16}" + "".join(f"{rates[way]:16.1f}" for way in ways_said))
    print(json.dumps({"benchmark": "decoding", "cores": cores, "pictures_per_second": result}))


if __name__ == "__main__":
    main()
