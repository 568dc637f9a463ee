"""The same vectors in other people's indexes and in ours, side by side: bytes, build, memory, latency, recall.

Theory: an exact scan reads every vector; a graph (HNSW) reads some hundreds of them and keeps all of them in memory;
compressed codes read a sixteenth of every vector, keep that in memory, and leave the vectors on the disk. So the graph
answers first, codes take the least memory and are built soonest, and the scans lose on time. Where a one-bit or 8-bit
form stands without an exact rerank, recall is lost.

    python -m venv DIR; DIR/bin/pip install -r benchmarks/peers-requirements.txt
    PYTHONPATH=src DIR/bin/python benchmarks/peers.py [--rows 100000] [--dim 2048]

imgsearch runs from src in the same process. Each contender stores the same float16 values (as float32 where it knows
nothing else), is built on all cores in a process of its own and kept in --work, then opened from its files on one
core. Those with a knob get, from a list, the first setting with which recall@10 is at least 0.99 on both kinds of
question, else the last one; it is shown. Then each question goes to each contender in turn (A B C, A B C), and once
more to each alone. Memory is the growth of a fresh process's resident memory by opening and 200 questions, mapped
files included; "first" is how long opening and the first of them took. Ours answers with paths and checked exact
scores, the others with row numbers, and its bytes include the catalogue of files (some 280 a vector); the others store
no names. The product that sorts the table is bytes on disk × milliseconds in turn, in GB · ms; beside it stand the
same of the memory, and bytes × first in GB · s, which is what a command pays that is started for one question.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
from collections.abc import Iterator
from typing import Any

import measure

BUILD = """
import sys
import measure, peers
one = peers.CONTENDERS[sys.argv[1]]()
with measure.peak() as peak:
    began = measure.now()
    one.build(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    seconds = measure.now() - began
print(measure.json.dumps({"build_seconds": seconds, "build_anon_mb": peak[0]}))
"""

SERVE = """
import sys
import measure, peers
import numpy as np
measure.on_cores(1)
one = peers.CONTENDERS[sys.argv[1]]()
queries = np.load(sys.argv[3])
one.warm()
before = measure.memory()["VmRSS"]
began = measure.now()
one.open(sys.argv[2], queries.shape[1])
one.ask(queries[0], one.knobs[int(sys.argv[4])])
first = measure.now() - began
for query in queries:
    one.ask(query, one.knobs[int(sys.argv[4])])
print(measure.json.dumps({"memory_mb": measure.memory()["VmRSS"] - before, "open_and_first_ms": first * 1e3}))
"""


class Contender:
    """An index that is built from stored rows, opened from its files and asked for the ten nearest."""

    knobs: tuple[Any, ...] = ("",)
    """Settings, from fast to exact."""

    def warm(self) -> None:
        """Import what it needs, which is nobody's index."""

    def build(self, folder: str, source: str, dim: int) -> None:
        """Make it in ``folder`` of the rows in the index ``source``."""

    def open(self, folder: str, dim: int) -> None:
        """Open what ``build`` made."""

    def ask(self, query: Any, knob: Any) -> list[int]:
        """Return the ten nearest rows of one query (dim,) float32."""
        raise NotImplementedError


class Ours(Contender):
    """ImageIndex, whose files synthetic.make_index has made."""

    def warm(self) -> None:
        """Import what a search does."""
        import faiss  # noqa: F401

        import imgsearch.index.writer  # noqa: F401

    def open(self, folder: str, dim: int) -> None:
        """Open the index."""
        from imgsearch.index.reader import ImageIndex

        self.index = ImageIndex(folder)

    def ask(self, query: Any, knob: Any) -> list[int]:
        """Search, and read the row's number from the picture's path."""
        import synthetic

        (hits,) = self.index.search(query[None], 10)
        return [synthetic.number_of(record.paths[0]) for record, _ in hits]


class Faiss(Contender):
    """A FAISS index in one file."""

    def make(self, dim: int) -> Any:
        """Return the empty index."""

    def warm(self) -> None:
        """Import FAISS."""
        import faiss  # noqa: F401

    def build(self, folder: str, source: str, dim: int) -> None:
        """Add the rows and write the file."""
        import faiss
        import numpy as np

        index = self.make(dim)
        if not index.is_trained:
            index.train(np.zeros((1, dim), np.float32))
        for rows in _rows(source, dim):
            index.add(rows)
        faiss.write_index(index, os.path.join(folder, "index.faiss"))

    def open(self, folder: str, dim: int) -> None:
        """Read the file."""
        import faiss

        faiss.omp_set_num_threads(1)
        self.index = faiss.read_index(os.path.join(folder, "index.faiss"))

    def ask(self, query: Any, knob: Any) -> list[int]:
        """Search."""
        return list(self.index.search(query[None], 10)[1][0])


class Flat(Faiss):
    """Every float32."""

    def make(self, dim: int) -> Any:
        """Return the empty index."""
        import faiss

        return faiss.IndexFlatIP(dim)


class Scalar(Faiss):
    """Every float16."""

    def make(self, dim: int) -> Any:
        """Return the empty index."""
        import faiss

        return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)


class Hnsw(Faiss):
    """A graph with 32 links over float16 vectors; the knob is efSearch."""

    knobs = (16, 32, 64, 128, 256, 512, 1024)

    def make(self, dim: int) -> Any:
        """Return the empty index."""
        import faiss

        return faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_fp16, 32, faiss.METRIC_INNER_PRODUCT)

    def ask(self, query: Any, knob: Any) -> list[int]:
        """Search."""
        self.index.hnsw.efSearch = knob
        return super().ask(query, knob)


class Usearch(Contender):
    """A graph of usearch's default shape; the knob is its expansion."""

    knobs = (16, 32, 64, 128, 256, 512, 1024)
    dtype = "f16"

    def warm(self) -> None:
        """Import usearch."""
        import usearch.index  # noqa: F401

    def _make(self, dim: int) -> Any:
        from usearch.index import Index

        return Index(ndim=dim, metric="cos", dtype=self.dtype)

    def build(self, folder: str, source: str, dim: int) -> None:
        """Add the rows and save the file."""
        import numpy as np

        index, start = self._make(dim), 0
        for rows in _rows(source, dim):
            index.add(np.arange(start, start + len(rows)), rows)
            start += len(rows)
        index.save(os.path.join(folder, "index.usearch"))

    def open(self, folder: str, dim: int) -> None:
        """Load the file."""
        self.index = self._make(dim)
        self.index.load(os.path.join(folder, "index.usearch"))

    def ask(self, query: Any, knob: Any) -> list[int]:
        """Search."""
        self.index.expansion_search = knob
        return [int(key) for key in self.index.search(query, 10, threads=1).keys]


class UsearchI8(Usearch):
    """The same with 8 bits a dimension, which it makes itself."""

    dtype = "i8"


class Lance(Contender):
    """A LanceDB table of float16 vectors, IVF_PQ index of default shape; the knob is (nprobes, refine_factor)."""

    knobs: tuple[Any, ...] = tuple(
        (probes, refine) for probes in (5, 20, 50, 200) for refine in (10, 50, 200)
    )

    def warm(self) -> None:
        """Import LanceDB."""
        import lancedb  # noqa: F401

    def build(self, folder: str, source: str, dim: int) -> None:
        """Write the table and its index."""
        import lancedb
        import pyarrow as pa

        import synthetic

        kind = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float16(), dim))])

        def batches() -> Iterator[Any]:
            start = 0
            for rows in synthetic.stored(source, dim):
                values = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), dim)
                ids = pa.array(range(start, start + len(rows)), pa.int64())
                start += len(rows)
                yield pa.RecordBatch.from_arrays([ids, values], schema=kind)

        table = lancedb.connect(folder).create_table("pictures", data=batches(), schema=kind)
        self.index_table(table)

    def index_table(self, table: Any) -> None:
        """Make the index."""
        table.create_index(metric="dot", vector_column_name="vector", index_type="IVF_PQ")

    def open(self, folder: str, dim: int) -> None:
        """Open the table."""
        import lancedb

        self.table = lancedb.connect(folder).open_table("pictures")

    def ask(self, query: Any, knob: Any) -> list[int]:
        """Search."""
        probes, refine = knob
        search = (
            self.table.search(query, vector_column_name="vector")
            .distance_type("dot")
            .select(["id", "_distance"])
        )
        return list(search.nprobes(probes).refine_factor(refine).limit(10).to_arrow()["id"].to_pylist())


class LanceRabitq(Lance):
    """The same with an IVF_RQ index: RaBitQ codes."""

    def index_table(self, table: Any) -> None:
        """Make the index."""
        table.create_index(metric="dot", vector_column_name="vector", index_type="IVF_RQ", num_bits=1)


class LanceScan(Lance):
    """The same without an index."""

    knobs = ("",)

    def index_table(self, table: Any) -> None:
        """Make none."""

    def ask(self, query: Any, knob: Any) -> list[int]:
        """Scan."""
        search = (
            self.table.search(query, vector_column_name="vector")
            .distance_type("dot")
            .select(["id", "_distance"])
        )
        return list(search.bypass_vector_index().limit(10).to_arrow()["id"].to_pylist())


class Sqlite(Contender):
    """A table of sqlite-vec with float32 vectors, compared one by one.

    Through apsw, because not every Python's sqlite3 can load extensions.
    """

    columns = "vector float[{dim}] distance_metric=cosine"
    insert = "INSERT INTO pictures (rowid, vector) VALUES (?1, ?2)"
    select = "SELECT rowid FROM pictures WHERE vector MATCH ?1 AND k = 10 ORDER BY distance"

    def warm(self) -> None:
        """Import apsw and sqlite-vec."""
        import apsw  # noqa: F401
        import sqlite_vec  # noqa: F401

    def _connect(self, folder: str) -> Any:
        import apsw
        import sqlite_vec

        db = apsw.Connection(os.path.join(folder, "vectors.sqlite"))
        db.enable_load_extension(True)
        db.load_extension(sqlite_vec.loadable_path())
        return db

    def build(self, folder: str, source: str, dim: int) -> None:
        """Insert the rows, a transaction for each block."""
        db, start = self._connect(folder), 0
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"CREATE VIRTUAL TABLE pictures USING vec0({self.columns.format(dim=dim)})")
        for rows in _rows(source, dim):
            with db:
                db.executemany(self.insert, ((start + n, row.tobytes()) for n, row in enumerate(rows)))
            start += len(rows)
        db.close()

    def open(self, folder: str, dim: int) -> None:
        """Open the database with 256 MB of page cache, as much as ours takes for a million."""
        self.db = self._connect(folder)
        self.db.execute("PRAGMA cache_size = -262144")

    def ask(self, query: Any, knob: Any) -> list[int]:
        """Search."""
        return [
            row for (row,) in self.db.execute(self.select, (query.tobytes(), knob)[: self.select.count("?")])
        ]


class SqliteInt8(Sqlite):
    """The same with 8 bits a dimension, scaled so that the largest component of these vectors just fits."""

    columns = "vector int8[{dim}] distance_metric=cosine"
    insert = "INSERT INTO pictures (rowid, vector) VALUES (?1, vec_int8(?2))"
    select = "SELECT rowid FROM pictures WHERE vector MATCH vec_int8(?1) AND k = 10 ORDER BY distance"

    def build(self, folder: str, source: str, dim: int) -> None:
        """Find the scale, then insert."""
        import numpy as np

        largest = max(float(np.abs(rows).max()) for rows in _rows(source, dim))
        with open(os.path.join(folder, "scale"), "wb") as file:
            file.write(struct.pack("<d", 127 / largest))
        db, start = self._connect(folder), 0
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"CREATE VIRTUAL TABLE pictures USING vec0({self.columns.format(dim=dim)})")
        for rows in _rows(source, dim):
            small = np.rint(rows * (127 / largest)).astype(np.int8)
            with db:
                db.executemany(self.insert, ((start + n, row.tobytes()) for n, row in enumerate(small)))
            start += len(rows)
        db.close()

    def open(self, folder: str, dim: int) -> None:
        """Open the database and read the scale."""
        super().open(folder, dim)
        with open(os.path.join(folder, "scale"), "rb") as file:
            (self.scale,) = struct.unpack("<d", file.read())

    def ask(self, query: Any, knob: Any) -> list[int]:
        """Search."""
        import numpy as np

        small = np.clip(np.rint(query * self.scale), -127, 127).astype(np.int8)
        return [row for (row,) in self.db.execute(self.select, (small.tobytes(),))]


class SqliteBits(Sqlite):
    """Signs for a shortlist, float32 for its exact order, in one table; the knob is the shortlist, 4,096 its most."""

    knobs = (100, 500, 1000, 2000, 4096)
    columns = "signs bit[{dim}], +vector blob"
    insert = "INSERT INTO pictures (rowid, signs, vector) VALUES (?1, vec_quantize_binary(?2), ?2)"
    select = (
        "WITH near AS (SELECT rowid, vector FROM pictures WHERE signs MATCH vec_quantize_binary(?1) AND k = ?2) "
        "SELECT rowid FROM near ORDER BY vec_distance_cosine(vector, ?1) LIMIT 10"
    )

    def ask(self, query: Any, knob: Any) -> list[int]:
        """Search."""
        return [row for (row,) in self.db.execute(self.select, (query.tobytes(), knob))]


CONTENDERS: dict[str, type[Contender]] = {
    "imgsearch": Ours,
    "FAISS Flat float32": Flat,
    "FAISS SQ float16": Scalar,
    "FAISS HNSW32 float16": Hnsw,
    "usearch f16": Usearch,
    "usearch i8": UsearchI8,
    "LanceDB IVF_PQ": Lance,
    "LanceDB IVF_RQ": LanceRabitq,
    "LanceDB scan": LanceScan,
    "sqlite-vec float32": Sqlite,
    "sqlite-vec int8": SqliteInt8,
    "sqlite-vec bits, rescored": SqliteBits,
}


SLOW = ("LanceDB IVF_PQ",)
"""Left out unless asked for: its product quantizer trains for half an hour of processor time at 2,048 dimensions."""


def _rows(source: str, dim: int) -> Iterator[Any]:
    """Yield the stored rows of our index as float32."""
    import numpy as np

    import synthetic

    for rows in synthetic.stored(source, dim):
        yield rows.astype(np.float32)


def main() -> None:
    """Build what is not there, tune, measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--queries", type=int, default=100, help="of each kind")
    parser.add_argument("--only", help="contenders whose names contain one of these, separated by commas")
    parser.add_argument("--slow", action="store_true", help="also LanceDB's IVF_PQ, half an hour of training")
    parser.add_argument("--work", default="/tmp/imgsearch-benchmarks", help="where indexes are kept")
    options = parser.parse_args()
    measure.run(
        "import sys, synthetic; synthetic.make_index(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])); print('{}')",
        options.work,
        str(options.rows),
        str(options.dim),
    )
    wanted = options.only.split(",") if options.only else [""]
    names = [
        name
        for name in CONTENDERS
        if any(part in name for part in wanted) and (options.slow or name not in SLOW)
    ]
    home = os.path.join(os.path.abspath(options.work), f"peers-{options.rows}x{options.dim}")
    source = os.path.join(os.path.abspath(options.work), f"{options.rows}x{options.dim}-0", "index")
    result: dict[str, dict[str, Any]] = {name: _built(name, home, source, options.dim) for name in names}
    measure.on_cores(1)

    import numpy as np

    import synthetic

    _, made = synthetic.make_index(options.work, options.rows, options.dim)
    if "imgsearch" in result:
        seconds = options.rows / made["ingest_rows_s"] + made["build_seconds"]
        result["imgsearch"] |= {"build_seconds": seconds, "build_anon_mb": made["build_anon_mb"]}
    distribution = synthetic.Distribution(options.dim)
    kinds = (distribution.picture_queries(options.queries), distribution.word_queries(options.queries))
    asked = np.concatenate(kinds)
    true = synthetic.truth(source, asked, options.rows)
    np.save(os.path.join(home, "questions.npy"), asked[:200])

    opened: dict[str, Contender] = {}
    for name in names:
        one = CONTENDERS[name]()
        one.open(result[name]["folder"], options.dim)
        opened[name] = one
        place = _tuned(one, asked, true)
        knob = one.knobs[place]
        result[name] |= {"knob": knob, "place": place}
        found = [one.ask(query, knob) for query in asked]
        for kind, half in (("image", slice(0, options.queries)), ("text", slice(options.queries, None))):
            result[name][f"recall@10 {kind}"] = round(_recall(found[half], true[half]), 4)
    order = np.random.default_rng(0).permutation(len(asked))
    contenders = {
        name: (lambda n, one=one, knob=result[name]["knob"]: one.ask(asked[order[n]], knob))
        for name, one in opened.items()
    }
    measure.alternate(contenders, 2)
    taken = measure.alternate(contenders, min(60, len(asked)))
    for name, ask in contenders.items():
        result[name] |= {f"in_turn_{key}": value for key, value in measure.quantiles(taken[name]).items()}
        alone = measure.alternate({name: ask}, min(60, len(asked)))[name]
        result[name] |= {f"alone_{key}": value for key, value in measure.quantiles(alone).items()}
    contenders.clear()
    opened.clear()
    for name in names:
        arguments = (
            name,
            result[name]["folder"],
            os.path.join(home, "questions.npy"),
            str(result[name]["place"]),
        )
        result[name] |= measure.run(SERVE, *arguments)
        bytes_on_disk = measure.size(result[name].pop("folder"))
        result[name]["bytes_per_vector"] = round(bytes_on_disk / options.rows)
        result[name]["gb_ms"] = round(bytes_on_disk / 1e9 * result[name]["in_turn_median_ms"], 3)
        result[name]["gb_first_s"] = round(bytes_on_disk / 1e12 * result[name]["open_and_first_ms"], 4)
        result[name]["memory_gb_ms"] = round(
            result[name]["memory_mb"] / 1e3 * result[name]["in_turn_median_ms"], 3
        )
    _table(result, options.rows, options.dim)
    said = {"rows": options.rows, "dim": options.dim, "contenders": result}
    print(measure.json.dumps({"benchmark": "peers", **said}))


def _built(name: str, home: str, source: str, dim: int) -> dict[str, Any]:
    """Build a contender, unless it is there; return its folder and what building took."""
    if name == "imgsearch":
        os.makedirs(home, exist_ok=True)
        return {"folder": source}
    folder = os.path.join(home, name.replace(" ", "-"))
    said = folder + ".json"
    if not os.path.exists(said):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        made = measure.run(BUILD, name, folder, source, str(dim))
        with open(said, "w") as file:
            measure.json.dump(made, file)
    with open(said) as file:
        return {"folder": folder, **measure.json.load(file)}


def _tuned(one: Contender, queries: Any, true: Any) -> int:
    """Return the place of the first setting that finds 0.99 of either half of the queries, else of the last."""
    if len(one.knobs) == 1:
        return 0
    half = len(queries) // 2
    for place, knob in enumerate(one.knobs):
        found = [one.ask(query, knob) for query in queries]
        if min(_recall(found[:half], true[:half]), _recall(found[half:], true[half:])) >= 0.99:
            return place
    return len(one.knobs) - 1


def _recall(found: list[list[int]], true: Any) -> float:
    """Return the share of the true neighbours that were found."""
    return sum(len(set(f) & set(t.tolist())) / len(t) for f, t in zip(found, true, strict=True)) / len(found)


def _table(result: dict[str, dict[str, Any]], rows: int, dim: int) -> None:
    """Print what came out, the smallest product first; below the line those that miss recall 0.99."""
    print(f"{rows:,} × {dim}, one core")
    print(
        f"{'':27}{'bytes':>7}{'build':>8}{'memory':>9}{'first':>9}{'in turn':>10}{'alone':>10}"
        f"{'recall@10 image/text':>22}{'GB · ms':>10}{'memory':>9}{'first':>9}  setting"
    )
    enough = {
        name: min(one["recall@10 image"], one["recall@10 text"]) >= 0.99 for name, one in result.items()
    }
    for name, one in sorted(result.items(), key=lambda item: (not enough[item[0]], item[1]["gb_ms"])):
        recalls = f"{one['recall@10 image']:.4f} / {one['recall@10 text']:.4f}" + (
            "" if enough[name] else " *"
        )
        print(
            f"{name:27}{one['bytes_per_vector']:>7,}{one['build_seconds']:>6.0f} s{one['memory_mb']:>6.0f} MB"
            f"{one['open_and_first_ms']:>6.0f} ms{one['in_turn_median_ms']:>7.2f} ms{one['alone_median_ms']:>7.2f} ms"
            f"{recalls:>22}{one['gb_ms']:>10.2f}{one['memory_gb_ms']:>9.2f}{one['gb_first_s']:>9.3f}  {one['knob']}"
        )
    if not all(enough.values()):
        print("* recall below 0.99 with every setting that was tried")


if __name__ == "__main__":
    main()
