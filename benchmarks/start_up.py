"""What the commands take that load no model, among many photographs: help, status, similar, an unchanged index.

Theory: each is Python's start (0.02 s), the imports (0.15 s) and a few file reads; `similar` also loads faiss and, per
photo, 272 bytes of codes at 2,048 dimensions: 27 MB at 100,000. An unchanged `index` walks and asks for each file the
file system once (lstat) and the catalogue once: some 20 µs a file, most of it Python, so 2 s at 100,000, in the
memory of one folder's names at a time. Targets at 100,000, on a machine whose bare `import faiss` takes 0.35 s and
`import torch` 2.5 s (both are measured in the same run): `--help` 0.3 s, `similar` of an indexed photo 0.8 s, an
unchanged index 5 s and 200 MB. `similar 3` reads one file of some 15 KB more than `similar FILE`, the last answer, and
every command looks for a config file, which is not there: neither is to be seen beside the imports.

    python benchmarks/start_up.py [--files 100000] [--runs 9] [--dim 2048] [--scratch DIR] [--strace]

Writes its own small PNG files, 1,000 a folder, each a content of its own (a number stands behind the picture's end),
and commits them with invented vectors under their true hashes, sizes and times, as an index run would have; so no
model is needed to make the index. Then the commands run in turn (A B C D, A B C D, …) as whole processes; one untimed
round first. Each command runs once more with -X importtime, which must show neither torch nor transformers.
``--strace`` counts the file system's calls of one unchanged run (`strace -c -f`, slow, untimed). Counted so at
100,000 files: two a file, one lstat by the walk and one fstat by SQLite, which begins a transaction (and locks a byte
of its file twice) for each question. Prints medians and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable

import measure

UNCHANGED = "index, unchanged"
SIMILAR = "similar, indexed"
NUMBER = "similar 3"
TARGETS = {"--help": 0.3, SIMILAR: 0.8, NUMBER: 0.8, UNCHANGED: 5.0}  # seconds, at 100,000 files
MOST_MB = 200  # of an unchanged run
HEAVY = re.compile(r"\|\s+(torch|transformers)\s*$", re.MULTILINE)
STATS = re.compile(r"\s(\d+)\s+(?:\d+\s+)?(\w*stat\w*)$", re.MULTILINE)


def make_index(pictures: str, index: str, count: int, dim: int) -> None:
    """Write the files and the index that a run over them would have made."""
    import hashlib
    import io

    from PIL import Image

    import synthetic
    from imgsearch.index.rows import FileState
    from imgsearch.index.writer import IndexWriter
    from imgsearch.types import SourceFile

    drawn = io.BytesIO()
    Image.effect_noise((16, 16), 64).convert("RGB").save(drawn, "PNG")
    with IndexWriter(index, synthetic.spec(dim)) as writer:
        root = writer.catalog.put_root(pictures, {})
        first = 0
        for block in synthetic.Distribution(dim).pictures(count):
            contents, states = [], []
            for number in range(first, first + len(block)):
                name = os.path.splitext(synthetic.picture_name(number))[0] + ".png"
                path, data = os.path.join(pictures, name), drawn.getvalue() + b"%09d" % number
                if number % 1000 == 0:
                    os.makedirs(os.path.dirname(path))
                with open(path, "wb") as file:
                    file.write(data)
                known, key = os.stat(path), hashlib.sha256(data).digest()
                contents.append((key, 0, 16, 16))
                source = SourceFile(pictures, name, known.st_size, known.st_mtime_ns)
                states.append(FileState(root, source, key))
            writer.commit(contents, block, states)
            first += len(block)
    synthetic.build(index)


def main() -> None:
    """Make the index, time the commands, print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--scratch", default=tempfile.gettempdir())
    parser.add_argument("--strace", action="store_true", help="also count the file system's calls")
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make_index(*options.make, options.files, options.dim)
        return
    options.load = os.getloadavg()[0]
    program = ["-m", "imgsearch"]
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        scratch = os.path.realpath(scratch)
        pictures, index = (os.path.join(scratch, name) for name in ("pictures", "index"))
        sizes = ["--files", str(options.files), "--dim", str(options.dim)]
        # In a process of its own: a child's peak memory begins with its parent's.
        subprocess.run([sys.executable, __file__, "--make", pictures, index, *sizes], check=True)
        photo = os.path.join(pictures, "000000", "000000007.png")
        bare = {
            "python": ["-c", ""],
            "import faiss": ["-c", "import faiss"],
            "import torch": ["-c", "import torch"],
        }
        commands = {
            "--help": [*program, "--help"],
            "status": [*program, "status", "--index", index],
            SIMILAR: [*program, "similar", photo, "--index", index, "--json"],
            NUMBER: [*program, "similar", "3", "--index", index, "--json"],
            "config query.limit": [*program, "config", "query.limit"],
            UNCHANGED: [*program, "index", "--index", index, "--json"],
        }
        env = measure.environment(os.path.join(scratch, "bytecode"))
        env |= {f"XDG_{kind}_HOME": os.path.join(scratch, kind) for kind in ("CONFIG", "STATE")}

        def run(*argv: str) -> measure.Timed:
            return measure.timed([sys.executable, *argv], env)

        check_answers(run(*commands[SIMILAR]), run(*commands[UNCHANGED]), photo, options.files)
        for name, argv in commands.items():
            if heavy := HEAVY.findall(run("-X", "importtime", *argv).err):
                raise SystemExit(f"{name} imports {' and '.join(sorted(set(heavy)))}")
        calls = stat_calls(run, commands[UNCHANGED], options.files) if options.strace else None
        taken = take_turns(run, bare | commands, options.runs)
    show(options, taken, calls)


def check_answers(similar: measure.Timed, unchanged: measure.Timed, photo: str, files: int) -> None:
    """Stop unless the photo stands first and the run found every file unchanged."""
    if json.loads(similar.out.splitlines()[0])["path"] != photo:
        raise SystemExit(f"the photo should stand first: {similar.out}")
    if measure.said(unchanged.out)["unchanged"] != files:
        raise SystemExit(f"{files} files should be unchanged: {unchanged.out}")


def take_turns(
    run: Callable[..., measure.Timed], commands: dict[str, list[str]], runs: int
) -> dict[str, list[measure.Timed]]:
    """Run the commands in turn, after one untimed round."""
    taken: dict[str, list[measure.Timed]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, argv in commands.items():
            found = run(*argv)
            if turn:
                taken[name].append(found)
    return taken


def stat_calls(run: Callable[..., measure.Timed], argv: list[str], files: int) -> dict[str, float]:
    """Count by name the calls of the stat family that a run makes, a file each."""
    code = "import os, sys; os.execvp('strace', ['strace', '-c', '-f', sys.executable, *sys.argv[1:]])"
    counted = run("-c", code, *argv)
    return {name: round(int(count) / files, 2) for count, name in STATS.findall(counted.err)}


def show(
    options: argparse.Namespace, taken: dict[str, list[measure.Timed]], calls: dict[str, float] | None
) -> None:
    """Print the table and the JSON line."""
    print(f"whole processes, {options.files:,} files, medians of {options.runs}; no torch, no transformers")
    print(f"load at the start {options.load:.1f}")
    seconds = {name: statistics.median(run.seconds for run in runs) for name, runs in taken.items()}
    peaks = {name: max(run.peak_mb for run in runs) for name, runs in taken.items()}
    for name, runs in taken.items():
        least, most = min(run.seconds for run in runs), max(run.seconds for run in runs)
        line = f"{name:18} {seconds[name]:6.3f} s  ({least:.3f} to {most:.3f})  {peaks[name]:6.0f} MB"
        print(line + (f"  target {TARGETS[name]} s" if name in TARGETS else ""))
    rate = options.files / seconds[UNCHANGED]
    print(f"{UNCHANGED}: {rate:,.0f} files a second, at most {peaks[UNCHANGED]:.0f} MB (target {MOST_MB})")
    if calls:
        print(f"calls a file: {calls}")
    result = {
        "files": options.files,
        "load_at_start": options.load,
        "median_seconds": {name: round(median, 3) for name, median in seconds.items()},
        "peak_mb": {name: round(peak) for name, peak in peaks.items()},
        "files_a_second": round(rate),
        "calls_a_file": calls,
    }
    print(json.dumps({"benchmark": "start_up", **result}))


if __name__ == "__main__":
    main()
