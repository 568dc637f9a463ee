"""How fast, how exact and how heavy a search by vector is, beside FAISS's own exact indexes in the same run.

Theory: with codes a query reads 264 bytes a vector (dim / 8 and a few) where Flat reads 4 × dim, then 500 exact rows;
so 100,000 × 2,048 is 26 MB and some 2 ms against 800 MB and some 60 ms. Targets: 100,000 × 2,048 on one thread at most
5 ms, recall@10 at least 0.999, 8 times as fast as Flat; 1,000,000 × 2,048 on 2 cores at most 25 ms, at most 450 MB
resident, recall at least 0.995 on both kinds of question; 10,000,000 × 512 at most 60 ms.

    python benchmarks/vector_search.py --rows 100000 --dim 2048 --threads 1
    python benchmarks/vector_search.py --rows 1000000 --dim 2048 --threads 2
    python benchmarks/vector_search.py --rows 10000000 --dim 512

Ours is ImageIndex.search with k = 10: pictures with their paths and exact scores, not row numbers. It is timed alone
(one question after another) and in turn with the others (A B C, A B C), where each finds the processor's cache full
of the others' vectors. Flat takes dim × 4 bytes a vector of memory; where that is too much for the machine it is left
out (--no-flat leaves both out). Memory is that of a fresh process that has opened the index and answered 200
questions; mapped files that stay in memory only while nobody else needs it stand apart. The index is made in --work
and used again.
"""

from __future__ import annotations

import argparse
import os

import measure

SERVE = """
import sys
import measure
began = measure.now()
from imgsearch.index.reader import ImageIndex
import numpy as np
imported = measure.now()
queries = np.load(sys.argv[2])
with ImageIndex(sys.argv[1]) as index:
    opened = measure.now()
    index.search(queries[:1], 10)
    answered = measure.now()
    for number in range(1, len(queries)):
        index.search(queries[number : number + 1], 10)
    memory = measure.memory()
print(measure.json.dumps({
    "import_ms": (imported - began) * 1e3, "open_ms": (opened - imported) * 1e3,
    "first_query_ms": (answered - opened) * 1e3, **memory,
}))
"""


def main() -> None:
    """Make the index, ask, print tables and one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--threads", type=int, help="cores to use; default all")
    parser.add_argument("--queries", type=int, default=200, help="of each kind")
    parser.add_argument("--no-flat", action="store_true", help="leave FAISS's exact indexes out")
    parser.add_argument("--work", default="/tmp/imgsearch-benchmarks", help="where indexes are kept")
    options = parser.parse_args()
    # The index is made on all cores, before this process is kept on one.
    measure.run(
        "import sys, synthetic; synthetic.make_index(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])); print('{}')",
        options.work, str(options.rows), str(options.dim),
    )  # fmt: skip
    threads = measure.on_cores(options.threads)

    import faiss
    import numpy as np

    import synthetic
    from imgsearch.index.reader import ImageIndex

    faiss.omp_set_num_threads(threads)
    folder, made = synthetic.make_index(options.work, options.rows, options.dim)
    distribution = synthetic.Distribution(options.dim)
    asked = {
        "image": distribution.picture_queries(options.queries),
        "text": distribution.word_queries(options.queries),
    }
    both = np.concatenate(list(asked.values()))
    true = synthetic.truth(folder, both, options.rows)
    result: dict[str, object] = {"rows": options.rows, "dim": options.dim, "threads": threads, **made}

    with ImageIndex(folder) as index:

        def ours(number: int) -> list[int]:
            (hits,) = index.search(both[number : number + 1], 10)
            return [synthetic.number_of(record.paths[0]) for record, _ in hits]

        for number in range(5):
            ours(number)
        print(f"{options.rows:,} × {options.dim}, {threads} threads, {index.strategy}\n")
        found = np.array([ours(number) for number in range(len(both))])
        print(f"{'':28}{'recall@10':>10}{'median':>10}{'p95':>10}")
        alone: list[float] = []
        for kind, here in (("image", slice(0, options.queries)), ("text", slice(options.queries, None))):
            start = here.start
            taken = measure.alternate({"ours": lambda n, s=start: ours(s + n)}, options.queries)["ours"]
            alone += taken
            share, speed = synthetic.recall(found[here], true[here]), measure.quantiles(taken)
            result[kind] = {"recall@10": share, **speed}
            print(_line(f"ours, alone, {kind}", speed, share))
        result["alone"] = measure.quantiles(alone)

        contenders = {
            "ours": ours,
            **({} if options.no_flat else _flat(folder, options.rows, options.dim, both)),
        }
        if len(contenders) > 1:
            rounds = min(len(both), 60)
            order = np.random.default_rng(0).permutation(len(both))
            turns = {name: (lambda n, ask=ask: ask(int(order[n]))) for name, ask in contenders.items()}
            measure.alternate(turns, 2)
            result["in_turn"] = {
                name: measure.quantiles(taken) for name, taken in measure.alternate(turns, rounds).items()
            }
            for name, speed in result["in_turn"].items():
                print(_line(f"{name}, in turn", speed))
            for name in list(contenders)[1:]:
                own = measure.quantiles(measure.alternate({name: turns[name]}, rounds)[name])
                print(_line(f"{name}, alone", own))
                ratios = {
                    "in turn": result["in_turn"][name]["median_ms"] / result["in_turn"]["ours"]["median_ms"],
                    "alone": own["median_ms"] / result["alone"]["median_ms"],
                }
                result[f"times_as_fast_as {name}"] = {how: round(ratio, 1) for how, ratio in ratios.items()}
                print(f"{ratios['in turn']:.1f} times as fast as {name} in turn, {ratios['alone']:.1f} alone")
        contenders.clear()

    questions = os.path.join(os.path.dirname(folder), "questions.npy")
    np.save(questions, both[np.random.default_rng(1).permutation(len(both))[:200]])
    result["serve"] = warm = measure.run(SERVE, folder, questions)
    measure.forget(folder)
    result["serve_uncached"] = cold = measure.run(SERVE, folder, questions)
    print(
        f"\na fresh process after 200 questions: {warm['VmRSS']:.0f} MB resident, {warm['RssAnon']:.0f} of them its "
        f"own, {warm['RssFile']:.0f} of files"
    )
    for name, run in (("files cached", warm), ("files not cached", cold)):
        print(
            f"{name:17} import {run['import_ms']:.0f} ms, open {run['open_ms']:.0f} ms, "
            f"first question {run['first_query_ms']:.0f} ms"
        )
    parts = {
        name: measure.size(os.path.join(folder, name)) for name in ("vectors", "faiss", "catalog.sqlite")
    }
    result["bytes_per_vector"] = {name: round(bytes / options.rows, 1) for name, bytes in parts.items()}
    print(
        "bytes a vector on disk: "
        + ", ".join(f"{name} {bytes:,.0f}" for name, bytes in result["bytes_per_vector"].items())
    )
    print(
        f"made at {made['ingest_rows_s']:,.0f} durable rows a second, ANN files in {made['build_seconds']:.1f} s "
        f"with at most {made['build_anon_mb']:.0f} MB of its own"
    )
    print(measure.json.dumps({"benchmark": "vector_search", **result}))


def _flat(folder: str, rows: int, dim: int, queries: object) -> dict[str, object]:
    """Return FAISS's exact indexes of the same rows, those that a third of the free memory can hold, as contenders."""
    import faiss
    import numpy as np

    import synthetic

    kinds = {
        "Flat float32": (4, lambda: faiss.IndexFlatIP(dim)),
        "SQ float16": (
            2,
            lambda: faiss.IndexScalarQuantizer(
                dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
            ),
        ),
    }
    contenders = {}
    for name, (bytes, make) in kinds.items():
        if bytes * dim * rows > measure.available() / 3:
            print(f"{name} would take {bytes * dim * rows / 1e9:.1f} GB of memory; left out")
            continue
        flat = make()
        if not flat.is_trained:
            flat.train(np.zeros((1, dim), np.float32))
        for block in synthetic.stored(folder, dim):
            flat.add(block.astype(np.float32))
        contenders[name] = lambda number, flat=flat: flat.search(queries[number : number + 1], 10)[1][0]
    return contenders


def _line(name: str, speed: dict[str, float], share: float | None = None) -> str:
    shown = "" if share is None else f"{share:.4f}"
    return f"{name:28}{shown:>10}{speed['median_ms']:7.2f} ms{speed['p95_ms']:7.2f} ms"


if __name__ == "__main__":
    main()
