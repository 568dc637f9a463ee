"""How long a search takes that a filter confines, among a million images: by which filter, and by how many pass.

Theory: a filter is a mask over all rows. By SQL that joins two tables of the catalogue by a 32-byte hash for every
image, a microsecond or two each: seconds at a million. By columns, as ``index/metadata/columns.py`` keeps them, it is
one pass over 1 to 8 bytes an image: some milliseconds; then the search costs what it costs anyway, or less, for few
rows are compared without codes. Targets, warm, on 2 cores: 60 ms a filtered search, whether half, 1 % or 100 images
pass; ``facets`` 1 s.

    python benchmarks/filtering.py [--rows 1000000] [--dim 256] [--cores 2]

Rows are shorter than a model's (2,048) unless asked for, so that the index takes 0.5 GB; the filter itself never reads
them. Each line: the filter, how many pass, and the median and 95th percentile of ImageIndex.search in one process, in
milliseconds, with 200 queries; then seconds of whole processes, files cached: similar with a filter, list, facets.
The index is made in --work and used again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from datetime import datetime, timedelta

import synthetic
from imgsearch.index.rows import FileState
from imgsearch.index.writer import IndexWriter
from imgsearch.types import Metadata

_VERSION = 1
_FIRST = datetime(2005, 1, 1)
_STEP = timedelta(minutes=10)  # a million images are 19 years

SERVE = """
import sys
import measure
measure.on_cores(int(sys.argv[2]))
import filtering
print(measure.json.dumps(filtering.searches(sys.argv[1], int(sys.argv[3]))))
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
        "shape, half": {"shape": "portrait"},
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--work", default="/tmp/imgsearch-benchmarks", help="where indexes are kept")
    options = parser.parse_args()
    print(make_index(options.work, options.rows, options.dim))
