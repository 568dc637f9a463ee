"""How long a search takes that a filter confines, among a million images: by which filter, and by how many pass.

Theory: a filter is a mask over all rows. By SQL that joins tables of the catalogue by a 32-byte hash for every image,
some microseconds each: seconds at a million. By columns, as ``index/metadata/columns.py`` keeps them, it is one pass
over 1 to 8 bytes an image: milliseconds; then the search costs what it costs anyway, or less, for up to 20,000 rows are
compared without codes. Targets, warm, on 2 cores: 60 ms a filtered search, whether half, 1 % or 100 images pass;
``facets`` 1 s.

    python benchmarks/filtering.py [--rows 1000000] [--dim 256] [--cores 2] [--sql]

Rows are shorter than a model's (2,048) unless asked for, so that the index takes 1 GB; the filter itself never reads
them. Prints for each filter how many images pass, then medians in milliseconds in one process, files cached: of the
mask alone, of ImageIndex.search with ten hits, and of the first such search, which reads the columns; with --sql also
of the mask by SQL, once. Then seconds of whole processes, the fastest of three: list, facets, similar with a filter.
Last, how long the columns take to make, and their size. The index is made in --work and used again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import measure
import process_similar
import synthetic
from imgsearch.index.rows import FileState
from imgsearch.index.writer import IndexWriter
from imgsearch.types import Metadata

_VERSION = 1
_QUERIES = 15
_SHOWN = ("first", "median", "least", "mask", "pass", "sql")
_FIRST = datetime(2005, 1, 1)
_STEP = timedelta(minutes=10)  # a million images are 19 years

SERVE = """
import sys
import measure
measure.on_cores(int(sys.argv[2]))
import filtering
print(measure.json.dumps(filtering.searches(sys.argv[1], int(sys.argv[3]), sys.argv[4] == "True")))
"""
BUILD = """
import sys
import time
from contextlib import closing
import measure
from imgsearch.index.catalog import Catalog
from imgsearch.index.metadata import collect

with closing(Catalog(sys.argv[1], write=True)) as catalog:
    with catalog.transaction() as db:
        db.execute("DELETE FROM columns")
    began, cpu = time.perf_counter(), time.process_time()
    with measure.peak() as peak:
        for segment, rows in collect.due(catalog.database, sys.argv[1]):
            collect.build(catalog.database, sys.argv[1], segment, rows)
    took = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "anon_mb": peak[0]}
print(measure.json.dumps(took))
"""


def kinds(rows: int) -> dict[str, dict[str, object]]:
    """Return by name the filters that are timed, as ``filters_of`` takes them: of half, 1 % and 100 images."""

    def since(count: int) -> str:
        return f"{_FIRST + _STEP * (rows - count):%Y-%m-%d}"

    return {
        "none": {},
        "date, half": {"after": since(rows // 2)},
        "date, 1 %": {"after": since(rows // 100)},
        "date, 144": {"on": f"{_FIRST + _STEP * (rows // 2):%Y-%m-%d}"},
        "camera, half": {"camera": "common"},
        "camera, 1 %": {"camera": "seldom"},
        "camera, 100": {"camera": "rare"},
        "rating, half": {"rating": 3},
        "keyword, half": {"keyword": ["half"]},
        "keyword, 100": {"keyword": ["hundred"]},
        "keyword, 1 %": {"keyword": ["word 0"], "camera": "0"},
        "shape, half": {"portrait": True},
        "size, all": {"min_size": "12mp"},
        "type, 3 of 7": {"type": "heic,png"},
        "name, half": {"name": "0005*"},
        "name, 1 %": {"name": "*77.*"},
        "name, 100": {"name": "0005000*.?p*g"},
        "screenshots, none": {"screenshots": True},
        "has gps, third": {"has": ["gps"]},
        "all at once": {"after": since(rows // 2), "camera": "common", "landscape": True, "type": "jpg"},
        "folder, half": {},
        "folder, 1000": {},
    }


def known(number: int, rows: int) -> Metadata:
    """Return what is known of an invented image."""
    hundred = number % (rows // 100) == 7
    kind = "Rare" if hundred else "Seldom" if number % 100 == 3 else ("Common", "Other")[number % 2]
    return Metadata(
        taken=_FIRST + _STEP * number,
        taken_from="image",
        make=f"Maker {number % 7}",
        model=f"{kind} {number % 40}",
        lens=f"Lens {number % 60}",
        latitude=(number % 1800) / 10 - 90 if number % 3 == 0 else None,
        longitude=(number % 3600) / 10 - 180 if number % 3 == 0 else None,
        rating=number // 2 % 2 * 5,
        keywords=(
            *(["half"] if number % 2 else []),
            *(["hundred"] if hundred else []),
            *([f"word {number % 500}"] if number % 5 == 0 else []),
        ),
    )


def make_index(work: str, rows: int, dim: int) -> tuple[str, dict[str, float]]:
    """Return the folder of an index of invented images with metadata below ``work``, and how its making went."""
    home = os.path.join(os.path.abspath(work), f"filtering-{rows}x{dim}")
    folder, said = os.path.join(home, "index"), os.path.join(home, "made.json")
    if os.path.exists(said):
        with open(said) as file:
            made = json.load(file)
        if made["version"] == _VERSION:
            return folder, made
    if os.path.exists(home):
        raise SystemExit(f"{home} is not a whole index of this version of the script; remove it")
    pictures = os.path.join(home, "pictures")
    os.makedirs(pictures)
    with IndexWriter(folder, synthetic.spec(dim)) as writer:
        root, first, seconds = writer.catalog.put_root(pictures, {}), 0, 0.0
        for block in synthetic.Distribution(dim).pictures(rows):
            contents, states = named(root, pictures, first, len(block), rows)
            began = time.perf_counter()
            writer.commit(contents, block, states)
            seconds += time.perf_counter() - began
            first += len(block)
    made = {"version": _VERSION, "ingest_rows_s": rows / seconds, **synthetic.build(folder)}
    with open(said, "w") as file:
        json.dump(made, file)
    return folder, made


def named(
    root: int, folder: str, first: int, count: int, rows: int
) -> tuple[list[tuple[bytes, int, int, int]], list[FileState]]:
    """Return contents and file states of images ``first`` and on: half of them upright, of three types."""
    contents, states = synthetic.named(root, folder, first, count)
    sizes = ((4000, 3000), (3000, 4000))
    contents = [(*content[:2], *sizes[number % 2]) for number, content in enumerate(contents, first)]
    ending = ["jpg", "jpg", "jpg", "heic", "jpg", "png", "heic"]
    return contents, [
        replace(
            state,
            source=replace(state.source, path=f"{state.source.path[:-3]}{ending[number % 7]}"),
            metadata=known(number, rows),
        )
        for number, state in enumerate(states, first)
    ]


def folders(name: str, pictures: str) -> list[str]:
    """Return the folders that a filter of ``kinds`` confines to."""
    if name == "folder, half":
        return [os.path.join(pictures, f"{number:06d}") for number in range(500)]
    return [os.path.join(pictures, "000007")] if name == "folder, 1000" else []


def searches(folder: str, rows: int, sql: bool) -> dict[str, dict[str, float]]:
    """Return by filter how many images pass, and milliseconds."""
    from imgsearch.index import snapshot
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search.language.filtering import filters_of

    found: dict[str, dict[str, float]] = {}
    pictures = os.path.join(os.path.dirname(folder), "pictures")
    with ImageIndex(folder) as index:
        queries = synthetic.Distribution(index.spec.dim).word_queries(_QUERIES)
        index.search(queries[:1], 10)
        views = index.snapshot.views(index.catalog)
        for name, given in kinds(rows).items():
            filters, below = filters_of(**given), folders(name, pictures)  # type: ignore[arg-type]

            def ask(number: int, filters: Any = filters, below: Any = below) -> object:
                return index.search(queries[number][None], 10, filters=filters, below=below)

            wanted = list(filters)
            if below and (confined := snapshot.below(index.catalog, below)):
                wanted.append(confined)

            def mask(number: int, wanted: Any = wanted) -> Any:
                return snapshot.mask_where(
                    index.catalog, views, wanted, index.snapshot.columns(index.catalog)
                )

            taken = measure.alternate({"search": ask}, _QUERIES)["search"]
            told = {"first": taken[0], "median": statistics.median(taken[1:]), "least": min(taken)}
            if wanted:
                told["pass"] = sum(int(one.sum()) for one in mask(0))
                told["mask"] = statistics.median(measure.alternate({"mask": mask}, _QUERIES)["mask"])
                if sql:
                    began = measure.now()
                    snapshot.mask_where(index.catalog, views, wanted, {})
                    told["sql"] = (measure.now() - began) * 1e3
            found[name] = told
    return found


def processes(folder: str, dim: int) -> dict[str, float]:
    """Return seconds of whole processes, the fastest of three each."""
    env = measure.environment(os.path.join(os.path.dirname(folder), "bytecode"))
    photo = process_similar.put_photo(folder, dim)
    seldom = ["--camera", "seldom"]
    commands = {
        "--version": ["--version"],
        "similar": ["similar", photo, "--index", folder],
        "similar, 1 %": ["similar", photo, *seldom, "--index", folder],
        "similar, half": ["similar", photo, "--camera", "common", "--index", folder],
        "list, 1 %": ["list", *seldom, "--index", folder],
        "list -n 100": ["list", "-n", "100", "--index", folder],
        "facets": ["facets", "--index", folder],
        "facets, 1 %": ["facets", *seldom, "--index", folder],
    }
    return {
        name: min(measure.timed([sys.executable, "-m", "imgsearch", *argv], env).seconds for _ in range(3))
        for name, argv in commands.items()
    }


def main() -> None:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--sql", action="store_true", help="also time the masks by SQL: minutes")
    parser.add_argument("--work", default="/tmp/imgsearch-benchmarks", help="where indexes are kept")
    options = parser.parse_args()
    folder, _ = make_index(options.work, options.rows, options.dim)
    made = measure.run(BUILD, folder)
    done = measure.run(SERVE, folder, str(options.cores), str(options.rows), str(options.sql))
    print(f"{'milliseconds':<20}" + "".join(f"{name:>9}" for name in _SHOWN))
    for name, told in done.items():
        print(
            f"{name:<20}" + "".join(f"{told[one]:>9,.1f}" if one in told else "" for one in _SHOWN),
            flush=True,
        )
    whole = processes(folder, options.dim)
    for name, seconds in whole.items():
        print(f"{name:<20} {seconds:.2f} s")
    size = measure.size(os.path.join(folder, "columns")) / 1e6
    result = {"rows": options.rows, "dim": options.dim, "ms": done, "s": whole, "columns": made}
    print(json.dumps({"benchmark": "filtering", **result}))
    print(f"columns: {made['seconds']:.1f} s ({made['cpu']:.1f} s of processor) to make, {size:.0f} MB")


if __name__ == "__main__":
    main()
