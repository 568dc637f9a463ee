"""From JPEG files on disk to vectors: `imgsearch index` beside sentence-transformers over the same files.

Theory: a picture costs its decoding and its forward pass. A photograph of 12 megapixels takes some 0.15 s of one core
to decode in full and 0.06 s at the quarter scale that is enough for 57,344 pixels; the pass takes 0.3 teraflop
(embedding_pass.py), so at best 0.7 s of two cores in bfloat16: decoding hides behind it in threads, and the model
should wait for the first batch alone. With the tiny checkpoint, whose pass costs nothing, decoding is the ceiling. On
an accelerator too: 100 pictures a second of 12 megapixels keep 6 cores busy at a quarter scale, 15 in full.

    python benchmarks/end_to_end.py [--count 24] [--small] [--size full|tiny|LAYERS] [--dtype bfloat16]
        [--device auto] [--pixels 57344] [--batch N] [--rounds 3] [--peer PYTHON] [--scratch DIR] [--keep]

Draws its own files, 4000 × 3000 or with ``--small`` 1152 × 864: noise whose variance falls with frequency as in
photographs, with some of a sensor's own on top, so that a file has the bytes of a photograph and the decoder as much to
do; it says how long decoding one takes. Ours is `imgsearch index` with a fresh index; theirs opens each file with
Pillow and encodes in batches of the same size, both in the same dtype and pixel budget; whole processes in turns
(A B A B), one untimed round first for bytecode and page cache. "after loading" is pictures a second from the first file
opened to the last vector; ours by --stats, whose tenths of a second limit it (so many files with the tiny checkpoint),
theirs by its own clock. "waiting" is the share of that time in which the model had no picture: ours waits for decoding
threads, theirs decodes itself. "of ceiling" compares with a large matrix product measured in the same run, by the
plain forward's operations and by those really done.

On a machine with a GPU: --device cuda, where a batch is 32 if nothing else is said and "of ceiling" is the card's.
There was no GPU where this was written: that way has not been tried. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from typing import Any

import embedding_pass
import measure

LARGE, SMALL = (4000, 3000), (1152, 864)
OURS, THEIRS = "imgsearch index", "sentence-transformers"
# What --stats says: the seconds in all, those in which the model worked, those in which it waited.
SPOKEN = re.compile(r"([\d.]+) s in total\b.*?([\d.]+) s\b.*?([\d.]+) s\b")


def draw(options: argparse.Namespace) -> None:
    """Write the files; each is another part of the same periodic noise."""
    import numpy as np
    from PIL import Image

    width, height = size(options)
    generator = np.random.default_rng(0)

    def noise(width: int, height: int, deviation: float, grain: float) -> Any:
        """Return (height, width) uint8 around 128."""
        rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
        falling = (rows**2 + columns**2 + 1 / max(width, height) ** 2) ** -0.6
        phases = generator.standard_normal((2, *falling.shape), dtype=np.float32)
        field = np.fft.irfft2((phases[0] + 1j * phases[1]) * falling.astype(np.float32), (height, width))
        field = field * (deviation / field.std()) + grain * generator.standard_normal((height, width))
        return np.clip(field + 128, 0, 255).astype(np.uint8)

    # Colours vary more slowly than light does, and JPEG keeps them at half the size.
    light = noise(width, height, 50, 2.5)
    colours = [noise(width // 2, height // 2, 15, 1).repeat(2, 0).repeat(2, 1) for _ in range(2)]
    os.makedirs(options.pictures)
    for number in range(options.count):
        by = generator.integers(0, (height, width))
        bands = [Image.fromarray(np.roll(band, by, (0, 1))) for band in (light, *colours)]
        path = os.path.join(options.pictures, f"{number:05}.jpg")
        Image.merge("YCbCr", bands).save(path, quality=90)


def decode(options: argparse.Namespace) -> None:
    """Print how long decoding one file takes on one core: in full, and as far as the pixel budget wants it."""
    from PIL import Image

    from imgsearch.media.formats import load_pictures
    from imgsearch.types import PixelBudget

    taken: dict[str, list[float]] = {"full": [], "draft": []}
    drafted = (0, 0)
    for path in files(options)[:8]:
        began = measure.now()
        Image.open(path).convert("RGB")
        taken["full"].append(measure.now() - began)
        began = measure.now()
        with open(path, "rb") as stream:
            (picture,) = load_pictures(stream, path, PixelBudget(4096, options.pixels))
        taken["draft"].append(measure.now() - began)
        drafted = picture.pixels.shape[1::-1]
    found = {f"decode_{name}_ms": round(statistics.median(times) * 1e3, 1) for name, times in taken.items()}
    bytes = statistics.median(map(os.path.getsize, files(options)))
    print(json.dumps({**found, "draft_size": drafted, "file_mb": round(bytes / 1e6, 2)}))


def theirs(options: argparse.Namespace) -> None:
    """Embed the files with sentence-transformers; print the seconds after loading and those of decoding."""
    import torch
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    device = None if options.device == "auto" else options.device
    dtype = getattr(torch, options.dtype)
    model = SentenceTransformer(options.folder, device=device, model_kwargs={"dtype": dtype})
    paths, decoding, began = files(options), 0.0, measure.now()
    for start in range(0, len(paths), options.batch):
        before = measure.now()
        images = [Image.open(path).convert("RGB") for path in paths[start : start + options.batch]]
        decoding += measure.now() - before
        model.encode(images, batch_size=options.batch, show_progress_bar=False)
    print(json.dumps({"busy": measure.now() - began, "waiting": decoding, "torch": torch.__version__}))


def ceiling(options: argparse.Namespace) -> None:
    """Print what a large product reaches, and the operations of one of the pictures."""
    from imgsearch.model.checkpoint import Checkpoint
    from imgsearch.model.conventions import own_conventions
    from imgsearch.model.engine.config import read_architecture
    from imgsearch.model.image import read_layout, target_size
    from imgsearch.model.prompt import PromptEncoder
    from imgsearch.types import PixelBudget

    found: dict[str, Any] = {}
    embedding_pass.ceiling(options, found)
    width, height = size(options)
    layout, conventions = read_layout(Checkpoint(options.folder)), own_conventions(Checkpoint(options.folder))
    high, wide = target_size(height, width, PixelBudget(4096, options.pixels), layout.factor)
    grid = (1, high // layout.patch, wide // layout.patch)
    prompter = PromptEncoder(Checkpoint(options.folder))
    tokens = prompter.encode(None, layout.tokens(grid), conventions.document_prompt)
    counted = read_architecture(Checkpoint(options.folder)), grid[1] * grid[2], len(tokens.ids)
    found["flop"] = embedding_pass.operations(*counted)
    found["engine_flop"] = embedding_pass.engine_operations(*counted, tokens.prefix_length)
    print(json.dumps(found))


WORKERS = {"draw": draw, "decode": decode, THEIRS: theirs, "ceiling": ceiling}


def size(options: argparse.Namespace) -> tuple[int, int]:
    """Return width and height of the drawn pictures."""
    return SMALL if options.small else LARGE


def files(options: argparse.Namespace) -> list[str]:
    """List the drawn files."""
    return [os.path.join(options.pictures, name) for name in sorted(os.listdir(options.pictures))]


def main() -> None:
    """Draw the files, let the contenders take turns, print the table and the JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--small", action="store_true", help="about 1 megapixel instead of 12")
    parser.add_argument("--size", default="full", help="the checkpoint: full, tiny, or layers a tower")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--pixels", type=int, default=57_344)
    parser.add_argument("--batch", type=int, help="8, on an accelerator 32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", default=embedding_pass.PEER)
    parser.add_argument("--scratch", default=tempfile.gettempdir())
    parser.add_argument("--keep", action="store_true", help="keep the checkpoint for the next run")
    for name in ("--worker", "--folder", "--pictures"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.batch = options.batch or (8 if options.device in ("auto", "cpu") else 32)
    if options.worker:
        WORKERS[options.worker](options)
        return
    options.load = os.getloadavg()[0]
    folder = embedding_pass.checkpoint(options.scratch, options.size)
    embedding_pass.set_budget(folder, options.pixels)
    with tempfile.TemporaryDirectory(dir=options.scratch) as work:
        options.folder, options.pictures = str(folder), os.path.join(work, "pictures")
        subprocess.run(worker(options, sys.executable, "draw"), check=True)
        env = measure.environment(os.path.join(work, "bytecode"))
        rounds: dict[str, list[dict[str, float]]] = {OURS: [], THEIRS: []}
        if not os.path.exists(options.peer):
            print(f"no sentence-transformers: there is no {options.peer}", file=sys.stderr)
            del rounds[THEIRS]
        for turn in range(options.rounds + 1):
            for name, done in rounds.items():
                one = ours(options, work, env) if name == OURS else peer(options, env)
                print(f"round {turn} {name}: {one}", file=sys.stderr)
                done += [one] if turn else []
        known = {}
        for name in ("decode", "ceiling"):
            known |= measure.said(measure.timed(worker(options, sys.executable, name), env).out)
    show(options, rounds, known)
    if not options.keep:
        shutil.rmtree(folder)


def worker(options: argparse.Namespace, python: str, name: str) -> list[str]:
    """Return the command of a worker process."""
    from imgsearch.model.runtime import activations  # not at the top: the peer's Python has no imgsearch

    argv = [python, __file__, "--worker", name, "--folder", options.folder, "--pictures", options.pictures]
    argv += ["--count", str(options.count), "--pixels", str(options.pixels), "--batch", str(options.batch)]
    # int8 is ours alone: theirs computes in what ours has between its products.
    dtype = activations(options.dtype) if name == THEIRS else options.dtype
    argv += ["--dtype", dtype, "--device", options.device]
    return argv + (["--small"] if options.small else [])


def ours(options: argparse.Namespace, work: str, env: dict[str, str]) -> dict[str, float]:
    """Index the files anew; return whole seconds, those after loading, those of waiting, and the peak of memory."""
    index = os.path.join(work, "index")
    argv = [
        sys.executable,
        "-m",
        "imgsearch",
        "index",
        options.pictures,
        "--index",
        index,
        "--stats",
        "--json",
    ]
    argv += ["--model", options.folder, "--detail", "checkpoint", "--batch-size", str(options.batch)]
    run = measure.timed([*argv, "--dtype", options.dtype, "--device", options.device], env)
    shutil.rmtree(index)
    spoken = SPOKEN.search(run.err)
    if measure.said(run.out)["indexed"] != options.count or not spoken:
        raise SystemExit(f"{options.count} pictures should be indexed: {run.out}{run.err}")
    _, model, waiting = map(float, spoken.groups())
    return {"whole": run.seconds, "busy": model + waiting, "waiting": waiting, "peak_mb": run.peak_mb}


def peer(options: argparse.Namespace, env: dict[str, str]) -> dict[str, float]:
    """Return the same of sentence-transformers."""
    run = measure.timed(worker(options, options.peer, THEIRS), env)
    said = measure.said(run.out)
    return {
        "whole": run.seconds,
        "busy": said["busy"],
        "waiting": said["waiting"],
        "peak_mb": run.peak_mb,
    }


def show(
    options: argparse.Namespace, rounds: dict[str, list[dict[str, float]]], known: dict[str, Any]
) -> None:
    """Print the table and the JSON line."""
    count = options.count
    width, height = size(options)
    print(
        f"{count} files of {width} × {height}, {known['file_mb']} MB; one core decodes one in "
        f"{known['decode_full_ms']:.0f} ms in full, in {known['decode_draft_ms']:.0f} ms as "
        f"{' × '.join(map(str, known['draft_size']))}"
    )
    print(
        f"{options.size} checkpoint, {options.dtype}, {options.pixels:,} pixels, batches of {options.batch}"
    )
    print(f"medians of {options.rounds}; load at the start {options.load:.1f}")
    print(f"{'':24}{'pictures a second':>26}{'':14}{'of ceiling':>18}")
    print(
        f"{'':24}{'whole process':>14}{'after loading':>15}{'waiting':>9}{'plain':>9}{'really':>9}{'peak GB':>9}"
    )
    result: dict[str, Any] = {}
    for name, done in rounds.items():
        median = {key: statistics.median(one[key] for one in done) for key in done[0]}
        whole, steady = count / median["whole"], count / median["busy"]
        waiting = statistics.median(one["waiting"] / one["busy"] for one in done)
        plain, really = (steady * known[key] / known["flops"] for key in ("flop", "engine_flop"))
        really = really if name == OURS else plain  # theirs is the plain forward
        print(
            f"{name:24}{whole:14.2f}{steady:15.2f}{waiting:9.0%}{plain:9.0%}{really:9.0%}{median['peak_mb'] / 1e3:9.2f}"
        )
        result[name] = {
            "whole_process": round(whole, 3),
            "after_loading": round(steady, 3),
            "waiting": round(waiting, 3),
            "of_ceiling": {"plain": round(plain, 3), "really": round(really, 3)},
            "peak_gb": round(median["peak_mb"] / 1e3, 2),
            "seconds": [round(one["whole"], 2) for one in done],
        }
    if THEIRS in result:
        for key in ("whole_process", "after_loading"):
            ratio = result[OURS][key] / result[THEIRS][key]
            result[f"times_{key}"] = round(ratio, 2)
            print(f"{key.replace('_', ' ')}: {ratio:.2f} times as many pictures a second")
    settings = {
        key: getattr(options, key) for key in ("count", "size", "dtype", "device", "pixels", "batch", "load")
    }
    print(json.dumps({"benchmark": "end_to_end", "picture": size(options), **settings, **known, **result}))


if __name__ == "__main__":
    main()
