"""Draws the datasets of shapes that the demo checkpoint is measured on, and fine-tuned on in its second domain."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping

from PIL import Image

from parquet_writer import write_parquet
from shapes.drawn_rows import Row, evaluation_rows, training_rows
from shapes.scene import AWAY_SHAPES, SHAPES

# Weights of the kinds of scenes.
GROUPS = {"group": 1.0}
FOCUS = {"group": 2.0, "size": 1.0, "texture": 1.0, "relation": 3.0, "word": 2.0}
LAST = {"group": 5.0, "size": 0.5, "texture": 1.5, "relation": 0.8, "word": 1.5}
CORE = ("colour", "shape", "count", "ground")
# The attributes whose pairwise accuracy is printed, each with the kind of scene that tells it.
KIND_OF = {**dict.fromkeys(CORE, "group"), **{name: name for name in ("size", "texture", "relation", "word")}}
PAIRS = 150  # queries an attribute


def png(image: Image.Image) -> bytes:
    """Encode a picture without loss, quickly."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def cells(rows: Iterable[Row]) -> Iterator[dict[str, str | bytes]]:
    """Turn drawn rows into a dataset's cells: query, image, negative_0 …; of one negative also its attribute."""
    for row in rows:
        cell: dict[str, str | bytes] = {"query": row.query, "image": png(row.image)}
        cell |= {f"negative_{place}": png(negative) for place, negative in enumerate(row.negatives)}
        if len(row.differ_in) == 1:
            cell["attribute"] = row.differ_in[0]
        yield cell


def write_datasets(folder: str, rows: Mapping[str, int], core: int) -> None:
    """Write the sets for evaluation, core, pairs and away-eval, as parquet files; with ``rows`` also away and home.

    ``rows`` says how many rows these two have, which are for training; ``core`` how many queries are asked.
    """
    os.makedirs(folder, exist_ok=True)

    def write(name: str, drawn: Iterable[Row]) -> None:
        count = write_parquet(os.path.join(folder, f"{name}.parquet"), cells(drawn))
        print(f"{name}.parquet: {count} rows", flush=True)

    training = {"away": (5, AWAY_SHAPES), "home": (7, SHAPES)}
    for name, count in rows.items():
        seed, shapes = training[name]
        write(name, training_rows(count, seed, GROUPS, shapes))
    write("core", evaluation_rows(core, 3, "group", CORE))
    pairs = (
        evaluation_rows(min(core, PAIRS), 40 + place, kind, (attribute,))
        for place, (attribute, kind) in enumerate(KIND_OF.items())
    )
    write("pairs", itertools.chain.from_iterable(pairs))
    write("away-eval", evaluation_rows(min(core, 300), 6, "group", CORE, AWAY_SHAPES))
