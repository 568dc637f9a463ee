"""Where a CPU spends the embedding pass, kind by kind, beside another version of the engine: one thread, by turns.

Theory: products by weights are the floor; what else there is (norms, rotary, attention, copies) costs the more the
quicker the processor multiplies: a tenth in float32 with AVX2, half in bfloat16 with AMX. How many operations
there are, and how many bytes they touch, is the same on every machine.

    python benchmarks/pass_profile.py [--layers 4] [--dtypes float32] [--batch 8] [--rounds 5] [--pixels 57344]
        [--packed] [--without-products] [--against SRC] [--activations bfloat16] [--scratch DIR] [--keep]

Each version is a process with one thread that embeds a batch to warm up and then ``--rounds`` more, a batch of each
by turns; times are the thread's processor time, which other work on the machine changes less than the clock's, and
medians. ``--against`` is the ``src`` folder of another version's checkout. ``--layers`` keeps so many layers of each
tower ("full" for all of them). A machine that emulates bfloat16 takes minutes for the products: ``--without-products``
shows what there is beside them. Of int8 a processor without VNNI computes wrong numbers, in about the right order of
operations: ``--activations`` is then what it computes in between. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import embedding_pass

OTHER = "all else"


class Profile:
    """Processor time of this thread by kind; what a kind calls of another kind counts for that one alone."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.seconds: dict[str, float] = defaultdict(float)
        self._kinds, self._since = [OTHER], time.thread_time()

    def switch(self) -> None:
        """Book what has passed for the kind that is at work."""
        now = time.thread_time()
        self.seconds[self._kinds[-1]] += now - self._since
        self._since = now

    @property
    def kind(self) -> str:
        """The kind that is at work."""
        return self._kinds[-1]

    def wrap(self, owner: Any, name: str, kind: str) -> None:
        """Book calls of a function or method for ``kind``; a version that has none of that name is left alone."""
        work = getattr(owner, name, None)
        if work is None:
            return

        @functools.wraps(work)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.switch()
            self._kinds.append(kind)
            try:
                return work(*arguments, **named)
            finally:
                self.switch()
                self._kinds.pop()

        setattr(owner, name, wrapped)


def leave_out_products() -> None:
    """Let products give numbers of the right shape without computing them, and what follows them, too."""
    import torch

    from imgsearch.model.engine import layers

    def fake(product: Any, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        return x.new_full((*x.shape[:-1], product.shape[0]), 0.5)

    def fake_int8(codes: torch.Tensor, *rest: Any) -> torch.Tensor:
        (outputs,) = rest[3].shape
        return torch.full((*codes.shape[:-1], outputs), 0.5, dtype=rest[8])

    for name in ("__call__", "gelu", "silu", "times", "plus"):
        setattr(layers.Linear, name, fake)
    torch.ops.onednn.qlinear_pointwise = fake_int8  # type: ignore[assignment]


def watch(profile: Profile) -> None:
    """Name the kinds of what the engine does."""
    import torch
    import torch.nn.functional as F

    from imgsearch.model.engine import forward, layers, rotary, text, vision

    for owner in (layers.Linear, layers.Int8Linear):
        for name in ("__call__", "gelu", "silu", "times", "plus"):
            profile.wrap(owner, name, "products")
    profile.wrap(layers, "quantize", "quantising")
    profile.wrap(rotary.Rotary, "apply_rotary", "rotary")
    profile.wrap(text.TextModel, "_rms_norm", "RMS norm")
    profile.wrap(getattr(vision, "_Norm", None), "__call__", "layer norm")
    with contextlib.suppress(ImportError):  # in versions before, they are in text and vision
        from imgsearch.model.engine import norms

        profile.wrap(norms.RMSNorm, "__call__", "RMS norm")
        profile.wrap(norms.RMSNorm, "scale", "RMS norm")
        profile.wrap(norms.LayerNorm, "__call__", "layer norm")
    profile.wrap(F, "scaled_dot_product_attention", "attention")
    profile.wrap(vision, "_attend_by_products", "attention")
    profile.wrap(torch, "cat", "concatenation")
    profile.wrap(forward.Engine, "_frames", "patches")


def count(run: Callable[[], object], profile: Profile) -> dict[str, list[float]]:
    """Return, by kind, how many operations of torch a run takes, and how many MB they read and write."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_flatten

    found: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if not func.is_view:
                tensors = {
                    id(item): item
                    for item in tree_flatten((args, kwargs, result))[0]
                    if isinstance(item, torch.Tensor) and not item.is_mkldnn
                }
                entry = found[profile.kind]
                entry[0] += 1
                entry[1] += sum(item.numel() * item.itemsize for item in tensors.values()) / 1e6
            return result

    with torch.inference_mode(), Count():
        run()
    return found


def worker(options: argparse.Namespace) -> None:
    """Be one version: embed a batch at each line that is read, and answer with the times by kind."""
    import torch

    torch.set_num_threads(1)
    from imgsearch.model import runtime
    from imgsearch.model.checkpoint import Checkpoint
    from imgsearch.model.embedder import Qwen3VLEmbedder
    from imgsearch.model.engine.forward import Engine
    from imgsearch.types import PixelBudget, Runtime

    if options.activations:
        runtime.cpu_dtype = lambda: (options.activations, "was requested")
    engine = Engine(Checkpoint(options.folder), Runtime("cpu", options.dtype, ""), stores_prefixes=False)
    engine._int8_check = None
    plain = "float32" if options.dtype == "int8" else options.dtype
    budget = PixelBudget(4096, options.pixels)
    embedder = Qwen3VLEmbedder(options.folder, device="cpu", dtype=plain, budget=budget, forward=engine)
    images = embedding_pass.pictures(options.pixels, options.batch)
    prompts = [embedder._encode_input({"image": image}, 0, 1) for image in images]
    profile = Profile()
    if options.without_products:
        leave_out_products()
    watch(profile)
    engine(prompts)
    if options.packed:
        engine.prepack()
    elif options.dtype == "float32":
        engine.upcast()
    counted = count(lambda: engine(prompts), profile)
    for _ in sys.stdin:
        profile.switch()
        profile.seconds.clear()
        engine(prompts)
        profile.switch()
        found = {kind: [seconds / len(prompts)] for kind, seconds in profile.seconds.items()}
        for kind, (operations, megabytes) in counted.items():
            found.setdefault(kind, [0.0]).extend([operations, megabytes / len(prompts)])
        print(json.dumps(found), flush=True)


def take_turns(options: argparse.Namespace, folder: Path, dtype: str) -> dict[str, dict[str, list[float]]]:
    """Let the versions take turns; return of each by kind: median seconds an image, operations a pass, MB an image."""
    sources = {"this": str(embedding_pass.ROOT / "src")}
    if options.against:
        sources["other"] = options.against
    processes = {}
    for name, source in sources.items():
        argv = [sys.executable, __file__, "--worker", source, "--folder", str(folder), "--dtype", dtype]
        argv += ["--batch", str(options.batch), "--pixels", str(options.pixels)]
        argv += ["--packed"] if options.packed else []
        argv += ["--without-products"] if options.without_products else []
        argv += ["--activations", options.activations] if options.activations else []
        processes[name] = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    taken: dict[str, list[dict[str, list[float]]]] = {name: [] for name in sources}
    for _ in range(options.rounds):
        for name, process in processes.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{name}: ended with code {process.wait()}")
            taken[name].append(json.loads(line))
    for process in processes.values():
        process.communicate()
    return {
        name: {
            kind: [statistics.median(run.get(kind, [0.0])[0] for run in runs), *runs[0].get(kind, [])[1:]]
            for kind in runs[0]
        }
        for name, runs in taken.items()
    }


def show(dtype: str, found: dict[str, dict[str, list[float]]]) -> None:
    """Print one table: the kinds, what each takes in either version, and its share."""
    totals = {name: sum(entry[0] for entry in kinds.values()) for name, kinds in found.items()}
    print(f"\n{dtype:28}" + "".join(f"{name + ' version':>40}" for name in found))
    print(f"{'':28}" + f"{'ms/image':>14}{'share':>7}{'operations':>11}{'MB':>8}" * len(found))
    kinds = sorted(
        {kind for entry in found.values() for kind in entry},
        key=lambda kind: -found["this"].get(kind, [0.0])[0],
    )
    for kind in kinds:
        line = f"{kind:28}"
        for name, entries in found.items():
            seconds, operations, megabytes = [*entries.get(kind, [0.0]), 0, 0][:3]
            line += f"{seconds * 1e3:14.2f}{seconds / totals[name]:7.1%}{operations:11,.0f}{megabytes:8.1f}"
        print(line)
    line = f"{'all':28}"
    for name, entries in found.items():
        operations = sum(sum(entry[1:2]) for entry in entries.values())
        line += f"{totals[name] * 1e3:14.2f}{1:7.0%}{operations:11,.0f}{'':8}"
    print(line)
    if len(totals) > 1:
        print(f"this version takes {totals['this'] / totals['other']:.3f} of the other's time")


def main() -> None:
    """Write the checkpoint, profile every dtype, print the tables and the JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", default="4")
    parser.add_argument("--dtypes", default="float32")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pixels", type=int, default=57_344)
    parser.add_argument("--packed", action="store_true")
    parser.add_argument("--without-products", action="store_true")
    parser.add_argument("--against", help="the src folder of another version")
    parser.add_argument("--activations", help="what int8 computes in between")
    parser.add_argument("--scratch", default=tempfile.gettempdir())
    parser.add_argument("--keep", action="store_true", help="keep the checkpoint for the next run")
    for name in ("--worker", "--folder", "--dtype"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        sys.path.insert(0, options.worker)
        worker(options)
        return
    folder = embedding_pass.checkpoint(options.scratch, options.layers)
    embedding_pass.set_budget(folder, options.pixels)
    rows = {}
    for dtype in options.dtypes.split(","):
        rows[dtype] = take_turns(options, folder, dtype)
        show(dtype, rows[dtype])
    print(json.dumps({"benchmark": "pass_profile", "layers": options.layers, "rows": rows}))
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
