"""Writes the model card of a trained checkpoint, and the run's log beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

_CARD = """\
---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, qwen3_vl, image-text-retrieval, imgsearch]
---

# {title}

A Qwen3-VL embedding model for finding pictures by text, trained by `imgsearch train`.

- Base model: {base}
- Training data: {dataset} ({examples:,} examples, {negatives} hard negatives each)
- Loss: MatryoshkaLoss over {loss}, dimensions {dims}
- Pixels a picture: {least:,} to {most:,}
- Prompts: query {query!r}, document {document!r}

{scores}

## Hyperparameters

{table}

## Use

    imgsearch index PICTURES --model {folder}

or, with torchvision installed:

    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer("{folder}")
    model.similarity(model.encode_query(["a red circle"]), model.encode_document(["picture.png"]))

Every step that was logged, with loss, learning rate and NDCG@10, stands in metrics.json.
"""


def write_card(
    out: str, record: dict[str, Any], settings: dict[str, Any], log: Sequence[dict[str, Any]]
) -> None:
    """Write README.md and metrics.json into ``out``.

    ``record`` is what imgsearch.json keeps under "trained", ``settings`` what else the card names: loss, dims,
    least, most, query, document. ``log`` holds an entry a logged step. Raises OSError.
    """
    name = os.path.basename(out)
    hidden = ("versions", "base_model", "dataset", "examples", "pixels", "evaluation")
    rows = {key: value for key, value in record.items() if key not in hidden} | record["versions"]
    table = "\n".join(
        ["| setting | value |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]
    )
    measured = [entry for entry in log if "ndcg@10" in entry]
    scores = "It was not measured while it was trained."
    if measured:
        lines = [f"| {entry['step']:,} | {entry['ndcg@10']:.4f} |" for entry in measured]
        scores = f"NDCG@10 on {record['evaluation']}, all dimensions:\n\n" + "\n".join(
            ["| step | NDCG@10 |", "|---|---|", *lines]
        )
    text = _CARD.format(
        title=name,
        folder=name,
        base=record["base_model"],
        dataset=record["dataset"],
        examples=record["examples"],
        negatives=record["negatives"],
        scores=scores,
        table=table,
        **settings,
    )
    with open(os.path.join(out, "README.md"), "w", encoding="utf-8") as file:
        file.write(text)
    with open(os.path.join(out, "metrics.json"), "w", encoding="utf-8") as file:
        file.write(json.dumps(list(log), indent=1) + "\n")
