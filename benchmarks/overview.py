"""The overview: how long the groups of a collection take to find, how much memory that takes, and if they are right.

Theory: k-means over a sample of 12,000 vectors in 60 groups is 20 passes of 3 GFLOP, a second on 2 cores; every other
vector is compared once with 60 centres, 0.25 MFLOP each, which for 100,000 of 2,048 dimensions is less than it takes to
read and convert them. So some 3 s at 100,000, and 150 MB besides what is read. Naming is a product of 60 × 400 vectors;
the words' vectors take the model once: 400 short texts.

    python benchmarks/overview.py [--rows 100000] [--dim 2048] [--cores 2]      seconds and memory, files cached
    python benchmarks/overview.py --words [--model DIR]                         seconds for the words' vectors

The first prints the seconds of a first overview (by folder and date: invented vectors have no words), and of the next
one, which is kept; the peak of anonymous memory; the bytes that are kept. Then purity: of groups drawn far apart (64 of
them, with a part in common), what share of images is with those of its own, and how many groups were found. The index
is made in --work and used again.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time

import measure

MEASURE = """
import sys
import measure
measure.on_cores(int(sys.argv[2]))
import overview
print(measure.json.dumps(overview.seconds(sys.argv[1])))
"""


def seconds(folder: str) -> dict[str, float]:
    """Time a first overview of an index, and those after it."""
    from imgsearch.index import side_db
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search.overview import _KEPT, _key, overview_of
    from imgsearch.search.overview.naming import shipped_words

    for ending in ("", "-journal"):
        path = os.path.join(folder, side_db.NAME + ending)
        if os.path.exists(path):
            os.unlink(path)
    found: dict[str, float] = {}
    with ImageIndex(folder) as index:
        index.sample(1_000)
        for block in range(2):  # the files are cached then
            del block
            index.with_views(lambda views: [view.segment.read(0, len(view.segment)).sum() for view in views])
        before = measure.memory()["RssAnon"]
        with measure.peak() as peak:
            began = measure.now()
            made = overview_of(index, None)
            found["first_s"] = measure.now() - began
        found["peak_mb"] = peak[0] - before
        began = measure.now()
        overview_of(index, None)
        found["kept_s"] = measure.now() - began
        kept = side_db.cached_bytes(folder, _KEPT, _key(index, None, shipped_words()))
        found["kept_bytes"] = len(kept or b"")
        found["groups"] = len(made.clusters)
    return found


def purity(groups: int = 64, each: int = 400, dim: int = 2048) -> dict[str, float]:
    """Return how well groups are found that are there."""
    import numpy as np

    from imgsearch.index.ann.kmeans import find_centres

    random = np.random.default_rng(0)
    centres = random.standard_normal((groups, dim)) + 2 * random.standard_normal(dim)
    found: dict[str, float] = {}
    for spread in (0.5, 1.0, 2.0):
        of = np.repeat(np.arange(groups), each)
        rows = centres[of] + spread * random.standard_normal((len(of), dim))
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        made = find_centres(rows[:: max(1, len(rows) // 12_000)], 100)
        labels, _ = made.nearest(rows.astype(np.float16))
        right = sum(int(np.bincount(of[labels == one]).max()) for one in np.unique(labels))
        found |= {f"purity_{spread:g}": right / len(of), f"found_{spread:g}": len(made.directions)}
    return found


def words(model: str | None) -> dict[str, float]:
    """Time the words' vectors with a model, once it is loaded."""
    from imgsearch.client import load_local_encoder
    from imgsearch.search.overview.naming import shipped_words
    from imgsearch.spec import choose_spec
    from imgsearch.types import Input, ModelOptions, Silent

    choice = ModelOptions(model=model)
    checkpoint, spec = choose_spec(choice, Silent())
    encoder = load_local_encoder(checkpoint, spec, choice, Silent())
    texts = [text for _, text in shipped_words()]
    encoder.embed([Input(text="a photo", instruction=spec.query_prompt)])
    began = time.perf_counter()
    for start in range(0, len(texts), 16):
        encoder.embed([Input(text=text, instruction=spec.query_prompt) for text in texts[start : start + 16]])
    return {"words": len(texts), "words_s": time.perf_counter() - began}


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--model")
    parser.add_argument("--work", default=os.path.join(tempfile.gettempdir(), "imgsearch-benchmarks"))
    options = parser.parse_args()
    if options.words:
        found = words(options.model)
    else:
        import synthetic

        folder, _ = synthetic.make_index(options.work, options.rows, options.dim)
        found = measure.run(MEASURE, folder, str(options.cores)) | purity(dim=options.dim)
    for name, value in found.items():
        print(f"{name:<14} {value:12,.3f}")
    print(json.dumps({"benchmark": "overview", "rows": options.rows, "dim": options.dim, **found}))


if __name__ == "__main__":
    main()
