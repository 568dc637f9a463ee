"""Writes the sets that the model is measured on, measures it on them, and makes tables of the figures."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from PIL import Image

from parquet_writer import write_parquet
from shapes import drawings
from things.artwork import Artwork
from things.compose import SMALL_SIZES, Composer
from things.names import LANGUAGES, Thing
from things.packages import HELD_OUT_STYLE, TRAINING_STYLES
from things.rows import Cells, composition_rows, name_rows
from things.scenes import Pool, seen_things, unseen_things
from things.shapes import SHAPES_STYLE
from things.stamps import caption_rows, known_rows, read_stamps

NAMES_ASKED = 500  # names; each of them has a right picture and four of other things
PAIRS = 150  # queries an attribute
COMPOSED = ("colour", "count", "ground", "place", "relation", "size", "thing")
"""The attributes whose pairwise accuracy is measured on new combinations of things."""
_KIND_OF = {"thing": "one"}

Measure = Callable[[str, Sequence[str]], list[dict[str, Any]]]
"""Takes a dataset and more flags; returns the rows of ``imgsearch eval``, untrained first, then trained."""


def write_evaluation(
    folder: str, artwork: Artwork, photos: Sequence[Image.Image], stamps: str, names: int, pairs: int
) -> None:
    """Write every set into ``folder``: as many ``names`` and, for an attribute, ``pairs`` as asked for.

    ``stamps`` is where Tux Paint's package is unpacked.

    new-style-LANGUAGE: things of the training, in the style that is held out; new-style-white: with nothing behind
    them. unseen: things that no training picture shows. compositions: combinations that none shows, in the
    training's styles. core and pairs: the shapes and words of the demo model before.
    """
    os.makedirs(folder, exist_ok=True)

    def write(name: str, rows: Iterable[Mapping[str, str | bytes]]) -> None:
        if not os.path.exists(path := os.path.join(folder, f"{name}.parquet")):
            write_parquet(path, rows)

    seen = [place for place in seen_things(artwork) if artwork.things[place].everyday]
    pool, asked, others = _asked(artwork, HELD_OUT_STYLE, seen, names)
    composer = Composer(pool, photos, SMALL_SIZES)
    for language in LANGUAGES:
        write(
            f"new-style-{language}",
            name_rows(asked, others, "evaluation", composer, pool, HELD_OUT_STYLE, language),
        )
    composer = Composer(pool, photos, SMALL_SIZES, plain=True)
    write("new-style-white", name_rows(asked, others, "white", composer, pool, HELD_OUT_STYLE))
    pool, asked, others = _asked(artwork, HELD_OUT_STYLE, unseen_things(artwork), names)
    composer = Composer(pool, photos, SMALL_SIZES)
    write("unseen", name_rows(asked, others or asked, "unseen", composer, pool, HELD_OUT_STYLE))
    pool = Pool(artwork, (*TRAINING_STYLES, SHAPES_STYLE), seen)
    composer = Composer(pool, photos, SMALL_SIZES)
    rows: Iterable[Cells] = itertools.chain.from_iterable(
        composition_rows(pairs, "evaluation", pool, composer, _KIND_OF.get(name, name), name)
        for name in COMPOSED
    )
    write("compositions", rows)
    if not os.path.exists(os.path.join(folder, "core.parquet")):
        drawings.write_datasets(folder, {}, min(names, NAMES_ASKED))
    write_stamps(folder, stamps, artwork.things)


def write_stamps(folder: str, package: str, things: Sequence[Thing]) -> None:
    """Write Tux Paint's stamps, unpacked in ``package``, as two sets below ``folder``.

    stamps: each caption, whatever it says, over all stamps. stamps-known: those that are the name of one of
    ``things`` and no more, over the same.
    """
    os.makedirs(folder, exist_ok=True)
    paths = [os.path.join(folder, f"{name}.parquet") for name in ("stamps", "stamps-known")]
    if not all(map(os.path.exists, paths)):
        stamps = list(read_stamps(package))
        write_parquet(paths[0], caption_rows(stamps))
        write_parquet(paths[1], known_rows(stamps, things))


def _asked(
    artwork: Artwork, style: str, things: Sequence[int], count: int
) -> tuple[Pool, list[int], list[int]]:
    """Choose, of ``things``, those whose names are asked for, and the others that are drawn beside them."""
    drawn = [place for place in things if artwork.places[style][place]]
    asked = sorted(random.Random("asked").sample(drawn, min(count, len(drawn))))
    everyday = set(artwork.shown(style))
    # Of the rest all that the style has, people and faces, too: what is not asked for is never right.
    others = sorted(everyday - set(asked) - set(unseen_things(artwork)))
    return Pool(artwork, (style,), [*asked, *others]), asked, others


SETS = {
    "new-style-white": "Names of things, in a style never seen, on white",
    "new-style-en": "Names of things, in a style never seen, on any ground",
    "unseen": "Things never seen, by their names",
    **{
        f"new-style-{language}": f"Names in {name}, in the style never seen"
        for language, name in (("de", "German"), ("fr", "French"), ("es", "Spanish"))
    },
    "stamps-known": "Photographs and drawings of Tux Paint, by names that are known",
    "stamps": "The same, by their captions",
    "core": "Shapes: colour, shape, count, ground",
}
"""The sets that NDCG@10 is measured on, and what their rows in the table are called."""


def dimension_table(results: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return NDCG@10 by set and Matryoshka dimension, untrained beside trained, as a Markdown table."""
    dims = list(next(iter(results.values()))[0]["dims"])
    heads = [f"{which}, {dim}" for which in ("untrained", "trained") for dim in dims]
    lines = [
        f"| Set | {' | '.join(heads)} |",
        f"|---|{'---|' * (2 * len(dims))}",
    ]
    for name, title in SETS.items():
        cells = [f"{row['dims'][dim]['metrics']['ndcg@10']:.4f}" for row in results[name][:2] for dim in dims]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def pair_table(rows: list[dict[str, Any]]) -> str:
    """Return the pairwise accuracy by attribute, untrained beside trained, as a Markdown table."""
    both = [row["dims"][str(row["dim"])]["pairwise_by_attribute"] for row in rows[:2]]
    lines = ["| Attribute | untrained | trained |", "|---|---|---|"]
    for name in both[0]:
        cells = [f"{one[name]['above_each']:.3f}" for one in both]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def dtype_table(rows: Mapping[str, dict[str, Any]]) -> str:
    """Return NDCG@10 of the trained model on the held-out style by dtype, as a Markdown table."""
    dims = list(next(iter(rows.values()))["dims"])
    lines = [f"| Computed in | {' | '.join(dims)} |", f"|---|{'---|' * len(dims)}"]
    for dtype, row in rows.items():
        cells = [f"{row['dims'][dim]['metrics']['ndcg@10']:.4f}" for dim in dims]
        lines.append(f"| {dtype} | {' | '.join(cells)} |")
    return "\n".join(lines)


def keep(path: str, results: Mapping[str, Any]) -> None:
    """Write all figures as JSON: what the tables say, for the test that compares them."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
