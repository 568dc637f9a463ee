"""What files cost whose headers lie about it: seconds and peak memory of each, in a process of its own.

Theory: the cost is known from the header, or the decoder can be stopped while it reads; so no file takes over 1 GB
or 20 seconds, however it was made.

    python benchmarks/bombs.py [--source SRC] [--seconds 60] [--gigabytes 6] [NAME …]

Draws the files of tests/support/bombs.py, decodes each with the source of this checkout, or another one, and prints a
table: bytes of the file, seconds of the processor, megabytes at the peak, and what became of it. A process that goes
over the limits is ended, and its line says "over". NAME: the beginning of names.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(HERE, "tests"))
WORKER = """
import io, re, sys, time
from imgsearch.media.formats import load_pictures
from imgsearch.types import PixelBudget
path = sys.argv[1]
try:
    with open(path, "rb") as file:
        stream = io.BytesIO(file.read())
        count = 0
        for picture in load_pictures(stream, path, PixelBudget(4096, 57_600)):
            count += 1
    said = f"{count} decoded"
except Exception as error:
    said = str(error) or type(error).__name__
with open("/proc/self/status") as status:
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1]) / 1024
print(f"{time.process_time():.1f}\\t{peak:.0f}\\t{said[:110]}")
"""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source", default=os.path.join(HERE, "src"))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--gigabytes", type=float, default=6)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    from support.bombs import BOMBS

    most = int(options.gigabytes * 2**30)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    print("| file | bytes | seconds | MB | outcome |\n|---|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, bomb in BOMBS.items():
            if options.names and not name.startswith(tuple(options.names)):
                continue
            path = os.path.join(folder, f"bomb{bomb.extension}")
            with open(path, "wb") as file:
                size = file.write(bomb.draw())
            env = {**os.environ, "PYTHONPATH": options.source}
            began = time.monotonic()
            try:
                done = subprocess.run(
                    [sys.executable, "-c", WORKER, path],
                    env=env,
                    capture_output=True,
                    text=True,
                    timeout=options.seconds,
                    preexec_fn=limit,
                )
                words = (
                    done.stdout.strip()
                    or f"{time.monotonic() - began:.1f}\t\tover: ended with {done.returncode}"
                )
            except subprocess.TimeoutExpired:
                words = f"{options.seconds:.0f}\t\tover: stopped"
            seconds, megabytes, said = words.split("\t")
            print(f"| {name} | {size:,} | {seconds} | {megabytes} | {said} |", flush=True)
            os.unlink(path)


if __name__ == "__main__":
    main()
