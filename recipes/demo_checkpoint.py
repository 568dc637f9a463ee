"""Trains the demo checkpoint from random weights and puts it into the package: python recipes/demo_checkpoint.py.

One command makes everything anew: the datasets are drawn, a random checkpoint of the demo's size is written,
``imgsearch train`` teaches it in four stages, from the easy attributes to all of them, ``imgsearch eval`` measures
it, and weights and model card go where ``--model demo`` finds them. ``--smoke`` is the same way in a few minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from imgsearch.drawing.caption import caption
from imgsearch.drawing.scene import KINDS, draw_scene
from imgsearch.model.random_checkpoint import PUBLISHED_2B, write_random_checkpoint
from imgsearch.model.weights import DEMO_FOLDER

from card import model_card
from drawings import write_datasets

MIN_PIXELS, MAX_PIXELS = 4_096, 5_120  # 64 × 64 to 64 × 80 pixels: 16 to 20 tokens
SIZES: dict[str, Any] = PUBLISHED_2B | {
    "text_config": PUBLISHED_2B["text_config"]
    | {
        "head_dim": 48,
        "hidden_size": 192,
        "intermediate_size": 448,
        "max_position_embeddings": 4096,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [8, 8, 8], "rope_type": "default"},
        "rope_theta": 10_000,
        "vocab_size": 640,
    },
    "vision_config": PUBLISHED_2B["vision_config"]
    | {
        "deepstack_visual_indexes": [2],
        "depth": 6,
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_heads": 4,
        "num_position_embeddings": 100,
        "out_hidden_size": 192,
        "patch_size": 8,
    },
}
"""The same architecture as the published 2B model, in small: both towers, deepstack, mrope, tied embeddings."""


def write_untrained(folder: str, seed: int = 0) -> None:
    """Write the checkpoint that training starts from: random weights, a tokenizer that knows the captions' words."""
    chance = random.Random(f"tokenizer {seed}")
    captions = [caption(draw_scene(kind, chance), chance) for kind in KINDS for _ in range(400)]
    prompt = ["Represent the user's input. system user assistant"] * 200
    write_random_checkpoint(folder, SIZES, seed=seed, sentences=prompt + captions)


CORE_QUERIES, AWAY = 500, 4_000  # queries of the evaluation, training rows of the second domain


@dataclass(frozen=True)
class Stage:
    """One run of ``imgsearch train``: the dataset, how many rows of it are drawn, and its flags."""

    dataset: str
    rows: int
    flags: tuple[str, ...]


_ALWAYS = (
    "--batch-size",
    "64",
    "--mini-batch",
    "64",
    "--lr",
    "1e-3",
    "--weight-decay",
    "0.01",
    "--log-steps",
    "50",
)
FULL = (
    Stage("colours", 40_000, ("--schedule", "constant")),
    Stage("shapes", 16_000, ("--schedule", "constant", "--warmup", "0.05", "--epochs", "2")),
    Stage("focus", 48_000, ("--schedule", "constant")),
    Stage(
        "mixed",
        80_000,
        ("--schedule", "cosine", "--warmup", "0.02", "--epochs", "3", "--save-dtype", "float16"),
    ),
)
"""Colours come first, since they are what is learned at once; then, of few colours, shape and count; then the rest."""
SMOKE = (
    Stage("colours", 4_000, ("--schedule", "constant")),
    *(Stage(name, 640, ("--schedule", "constant")) for name in ("shapes", "focus")),
    Stage("mixed", 640, ("--save-dtype", "float16")),
)


def run(*arguments: str) -> None:
    """Run one imgsearch command, shown first; CalledProcessError if it fails."""
    print("+ imgsearch", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "imgsearch", *arguments], check=True)


def measure(dataset: str, models: list[str], out: str) -> list[dict[str, Any]]:
    """Run ``imgsearch eval`` on the models; return a row of results for each."""
    flags = [flag for model in models for flag in ("--model", model)]
    run("eval", dataset, *flags, "--batch-size", "64", "--out", out)
    with open(os.path.join(out, "results.json"), encoding="utf-8") as file:
        rows: list[dict[str, Any]] = json.load(file)["rows"]
    return rows


def main() -> int:
    """Draw, train stage by stage, measure, and install into the package; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", default="demo-checkpoint", metavar="DIR", help="where data and stages are kept"
    )
    parser.add_argument(
        "--draw", metavar="DIR", help="only draw: evaluation sets, second domain, random checkpoint"
    )
    parser.add_argument("--smoke", action="store_true", help="a few minutes, and nothing is installed")
    parser.add_argument("--seed", default="42")
    given = parser.parse_args()
    if given.draw:
        write_datasets(given.draw, {"away": AWAY}, core=CORE_QUERIES)
        write_untrained(os.path.join(given.draw, "untrained"))
        return 0
    stages = SMOKE if given.smoke else FULL
    work = os.path.abspath(given.work)
    data, untrained = os.path.join(work, "data"), os.path.join(work, "untrained")
    began = time.monotonic()
    rows = {stage.dataset: stage.rows for stage in stages}
    write_datasets(data, rows, core=50 if given.smoke else CORE_QUERIES)
    write_untrained(untrained)
    budget = ("--min-pixels", str(MIN_PIXELS), "--max-pixels", str(MAX_PIXELS))
    trained = untrained
    for stage in stages:
        out = os.path.join(work, stage.dataset)
        flags = (*_ALWAYS, *budget, *stage.flags, "--seed", given.seed)
        run("train", f"{data}/{stage.dataset}.parquet", "--model", trained, "--out", out, *flags)
        trained = out
    minutes = (time.monotonic() - began) / 60
    # The untrained weights are measured as the trained ones are: with the same files around them.
    before = os.path.join(work, "before")
    shutil.copytree(trained, before, dirs_exist_ok=True)
    shutil.copy(os.path.join(untrained, "model.safetensors"), before)
    core = measure(f"{data}/core.parquet", [before, trained], os.path.join(work, "eval-core"))
    pairs = measure(f"{data}/pairs.parquet", [before, trained], os.path.join(work, "eval-pairs"))
    size = os.path.getsize(os.path.join(trained, "model.safetensors"))
    card = model_card(core, pairs, size, rows, round(minutes))
    with open(os.path.join(trained, "README.md"), "w", encoding="utf-8") as file:
        file.write(card)
    if given.smoke:
        lifted = core[1]["metrics"]["ndcg@10"] > 2 * core[0]["metrics"]["ndcg@10"]
        print("the smoke recipe", "lifts NDCG@10 to more than twice" if lifted else "DOES NOT LIFT NDCG@10")
        return 0 if lifted else 1
    shutil.rmtree(DEMO_FOLDER, ignore_errors=True)
    shutil.copytree(trained, DEMO_FOLDER, ignore=shutil.ignore_patterns("metrics.json", "checkpoints"))
    print(f"installed in {DEMO_FOLDER} after {minutes:.0f} minutes of drawing and training")
    return 0


if __name__ == "__main__":
    sys.exit(main())
