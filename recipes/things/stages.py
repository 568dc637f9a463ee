"""The curriculum: what is drawn for each stage of the training, and how long it is trained on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import Any

from PIL import Image

from parquet_writer import write_parquet
from shapes import drawings
from shapes.drawn_rows import training_rows as shape_rows
from shapes.scene import COLOURS as SHAPE_COLOURS
from shapes.scene import SHAPES
from things.artwork import Artwork, open_artwork
from things.compose import LEAST_SIZES, SMALL_SIZES, TINY_SIZES, Composer
from things.packages import TRAINING_STYLES
from things.rows import Cells, training_rows
from things.scenes import COLOURS, Pool, seen_things
from things.shapes import SHAPES_STYLE

FEW = ("white", "black", "red", "blue")
LANGUAGES = {"en": 6.0, "de": 1.0, "fr": 1.0, "es": 1.0}
ENGLISH = {"en": 1.0}
PART = 8_000  # rows a file: what one process draws at a time


@dataclass(frozen=True, slots=True)
class Source:
    """One kind of rows of a stage, and how many of them. ``what`` is "things", "everyday", "shapes" or "today".

    "things" are those that training may show, in all its styles; "everyday" and "shapes" those among them; "today"
    the rows that the demo model has been trained on before there were things, in the colours ``colours``. ``only``
    are the names of the shapes that are drawn, by default all. ``plain`` draws things as ``Composer`` does with it
    and says no more than their names, ``altered`` is as for ``Composer.draw``.
    """

    what: str
    rows: int
    kinds: Mapping[str, float]
    languages: Mapping[str, float]
    sizes: Sequence[tuple[int, int]] = SMALL_SIZES
    colours: Sequence[str] = COLOURS
    only: Sequence[str] = ()
    plain: bool = False
    altered: bool = True


@dataclass(frozen=True, slots=True)
class Stage:
    """One run of ``imgsearch train``: what it is trained on, with so many negatives a row, and its flags."""

    name: str
    sources: tuple[Source, ...]
    negatives: int
    steps: int
    flags: str


NAMES = {"one": 8.0, "colour": 1.0, "ground": 0.5}
RELATIONS = {"relation": 6.0, "pair": 1.0, "place": 2.0, "count": 2.0}
TODAY = drawings.LAST | {"relation": 1.6}
COMMON = {"one": 7.0, "relation": 2.5, "count": 2.0, "colour": 1.5, "place": 1.0}
EVERYTHING = COMMON | {"one": 10.0, "size": 0.7, "ground": 0.7, "pair": 0.7}
CONSTANT, COSINE = "--schedule constant --warmup 0.01", "--schedule cosine --warmup 0.03"
# From image to text as well, which keeps texts from becoming one vector: 0.275 of 40 names were right in a style that
# was held out, where text to image alone gave 0.075 (benchmarks/LOG.md).
BOTH = "--symmetric"
# At the start a small scale and rate: with more, all texts become one vector first, which takes thousands of pictures.
WARM, MILD, COLD = "--lr 3e-4 --scale 8", "--lr 3e-4 --scale 16", "--lr 4e-4 --scale 30"
EASY = ("circle", "square", "triangle")  # a relation of two of them leaves one to be another
# 16 patches a picture: what shows a thing can be seen, at half of what the other stages cost, and names that are
# learned there are known in larger ones after a few thousand pictures more (benchmarks/LOG.md).
LEAST, TINY = "--min-pixels 1024 --max-pixels 1024", "--min-pixels 2304 --max-pixels 2304"
LAST_SIZES = (*TINY_SIZES * 3, *SMALL_SIZES)  # half of them as large as those that are measured
FULL = (
    # What fills a white picture, before it is small on a photograph. Many small batches: at this point it counts how
    # often the weights change.
    Stage(
        "plain",
        (
            Source("everyday", 48_000, {"one": 1.0}, ENGLISH, LEAST_SIZES, plain=True, altered=False),
            Source("everyday", 240_000, {"one": 1.0}, ENGLISH, LEAST_SIZES, plain=True),
        ),
        *(0, 4_500, f"{CONSTANT} {LEAST} {BOTH} {WARM}"),
    ),
    Stage(
        "names",
        (
            Source("everyday", 240_000, NAMES, LANGUAGES, TINY_SIZES),
            Source("things", 80_000, NAMES, LANGUAGES, TINY_SIZES),
        ),
        *(0, 5_000, f"{CONSTANT} {TINY} {BOTH} {MILD}"),
    ),
    # Of few shapes and colours, so that a batch is told apart by count, texture and relation: among many, the first
    # thousands of pictures teach colours only (benchmarks/LOG.md).
    Stage(
        "shapes",
        (
            Source("today", 64_000, drawings.FOCUS, ENGLISH, colours=FEW),
            Source("today", 36_000, TODAY, ENGLISH, colours=SHAPE_COLOURS),
            Source("shapes", 28_000, RELATIONS, ENGLISH, TINY_SIZES, FEW, EASY),
            Source("everyday", 16_000, COMMON, ENGLISH, TINY_SIZES),
        ),
        *(1, 2_200, f"{CONSTANT} {BOTH} {COLD}"),
    ),
    Stage(
        "all",
        (
            Source("everyday", 88_000, EVERYTHING, LANGUAGES, LAST_SIZES),
            Source("things", 22_000, EVERYTHING, LANGUAGES, LAST_SIZES),
            Source("shapes", 10_000, RELATIONS, ENGLISH, colours=FEW, only=EASY),
            Source("today", 68_000, TODAY, ENGLISH, colours=SHAPE_COLOURS),
        ),
        *(1, 4_200, f"{COSINE} {BOTH} {COLD} --save-dtype float16"),
    ),
)
"""Some 1.4 million pictures are looked at: things alone first, then on grounds, then shapes, then all."""
_TINY = (64, 4)  # rows and steps of a stage that only shows that it runs
SMOKE = tuple(
    Stage(
        stage.name,
        tuple(replace(s, rows=_TINY[0]) for s in stage.sources),
        stage.negatives,
        _TINY[1],
        f"{stage.flags} --batch-size 16 --mini-batch 16",
    )
    for stage in FULL
)


def write_stage(
    folder: str, stage: Stage, artwork: str, photos: Sequence[Image.Image], processes: int
) -> list[str]:
    """Draw a stage's rows into parquet files of at most PART rows below ``folder``; return their paths.

    What is there already, from a run that was interrupted, is not drawn again. The files do not depend on how many
    ``processes`` draw them.
    """
    parts, before = [], 0
    for place, source in enumerate(stage.sources):
        for start in range(0, source.rows, PART):
            name = f"{stage.name}-{source.what}-{place}-{start // PART:02}.parquet"
            parts.append((os.path.join(folder, name), source, start, before + start))
        before += source.rows
    missing = [part for part in parts if not os.path.exists(part[0])]
    job = partial(_write_part, stage, artwork, photos)
    if processes > 1 and len(missing) > 1:
        with ProcessPoolExecutor(processes, get_context("spawn")) as workers:
            list(workers.map(job, missing))
    else:
        list(map(job, missing))
    return [path for path, *_ in parts]


def _write_part(
    stage: Stage, artwork: str, photos: Sequence[Image.Image], part: tuple[str, Source, int, int]
) -> None:
    path, source, start, before = part
    seed = (
        f"{stage.name} {source.what} {before}"  # by the rows before it in the stage, which no other part has
    )
    count = min(PART, source.rows - start)
    rows = _SOURCES[source.what](stage, source, seed, count, open_artwork(artwork), photos)
    write_parquet(path, rows)


def _things(
    stage: Stage, source: Source, seed: str, count: int, artwork: Artwork, photos: Sequence[Image.Image]
) -> Iterator[Cells]:
    seen = seen_things(artwork)
    if source.what == "everyday":
        seen = [place for place in seen if artwork.things[place].everyday]
    pool = Pool(artwork, (*TRAINING_STYLES, SHAPES_STYLE), seen, source.colours)
    composer = Composer(pool, photos, source.sizes, plain=source.plain)
    return training_rows(
        *(count, seed, pool, composer, source.kinds, source.languages, stage.negatives),
        altered=source.altered,
        plain=source.plain,
    )


def _shapes(
    stage: Stage, source: Source, seed: str, count: int, artwork: Artwork, photos: Sequence[Image.Image]
) -> Iterator[Cells]:
    shapes = [
        place
        for place, thing in enumerate(artwork.things)
        if thing.category == "Shapes" and (not source.only or thing.name in source.only)
    ]
    pool = Pool(artwork, (SHAPES_STYLE,), shapes, source.colours)
    composer = Composer(pool, (), source.sizes)
    return training_rows(count, seed, pool, composer, source.kinds, source.languages, stage.negatives)


def _today(
    stage: Stage, source: Source, seed: str, count: int, artwork: Artwork, photos: Sequence[Image.Image]
) -> Iterator[Cells]:
    rows = shape_rows(count, seed, source.kinds, SHAPES, source.colours, stage.negatives)
    return drawings.cells(rows)


_SOURCES: dict[str, Callable[..., Iterator[Any]]] = {
    "things": _things,
    "everyday": _things,
    "shapes": _shapes,
    "today": _today,
}
