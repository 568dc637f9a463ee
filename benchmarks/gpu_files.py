"""What gpu.py measures from files: decoding in threads, nvJPEG, and `imgsearch index` beside sentence-transformers."""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import end_to_end
import measure
from gpu_pass import has_peer, load_peer

GPU = str(Path(__file__).with_name("gpu.py"))
PIXELS = 57_344
FILES = ((4000, 3000), (4000, 3000), (3000, 4000), (4240, 2832))  # a camera's, at 12 megapixels


def draw(options: argparse.Namespace) -> str:
    """Draw the files, on all cores, once: as many as are asked for, of which every 16th or so was drawn anew.

    The others have the same pixels behind another comment, so that they are other files with as much to decode.
    """
    folder = os.path.join(options.scratch, "files")
    if os.path.exists(folder):
        return folder
    drawn, count = (4, 8) if options.tiny else (48, options.count)
    sizes = ((576, 432), (432, 576)) if options.tiny else FILES
    base = os.path.join(options.scratch, "drawn")
    os.makedirs(base)

    def some(number: int) -> None:
        width, height = sizes[number % len(sizes)]
        argv = [sys.executable, GPU, "--worker", "noise", "--out", f"{base}/{number}.jpg"]
        argv += ["--count", str(number), "--sides", f"{width}x{height}", "--quality", str(options.quality)]
        subprocess.run(argv, check=True)

    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(some, range(drawn)))
    os.makedirs(folder)
    for number in range(count):
        content = Path(f"{base}/{number % drawn}.jpg").read_bytes()
        comment = b"\xff\xfe" + (2 + 16).to_bytes(2, "big") + b"%016d" % number
        Path(folder, f"{number:05}.jpg").write_bytes(content[:2] + comment + content[2:])
    return folder


def noise(options: argparse.Namespace) -> dict[str, Any]:
    """Draw one file as end_to_end.py does: noise whose variance falls with frequency as in photographs."""
    import numpy as np
    from PIL import Image

    width, height = map(int, options.sides.split("x"))
    generator = np.random.default_rng(options.count)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    falling = ((rows**2 + columns**2 + 1 / max(width, height) ** 2) ** -0.6).astype(np.float32)
    bands = []
    for deviation, grain in ((50, 2.5), (15, 1.0), (15, 1.0)):
        phases = generator.standard_normal((2, *falling.shape), dtype=np.float32)
        field = np.fft.irfft2((phases[0] + 1j * phases[1]) * falling, (height, width))
        field = field * (deviation / field.std()) + grain * generator.standard_normal((height, width))
        bands.append(Image.fromarray(np.clip(field + 128, 0, 255).astype(np.uint8)))
    Image.merge("YCbCr", bands).save(options.out, quality=options.quality)
    return {}


def decode(options: argparse.Namespace) -> dict[str, Any]:
    """Measure files a second by the road of `imgsearch index` up to the model, at several counts of threads."""

    from imgsearch.files import source_file
    from imgsearch.indexing.decode import Decoded, decode_ahead
    from imgsearch.media import lookahead
    from imgsearch.model import image
    from imgsearch.model.batching import keep_freed_memory
    from imgsearch.model.checkpoint import Checkpoint
    from imgsearch.types import PixelBudget

    keep_freed_memory()  # as where the model is loaded
    folder = draw(options)
    names = sorted(os.listdir(folder))
    layout, budget = image.read_layout(Checkpoint(options.folder)), PixelBudget(4096, PIXELS)
    cores = len(os.sched_getaffinity(0))
    found: dict[str, Any] = {"file_mb": round(measure.size(folder) / len(names) / 1e6, 2), "threads": {}}
    for threads in sorted({1, cores // 2, cores, cores + cores // 2}):
        lookahead.MOST_THREADS = threads
        some = names[: (4 if options.tiny else 16 * threads)]
        sources = [source_file(folder, name, os.stat(os.path.join(folder, name)), None) for name in some]
        began, cpu = measure.now(), os.times()
        files = decode_ahead(
            sources,
            lambda rgb: image.prepare(rgb, budget, layout),
            lambda sha: False,
            budget,
            1000,
            3 * threads,
        )
        assert all(isinstance(file, Decoded) for file in files)
        seconds, after = measure.now() - began, os.times()
        busy = after.user + after.system - cpu.user - cpu.system
        found["threads"][threads] = {
            "per_second": round(len(some) / seconds, 1),
            "core_ms": round(busy / len(some) * 1e3, 1),
        }
        print(threads, found["threads"][threads], flush=True)
    if options.device.startswith("cuda"):
        found["nvjpeg"] = nvjpeg(options, folder, names[:96])
    return found


def nvjpeg(options: argparse.Namespace, folder: str, names: list[str]) -> Any:
    """Measure files a second by torchvision's decoder on the device, each then resized there."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    contents = [
        torch.frombuffer(bytearray(Path(folder, name).read_bytes()), dtype=torch.uint8) for name in names
    ]
    found: dict[str, Any] = {}
    for batch in (1, 16, 32):
        try:

            def work(start: int = 0, batch: int = batch) -> None:
                for image in decode_jpeg(contents[start : start + batch], ImageReadMode.RGB, device="cuda"):
                    torch.nn.functional.interpolate(
                        image[None].float(), (224, 256), mode="bicubic", antialias=True
                    ).round_()
                torch.cuda.synchronize()

            work()
            began = measure.now()
            for start in range(0, len(contents), batch):
                work(start)
            found[f"batch {batch}"] = round(len(contents) / (measure.now() - began), 1)
        except Exception as error:
            found[f"batch {batch}"] = f"{type(error).__name__}: {str(error)[:200]}"
            break
    return found


def index(options: argparse.Namespace) -> dict[str, Any]:
    """Let `imgsearch index` and sentence-transformers take turns over the same files."""
    folder = draw(options)
    few = os.path.join(options.scratch, "few")
    if not os.path.exists(few):
        os.makedirs(few)
        for name in sorted(os.listdir(folder))[: 4 if options.tiny else options.few]:
            os.link(os.path.join(folder, name), os.path.join(few, name))
    result: dict[str, Any] = {
        "files": len(os.listdir(folder)),
        "files_of_theirs": len(os.listdir(few)),
        "rounds": [],
    }
    env = measure.environment(os.path.join(options.scratch, "bytecode"))
    for turn in range(1 if options.tiny else options.turns):
        for dtype in ("float32",) if options.tiny else ("float16",):
            done = ours(options, folder, dtype, env)
            result["rounds"].append({"name": "imgsearch index", "dtype": dtype} | done)
            print(result["rounds"][-1], flush=True)
            for ahead in (False, True) if has_peer() else ():
                argv = [
                    sys.executable,
                    GPU,
                    "--worker",
                    "peer",
                    "--folder",
                    options.folder,
                    "--scratch",
                    few,
                ]
                argv += ["--device", options.device, "--dtype", dtype] + (["--ahead"] if ahead else [])
                run = measure.timed(argv, env)
                said = measure.said(run.out) | {
                    "seconds": round(run.seconds, 2),
                    "peak_mb": round(run.peak_mb),
                }
                name = "sentence-transformers" + (", decoded ahead in threads" if ahead else "")
                result["rounds"].append({"name": name, "dtype": dtype, "round": turn} | said)
                print(result["rounds"][-1], flush=True)
    return result


def ours(options: argparse.Namespace, folder: str, dtype: str, env: dict[str, str]) -> dict[str, Any]:
    """Index the files anew as a user does; return pictures a second after loading and in all, and what --stats says."""
    where = os.path.join(options.scratch, "index")
    shutil.rmtree(where, ignore_errors=True)
    argv = [sys.executable, "-m", "imgsearch", "index", folder, "--index", where, "--stats", "--json"]
    argv += [
        "--model",
        options.folder,
        "--detail",
        "checkpoint",
        "--dtype",
        dtype,
        "--device",
        options.device,
    ]
    argv += ["--batch-size", str(options.batch)] if options.batch else []
    run = measure.timed(argv, env)
    spoken = end_to_end.SPOKEN.search(run.err)
    count = measure.said(run.out)["indexed"]
    if count != len(os.listdir(folder)) or not spoken:
        raise SystemExit(f"not indexed: {run.out}{run.err}")
    print(run.err)
    _, model, waiting = map(float, spoken.groups())
    return {
        "per_second": round(count / max(model + waiting, 0.05), 1),
        "whole": round(count / run.seconds, 1),
        "model_s": model,
        "waiting_s": waiting,
        "seconds": round(run.seconds, 2),
        "cpu_s": round(run.cpu, 1),
        "peak_mb": round(run.peak_mb),
    }


def peer(options: argparse.Namespace) -> dict[str, Any]:
    """Embed the files of a folder with sentence-transformers, as its users do: open, encode a list of images."""
    from PIL import Image

    model = load_peer(options, options.dtype)
    paths = sorted(str(path) for path in Path(options.scratch).iterdir())
    model.encode([Image.new("RGB", (640, 480), "red")], show_progress_bar=False)  # loaded and warm

    def read(path: str) -> Any:
        with Image.open(path) as image:
            return image.convert("RGB")

    began, waiting, batch = measure.now(), 0.0, 32
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        coming: Iterator[Any] = pool.map(read, paths) if options.ahead else map(read, paths)
        while True:
            asked = measure.now()
            images = list(itertools.islice(coming, batch))
            waiting += measure.now() - asked
            if not images:
                break
            model.encode(images, batch_size=batch, show_progress_bar=False)
    busy = measure.now() - began
    return {
        "per_second": round(len(paths) / busy, 1),
        "waiting_s": round(waiting, 2),
        "busy_s": round(busy, 2),
    }
