"""Run sentence-transformers itself on checkpoints: a JSON list of cases on stdin, .npy files out.

    .venv-reference/bin/python tests/parity/reference/encode.py < cases.json

A case {"folder", "queries": [text], "documents": [picture file], "out": stem} is loaded as a user loads it, by
SentenceTransformer(folder) and nothing else, and writes stem-queries.npy and stem-documents.npy, the vectors of
encode_query and encode_document. A case {"save": folder, "to": folder, "prompts", "truncate_dim"} builds the
modules in Python on top of the plain checkpoint and saves them as the library does. One process for all of them,
since importing takes longer than encoding.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from PIL import Image

try:
    import torchvision
except RuntimeError:
    # It was built for another torch, that of a GPU. What it has in C is not needed here, but must have been declared.
    for operator in ("nms", "qnms"):
        declared = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{operator}", declared)
    import torchvision  # noqa: F401

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling


def main() -> None:
    """Do the cases in turn."""
    torch.set_num_threads(1)
    for case in json.load(sys.stdin):
        if "save" in case:
            save(case)
        else:
            encode(case)


def save(case: dict[str, Any]) -> None:
    """Put modules on top of a plain checkpoint, and save them."""
    transformer = Transformer(
        case["save"], processing_kwargs={"chat_template": {"add_generation_prompt": True}}, unpad_inputs=False
    )
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), "lasttoken"), Normalize()]
    model = SentenceTransformer(
        modules=modules, prompts=case["prompts"], truncate_dim=case["truncate_dim"], device="cpu"
    )
    model.save(case["to"], create_model_card=False)


def encode(case: dict[str, Any]) -> None:
    """Encode a checkpoint's queries and documents, each side in one batch."""
    model = SentenceTransformer(case["folder"], device="cpu", local_files_only=True)
    pictures = [Image.open(path).convert("RGB") for path in case["documents"]]
    np.save(f"{case['out']}-queries.npy", model.encode_query(case["queries"], show_progress_bar=False))
    np.save(f"{case['out']}-documents.npy", model.encode_document(pictures, show_progress_bar=False))


if __name__ == "__main__":
    main()
