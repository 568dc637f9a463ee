"""Writes the model card of the demo checkpoint from the figures that were measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXT = """\
---
license: apache-2.0
library_name: sentence-transformers
---
# The imgsearch demo checkpoint

A working miniature for demonstrations and tests, **not a photo search model**: it knows drawn shapes, their
colours, counts, grounds and a few printed words, and nothing else of the world.

- **Architecture:** that of Qwen3-VL-Embedding (vision tower with deepstack, text tower with interleaved mrope,
  pooling of the last token, tied embeddings) with {parameters:,} parameters, {megabytes:.1f} MB in float16. Vectors of
  192 numbers; Matryoshka dimensions 192, 96, 48. Pictures are seen with 4,096 to 5,120 pixels.
- **Data:** drawn by code (`imgsearch.tools.demo`): scenes of one to four shapes out of eight, in ten colours and
  several shades of each, on plain, striped, dotted or checked grounds; sizes, left / right / above / below, twelve
  printed words; captions in several phrasings, each row with one or two negatives that differ in one attribute.
  {colours:,} rows of colour, shape, count and ground; {shapes:,} of the same in three colours; {focus:,} of
  everything in four colours; {mixed:,} of everything; {last:,} of everything with two negatives.
- **Recipe:** `python recipes/demo_checkpoint.py`: random weights, then six times `imgsearch train` (MatryoshkaLoss
  over in-batch negatives, batch 64, learning rate 1e-3), {minutes} minutes on two cores.
- **Evaluation:** on combinations of attributes that no training picture or caption has. 500 queries against
  2,500 pictures, four hard negatives each, on colour, shape, count and ground:

{dims}

Pairwise accuracy against a picture that differs in that attribute alone (150 unseen queries each; 0.5 is chance):

{pairs}
"""


def model_card(
    core: list[dict[str, Any]], pairs: list[dict[str, Any]], size: int, rows: Mapping[str, int], minutes: int
) -> str:
    """Return the card; ``core`` and ``pairs`` are results of `imgsearch eval`, untrained first, then trained."""
    dims = ["| Dimensions | untrained NDCG@10 | trained NDCG@10 |", "|---|---|---|"]
    for dim in core[0]["dims"]:
        cells = [f"{row['dims'][dim]['metrics']['ndcg@10']:.4f}" for row in core]
        dims.append(f"| {dim} | {' | '.join(cells)} |")
    table = ["| Attribute | untrained | trained |", "|---|---|---|"]
    both = [row["dims"][str(row["dim"])]["pairwise_by_attribute"] for row in pairs]
    for attribute in both[0]:
        figures = [f"{one[attribute]['above_each']:.3f}" for one in both]
        table.append(f"| {attribute} | {' | '.join(figures)} |")
    return _TEXT.format(
        parameters=core[1]["parameters"],
        megabytes=size / 1e6,
        **rows,
        minutes=minutes,
        dims="\n".join(dims),
        pairs="\n".join(table),
    )
