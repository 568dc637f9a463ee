"""Everything that has to be known of imgsearch on a GPU, in one run of about eight minutes, on a checkpoint made there.

Theory: a picture of 57,344 pixels costs 0.3 teraflop (embedding_pass.py): of a card that multiplies 16 bits at 790
teraflop a second, 2,600 pictures a second at best, and half of that with what lies between the products, which moves
about a gigabyte of its memory a picture. Of a JPEG of 12 megapixels the Huffman codes are what takes time, whatever the
scale: 13 ms of a core for each megabyte. 16 cores do 200 files of 5 MB a second, 350 of 3 MB: from files the decoder
is the limit, from memory the card.

    benchmarks/gpu.sh [--tiny] [--only STEP,STEP] [--seconds 480] [--out DIR] [--scratch DIR] [--device cuda]

Each step is a process of its own with a limit, so that one that fails takes no other along; all they say goes to
DIR/gpu.log, what they found to DIR/gpu.json and into the tables at the end. Steps, in their order:

machine     what it is; the ceilings: a product of 8192 x 8192 x 8192 in each dtype, a copy, the processor's cores
write       the checkpoint: published 2B sizes, random weights, drawn on the device
doctor      the files are drawn; those drawn anew are indexed, and `imgsearch doctor`, as a user sees it
parity      tests/parity on the device, tiny checkpoints: against transformers there, and against the CPU in float32
precision   the full-size checkpoint in float16 and bfloat16 against float32 on the device, and against the peer
memory      pictures a second from memory: batch sizes, dtypes, pictures of one shape and of seven; peak memory
kernels     where the time of a pass goes; CUDA graphs beside eager; what attention and rotation cost in other forms
decode      files a second that threads decode, without a model; nvJPEG through torchvision beside it
index       `imgsearch index` of 12-megapixel JPEG files beside sentence-transformers on the same files, A B A B

--tiny takes a tiny checkpoint, few and small pictures, and the CPU if nothing else is said: it shows that the script
works. The peer is the sentence-transformers of the same Python, where it and torchvision are installed. Prints tables
and one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import embedding_pass
import measure
from gpu_files import PIXELS, decode, draw, index, noise, peer
from gpu_pass import kernels, memory, precision, rate

ROOT = Path(__file__).parents[1]
STEPS = {  # and the seconds that each may take at most
    "machine": 40,
    "write": 60,
    "doctor": 90,
    "parity": 120,
    "precision": 60,
    "memory": 100,
    "kernels": 80,
    "decode": 60,
    "index": 180,
}
DTYPES = ("float16", "bfloat16", "float32")


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Say what the machine is, and measure its ceilings."""
    import torch
    import transformers

    found: dict[str, Any] = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(measure.available() / 1e9, 1),
    }
    with open("/proc/cpuinfo") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    found["processor"] = names[0] if names else platform.machine()
    if options.device.startswith("cuda"):
        card = torch.cuda.get_device_properties(0)
        found |= {
            "card": card.name,
            "card_gb": round(card.total_memory / 1e9, 1),
            "units": card.multi_processor_count,
        }
    side, block = (256, 2**20) if options.tiny else (8192, 2**30)
    for dtype in DTYPES:
        a, b = (torch.randn(side, side, device=options.device).to(getattr(torch, dtype)) for _ in range(2))
        product = functools.partial(torch.matmul, a, b)
        found[f"{dtype}_teraflops"] = round(2 * side**3 * rate(options, product, 0.5) / 1e12, 4)
    source, target = (torch.empty(block, dtype=torch.uint8, device=options.device) for _ in range(2))
    copies = rate(options, lambda: target.copy_(source), 0.3)
    found["copy_gb_s"] = round(2 * block * copies / 1e9, 1)
    here = torch.empty(block // 8, dtype=torch.uint8)
    found["to_device_gb_s"] = round(block / 8 * rate(options, lambda: here.to(options.device), 0.3) / 1e9, 1)
    if options.device.startswith("cuda"):
        pinned = here.pin_memory()
        found["pinned_gb_s"] = round(
            block / 8 * rate(options, lambda: pinned.to(options.device), 0.3) / 1e9, 1
        )
    return found


def write(options: argparse.Namespace) -> dict[str, Any]:
    """Write the checkpoint."""
    began = measure.now()
    size = "tiny" if options.tiny else "full"
    embedding_pass.write_checkpoint(Path(options.folder), None, size == "tiny", options.device)
    embedding_pass.set_budget(Path(options.folder), PIXELS)
    return {
        "write_seconds": round(measure.now() - began, 1),
        "weights_gb": round(measure.size(options.folder) / 1e9, 2),
    }


def doctor(options: argparse.Namespace) -> dict[str, Any]:
    """Show what a user is told of the device."""
    draw(options)
    where = os.path.join(options.scratch, "doctor")
    drawn = [sys.executable, "-m", "imgsearch", "index", os.path.join(options.scratch, "drawn")]
    subprocess.run([*drawn, "--index", where, "--model", options.folder], check=True)
    argv = [sys.executable, "-m", "imgsearch", "doctor", "--index", where]
    done = subprocess.run(argv, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    return {"doctor_code": done.returncode}


def parity(options: argparse.Namespace) -> dict[str, Any]:
    """Run the parity tests on the device."""
    env = os.environ | {"IMGSEARCH_TEST_DEVICE": options.device, "PYTHONDONTWRITEBYTECODE": "1"}
    chosen = ["tests/parity/test_engine.py", "tests/parity/test_on_device.py"]
    # What is left out starts processes or is of the CPU's own kernels.
    names = "parity or near or same_bits or prefixes or instructions or keeping or on_device"
    names = "(" + names + ")" + (" and tiny" if options.tiny else "")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--maxfail=20", "--tb=short"]
    argv += ["-k", names, *chosen]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True)
    print(done.stdout[-12000:], done.stderr[-2000:])
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
    return {"parity_code": done.returncode, "parity": last.strip("= ")}


WORKERS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "machine": machine,
    "write": write,
    "doctor": doctor,
    "parity": parity,
    "precision": precision,
    "memory": memory,
    "kernels": kernels,
    "decode": decode,
    "index": index,
    "noise": noise,
    "peer": peer,
}


def step(options: argparse.Namespace, name: str, limit: float, log: Path) -> dict[str, Any]:
    """Run one step in a process of its own, its words into the log; return what it found, or how it failed."""
    argv = [sys.executable, __file__, "--worker", name, *options.passed]
    began = measure.now()
    with open(log, "a") as file:
        print(f"\n== {name}, at most {limit:.0f} s", file=file, flush=True)
        process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=file, text=True, start_new_session=True
        )
        timer = threading.Timer(limit, lambda: os.killpg(process.pid, 9))
        timer.start()
        last = "{}"
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", file=file, flush=True)
            last = line
        process.wait()
        timer.cancel()
    found: dict[str, Any] = {}
    with contextlib.suppress(ValueError, TypeError):
        found = dict(json.loads(last))
    return found | {"code": process.returncode, "took": round(measure.now() - began, 1)}


def show(found: dict[str, Any]) -> None:
    """Print the tables."""
    for name, result in found.items():
        plain = {key: value for key, value in result.items() if not isinstance(value, list | dict)}
        print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in plain.items()))
        for key, value in result.items():
            for row in value if isinstance(value, list) else ():
                print("  " + ", ".join(f"{key} {value}" for key, value in row.items()))
            if isinstance(value, dict):
                print(f"  {key}: " + "; ".join(f"{one}: {what}" for one, what in value.items()))
    ceilings, rows = found.get("machine", {}), found.get("memory", {})
    print(
        f"\n{'':24}{'dtype':10}{'batch':>6}{'shapes':>8}{'a second':>10}{'plain':>8}{'really':>8}{'peak GB':>9}"
    )
    for row in rows.get("rows", ()):
        ceiling = ceilings.get(f"{row['dtype']}_teraflops", 0) * 1e12 or float("nan")
        plain = row["per_second"] * rows["flop"] / ceiling
        really = row["per_second"] * rows["engine_flop"] / ceiling if row["name"] == "imgsearch" else plain
        print(
            f"{row['name']:24}{row['dtype']:10}{row['batch']:6}{row['shapes']:8}{row['per_second']:10.1f}"
            f"{plain:8.0%}{really:8.0%}{row['peak_gb']:9.2f}"
        )


def main() -> None:
    """Run the steps, or be one of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", default=",".join(STEPS))
    parser.add_argument(
        "--seconds", type=float, default=480, help="for all steps; one that is not begun by then is left out"
    )
    parser.add_argument("--out", default=tempfile.gettempdir())
    parser.add_argument("--scratch")
    parser.add_argument("--device")
    parser.add_argument("--batch", type=int, help="of imgsearch index; its own choice if not given")
    parser.add_argument("--count", type=int, default=1440, help="files that imgsearch indexes")
    parser.add_argument(
        "--few", type=int, default=128, help="of them, those that sentence-transformers embeds"
    )
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--quality", type=int, default=90, help="of the JPEG files; at 90 they have 5 MB")
    for name in ("--worker", "--folder", "--dtype", "--sides"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--ahead", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.device = options.device or ("cpu" if options.tiny else "cuda")
    if options.worker:
        print(json.dumps(WORKERS[options.worker](options)))
        return
    began, found = measure.now(), {}
    os.makedirs(options.out, exist_ok=True)
    log = Path(options.out, "gpu.log")
    with contextlib.ExitStack() as stack:
        scratch = options.scratch or stack.enter_context(tempfile.TemporaryDirectory())
        os.makedirs(scratch, exist_ok=True)
        folder = os.path.join(scratch, "checkpoint")
        options.passed = [*("--device", options.device, "--scratch", scratch, "--folder", folder)]
        options.passed += [
            *("--count", str(options.count), "--few", str(options.few), "--turns", str(options.turns))
        ]
        options.passed += ["--quality", str(options.quality)]
        options.passed += (["--tiny"] if options.tiny else []) + (
            ["--batch", str(options.batch)] if options.batch else []
        )
        for name in options.only.split(","):
            left = options.seconds - (measure.now() - began)
            if left < 5:
                found[name] = {"skipped": "no time left"}
                continue
            # A machine that is busy with other work takes longer, and of a tiny run only the result counts.
            limit = left if options.tiny else min(STEPS[name], left)
            found[name] = step(options, name, limit, log)
            print(f"{name}: {found[name]}", flush=True)
            Path(options.out, "gpu.json").write_text(json.dumps(found, indent=1))
    show(found)
    print(json.dumps({"benchmark": "gpu", "seconds": round(measure.now() - began, 1), **found}))
    sys.exit(any(result.get("code") for result in found.values()))


if __name__ == "__main__":
    main()
