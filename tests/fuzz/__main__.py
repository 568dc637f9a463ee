"""Runs the targets in turns until the time is over: `PYTHONPATH=tests python -m fuzz [--seconds 600] [TARGET …]`.

Fails at the first case that raises, takes over 20 seconds of the processor or over a gigabyte, and prints its seed;
`--only SEED` runs that one again. A case that does not come back within two minutes ends the run.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import re
import sys
import tempfile
import time
from pathlib import Path

from fuzz import TARGETS

SECONDS, MEGABYTES = 20.0, 1024.0
PATIENCE = 120


def peak() -> float:
    """Return the most megabytes that this process has had since ``forget``."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]


def forget() -> float:
    """Start to measure memory anew; return what the process has now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def run(seed: str) -> tuple[float, float]:
    """Run one case by its seed, "target/number/seed"; return its seconds and megabytes. Raises what it raises."""
    with tempfile.TemporaryDirectory() as folder:
        before, began = forget(), time.process_time()
        TARGETS[seed.partition("/")[0]](random.Random(seed), Path(folder))
        seconds, megabytes = time.process_time() - began, peak() - before
    if seconds > SECONDS or megabytes > MEGABYTES:
        raise AssertionError(f"{seconds:.0f} s, {megabytes:.0f} MB")
    return seconds, megabytes


def main() -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"by default all: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--cases", type=int, default=sys.maxsize, help="of each target, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="SEED", help="one case")
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    worst = dict.fromkeys(names, (0, (0.0, ""), (0.0, "")))
    end, number = time.monotonic() + options.seconds, 0
    while time.monotonic() < end and number < options.cases:
        for name in names:
            seed = options.only or f"{name}/{number}/{options.seed}"
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            try:
                seconds, megabytes = run(seed)
            except BaseException:
                print(f"failed: --only {seed}", file=sys.stderr, flush=True)
                raise
            finally:
                faulthandler.cancel_dump_traceback_later()
            if options.only:
                print(f"{seed}: {seconds:.2f} s, {megabytes:.0f} MB")
                return 0
            cases, slow, large = worst[name]
            worst[name] = (cases + 1, max(slow, (seconds, seed)), max(large, (megabytes, seed)))
        number += 1
    for name, (cases, slow, large) in worst.items():
        print(
            f"{name}: {cases:,} cases, at most {slow[0]:.1f} s ({slow[1]}) and {large[0]:.0f} MB ({large[1]})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
