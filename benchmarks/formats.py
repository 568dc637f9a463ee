"""Decoding ordinary files, format by format: two source trees in turns, time and memory; and that pixels stayed.

Theory: reading a header twice costs some hundredths of a millisecond, and sRGB is found out once per profile. A
photograph in Display P3 is reduced to four times the budget's pixels before its colours are converted, so that this
costs a few milliseconds at any size. Times are those of the processor, which other processes disturb less.

    python benchmarks/formats.py [--against SRC] [--rounds 4] [--same FOLDER …]

Draws a file of 12 megapixels per format and brings it to the size that the model sees, as `imgsearch index` does, with
the source of this checkout and, in turns (A B A B), with the other one; each in a process of its own. Memory is the
peak of a process that decodes one file, less what it had before. --same also decodes every file below the folders with
both and counts those whose pixels are equal. Prints a table and a JSON line.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

PROCESSES = 4
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORKER = """
import hashlib, re, sys, time
try:
    from imgsearch.media.formats import load_pictures
except ImportError:  # before the move
    from imgsearch.media import load_pictures
from PIL import Image
from imgsearch.types import PixelBudget
BUDGET = PixelBudget(4096, 57_600)
def peak():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1]) / 1e3
for line in sys.stdin:
    path = line.rstrip("\\n")
    before, start = peak(), time.process_time()
    try:
        with open(path, "rb") as stream:
            pixels = [picture.pixels for picture in load_pictures(stream, path, BUDGET)]
        for array in pixels:
            Image.fromarray(array).resize((256, 224), Image.Resampling.BICUBIC)
        taken = time.process_time() - start
        said = hashlib.sha256(b"".join(array.tobytes() for array in pixels)).hexdigest()[:16]
    except Exception as error:
        taken, said = time.process_time() - start, type(error).__name__
    print(f"{1e3 * taken} {peak() - before} {said}", flush=True)
"""


def worker(source: str) -> subprocess.Popen[str]:
    """Start a process that decodes the files that are written to it, with one source tree."""
    env = {**os.environ, "PYTHONPATH": source}
    command = [sys.executable, "-c", WORKER]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)


def ask(process: subprocess.Popen[str], path: str) -> tuple[float, float, str]:
    """Have one file decoded; return milliseconds, megabytes, and a hash of its pixels."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(path + "\n")
    process.stdin.flush()
    milliseconds, megabytes, said = process.stdout.readline().split()
    return float(milliseconds), float(megabytes), said


def end(process: subprocess.Popen[str]) -> None:
    """End a worker."""
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def draw(folder: str) -> dict[str, str]:
    """Write one file per format; return name → path."""
    import numpy as np
    import pillow_heif
    from PIL import Image

    import end_to_end
    from imgsearch.media import colour

    end_to_end.draw(argparse.Namespace(pictures=os.path.join(folder, "drawn"), count=1, small=False))
    with Image.open(os.path.join(folder, "drawn", "00000.jpg")) as opened:
        image = opened.convert("RGB")
    p3 = colour.from_cicp(12, 13)
    numbers = np.asarray(image.convert("L")).astype(np.uint16) * 257
    written: dict[str, tuple[str, Any, dict[str, Any]]] = {
        "JPEG": ("a.jpg", image, {"quality": 90}),
        "JPEG, 24 megapixels": ("j.jpg", image.resize((6000, 4000)), {"quality": 90}),
        "JPEG, progressive": ("b.jpg", image, {"quality": 90, "progressive": True}),
        "JPEG, Display P3": ("c.jpg", image, {"quality": 90, "icc_profile": p3}),
        "PNG": ("d.png", image, {"compress_level": 3}),
        "16-bit TIFF, LZW": ("e.tif", Image.fromarray(numbers), {"compression": "tiff_lzw"}),
        "16-bit TIFF": ("f.tif", Image.fromarray(numbers), {}),
        "WebP": ("g.webp", image, {"quality": 85, "method": 0}),
    }
    paths = {}
    for name, (file, drawn, options) in written.items():
        paths[name] = os.path.join(folder, file)
        drawn.save(paths[name], **options)
    for name, file, profile in (("HEIC", "h.heic", None), ("HEIC, Display P3", "i.heic", p3)):
        paths[name] = os.path.join(folder, file)
        container = pillow_heif.from_pillow(image)
        if profile:
            container.info["icc_profile"] = profile
        buffer = io.BytesIO()
        container.save(buffer, quality=80)
        with open(paths[name], "wb") as written_file:
            written_file.write(buffer.getvalue())
    return paths


def compare(sources: list[str], paths: dict[str, str], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return format → the least milliseconds, and megabytes, by source: what others take of the caches only adds."""
    table: dict[str, dict[str, list[float]]] = {}
    for name, path in paths.items():
        taken: list[list[float]] = [[] for _ in sources]
        memory: list[list[float]] = [[] for _ in sources]
        # How much the allocator asks of the kernel differs from process to process: several of each, in turns.
        for _ in range(PROCESSES):
            workers = [worker(source) for source in sources]
            for number in range(rounds + 1):
                for which, process in enumerate(workers):
                    milliseconds, megabytes, _ = ask(process, path)
                    if number:
                        taken[which].append(milliseconds)
                    else:
                        memory[which].append(megabytes)
            for process in workers:
                end(process)
        table[name] = {"ms": [min(found) for found in taken], "MB": [min(found) for found in memory]}
    return table


def same(sources: list[str], folders: list[str]) -> tuple[int, list[str]]:
    """Return how many files give the same pixels with both sources, and which do not."""
    workers = [worker(source) for source in sources]
    equal, different = 0, []
    for folder in folders:
        for base, _, names in sorted(os.walk(folder)):
            for path in (os.path.join(base, name) for name in sorted(names)):
                first, second = (ask(process, path)[2] for process in workers)
                equal += first == second
                if first != second:
                    different.append(f"{path}: {first}, {second}")
    for process in workers:
        end(process)
    return equal, different


def main() -> None:
    """Draw, decode in turns, print the table and the JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--against", metavar="SRC", help="the src folder of another checkout")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--same", nargs="*", default=[], metavar="FOLDER")
    options = parser.parse_args()
    sources = [os.path.join(HERE, "src"), *([options.against] if options.against else [])]
    with tempfile.TemporaryDirectory() as folder:
        table = compare(sources, draw(folder), options.rounds)
    heads = ["here", "there", "ratio"][: 1 if len(sources) == 1 else 3]
    print(
        f"{'least of ' + str(PROCESSES * options.rounds):24}"
        + "".join(f"{f'{h}, ms':>12}" for h in heads[:2]),
        end="",
    )
    print("".join(f"{f'{h}, MB':>12}" for h in heads[:2]) + ("       ratio" if len(sources) > 1 else ""))
    for name, row in table.items():
        print(f"{name:24}" + "".join(f"{number:12.1f}" for number in row["ms"] + row["MB"]), end="")
        print(f"{row['ms'][0] / row['ms'][1]:12.3f}" if len(sources) > 1 else "")
    result: dict[str, Any] = {"benchmark": "formats", "sources": sources, "table": table}
    if options.same and len(sources) > 1:
        equal, different = same(sources, options.same)
        print(f"the same pixels: {equal}; others: {len(different)}", *different, sep="\n")
        result |= {"same": equal, "different": len(different)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
