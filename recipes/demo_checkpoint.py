"""Trains the demo checkpoint from random weights and puts it into the package: python recipes/demo_checkpoint.py.

One command makes everything anew: the datasets are drawn, a random checkpoint of the demo's size is written,
``imgsearch train`` teaches it stage by stage, from the easy attributes to all of them, ``imgsearch eval`` measures
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
import tempfile
from dataclasses import dataclass
from typing import Any

from card import model_card
from imgsearch.model.locate import DEMO_FOLDER
from random_checkpoint import PUBLISHED_2B, write_random_checkpoint
from shapes.captions import caption
from shapes.drawings import write_datasets
from shapes.scene import KINDS, draw_scene

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
    write_random_checkpoint(folder, SIZES, seed=seed, post_processor_eot=False, sentences=prompt + captions)


CORE_QUERIES, AWAY = 500, 4_000  # queries of the evaluation, training rows of the second domain


@dataclass(frozen=True)
class Stage:
    """One run of ``imgsearch train``: the dataset, how many rows of it are drawn, and its flags."""

    dataset: str
    rows: int
    flags: str


_ALWAYS = "--batch-size 64 --mini-batch 64 --lr 1e-3 --weight-decay 0.01 --log-steps 50"
# Colder, for what differs little; and without the smallest dimension, to which the others would be held.
_COLD = "--scale 50 --dims 192,96,48"
FULL = (
    Stage("colours", 40_000, "--schedule constant"),
    Stage("shapes", 16_000, "--schedule constant --warmup 0.05 --epochs 2"),
    Stage("focus", 48_000, "--schedule constant"),
    Stage("mixed", 64_000, f"--schedule cosine --warmup 0.03 --steps 2700 {_COLD}"),
    Stage("last", 40_000, f"--schedule cosine --warmup 0.03 --steps 1800 {_COLD}"),
    Stage(
        "last", 40_000, f"--schedule cosine --warmup 0.05 --steps 700 --lr 7e-4 {_COLD} --save-dtype float16"
    ),
)
"""Colours come first, since they are what is learned at once; then, of few colours, shape and count; then the rest."""
SMOKE = (
    Stage("colours", 2_000, "--schedule constant"),
    *(Stage(name, 320, "--schedule constant") for name in ("shapes", "focus", "mixed")),
    Stage("last", 320, f"{_COLD} --save-dtype float16"),
)


def run(*arguments: str) -> None:
    """Run one imgsearch command, shown first; CalledProcessError if it fails."""
    print("+ imgsearch", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "imgsearch", *arguments], check=True)


def measure(dataset: str, models: list[str], out: str, *more: str) -> list[dict[str, Any]]:
    """Run ``imgsearch eval`` on the models, with ``more`` flags; return a row of results for each."""
    flags = [flag for model in models for flag in ("--model", model)]
    run("eval", dataset, *flags, "--force-model", *more, "--batch-size", "64", "--out", out)
    with open(os.path.join(out, "results.json"), encoding="utf-8") as file:
        rows: list[dict[str, Any]] = json.load(file)["rows"]
    return rows


def main() -> int:
    """Draw, train stage by stage, measure, and install into the package; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", metavar="DIR", help="where data and stages are kept; an interrupted run goes on there"
    )
    parser.add_argument(
        "--draw", metavar="DIR", help="only draw: evaluation sets, second domain, random checkpoint"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="a little of everything in a few minutes; nothing is installed"
    )
    parser.add_argument("--seed", default="42")
    given = parser.parse_args()
    queries, away = (50, 128) if given.smoke else (CORE_QUERIES, AWAY)
    if given.draw:
        write_datasets(given.draw, {"away": away, "home": away}, queries)
        write_untrained(os.path.join(given.draw, "untrained"))
        return 0
    stages = SMOKE if given.smoke else FULL
    work = os.path.abspath(given.work or (tempfile.mkdtemp() if given.smoke else "demo-checkpoint"))
    data, untrained = os.path.join(work, "data"), os.path.join(work, "untrained")
    rows = {stage.dataset: stage.rows for stage in stages}
    if not os.path.exists(data):
        write_datasets(f"{data}.partial", rows, queries)
        os.rename(f"{data}.partial", data)
        write_untrained(untrained)
    budget = f"--min-pixels {MIN_PIXELS} --max-pixels {MAX_PIXELS}"
    trained, seconds = untrained, 0.0
    for number, stage in enumerate(stages, start=1):
        out = os.path.join(work, f"{number}-{stage.dataset}")
        flags = f"{_ALWAYS} {budget} {stage.flags} --seed {given.seed}".split()
        if os.path.isdir(out):
            flags.append("--resume")
        if not os.path.exists(os.path.join(out, "modules.json")):  # which train writes last
            run(
                "train",
                f"{data}/{stage.dataset}.parquet",
                "--model",
                trained,
                "--force-model",
                "--out",
                out,
                *flags,
            )
        trained = out
        with open(os.path.join(out, "metrics.json"), encoding="utf-8") as file:
            seconds += json.load(file)[-1]["train_runtime"]
    models = [untrained, trained]
    # The random checkpoint says nothing of its pixels and dimensions; both are measured alike.
    alike = ["--max-pixels", str(MAX_PIXELS), "--dims", "192,96,48"]
    core = measure(f"{data}/core.parquet", models, os.path.join(work, "eval-core"), *alike)
    pairs = measure(f"{data}/pairs.parquet", models, os.path.join(work, "eval-pairs"), *alike)
    size = os.path.getsize(os.path.join(trained, "model.safetensors"))
    card = model_card(core, pairs, size, rows, round(seconds / 60))
    with open(os.path.join(trained, "README.md"), "w", encoding="utf-8") as file:
        file.write(card)
    if given.smoke:
        lifted = core[1]["metrics"]["ndcg@10"] > 2 * core[0]["metrics"]["ndcg@10"]
        print("the smoke recipe", "lifts NDCG@10 to more than twice" if lifted else "DOES NOT LIFT NDCG@10")
        return 0 if lifted else 1
    shutil.rmtree(DEMO_FOLDER, ignore_errors=True)
    shutil.copytree(trained, DEMO_FOLDER, ignore=shutil.ignore_patterns("metrics.json", "checkpoints"))
    print(f"installed in {DEMO_FOLDER} after {seconds / 60:.0f} minutes of training")
    return 0


if __name__ == "__main__":
    sys.exit(main())
