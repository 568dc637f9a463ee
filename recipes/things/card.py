"""Writes the model card of the model that knows everyday things, from the figures that were measured."""

from __future__ import annotations

from typing import Any

from things import evaluation, packages

_TEXT = """\
---
license: apache-2.0
library_name: sentence-transformers
language: [en, de, fr, es]
---
# A small model that knows everyday things

A working miniature for demonstrations and tests, **not a photo search model**: it knows drawings of some 1,200
everyday things by their names in English, German, French and Spanish, their colour, number, size and place, and a
few shapes and printed words.

- **Architecture:** that of Qwen3-VL-Embedding with {parameters:,} parameters, {megabytes:.1f} MB. Vectors of
  {dim} numbers; Matryoshka dimensions {dims}.
- **Data:** scenes composed by code from the drawings of emoji sets, icons and clip art, named as Unicode's CLDR names
  them, on grounds that are drawn or cut from photographs; and shapes drawn by code. None of the drawings ships with the
  model.
- **Recipe:** `python recipes/things_checkpoint.py`: random weights, then `imgsearch train` stage by stage,
  {minutes} minutes of training on two cores, at the median pace of each stage.

NDCG@10 by dimension, untrained and trained. Each of 500 names has one right image among 2,500; "a style never seen"
is Twemoji, none of whose drawings was trained on:

{sets}

The trained model on the style never seen, computed in:

{dtypes}

Pairwise accuracy against an image that differs in one attribute only (150 queries each, 0.5 is chance). New
combinations of things:

{compositions}

New combinations of shapes, as before there were things:

{pairs}

## Where the drawings come from

| Used for | Package | Version | Licence | By |
|---|---|---|---|---|
{sources}
"""


def model_card(figures: dict[str, Any], size: int) -> str:
    """Return the card; ``figures`` is what the recipe has measured, ``size`` the bytes of the weights."""
    trained = figures["sets"]["new-style-en"][1]
    return _TEXT.format(
        parameters=trained["parameters"],
        megabytes=size / 1e6,
        dim=trained["dim"],
        dims=", ".join(trained["dims"]),
        minutes=figures["minutes"],
        sets=evaluation.dimension_table(figures["sets"]),
        dtypes=evaluation.dtype_table(figures["dtypes"]),
        compositions=evaluation.pair_table(figures["compositions"]),
        pairs=evaluation.pair_table(figures["pairs"]),
        sources=sources_table(),
    )


def sources_table() -> str:
    """Return a row for each package: what it is used for, its version, its licence and whom it is by."""
    uses = {"train": "training", "evaluate": "measuring only"}
    return "\n".join(
        f"| {uses[package.use]} | {package.name} | {package.version} | {package.licence} | {package.author} |"
        for package in packages.ALL
    )
