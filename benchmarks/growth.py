"""How latency, memory, disk, ingest and build grow with the number of pictures: a table, JSON and a plot.

Theory: bytes on disk, build seconds and memory of the codes grow with the rows (slope 1 in a log-log plot); memory
begins at what Python and FAISS take; ingest is as fast at the millionth row as at the first (slope 0, but for SQLite's
deeper trees); opening reads a manifest and no rows (slope 0); a query grows by less than the rows, because the exact
rerank costs the same everywhere and segments are searched side by side.

    python benchmarks/growth.py [--sizes 10000,100000,1000000] [--dim 2048] [--plot docs/img/growth.png]

Each size's figures come from fresh processes, files cached: 200 queries, half image-like and half text-like, through
ImageIndex.search on all cores. Ingest and build are those of the making of each index, which is kept in --work and
used again: give a new folder to have them anew. Below 20,000 rows no codes are built.
The slope is that of the straight line through the logarithms of the last two sizes.
"""

from __future__ import annotations

import argparse
import math
import os

import numpy as np

import measure
import synthetic

SERVE = """
import sys
import measure
from imgsearch.index.reader import ImageIndex
import numpy as np
import faiss
queries = np.load(sys.argv[2])
began = measure.now()
with ImageIndex(sys.argv[1]) as index:
    opened = measure.now()
    index.search(queries[:1], 10)
    first = measure.now()
    taken = measure.alternate({"ours": lambda n: index.search(queries[n : n + 1], 10)}, len(queries))["ours"]
    memory = measure.memory()
print(measure.json.dumps({
    **measure.quantiles(taken), "open_ms": (opened - began) * 1e3, "first_query_ms": (first - opened) * 1e3,
    "strategy": index.strategy.name, **memory,
}))
"""

# What is shown and plotted: name of the figure, unit, title.
FIGURES = (
    ("median_ms", "ms", "query, warm"),
    ("first_query_ms", "ms", "first query"),
    ("open_ms", "ms", "open"),
    ("VmRSS", "MB", "memory"),
    ("disk_mb", "MB", "disk"),
    ("ingest_rows_s", "rows/s", "durable ingest"),
    ("build_seconds", "s", "build of codes"),
)


def main() -> None:
    """Make the indexes, measure each, print a table and one line of JSON, draw the plot."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--work", default="/tmp/imgsearch-benchmarks", help="where indexes are kept")
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--plot", default=os.path.join(root, "docs", "img", "growth.png"))
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    distribution = synthetic.Distribution(options.dim)
    both = np.stack([distribution.picture_queries(100), distribution.word_queries(100)], 1).reshape(200, -1)
    found = []
    for rows in sizes:
        folder, made = synthetic.make_index(options.work, rows, options.dim)
        questions = os.path.join(os.path.dirname(folder), "questions.npy")
        np.save(questions, both)
        measure.run(SERVE, folder, questions)  # files into the cache
        one = {**measure.run(SERVE, folder, questions), **made, "disk_mb": measure.size(folder) / 1e6}
        if not made["files"]:
            one["build_seconds"] = 0.0
        found.append(one)
    slopes = {name: slope(sizes, [one[name] for one in found]) for name, _, _ in FIGURES}
    print(f"{'':16}{'':8}" + "".join(f"{rows:>13,}" for rows in sizes) + f"{'slope':>8}")
    for name, unit, title in FIGURES:
        row = "".join(f"{one[name]:>13,.1f}" for one in found)
        shown = "" if slopes[name] is None else f"{slopes[name]:.2f}"
        print(f"{title:16}{unit:8}{row}{shown:>8}")
    print(f"{'strategy':24}" + "".join(f"{one['strategy']:>13}" for one in found))
    plot(options.plot, sizes, found, slopes, options.dim)
    result = {"dim": options.dim, "sizes": dict(zip(map(str, sizes), found, strict=True)), "slopes": slopes}
    print(measure.json.dumps({"benchmark": "growth", **result}))


def slope(sizes: list[int], values: list[float]) -> float | None:
    """Return by which power of the rows a figure grows between the last two sizes; None where it is nothing."""
    if len(sizes) < 2 or min(values[-2:]) <= 0:
        return None
    return round(math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2]), 2)


def plot(
    path: str, sizes: list[int], found: list[dict[str, float]], slopes: dict[str, float | None], dim: int
) -> None:
    """Draw every figure over the number of pictures, both axes logarithmic, each with its slope."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(11, 6), layout="constrained")
    panels = [
        ("median_ms", "first_query_ms"),
        ("VmRSS",),
        ("disk_mb",),
        ("ingest_rows_s",),
        ("build_seconds",),
    ]
    panels.append(("open_ms",))
    titles = {name: (unit, title) for name, unit, title in FIGURES}
    for panel, names in zip(axes.flat, panels, strict=True):
        for name in names:
            unit, title = titles[name]
            steep = "" if slopes[name] is None else f", slope {slopes[name]:.2f}"
            here = [(rows, one[name]) for rows, one in zip(sizes, found, strict=True) if one[name] > 0]
            panel.loglog(*zip(*here, strict=True), "o-", label=f"{title}{steep}")
            for rows, value in here:
                panel.annotate(f"{value:,.3g}" if value < 1000 else f"{value:,.0f}", (rows, value),
                               textcoords="offset points", xytext=(0, 6), ha="center", fontsize=8)  # fmt: skip
        panel.set_ylabel(unit)
        panel.margins(0.15, 0.4)
        panel.grid(True, which="major", alpha=0.3)
        panel.legend(fontsize=8, loc="upper left")
    figure.suptitle(f"pictures in the index ({dim:,} dimensions)", y=-0.03, fontsize=10)
    figure.savefig(path, dpi=80, bbox_inches="tight")


if __name__ == "__main__":
    main()
