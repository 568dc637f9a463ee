"""The embedding pass side by side: the engine, transformers' own forward, and sentence-transformers.

Theory: a picture of 57,344 pixels (14 by 16 patches, 56 tokens of some 78) costs 2 operations a weight and token plus
attention: 0.15 teraflop in the vision tower, 0.22 in the language layers; one of 262,144 pixels 4.6 times as much. The
ceiling is what a large matrix product reaches on this machine in the same dtype, measured in the same run.

    python benchmarks/embedding_pass.py [--layers N] [--dtypes float32,bfloat16] [--pixels 57344,262144]
        [--batch 8] [--rounds 3] [--peer PYTHON] [--scratch DIR] [--keep]

Each contender is a process of its own that loads the checkpoint (published 2B sizes, random weights), embeds one batch
to warm up and then ``--batches`` more from pictures in memory; the processes take turns (A B C A B C). ``--layers``
keeps so many layers of each tower: quicker, with the sizes of the products as they are. ``--peer`` is a Python
with sentence-transformers; the repository's .venv-reference if it is there. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SIZES = {57_344: (224, 256), 262_144: (512, 512)}  # pixels: height, width
FORWARD = {"method": "forward", "method_output_name": "last_hidden_state"}
MODULES = {
    "": "sentence_transformers.base.modules.transformer.Transformer",
    "1_Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "2_Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


def write_checkpoint(folder: Path, layers: int | None) -> None:
    """Write the random checkpoint, in bfloat16, with what sentence-transformers needs beside it."""
    from imgsearch.model.random_checkpoint import PUBLISHED_2B, write_random_checkpoint

    config = json.loads(json.dumps(PUBLISHED_2B))
    if layers:
        text, vision = config["text_config"], config["vision_config"]
        text["num_hidden_layers"], vision["depth"], text["vocab_size"] = layers, layers, 640
        vision["deepstack_visual_indexes"] = [0]
    write_random_checkpoint(str(folder), config, dtype="bfloat16")
    entries = [
        {"idx": number, "name": str(number), "path": path, "type": kind}
        for number, (path, kind) in enumerate(MODULES.items())
    ]
    settings = {
        "transformer_task": "feature-extraction",
        "modality_config": {
            **dict.fromkeys(("text", "image", "video"), FORWARD),
            "message": {**FORWARD, "format": "structured"},
        },
        "module_output_name": "token_embeddings",
        "processing_kwargs": {"chat_template": {"add_generation_prompt": True}},
        "unpad_inputs": False,
    }
    dim = config["text_config"]["hidden_size"]
    pooling = {"embedding_dimension": dim, "pooling_mode": "lasttoken", "include_prompt": True}
    names = dict.fromkeys(("module_input_name", "module_output_name"), "sentence_embedding")
    for name, content in {
        "modules.json": entries,
        "sentence_bert_config.json": settings,
        "1_Pooling/config.json": pooling,
        "2_Normalize/config.json": names,
        "config_sentence_transformers.json": {
            "model_type": "SentenceTransformer",
            "prompts": {"query": "", "document": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))


def set_budget(folder: Path, pixels: int) -> None:
    """Let both sides take pictures of so many pixels."""
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    settings["size"] = {"shortest_edge": 4096, "longest_edge": pixels}
    path.write_text(json.dumps(settings))


def pictures(pixels: int, count: int) -> list[Any]:
    """Draw pictures: (height, width, 3) uint8."""
    import numpy as np

    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*SIZES[pixels], 3), dtype=np.uint8) for _ in range(count)]


def worker(options: argparse.Namespace) -> None:
    """Be one contender: load, warm up, embed, print seconds an image and what else is known."""
    sys.path.insert(0, str(ROOT / "src"))
    embed = {
        "engine": engine,
        "transformers": transformers,
        "sentence-transformers": peer,
        "ceiling": ceiling,
    }
    found: dict[str, Any] = {}
    run = embed[options.worker](options, found)
    images = pictures(options.pixels, options.batch)
    taken = []
    for _ in range(options.batches + 1):
        began = time.perf_counter()
        run(images)
        taken.append((time.perf_counter() - began) / len(images))
    print(json.dumps(found | {"seconds": taken[1:]}))


def engine(options: argparse.Namespace, found: dict[str, Any]) -> Any:
    """Return imgsearch as a user gets it."""
    from imgsearch.model.architecture import read_architecture
    from imgsearch.model.embedder import Qwen3VLEmbedder
    from imgsearch.types import PixelBudget

    budget = PixelBudget(4096, options.pixels)
    embedder = Qwen3VLEmbedder(options.folder, device=options.device, dtype=options.dtype, budget=budget)
    ready = embedder._ready({"image": pictures(options.pixels, 1)[0]}, 0, 1)
    found["tokens"], found["reason"] = len(ready[0].ids), embedder.runtime.reason
    assert ready[1] is not None
    found["flop"] = operations(
        read_architecture(options.folder), len(ready[1].pixel_values), len(ready[0].ids)
    )
    return lambda images: embedder.embed([{"image": image} for image in images], batch_size=options.batch)


def transformers(options: argparse.Namespace, found: dict[str, Any]) -> Any:
    """Return transformers' own modules, without any compiling, over our patches."""
    from imgsearch.model.embedder import Qwen3VLEmbedder
    from imgsearch.model.reference import Reference
    from imgsearch.model.runtime import choose
    from imgsearch.types import PixelBudget

    # Only for its tokens and patches; in bfloat16 its own weights are mapped and never read.
    budget = PixelBudget(4096, options.pixels)
    embedder = Qwen3VLEmbedder(options.folder, device="cpu", dtype="bfloat16", budget=budget)
    reference = Reference(options.folder, choose(options.device, options.dtype))
    return lambda images: reference([embedder._ready({"image": image}, 0, 1) for image in images])


def peer(options: argparse.Namespace, found: dict[str, Any]) -> Any:
    """Return sentence-transformers."""
    import torch
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    device = None if options.device == "auto" else options.device
    model = SentenceTransformer(
        options.folder, device=device, model_kwargs={"dtype": getattr(torch, options.dtype)}
    )
    found["torch"] = torch.__version__
    return lambda images: model.encode(
        [Image.fromarray(image) for image in images], batch_size=options.batch, show_progress_bar=False
    )


def ceiling(options: argparse.Namespace, found: dict[str, Any]) -> Any:
    """Measure what large products reach, by ordinary means and by oneDNN's; the better one is the ceiling."""
    import torch

    from imgsearch.model.runtime import choose

    runtime = choose(options.device, options.dtype)
    x = torch.randn(2048, 2048).to(runtime.device, getattr(torch, runtime.dtype))
    weight = torch.randn(6144, 2048).to(x)
    ways = [lambda: torch.nn.functional.linear(x, weight)]
    if runtime.device == "cpu" and runtime.dtype != "float16":
        ways.append(lambda: torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], ""))
    rates = []
    with torch.inference_mode():
        for way in ways:
            for _ in range(8):
                began = time.perf_counter()
                way()
                if x.is_cuda:
                    torch.cuda.synchronize()
                rates.append(2 * 2048 * 2048 * 6144 / (time.perf_counter() - began))
    found["flops"] = max(rates)
    return lambda images: None


def operations(sizes: Any, patches: int, tokens: int) -> float:
    """Count the floating-point operations of the plain forward for one picture."""
    import math

    table = sizes.text.vocabulary * sizes.text.hidden
    shapes = {name: math.prod(shape) for name, shape in sizes.shapes().items() if len(shape) > 1}
    language = sum(count for name, count in shapes.items() if "language_model" in name) - table
    blocks = sum(count for name, count in shapes.items() if ".blocks." in name or "patch_embed" in name)
    mergers = sum(count for name, count in shapes.items() if "merger" in name)
    attention = sizes.vision.depth * patches**2 * sizes.vision.hidden
    attention += sizes.text.layers * tokens**2 * sizes.text.heads * sizes.text.head
    products = language * tokens + blocks * patches + mergers * patches / sizes.vision.merge**2
    return float(2 * products + 4 * attention)


def measure(options: argparse.Namespace, folder: Path, pixels: int, dtype: str) -> dict[str, Any]:
    """Let the contenders take turns; return the median seconds an image of each, and what is known of the work."""
    contenders = {"engine": sys.executable, "transformers": sys.executable}
    if os.path.exists(options.peer):
        contenders["sentence-transformers"] = options.peer
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    result: dict[str, Any] = {"pixels": pixels, "dtype": dtype}
    set_budget(folder, pixels)
    for turn in range(options.rounds):
        for name, python in {**contenders, "ceiling": sys.executable}.items():
            argv = [python, __file__, "--worker", name, "--folder", str(folder), "--dtype", dtype]
            argv += [
                "--pixels",
                str(pixels),
                "--batch",
                str(options.batch),
                "--batches",
                str(options.batches),
            ]
            argv += ["--device", options.device]
            done = subprocess.run(argv, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr.strip()[-2000:]}")
            said = json.loads(done.stdout.splitlines()[-1])
            print(f"round {turn + 1} {pixels} {dtype} {name}: {said}", file=sys.stderr)
            if name == "ceiling":
                result["ceiling"] = max(result.get("ceiling", 0), said["flops"])
            else:
                taken[name] += said.pop("seconds")
                result |= said
    return result | {"seconds": {name: statistics.median(seconds) for name, seconds in taken.items()}}


def main() -> None:
    """Write the checkpoint, measure every size and dtype, print the table and the JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--pixels", default="57344,262144")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--peer", default=str(ROOT / ".venv-reference" / "bin" / "python"))
    parser.add_argument("--scratch", default=tempfile.gettempdir())
    parser.add_argument("--keep", action="store_true", help="keep the checkpoint for the next run")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--dtype", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        options.pixels = int(options.pixels)
        worker(options)
        return
    folder = Path(options.scratch) / f"imgsearch-pass-{options.layers or 'full'}"
    if not (folder / "modules.json").exists():
        write_checkpoint(folder, options.layers)
    rows = [
        measure(options, folder, int(pixels), dtype)
        for pixels in options.pixels.split(",")
        for dtype in options.dtypes.split(",")
    ]
    print(
        f"{'pixels':>8} {'dtype':9} {'contender':22} {'s/image':>8} {'images/s':>9} {'engine is':>10} {'ceiling':>8}"
    )
    for row in rows:
        for name, seconds in row["seconds"].items():
            ratio, share = seconds / row["seconds"]["engine"], row["flop"] / seconds / row["ceiling"]
            figures = f"{seconds:8.3f} {1 / seconds:9.2f} {ratio:9.2f}x {share:8.0%}"
            print(f"{row['pixels']:8} {row['dtype']:9} {name:22} {figures}")
    print(json.dumps({"benchmark": "embedding_pass", "layers": options.layers, "rows": rows}))
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
