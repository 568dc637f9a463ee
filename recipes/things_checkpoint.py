"""Trains the demo model, which knows everyday things, from random weights: python recipes/things_checkpoint.py.

One command does everything: it fetches the packages, renders their drawings, draws the scenes of each stage,
trains stage by stage with ``imgsearch train`` and measures with ``imgsearch eval``. Stopped or killed at any
moment, the same command goes on: at the last checkpoint, which is a few minutes old at most. ``--install`` puts the
result where ``--model demo`` finds it, and a gallery where ``imgsearch demo`` does; ``--smoke`` is the same way with
hardly any training.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from imgsearch.machine import cores
from imgsearch.model.locate import DEMO_FOLDER
from imgsearch.tools.demo.gallery import GALLERY
from local_attention import attend_to_neighbours
from measuring import measure, run
from random_checkpoint import PUBLISHED_2B, TERSE_TEMPLATE, write_random_checkpoint
from shapes.captions import caption as shape_caption
from shapes.scene import KINDS as SHAPE_KINDS
from shapes.scene import draw_scene
from things import evaluation, packages
from things.artwork import Artwork, drawn_by, is_rendered, open_artwork, render_artwork
from things.card import model_card
from things.clipart import Clipart
from things.compose import open_photos
from things.gallery import make_gallery
from things.names import LANGUAGES, Drawings, known_names, read_things
from things.scenes import KINDS, Pool
from things.shapes import SHAPES_STYLE, draw_shape_of, shape_things
from things.stages import FULL, SMOKE, Stage, write_stage
from things.wording import caption

MIN_PIXELS, MAX_PIXELS = 2_304, 5_120  # 48 × 48 to 64 × 80 pixels: 9 to 20 tokens
DIMS = "256,128,64"
# Of a row of results: what tables are made of, and no folders of a machine.
KEPT = ("parameters", "dim", "max_pixels", "dtype", "dims")
VOCABULARY = 10_000  # nearly every English name in as many tokens as it has words
SIZES: dict[str, Any] = PUBLISHED_2B | {
    "text_config": PUBLISHED_2B["text_config"]
    | {
        "head_dim": 48,
        "hidden_size": 256,
        "intermediate_size": 640,
        "max_position_embeddings": 4096,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [8, 8, 8], "rope_type": "default"},
        "rope_theta": 10_000,
        "vocab_size": VOCABULARY + 40,
    },
    "vision_config": PUBLISHED_2B["vision_config"]
    | {
        "deepstack_visual_indexes": [2],
        "depth": 6,
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_heads": 4,
        "num_position_embeddings": 100,
        "out_hidden_size": 256,
        "patch_size": 8,
    },
}
"""The architecture of the published 2B model, both towers, deepstack, mrope and tied embeddings, in small: 8.2 million
parameters."""
# So that an image's vector says what stands where before anything is learned: with small position embeddings it
# doesn't. And token embeddings so small that the few steps which a name gets move them far: both together teach names
# five times as fast, and attention that begins at the neighbours once more 1.4 times (benchmarks/LOG.md).
FIRST_WEIGHTS = {"pos_embed": 1.0, "attn.proj": 0.5, "mlp.linear_fc2": 1.0, "embed_tokens": 0.002}
# No instruction: a prompt of the same twenty tokens each time would be half of what there is to compute.
ALWAYS = (
    "--batch-size 64 --mini-batch 64 --lr 1e-3 --weight-decay 0.01 --log-steps 50 --query-prompt= --document-prompt= "
    f"--dims {DIMS} --min-pixels {MIN_PIXELS} --max-pixels {MAX_PIXELS}"
).split()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run makes: its stages, the model's sizes, how much it measures, and after how many steps it saves.

    The tokenizer learns from so many ``captions``.
    """

    stages: Sequence[Stage]
    sizes: dict[str, Any]
    names: int = evaluation.NAMES_ASKED
    pairs: int = evaluation.PAIRS
    captions: int = 30_000
    save_steps: int = 100
    seed: int = 42
    scale: float = 1.0


def prepare(cache: str) -> tuple[Artwork, list[Image.Image]]:
    """Fetch what is not in ``cache`` yet, render it there, and return the drawings and the photographs."""
    folders = {style: packages.fetch(package, cache) for style, package in packages.STYLES.items()}
    names, photos, clipart = (
        packages.fetch(package, cache) for package in (packages.NAMES, packages.PHOTOS, packages.CLIPART)
    )
    icons = [packages.fetch(package, cache) for package in packages.ICONS]
    if not is_rendered(artwork := artwork_folder(cache), (*packages.TRAINING_STYLES, SHAPES_STYLE)):
        print("rendering the drawings, which takes a few minutes", flush=True)
        things = read_things(names, [folders["noto"]])
        known = known_names(things, folders.values())
        styles = {style: drawn_by(Drawings(folder, known)) for style, folder in folders.items()}
        styles |= {
            SHAPES_STYLE: draw_shape_of,
            packages.CLIPART_STYLE: drawn_by(Clipart(clipart, things)),
            packages.ICONS_STYLE: drawn_by(*(Drawings(folder, known, most=2) for folder in icons)),
        }
        render_artwork(artwork, [*things, *shape_things()], styles)
    return open_artwork(artwork), open_photos(photos, packages.PHOTO_FILES)


def artwork_folder(cache: str) -> str:
    """Return where in the cache the rendered drawings lie."""
    return os.path.join(cache, "artwork")


def write_untrained(folder: str, artwork: Artwork, sizes: dict[str, Any], captions: int) -> None:
    """Write the checkpoint that training starts from: random weights, and a tokenizer that knows the captions."""
    chance = random.Random("vocabulary")
    pool = Pool(artwork, (*packages.TRAINING_STYLES, SHAPES_STYLE))
    said = [
        caption(artwork, pool.draw(chance.choice(KINDS), chance), chance, language)
        for language in LANGUAGES
        for _ in range(captions * 2 // 5 if language == "en" else captions // 5)
    ]
    said += [
        shape_caption(draw_scene(kind, chance), chance) for kind in SHAPE_KINDS for _ in range(captions // 75)
    ]
    write_random_checkpoint(
        folder,
        sizes,
        post_processor_eot=False,
        sentences=said,
        vocabulary=VOCABULARY,
        template=TERSE_TEMPLATE,
        gains=FIRST_WEIGHTS,
    )
    attend_to_neighbours(folder)


def make(plan: Plan, cache: str, work: str, processes: int) -> str:
    """Make everything that is not there yet; return the folder of the trained model, with its card and figures."""
    artwork, photos = prepare(cache)
    data, untrained = os.path.join(work, "data"), os.path.join(work, "untrained")
    print("drawing what it is measured on", flush=True)
    stamps = packages.fetch(packages.STAMPS, cache)
    evaluation.write_evaluation(data, artwork, photos, stamps, plan.names, plan.pairs)
    if not os.path.exists(untrained):
        write_untrained(f"{untrained}.part", artwork, plan.sizes, plan.captions)
        os.rename(f"{untrained}.part", untrained)
    trained, seconds = untrained, 0.0
    for number, stage in enumerate(plan.stages, start=1):
        out = os.path.join(work, f"{number}-{stage.name}")
        if not is_trained(out):
            print(f"drawing stage {number} of {len(plan.stages)}: {stage.name}", flush=True)
            rows = write_stage(data, stage, artwork_folder(cache), photos, processes)
            run(
                "train", *rows, "--model", trained, "--force-model", "--out", out, *flags_of(plan, stage, out)
            )
        with open(os.path.join(out, "metrics.json"), encoding="utf-8") as file:
            seconds += training_time(json.load(file))
        trained = out
    figures = measured(plan, data, untrained, trained, os.path.join(work, "figures"))
    figures["minutes"] = round(seconds / 60)
    evaluation.keep(os.path.join(trained, "figures.json"), figures)
    with open(os.path.join(trained, "README.md"), "w", encoding="utf-8") as file:
        file.write(model_card(figures, os.path.getsize(os.path.join(trained, "model.safetensors"))))
    return trained


def is_trained(out: str) -> bool:
    """Say whether a stage is finished: ``modules.json`` is what train writes last."""
    return os.path.exists(os.path.join(out, "modules.json"))


def training_time(log: Sequence[dict[str, Any]]) -> float:
    """Return how many seconds a stage's steps take at their median pace: what else the machine did is left out."""
    timed = [entry for entry in log if "seconds" in entry]
    if not timed:
        return 0.0
    steps = [0, *(entry["step"] for entry in timed)]
    lengths = [now - before for before, now in itertools.pairwise(steps)]
    paces = [entry["seconds"] / length for entry, length in zip(timed, lengths, strict=True)]
    seconds: float = statistics.median(paces) * steps[-1]
    return seconds


def flags_of(plan: Plan, stage: Stage, out: str) -> list[str]:
    """Return the flags of a stage's ``imgsearch train``; a run that was begun goes on."""
    steps = max(1, round(stage.steps * plan.scale))
    flags = [*ALWAYS, *stage.flags.split(), "--steps", str(steps), "--save-steps", str(plan.save_steps)]
    flags += ["--seed", str(plan.seed)]
    return [*flags, "--resume"] if os.path.isdir(out) else flags


def measured(plan: Plan, data: str, untrained: str, trained: str, out: str) -> dict[str, Any]:
    """Measure both models on every set; return what ``evaluation``'s tables are made of."""

    def rows(name: str, models: list[str], *more: str) -> list[dict[str, Any]]:
        flags = ("--max-pixels", str(MAX_PIXELS), "--dims", DIMS, *more)
        found = measure(os.path.join(data, f"{name}.parquet"), models, os.path.join(out, name), *flags)
        return [{key: row[key] for key in KEPT} for row in found]

    both = [untrained, trained]
    dtypes = {
        dtype: rows("new-style-en", [trained], "--dtype", dtype)[0] for dtype in ("float32", "bfloat16")
    }
    try:
        dtypes["int8"] = rows("new-style-en", [trained], "--dtype", "int8")[0]
    except subprocess.CalledProcessError:
        print("int8 is left out of the table: this machine can't compute in it", flush=True)
    return {
        "sets": {name: rows(name, both, "--dtype", "float32") for name in evaluation.SETS},
        "pairs": rows("pairs", both, "--dtype", "float32"),
        "compositions": rows("compositions", both, "--dtype", "float32"),
        "dtypes": dtypes,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments, make the model, and install it if that is asked for; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", metavar="DIR", help="where data and stages are kept (default: things-checkpoint)"
    )
    parser.add_argument(
        "--cache",
        metavar="DIR",
        default=os.path.expanduser("~/.cache/imgsearch-recipes"),
        help="where packages and rendered drawings are kept",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="train so many times as long (default: 1)")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--processes", type=int, default=cores.usable().count, help="how many draw at a time")
    parser.add_argument("--draw", action="store_true", help="only fetch, render and draw what is measured on")
    parser.add_argument(
        "--smoke", action="store_true", help="a few steps of each stage; nothing is installed"
    )
    parser.add_argument("--install", action="store_true", help="put the model where --model demo finds it")
    given = parser.parse_args(arguments)
    plan = Plan(FULL, SIZES, seed=given.seed, scale=given.scale)
    if given.smoke:
        plan = Plan(SMOKE, SIZES, names=20, pairs=4, captions=3_000, save_steps=2, seed=given.seed)
    # A run in earnest must not go on from what a smoke run has left.
    work = os.path.abspath(given.work or (tempfile.mkdtemp() if given.smoke else "things-checkpoint"))
    cache = os.path.abspath(given.cache)
    if given.draw:
        artwork, photos = prepare(cache)
        data, stamps = os.path.join(work, "data"), packages.fetch(packages.STAMPS, cache)
        evaluation.write_evaluation(data, artwork, photos, stamps, plan.names, plan.pairs)
        return 0
    trained = make(plan, cache, work, given.processes)
    if given.install and not given.smoke:
        shutil.rmtree(DEMO_FOLDER, ignore_errors=True)
        shutil.copytree(trained, DEMO_FOLDER, ignore=shutil.ignore_patterns("metrics.json", "checkpoints"))
        photos = prepare(cache)[1]
        make_gallery(GALLERY, os.path.join(work, "gallery-artwork"), cache, photos)
        print(f"installed in {DEMO_FOLDER}; what the demo shows is in {GALLERY}")
    print(f"the model is in {trained}; its card is README.md there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
