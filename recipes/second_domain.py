"""Fine-tunes the demo checkpoint on shapes it has never seen, with three seeds: python recipes/second_domain.py.

Prints NDCG@10 on the new shapes and at home, before and after, with the medians; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics

from demo_checkpoint import measure, run

FLAGS = "--batch-size 64 --mini-batch 64 --lr 4e-5 --scale 50 --schedule cosine --steps 100"


def main() -> None:
    """Train and measure for each seed, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="drawings", help="what demo_checkpoint.py --draw has written")
    parser.add_argument("--work", default="second-domain", metavar="DIR")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    given = parser.parse_args()
    models = ["demo"]
    for seed in given.seeds:
        out = os.path.join(given.work, f"seed-{seed}")
        # As many rows of the shapes at home: without them it is forgotten (benchmarks/LOG.md).
        sets = [f"{given.data}/{name}.parquet" for name in ("away", "home")]
        run("train", *sets, "--model", "demo", "--out", out, *FLAGS.split(), "--seed", str(seed))
        models.append(out)
    table: dict[str, list[float]] = {}
    for name in ("away-eval", "core"):
        rows = measure(f"{given.data}/{name}.parquet", models, os.path.join(given.work, name))
        table[name] = [row["metrics"]["ndcg@10"] for row in rows]
    print("| NDCG@10 | demo | fine-tuned, by seed | median | change |\n|---|---|---|---|---|")
    changes = {}
    for name, label in (("away-eval", "new shapes"), ("core", "home")):
        before, *after = table[name]
        median = statistics.median(after)
        changes[name] = round(median - before, 4)
        cells = ", ".join(f"{value:.4f}" for value in after)
        print(f"| {label} | {before:.4f} | {cells} | {median:.4f} | {median - before:+.4f} |")
    print(json.dumps({"ndcg@10": table, "change of the median": changes}))


if __name__ == "__main__":
    main()
