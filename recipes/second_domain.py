"""Fine-tunes the demo checkpoint on shapes that are new to it, with three seeds: python recipes/second_domain.py.

Draws the datasets unless they are there, trains, and prints NDCG@10 on the new shapes and at home, before and after,
with the medians; the last line is JSON. ``--draw`` only draws; ``--smoke`` is the same way with hardly any training.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys

from measuring import measure, run
from shapes.drawings import write_datasets

FLAGS = "--batch-size 64 --mini-batch 64 --lr 4e-5 --scale 50 --schedule cosine"
ROWS, QUERIES, STEPS = 4_000, 500, 100  # rows of each domain to train on, queries of the evaluation
SMOKE = 128, 50, 2


def main() -> int:
    """Draw, train and measure for each seed, then print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="drawings", metavar="DIR", help="where the datasets are kept")
    parser.add_argument("--work", default="second-domain", metavar="DIR")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--draw", action="store_true", help="only draw the datasets")
    parser.add_argument("--smoke", action="store_true", help="a little of everything")
    given = parser.parse_args()
    rows, queries, steps = SMOKE if given.smoke else (ROWS, QUERIES, STEPS)
    if not os.path.exists(given.data):
        write_datasets(f"{given.data}.part", {"away": rows, "home": rows}, queries)
        os.rename(f"{given.data}.part", given.data)
    if given.draw:
        return 0
    models = ["demo"]
    for seed in given.seeds:
        out = os.path.join(given.work, f"seed-{seed}")
        # As many rows of the shapes at home: without them it is forgotten (benchmarks/LOG.md).
        sets = [f"{given.data}/{name}.parquet" for name in ("away", "home")]
        flags = (*FLAGS.split(), "--steps", str(steps), "--seed", str(seed))
        run("train", *sets, "--model", "demo", "--out", out, *flags)
        models.append(out)
    table: dict[str, list[float]] = {}
    for name in ("away-eval", "core"):
        measured = measure(f"{given.data}/{name}.parquet", models, os.path.join(given.work, name))
        table[name] = [row["metrics"]["ndcg@10"] for row in measured]
    print("| NDCG@10 | demo | fine-tuned, by seed | median | change |\n|---|---|---|---|---|")
    changes = {}
    for name, label in (("away-eval", "new shapes"), ("core", "home")):
        before, *after = table[name]
        median = statistics.median(after)
        changes[name] = round(median - before, 4)
        cells = ", ".join(f"{value:.4f}" for value in after)
        print(f"| {label} | {before:.4f} | {cells} | {median:.4f} | {median - before:+.4f} |")
    print(json.dumps({"ndcg@10": table, "change of the median": changes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
