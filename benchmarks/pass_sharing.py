"""Batches of two sizes, shared between threads or whole, with weights as they are stored or laid out, in turns.

Theory: without AMX a product of 252 rows runs as fast as one of 1,024, so sharing wins what torch's threads lose in
waiting for each other. With AMX many rows are multiplied faster, and weights that are not laid out are put in order
at every product, by every thread. "in step" lets the threads of a shared batch wait for each other at each layer,
so that both read the same weights at about the same time: 252 rows do 252 operations for each byte of bfloat16, so
that even 1 teraflop a second reads 4 GB a second, which is no limit.

    python benchmarks/pass_sharing.py [--layers 4] [--dtype auto] [--batches 8,16] [--rounds 5] [--pixels 57344]
        [--scratch DIR] [--keep]

One process, all cores; medians of wall seconds an image, and the trial by which a run decides whether its weights are
laid out (``packing.measure``). Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Any

import embedding_pass
import measure


def in_step(count: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return a block and a layer that wait for ``count`` threads before they begin."""
    from imgsearch.model.engine import text, vision

    barrier = threading.Barrier(count)
    block, finish = vision._Block.__call__, text.TextModel._finish

    def waiting_block(self: Any, *arguments: Any) -> Any:
        barrier.wait()
        return block(self, *arguments)

    def waiting_finish(self: Any, *arguments: Any) -> Any:
        barrier.wait()
        return finish(self, *arguments)

    return waiting_block, waiting_finish


def main() -> None:
    """Write the checkpoint, take turns, print the table and the JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", default="4")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batches", default="8,16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pixels", type=int, default=57_344)
    parser.add_argument("--scratch", default=tempfile.gettempdir())
    parser.add_argument("--keep", action="store_true", help="keep the checkpoint for the next run")
    options = parser.parse_args()
    folder = embedding_pass.checkpoint(options.scratch, options.layers)
    embedding_pass.set_budget(folder, options.pixels)
    sys.path.insert(0, str(embedding_pass.ROOT / "src"))
    import torch

    from imgsearch.model.embedder import Qwen3VLEmbedder
    from imgsearch.model.engine import packing, text, threads, vision
    from imgsearch.model.engine.forward import Engine
    from imgsearch.types import PixelBudget

    budget = PixelBudget(4096, options.pixels)
    embedder = Qwen3VLEmbedder(str(folder), device="cpu", dtype=options.dtype, budget=budget)
    engine, cores, split = embedder.forward, torch.get_num_threads(), threads.split
    assert isinstance(engine, Engine)
    most = max(map(int, options.batches.split(",")))
    images = embedding_pass.pictures(options.pixels, most)
    prompts = [embedder._encode_input({"image": image}, 0, 1) for image in images]
    plain = vision._Block.__call__, text.TextModel._finish
    engine(prompts)
    engine.upcast()
    tokens = len(prompts[0][0].ids) - prompts[0][0].prefix_length
    trial = packing.measure(engine._linears(), 8, tokens)
    rows = []

    def use(way: str, count: int) -> None:
        """Take the batch whole, shared, or shared and in step."""

        def chosen(counts: Sequence[int], cores: int, unit: str | None = None) -> list[slice]:
            return [slice(0, len(counts))] if way == "whole" else split(counts, cores, None)

        threads.split = chosen  # type: ignore[assignment]
        parts = len(split([tokens] * count, cores))
        block, finish = in_step(parts) if way == "in step" else plain
        vision._Block.__call__, text.TextModel._finish = block, finish  # type: ignore[method-assign]

    for state in ("as stored", "laid out"):
        if state == "laid out":
            began = measure.now()
            engine.prepack()
            print(f"laying out took {measure.now() - began:.2f} s")
        ways = list(itertools.product(map(int, options.batches.split(",")), ("shared", "whole", "in step")))
        taken: dict[tuple[int, str], list[float]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for count, way in ways:
                use(way, count)
                began = measure.now()
                engine(prompts[:count])
                taken[count, way].append((measure.now() - began) / count)
        for (count, way), seconds in taken.items():
            rows.append({"weights": state, "batch": count, "way": way, "seconds": statistics.median(seconds)})
    print(f"{embedder.runtime.reason}; {cores} cores")
    print(f"{'weights':12}{'batch':>6}  {'way':10}{'s/image':>9}")
    for row in rows:
        print(f"{row['weights']:12}{row['batch']:6}  {row['way']:10}{row['seconds']:9.4f}")
    if trial:
        print(f"the trial: {packing.pays(24, trial)[1]}")
    result = {"layers": options.layers, "dtype": embedder.runtime.dtype, "cores": cores, "trial": trial}
    print(json.dumps({"benchmark": "pass_sharing", **result, "rows": rows}))
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
