"""A cold text query as a whole process: ours beside sentence-transformers, from the start of Python to its end.

Theory: both have to start Python, import torch, and read 2.8 GB of language layers from the page cache once (the
published 2B configuration, random, bfloat16): 0.03 teraflop a dozen tokens, so some 0.3 s at the rate of memory, and as
much again for the first touch of 700,000 mapped pages. Both map the weights. Ours needs neither transformers nor the
vision tower, so that importing torch is most of it; theirs imports transformers and torchvision and builds every
module. Target: at most 1/4 of their time and less memory at the peak. A mapped page counts as resident the moment it is
read, though it is the page cache's own; "own" is what a process has beside mapped files. Where other work wants the
cores, theirs loses more: its OpenMP threads spin while they wait, ours sleep; so look at the load, too.

    python benchmarks/cold_query.py [--rounds 5] [--rows 1000] [--dtype bfloat16] [--peer PYTHON] [--scratch DIR]
        [--keep]

With --dtype auto each takes what it takes by itself: imgsearch what the processor multiplies, theirs what is stored.
Three contenders in turns (A B C A B C): `imgsearch query` over a small index of invented vectors that carries the
checkpoint's fingerprint; a process that loads the same checkpoint with sentence-transformers and calls encode_query;
and one that goes on to search the index's vectors as a matrix. No answer is remembered (--no-remember) and no running
server asked. One untimed round comes first: it brings the files into the page cache, writes the bytecode of every
module that is imported, and lets ours compute what it caches from then on: the checkpoint's fingerprint. Where the
time goes is what each process's own clock says; ours from processes of their own that do the same by the library, and
what the command takes beyond them is "command line". The builds of torch are said too: one with CUDA takes longer to
import.
Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import embedding_pass
import measure

QUESTION = "red car at night"
HITS = 10
TARGET = 0.25  # of their time
OURS, VECTOR, SEARCH = "imgsearch query", "sentence-transformers", "the same, and search"


def make_index(options: argparse.Namespace) -> None:
    """Commit invented vectors to an index that the checkpoint fits; keep them as a matrix for the peer too."""
    import numpy as np

    import synthetic
    from imgsearch.index.writer import IndexWriter
    from imgsearch.spec import choose_spec
    from imgsearch.types import ModelOptions, Silent

    _, spec = choose_spec(ModelOptions(model=options.folder), Silent())
    with IndexWriter(options.index, spec) as writer:
        synthetic.fill(writer, os.path.join(options.work, "pictures"), options.rows)
    np.save(
        os.path.join(options.work, "matrix.npy"),
        np.concatenate(list(synthetic.Distribution(spec.dim).pictures(options.rows))),
    )


def laps() -> tuple[Callable[[str], None], dict[str, float]]:
    """Return what is called at the end of each step, and the seconds of the steps so far."""
    last, taken = [measure.now()], {}

    def lap(name: str) -> None:
        last.append(measure.now())
        taken[name] = last[-1] - last[-2]

    return lap, taken


def ours(options: argparse.Namespace) -> None:
    """Do what `imgsearch query` does, with the clock read between the steps."""
    lap, taken = laps()
    from imgsearch.client import load_local_encoder
    from imgsearch.index.reader import ImageIndex
    from imgsearch.model.checkpoint import Checkpoint
    from imgsearch.model.engine import pages
    from imgsearch.spec import checkpoint_for
    from imgsearch.startup import uncollected
    from imgsearch.types import Input, ModelOptions, Silent

    lap("import what needs no torch")
    with contextlib.ExitStack() as stack:
        # As in the command, where loading the model does it.
        stack.enter_context(pages.prefetch_pages(Checkpoint(options.folder)))
        with uncollected("imgsearch.model.embedder"):
            import torch

            lap("import torch")

            lap("import the rest")
        index = stack.enter_context(ImageIndex(options.index))
        choice = ModelOptions(device=options.device, dtype=options.dtype)
        found = checkpoint_for(index.folder, index.spec, choice, Silent())
        encoder = load_local_encoder(found, index.spec, choice, Silent())
        lap("load")
        prompt = index.spec.query_prompt
        vectors = encoder.embed([Input(text=QUESTION, instruction=prompt)])
        lap("first query")
        index.search(vectors, HITS)
        lap("search")
    print(json.dumps({"laps": taken, "torch": torch.__version__}))


def theirs(options: argparse.Namespace) -> None:
    """Encode the question with sentence-transformers and, for SEARCH, find the nearest rows of the matrix."""
    lap, taken = laps()
    import torch

    lap("import torch")
    from sentence_transformers import SentenceTransformer

    lap("import the rest")
    device = None if options.device == "auto" else options.device
    # "auto" is the dtype that the checkpoint is stored in, as transformers takes it by itself.
    dtype = "auto" if options.dtype == "auto" else getattr(torch, options.dtype)
    model = SentenceTransformer(options.folder, device=device, model_kwargs={"dtype": dtype})
    lap("load")
    vector = model.encode_query(QUESTION)
    lap("first query")
    hits: list[int] = []
    if options.worker == SEARCH:
        import numpy as np

        matrix = np.load(os.path.join(options.work, "matrix.npy"))
        scores = matrix @ np.asarray(vector, np.float32)
        best = np.argpartition(-scores, HITS)[:HITS]
        hits = best[np.argsort(-scores[best])].tolist()
        lap("search")
    print(json.dumps({"laps": taken, "torch": torch.__version__, "hits": hits}))


WORKERS = {"index": make_index, OURS: ours, VECTOR: theirs, SEARCH: theirs}


def take_turns(options: argparse.Namespace, commands: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Run the commands in turn, the first round untimed; return what is known of each."""
    runs: dict[str, list[measure.Timed]] = {name: [] for name in commands}
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    torch: dict[str, str] = {}
    inside = [*worker(options, sys.executable), "--worker", OURS]
    for turn in range(options.rounds + 1):
        for name, argv in commands.items():
            run = measure.timed(argv, options.env)
            print(f"round {turn} {name}: {run.seconds:.2f} s, {run.peak_mb:.0f} MB", file=sys.stderr)
            clocked = measure.timed(inside, options.env) if name == OURS else run
            said = measure.said(clocked.out)
            torch[name] = said["torch"]
            if turn:
                runs[name].append(run)
                taken = said["laps"]
                steps[name].append(taken | {"start and end": clocked.seconds - sum(taken.values())})
    return {name: summary(taken, steps[name], torch[name]) for name, taken in runs.items()}


def summary(runs: list[measure.Timed], steps: list[dict[str, float]], torch: str) -> dict[str, Any]:
    """Return medians of the seconds and their parts, and the peaks of memory."""
    seconds = statistics.median(run.seconds for run in runs)
    parts = {name: statistics.median(taken[name] for taken in steps) for name in steps[0]}
    return {
        "seconds": seconds,
        "fastest": min(run.seconds for run in runs),
        "cpu_seconds": statistics.median(run.cpu for run in runs),
        "all_seconds": [round(run.seconds, 2) for run in runs],
        "peak_gb": max(run.peak_mb for run in runs) / 1e3,
        "own_gb": max(run.own_mb for run in runs) / 1e3,
        "torch": torch,
        "parts": {name: round(part, 3) for name, part in parts.items()},
        "out": runs[-1].out,
    }


def worker(options: argparse.Namespace, python: str) -> list[str]:
    """Return the command of a worker process, but for which one."""
    argv = [python, __file__, "--dtype", options.dtype, "--device", options.device]
    return [*argv, "--folder", options.folder, "--index", options.index, "--work", options.work]


def main() -> None:
    """Make the index, let the contenders take turns, print the table and the JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--size", default="full", help="full, tiny, or layers a tower")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--peer", default=embedding_pass.PEER)
    parser.add_argument("--scratch", default=tempfile.gettempdir())
    parser.add_argument("--keep", action="store_true", help="keep the checkpoint for the next run")
    for name in ("--worker", "--folder", "--index", "--work"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        WORKERS[options.worker](options)
        return
    options.load = os.getloadavg()[0]
    folder = embedding_pass.checkpoint(options.scratch, options.size)
    program = [sys.executable, "-m", "imgsearch"]
    with tempfile.TemporaryDirectory(dir=options.scratch) as options.work:
        options.folder, options.index = str(folder), os.path.join(options.work, "index")
        options.env = measure.environment(os.path.join(options.work, "bytecode"))
        argv = [*worker(options, sys.executable), "--worker", "index", "--rows", str(options.rows)]
        subprocess.run(argv, check=True)
        command = [*program, "query", QUESTION, "--index", options.index, "--dtype", options.dtype, "--json"]
        command += ["--device", options.device, "-n", str(HITS)]
        if "--no-remember" in measure.timed([*program, "query", "--help"]).out:
            command.append("--no-remember")
        commands = {OURS: command}
        if os.path.exists(options.peer):
            for name in (VECTOR, SEARCH):
                commands[name] = [*worker(options, options.peer), "--worker", name]
        else:
            print(f"no sentence-transformers: there is no {options.peer}", file=sys.stderr)
        found = take_turns(options, commands)
    show(options, found, "--no-remember" in command)
    if not options.keep:
        shutil.rmtree(folder)


def show(options: argparse.Namespace, found: dict[str, dict[str, Any]], forgetful: bool) -> None:
    """Print the table and the JSON line."""
    import synthetic  # here, after the last process that is measured

    parts = found[OURS]["parts"]
    parts["command line"] = round(found[OURS]["seconds"] - sum(parts.values()), 3)
    lines = found[OURS].pop("out").splitlines()
    hits = [synthetic.number_of(json.loads(line)["path"]) for line in lines]
    print(f"a cold query, {options.size} checkpoint in {options.dtype}, {options.rows:,} vectors")
    print(f"medians of {options.rounds}; load at the start {options.load:.1f}")
    print(f"{'':24}{'seconds':>9}{'fastest':>9}{'CPU s':>7}{'peak GB':>9}{'own GB':>8}  torch")
    for name, one in found.items():
        figures = f"{one['seconds']:9.2f}{one['fastest']:9.2f}{one['cpu_seconds']:7.1f}"
        print(f"{name:24}{figures}{one['peak_gb']:9.2f}{one['own_gb']:8.2f}  {one['torch']}")
        print("".join(f"    {part} {seconds:.2f}" for part, seconds in one["parts"].items()))
    result: dict[str, Any] = {"load_at_start": options.load, "question": QUESTION, "no_remember": forgetful}
    for name in list(found)[1:]:
        said = measure.said(found[name].pop("out"))
        share = found[OURS]["seconds"] / found[name]["seconds"]
        less = found[OURS]["peak_gb"] < found[name]["peak_gb"]
        result[f"share of {name}"] = round(share, 3)
        met = "met" if share <= TARGET and less else "missed"
        print(f"ours takes {share:.2f} of {name} (target {TARGET}, and less memory at the peak: {met})")
        if said["hits"]:
            result["same_hits"] = len(set(said["hits"]) & set(hits))
            print(f"of the {HITS} hits {result['same_hits']} are the same")
    print(json.dumps({"benchmark": "cold_query", "dtype": options.dtype, **result, **found}))


if __name__ == "__main__":
    main()
