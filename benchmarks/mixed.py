"""What a run over images of many formats takes beside another checkout: all new, and unchanged.

Theory: of a small image the demo model's pass takes most, decoding a few milliseconds; an unchanged run walks and asks
the catalogue. What a change adds for every file (a look at its header, a limit, a column) shows here and nowhere else.

    python benchmarks/mixed.py --against SRC [--count 2000] [--rounds 3] [--scratch DIR]

Draws photographs of 640 × 480, a third of them JPEG with EXIF, the others PNG, WebP, HEIC, TIFF and GIF, and indexes
them with the demo model by whole processes in turns (A B A B): first into a new index, then again unchanged.
Processor seconds, which a busy machine changes less than the clock's; medians, and the ratio to the other checkout.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import ExifTags, Image

import measure

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KINDS = ("jpg", "jpg", "png", "webp", "heic", "tif", "gif", "jpg")


def draw(folder: Path, count: int) -> None:
    """Draw the images: smooth noise, each of its own."""
    chance = np.random.default_rng(7)
    for number in range(count):
        coarse = Image.fromarray(chance.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        image = coarse.resize((640, 480), Image.Resampling.BICUBIC)
        kind = KINDS[number % len(KINDS)]
        path = folder / f"{number // 200:03}" / f"{number:05}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[ExifTags.Base.Model] = "X-T5"
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:07:14 09:30:00"
        if kind == "heic":
            pillow_heif.from_pillow(image).save(path, exif=exif.tobytes())
        elif kind == "jpg":
            image.save(path, exif=exif)
        else:
            image.save(path)


def run(source: str, images: Path, index: Path, env: dict[str, str]) -> float:
    """Index the images by the code in ``source``; return the processor seconds of the process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    argv = [
        sys.executable,
        "-m",
        "imgsearch",
        "index",
        str(images),
        "--index",
        str(index),
        "--model",
        "demo",
        "-q",
    ]
    subprocess.run(argv, env={**env, "PYTHONPATH": source}, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", metavar="SRC", required=True, help="the src folder of another checkout")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", help="where to draw; a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        images = Path(scratch, "images")
        draw(images, options.count)
        env = measure.environment(scratch)
        sources = {"here": os.path.join(HERE, "src"), "there": os.path.abspath(options.against)}
        taken: dict[tuple[str, str], list[float]] = {}
        for number in range(options.rounds + 1):  # the first fills caches and compiles
            for name, source in sources.items():
                index = Path(scratch, f"index-{name}")
                shutil.rmtree(index, ignore_errors=True)
                for what in ("new", "unchanged"):
                    seconds = run(source, images, index, env)
                    if number:
                        taken.setdefault((what, name), []).append(seconds)
        for what in ("new", "unchanged"):
            here, there = (statistics.median(taken[what, name]) for name in sources)
            print(f"{what:<10} here {here:7.2f} s, there {there:7.2f} s of the processor: {here / there:.3f}")


if __name__ == "__main__":
    main()
