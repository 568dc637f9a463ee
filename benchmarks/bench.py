"""The benchmarks that a CPU finishes in ten minutes, one after another: `make bench`.

Theory: what the numbers should be stands in each script; here they are only made smaller, so that they show whether
something has gone wrong, not what docs/benchmarks.md says. The figures to publish come from each script's own
settings on a machine that does nothing else.

    python benchmarks/bench.py [--scratch DIR] [--only NAME,NAME]

The random checkpoints, the full-size one of 4.3 GB among them, are written into a temporary folder that goes at the
end, or into --scratch, where they stay and are used again. A script that fails is named at the end and the others
still run; the exit code is then 1. The last line is one JSON object with the JSON lines of all scripts.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile

import measure

HERE = os.path.dirname(os.path.abspath(__file__))


def rows(scratch: str) -> list[tuple[str, list[str]]]:
    """List what is run: a name, and the script with its arguments."""
    checkpoints = ["--scratch", scratch, "--keep"]
    quick = ["--pixels", "57344", "--rounds", "1", "--batch", "4", "--batches", "1"]
    small = ["--size", "tiny", "--rounds", "1"]
    pass_, files = ["embedding_pass.py", *checkpoints, *quick], ["end_to_end.py", *checkpoints, *small]
    return [
        ("start_up", ["start_up.py", "--scratch", scratch, "--files", "20000", "--runs", "3"]),
        (
            "vector_search",
            ["vector_search.py", "--rows", "100000", "--threads", "1", "--queries", "100", "--work", scratch],
        ),
        ("end_to_end", [*files, "--count", "24"]),
        ("end_to_end of small files", [*files, "--count", "48", "--small"]),
        ("embedding_pass of four layers in float32", [*pass_, "--layers", "4", "--dtypes", "float32"]),
        ("embedding_pass in bfloat16", [*pass_, "--dtypes", "bfloat16"]),
        ("gpu, on the CPU", ["gpu.py", "--tiny", "--scratch", os.path.join(scratch, "gpu")]),
        (
            "guest, beside a job",
            ["guest.py", "beside", "--scratch", scratch, "--images", "60", "--rounds", "1"],
        ),
        (
            "guest, with a quota",
            ["guest.py", "quota", "--scratch", scratch, "--images", "60", "--rounds", "1"],
        ),
        ("cold_query", ["cold_query.py", *checkpoints, "--rounds", "2"]),
        (
            "serving",
            [
                *("serving.py", *checkpoints, "--dtype", "bfloat16"),
                *("--rows", "10000", "--questions", "10", "--seconds", "10"),
            ],
        ),
    ]


def run(name: str, argv: list[str]) -> dict[str, object]:
    """Run a script and show what it writes; return its JSON line and how long it took, or with what code it failed."""
    print(f"\n== {name}: {' '.join(argv)}", flush=True)
    began = measure.now()
    command = [sys.executable, os.path.join(HERE, argv[0]), *argv[1:]]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = line
            print(line, end="", flush=True)
    seconds = round(measure.now() - began, 1)
    try:
        result = measure.said(last) if process.returncode == 0 else None
    except (ValueError, IndexError, TypeError):
        result = None
    if result is None:
        return {"failed": process.returncode, "took": seconds}
    return {"took": seconds, **result}


def main() -> None:
    """Run every script, name those that failed, print the JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", help="where checkpoints and indexes are kept for the next run")
    parser.add_argument("--only", help="names of the list, separated by commas; all if not given")
    options = parser.parse_args()
    only = options.only.split(",") if options.only else []
    began = measure.now()
    results = {}
    with contextlib.ExitStack() as stack:
        scratch = options.scratch or stack.enter_context(tempfile.TemporaryDirectory())
        for name, argv in rows(os.path.abspath(scratch)):
            if not only or name in only:
                results[name] = run(name, argv)
    failed = [name for name, result in results.items() if "failed" in result]
    seconds = measure.now() - began
    print(f"\n{len(results) - len(failed)} of {len(results)} went through in {seconds:.0f} s")
    for name in failed:
        print(f"failed: {name}")
    print(measure.json.dumps({"benchmark": "bench", "seconds": round(seconds, 1), "results": results}))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
