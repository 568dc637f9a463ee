"""The embedding pass side by side: the engine, transformers' own forward, and sentence-transformers.

Theory: a picture of 57,344 pixels (14 by 16 patches, 56 of 67 tokens) costs 2 operations a weight and token plus
attention: 0.15 teraflop in the vision tower, 0.19 in the language layers; one of 262,144 pixels 4.5 times as much.
That is the plain forward, every token through every layer, as the others compute it (``operations``). The engine
computes less (``engine_operations``): the prompt before the picture is remembered from the first batch on, only the
last token goes through the last layer, and a still picture is one frame, not two. The ceiling is what a large
matrix product reaches on this machine in the same dtype, measured in the same run; the floor is what the products of
a pass take alone, in their own shapes, with weights laid out and nothing behind them. The share of the ceiling by the
plain forward's operations compares contenders; the share by the operations that a contender really does says how well
it uses the machine. int8 is the engine's alone: there the others compute as imgsearch would without it, in bfloat16
where the processor has that, and the ceiling is that of int8.

    python benchmarks/embedding_pass.py [--layers N] [--dtypes float32,bfloat16] [--pixels 57344,262144]
        [--batch 8] [--rounds 3] [--no-engine-packed] [--peer PYTHON] [--scratch DIR] [--keep]

Each contender is a process of its own that loads the checkpoint (published 2B sizes, random weights), embeds one batch
to warm up and then ``--batches`` more from pictures in memory; the processes take turns (A B C A B C). The engine lays
its weights out for bulk work by itself after 20,000 tokens, which no benchmark reaches: here it is told to after the
first batch, untimed, unless ``--no-engine-packed``. ``--layers`` keeps so many layers of each tower: quicker, with
the sizes of the products as they are. ``--peer`` is a Python with sentence-transformers; the repository's
.venv-reference if it is there. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import measure

ROOT = Path(__file__).parents[1]
PEER = str(ROOT / ".venv-reference" / "bin" / "python")
SIZES = {57_344: (224, 256), 262_144: (512, 512)}  # pixels: height, width
FORWARD = {"method": "forward", "method_output_name": "last_hidden_state"}
MODULES = {
    "": "sentence_transformers.base.modules.transformer.Transformer",
    "1_Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "2_Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


def checkpoint(scratch: str, size: str) -> Path:
    """Return the folder of a random checkpoint below ``scratch``, written first unless it is there.

    ``size`` is "full", "tiny", or how many layers each tower keeps. It is written in a process of its own: where
    memory is measured, a child's count begins with its parent's.
    """
    folder = Path(scratch) / f"imgsearch-pass-{size}"
    if not (folder / "config_sentence_transformers.json").exists():
        argv = [sys.executable, __file__, "--worker", "write", "--folder", str(folder), "--size", size]
        subprocess.run(argv, check=True)
    return folder


def write_checkpoint(folder: Path, layers: int | None, tiny: bool = False, device: str = "cpu") -> None:
    """Write the random checkpoint, in bfloat16, drawn on ``device``, and what sentence-transformers needs beside it."""
    from random_checkpoint import PUBLISHED_2B, TINY, write_random_checkpoint

    config = json.loads(json.dumps(TINY if tiny else PUBLISHED_2B))
    if layers:
        text, vision = config["text_config"], config["vision_config"]
        text["num_hidden_layers"], vision["depth"], text["vocab_size"] = layers, layers, 640
        vision["deepstack_visual_indexes"] = [0]
    write_random_checkpoint(str(folder), config, dtype="bfloat16", device=device)
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
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "recipes")]
    if options.worker == "write":
        layers = int(options.size) if options.size.isdecimal() else None
        write_checkpoint(Path(options.folder), layers, tiny=options.size == "tiny")
        return
    embed = {
        "engine": engine,
        "transformers": transformers,
        "sentence-transformers": peer,
        "ceiling": ceiling,
        "products": floor,
    }
    found: dict[str, Any] = {}
    run = embed[options.worker](options, found)
    images = pictures(options.pixels, options.batch)
    taken = []
    for _ in range(options.batches + 1):
        began = measure.now()
        run(images)
        taken.append((measure.now() - began) / len(images))
    print(json.dumps(found | {"seconds": taken[1:]}))


def engine(options: argparse.Namespace, found: dict[str, Any]) -> Any:
    """Return imgsearch as a user gets it; packed after the first batch, as it is after 20,000 tokens."""
    from imgsearch.model.checkpoint import Checkpoint
    from imgsearch.model.embedder import Qwen3VLEmbedder
    from imgsearch.model.engine.config import read_architecture
    from imgsearch.types import PixelBudget

    budget = PixelBudget(4096, options.pixels)
    embedder = Qwen3VLEmbedder(options.folder, device=options.device, dtype=options.dtype, budget=budget)
    ready = embedder._encode_input({"image": pictures(options.pixels, 1)[0]}, 0, 1)
    tokens, prefix = len(ready[0].ids), ready[0].prefix_length
    found |= {"tokens": tokens, "prefix": prefix, "reason": embedder.runtime.reason}
    (image,) = ready[1]
    sizes, patches = read_architecture(Checkpoint(options.folder)), len(image.pixel_values)
    found["flop"] = operations(sizes, patches, tokens)
    found["engine_flop"] = engine_operations(sizes, patches, tokens, prefix)

    def embed(images: list[Any]) -> None:
        embedder.embed([{"image": image} for image in images], batch_size=options.batch)

    def warm_up(images: list[Any]) -> None:
        embed(images)
        began = measure.now()
        embedder.forward.prepack()
        found["pack_seconds"] = round(measure.now() - began, 2)

    first = [warm_up] if options.engine_packed else []
    return lambda images: (first.pop() if first else embed)(images)


def transformers(options: argparse.Namespace, found: dict[str, Any]) -> Any:
    """Return transformers' own modules, without any compiling, over our patches."""
    from imgsearch.model.checkpoint import Checkpoint
    from imgsearch.model.embedder import Qwen3VLEmbedder
    from imgsearch.model.reference import Reference
    from imgsearch.model.runtime import choose
    from imgsearch.types import PixelBudget

    # Only for its tokens and patches; in bfloat16 its own weights are mapped and never read.
    budget = PixelBudget(4096, options.pixels)
    embedder = Qwen3VLEmbedder(options.folder, device="cpu", dtype="bfloat16", budget=budget)
    reference = Reference(Checkpoint(options.folder), choose(options.device, options.dtype))
    return lambda images: reference([embedder._encode_input({"image": image}, 0, 1) for image in images])


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

    from imgsearch.model.engine.layers import Int8Linear, quantize
    from imgsearch.model.runtime import activations, choose

    runtime = choose(options.device, options.dtype)
    # An accelerator takes a larger one, or its start would count.
    count = 2048 if runtime.device == "cpu" else 16_384
    x = torch.randn(count, 2048).to(runtime.device, getattr(torch, activations(runtime.dtype)))
    weight = torch.randn(6144, 2048).to(x)
    ways: list[Any] = [lambda: torch.nn.functional.linear(x, weight)]
    if runtime.dtype == "int8":
        product, codes = Int8Linear(weight, None), quantize(x)
        ways = [lambda: product(codes)]
    elif runtime.device == "cpu" and runtime.dtype != "float16":
        ways.append(lambda: torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], ""))
    rates = []
    with torch.inference_mode():
        for way in ways:
            for _ in range(8):
                began = measure.now()
                way()
                if x.is_cuda:
                    torch.cuda.synchronize()
                rates.append(2 * count * 2048 * 6144 / (measure.now() - began))
    found["flops"] = max(rates)
    return lambda images: None


def floor(options: argparse.Namespace, found: dict[str, Any]) -> Any:
    """Measure the plain products of a pass alone, weights laid out: the batch whole or shared, whichever is better."""
    import torch

    from imgsearch.model.checkpoint import Checkpoint
    from imgsearch.model.embedder import Qwen3VLEmbedder
    from imgsearch.model.engine import threads
    from imgsearch.model.engine.config import read_architecture
    from imgsearch.model.engine.layers import Int8Linear, onednn_fits, quantize
    from imgsearch.model.runtime import activations, choose
    from imgsearch.types import PixelBudget

    runtime = choose(options.device, options.dtype)
    dtype = getattr(torch, activations(runtime.dtype))
    if runtime.device != "cpu":
        found["floor"] = 0.0
        return lambda images: None
    budget = PixelBudget(4096, options.pixels)
    # Only for its tokens and patches.
    embedder = Qwen3VLEmbedder(options.folder, device="cpu", dtype="bfloat16", budget=budget)
    ready, (image,) = embedder._encode_input({"image": pictures(options.pixels, 1)[0]}, 0, 1)
    sizes = read_architecture(Checkpoint(options.folder))
    rest = len(ready.ids) - ready.prefix_length

    def product(rows: int, outputs: int, inputs: int) -> Any:
        x, weight = torch.randn(options.batch, rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
        if runtime.dtype == "int8":
            int8 = Int8Linear(weight, None)
            codes = [quantize(x[number]) for number in range(options.batch)]
            joined = [type(codes[0])(*map(torch.stack, zip(*codes[part], strict=True))) for part in parts]
            return lambda part: int8(joined[parts.index(part)])
        if not onednn_fits(dtype):
            return lambda part: torch.nn.functional.linear(x[part], weight)
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        return lambda part: torch.ops.mkldnn._linear_pointwise(x[part], packed, None, "none", [], "")

    shared = threads.split([rest] * options.batch, torch.get_num_threads())
    totals = []
    for parts in [[slice(0, options.batch)], shared][: 1 + (len(shared) > 1)]:
        total = 0.0
        for (rows, outputs, inputs), count in products(sizes, len(image.pixel_values), rest).items():
            with torch.inference_mode():
                work, taken = product(rows, outputs, inputs), []
                for _ in range(4):
                    began = measure.now()
                    threads.run(work, parts)
                    taken.append(measure.now() - began)
            total += count * min(taken)
        totals.append(total / options.batch)
    found["floor"] = min(totals)
    return lambda images: None


def products(sizes: Any, patches: int, rest: int) -> dict[tuple[int, int, int], int]:
    """Count the products of a pass by their shapes: rows of an image, outputs, inputs.

    ``rest`` tokens stand behind the prefix that is remembered; of the last layer only keys and values see them all.
    """
    vision, text = sizes.vision, sizes.text
    found: dict[tuple[int, int, int], int] = {(patches, vision.hidden, vision.channels * vision.patch**2): 1}
    last = f".layers.{text.layers - 1}."
    for name, shape in sizes.shapes.items():
        if len(shape) != 2 or name.endswith(("embed_tokens.weight", "pos_embed.weight")):
            continue
        if ".visual." in name:
            rows = patches // vision.merge**2 if "merger" in name else patches
        else:
            rows = 1 if last in name and not name.endswith(("k_proj.weight", "v_proj.weight")) else rest
        found[rows, *shape] = found.get((rows, *shape), 0) + 1
    return found


def operations(sizes: Any, patches: int, tokens: int) -> float:
    """Count the floating-point operations of the plain forward for one picture: every token, every layer."""
    vision, text = sizes.vision, sizes.text
    products = _vision_products(sizes, patches, vision.temporal) + text.layers * tokens * sum(_layer(text))
    attention = vision.depth * patches**2 * vision.hidden + text.layers * tokens**2 * text.heads * text.head
    return float(2 * products + 4 * attention)


def engine_operations(sizes: Any, patches: int, tokens: int, prefix: int) -> float:
    """Count those that the engine does, the prefix of the prompt being in the prefix cache.

    Only what follows the prefix goes through the language layers, and sees the prefix; of the last layer, keys and
    values are computed for all of that, everything else for the last token. A picture is one frame.
    """
    vision, text = sizes.vision, sizes.text
    keys, rest = _layer(text)
    computed, layers = tokens - prefix, text.layers - 1
    products = _vision_products(sizes, patches, 1)
    products += layers * computed * (keys + rest) + computed * keys + rest
    attention = vision.depth * patches**2 * vision.hidden
    attention += (layers * computed + 1) * tokens * text.heads * text.head
    return float(2 * products + 4 * attention)


def _vision_products(sizes: Any, patches: int, frames: int) -> float:
    """Count the multiplications by weights in the vision tower, with a picture as so many equal frames."""
    shapes = {name: math.prod(shape) for name, shape in sizes.shapes.items() if len(shape) > 1}
    vision = sizes.vision
    blocks = sum(count for name, count in shapes.items() if ".blocks." in name)
    mergers = sum(count for name, count in shapes.items() if "merger" in name)
    embedding = vision.hidden * vision.channels * frames * vision.patch**2
    return (blocks + embedding) * patches + mergers * patches / vision.merge**2


def _layer(text: Any) -> tuple[int, int]:
    """Return the weights of one language layer: those that make keys and values, and all others."""
    keys = 2 * text.key_heads * text.head * text.hidden
    return keys, 2 * text.heads * text.head * text.hidden + 3 * text.hidden * text.intermediate


def take_turns(options: argparse.Namespace, folder: Path, pixels: int, dtype: str) -> dict[str, Any]:
    """Let the contenders take turns; return the median seconds an image of each, and what is known of the work."""
    contenders = {"engine": sys.executable, "transformers": sys.executable}
    if os.path.exists(options.peer):
        contenders["sentence-transformers"] = options.peer
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    result: dict[str, Any] = {"pixels": pixels, "dtype": dtype}
    from imgsearch.model.runtime import activations

    set_budget(folder, pixels)
    result["others_dtype"] = activations(dtype)
    for turn in range(options.rounds):
        for name, python in {**contenders, "ceiling": sys.executable, "products": sys.executable}.items():
            own = dtype if name in ("engine", "ceiling", "products") else result["others_dtype"]
            argv = [python, __file__, "--worker", name, "--folder", str(folder), "--dtype", own]
            argv += ["--pixels", str(pixels), "--batch", str(options.batch), "--device", options.device]
            argv += ["--batches", str(options.batches)]
            argv += [] if options.engine_packed else ["--no-engine-packed"]
            done = subprocess.run(argv, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr.strip()[-2000:]}")
            said = measure.said(done.stdout)
            print(f"round {turn + 1} {pixels} {dtype} {name}: {said}", file=sys.stderr)
            if name == "ceiling":
                result["ceiling"] = max(result.get("ceiling", 0), said["flops"])
            elif name == "products":
                result["floor"] = min(result.get("floor", math.inf), said["floor"])
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
    parser.add_argument("--engine-packed", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--peer", default=PEER)
    parser.add_argument("--scratch", default=tempfile.gettempdir())
    parser.add_argument("--keep", action="store_true", help="keep the checkpoint for the next run")
    for name in ("--worker", "--folder", "--dtype", "--size"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        if options.worker != "write":
            options.pixels = int(options.pixels)
        worker(options)
        return
    folder = checkpoint(options.scratch, str(options.layers or "full"))
    rows = [
        take_turns(options, folder, int(pixels), dtype)
        for pixels in options.pixels.split(",")
        for dtype in options.dtypes.split(",")
    ]
    print(f"the engine is packed: {'yes' if options.engine_packed else 'no'}")
    print(f"{'':62} {'share of the ceiling':>22}")
    print(
        f"{'pixels':>8} {'dtype':9} {'contender':22} {'s/image':>8} {'images/s':>9} {'engine is':>10}"
        f"{'plain forward':>15} {'really done':>12}"
    )
    for row in rows:
        for name, seconds in row["seconds"].items():
            ratio = seconds / row["seconds"]["engine"]
            # The others do the plain forward.
            done = row["engine_flop"] if name == "engine" else row["flop"]
            plain, really = (flop / seconds / row["ceiling"] for flop in (row["flop"], done))
            figures = f"{seconds:8.3f} {1 / seconds:9.2f} {ratio:9.2f}x {plain:14.0%} {really:12.0%}"
            dtype = row["dtype"] if name == "engine" else row["others_dtype"]
            print(f"{row['pixels']:8} {dtype:9} {name:22} {figures}")
        print(
            f"{'':8} of {row['tokens']} tokens {row['prefix']} remembered; a picture is {row['flop'] / 1e12:.3f} "
            f"teraflop by the plain forward, {row['engine_flop'] / 1e12:.3f} by the engine; "
            f"ceiling {row['ceiling'] / 1e9:,.0f} gigaflop a second"
        )
        if row["floor"]:
            times = row["seconds"]["engine"] / row["floor"]
            print(
                f"{'':8} the floor, its products alone: {row['floor']:.3f} s an image; the engine takes {times:.2f} x"
            )
    result = {"layers": options.layers, "engine_packed": options.engine_packed, "rows": rows}
    print(json.dumps({"benchmark": "embedding_pass", **result}))
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
