"""A Milvus server beside our own index, on this machine: ingest, memory, latency, and recall at ten results.

Theory: both compute the same cosines, so they differ in how they find candidates (codes and a rerank here, a graph
there), in what a call costs (none here, gRPC and a wait for the newest writes there), and in where vectors lie
(mapped files here, the server's memory there, as float32 in 2.3). So our index should take less memory and ingest
faster, and win on latency where searches are few and one at a time; a server is for many machines.

    make .venv-stores/.ready && .venv-stores/bin/python benchmarks/stores.py --rows 1000000 --dim 256

Rows are those of filtering.py, with invented metadata; the index is made in --work and used again, the server is new
each time unless --data names a folder for it: there its data stay, what is missing is filled in, and the next call
with the same folder times the searches alone. It ends with the script. Prints one table: by filter how many images
pass, then milliseconds of a search for ten results, median and 95th percentile, and the recall of these against a
search of every row that passes: of our index, and of the server with strong and with bounded consistency, the three
asked in turn for each query. Above it: seconds and rows a second of filling the server from the index, what making
the index took, bytes on the disk, and resident memory. The server's graph is built after the rows have been flushed;
it is waited for until it has every row before anything is timed, and not for the merging of segments that follows,
which may take longer and slows searches down. Ctrl-C ends the filling; with --data the next call continues it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import filtering
import measure
import synthetic

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests"))

from imgsearch.index.reader import ImageIndex
from imgsearch.search.language.filtering import filters_of
from imgsearch.tools.stores import VectorStore, Wanted
from imgsearch.tools.stores.local import LocalStore
from imgsearch.tools.stores.milvus import MilvusStore
from imgsearch.tools.stores.server import Server
from imgsearch.tools.stores.sync import sync
from support.milvus_server import MilvusProcess

_FILTERS = (
    "none",
    "date, half",
    "date, 1 %",
    "date, 144",
    "keyword, 100",
    "camera, half",
    "folder, 1000",  # no pattern of names: all images would be fetched and checked, which takes a minute a search
)
_K = 10


class Asked:
    """Searches of one store: milliseconds, and what each found."""

    def __init__(self, store: VectorStore) -> None:
        """Begin with none."""
        self.store = store
        self.taken: list[float] = []
        self.found: list[set[bytes]] = []

    def ask(self, query: np.ndarray, wanted: Wanted) -> None:
        """Search once."""
        began = time.perf_counter()
        (hits,) = self.store.search(query[None], _K, wanted)
        self.taken.append(1e3 * (time.perf_counter() - began))
        self.found.append({image.sha256 for image, _ in hits})


def truth(index: ImageIndex, queries: np.ndarray, wanted: Wanted) -> list[set[bytes]]:
    """Return the nearest of all rows that pass."""
    found = index.search(queries, _K, exact=True, filters=wanted.filters, below=wanted.below)
    return [{record.sha256 for record, _ in hits} for hits in found]


def recall(found: list[set[bytes]], true: list[set[bytes]]) -> float:
    """Return the share of the true results that were found."""
    return sum(len(one & right) for one, right in zip(found, true, strict=True)) / max(1, sum(map(len, true)))


def wait_for_graph(store: MilvusStore) -> float:
    """Return the seconds until every row that the server has is in a graph."""
    began = time.perf_counter()
    store.flush()
    while True:
        told = store.server.call(lambda client: client.describe_index(store.collection, "vector"))
        # Rows that are pending beyond that are in a graph, too: the server merges segments for as long again.
        if int(told.get("indexed_rows", 0)) >= int(told.get("total_rows", 1)):
            store.server.call(lambda client: client.refresh_load(store.collection))
            return time.perf_counter() - began
        time.sleep(1)


def wanted_of(name: str, given: dict[str, Any], folder: str) -> Wanted:
    """Return a filter of filtering.py."""
    pictures = os.path.join(os.path.dirname(folder), "pictures")
    return Wanted(filters_of(**given), tuple(filtering.folders(name, pictures)))


def main() -> None:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--data", help="where the server's data stay, for the next call")
    parser.add_argument("--work", default="/tmp/imgsearch-benchmarks", help="where indexes are kept")
    options = parser.parse_args()
    folder, made = filtering.make_index(options.work, options.rows, options.dim)
    measure.run(filtering.BUILD, folder)
    data = Path(options.data or tempfile.mkdtemp(prefix="milvus-", dir=options.work))
    data.mkdir(parents=True, exist_ok=True)
    server = MilvusProcess(data)
    uri = f"http://{server.address}"
    result: dict[str, Any] = {"rows": options.rows, "dim": options.dim}
    try:
        with ImageIndex(folder) as index:
            local = LocalStore(index)
            strong = MilvusStore(Server(uri, uri), "photos", index.spec, create=True)
            there, began = strong.count(), time.perf_counter()
            try:
                sync(index, strong)
            except KeyboardInterrupt:
                print(f"{strong.count():,} images are in the server; call again to continue")
                return
            filled = time.perf_counter() - began
            print(f"{options.rows - there:,} images put in within {filled:.0f} s", file=sys.stderr)
            waited = wait_for_graph(strong)
            print(f"all of them are in its graph after {waited:.0f} s more", file=sys.stderr)
            bounded = MilvusStore(Server(uri, uri), "photos", index.spec, consistency="bounded")
            result["ingest"] = {
                "index_rows_s": made["ingest_rows_s"],
                "index_codes_s": made["build_seconds"],
                "server_rows": options.rows - there,
                "server_rows_s": (options.rows - there) / filled,
                "server_graph_s": waited,
            }
            queries = synthetic.Distribution(options.dim).word_queries(options.queries)
            table: dict[str, dict[str, float]] = {}
            for name in _FILTERS:
                wanted = wanted_of(name, filtering.kinds(options.rows)[name], folder)
                true = truth(index, queries, wanted)
                table[name] = {"pass": local.count(wanted) if wanted else options.rows}
                asked = {
                    whose: Asked(store)
                    for whose, store in (("index", local), ("strong", strong), ("bounded", bounded))
                }
                for number, query in enumerate([*queries[:2], *queries]):
                    for one in asked.values():
                        one.ask(query, wanted)
                        if number < 2:  # to warm up
                            one.taken.clear()
                            one.found.clear()
                for whose, one in asked.items():
                    table[name] |= {
                        f"{whose} p50": statistics.median(one.taken),
                        f"p95 {whose}": float(np.percentile(one.taken, 95)),
                        f"{whose} recall": recall(one.found, true),
                    }
            result["searches"] = table
            result["memory_mb"] = {
                "index": measure.memory()["RssAnon"],
                "index's files": measure.memory()["RssFile"],
                "server": server.memory / 1e6,
            }
            result["disk_mb"] = {"index": measure.size(folder) / 1e6, "server": measure.size(str(data)) / 1e6}
            strong.close()
            bounded.close()
    finally:
        server.stop()
    heads = list(next(iter(table.values())))
    print(f"{'':<14}" + "".join(f"{head:>15}" for head in heads))
    for name, told in table.items():
        print(
            f"{name:<14}"
            + "".join(
                f"{told[head]:>15,.{0 if head == 'pass' else 3 if 'rec' in head else 1}f}" for head in heads
            )
        )
    print(json.dumps({"benchmark": "stores", **result}))


if __name__ == "__main__":
    main()
