"""Writes a trained checkpoint that imgsearch and sentence-transformers load to the same vectors, and its card."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from safetensors.torch import save_file

from imgsearch import __version__
from imgsearch.fs import put_in_place
from imgsearch.model.reference import Qwen3VLForEmbedding
from imgsearch.types import PixelBudget

# What is taken over from the source checkpoint as it stands.
_COPIED = (
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json"),
    *("added_tokens.json", "chat_template.jinja", "chat_template.json", "video_preprocessor_config.json"),
    *("generation_config.json", "LICENSE"),
)
_PIXELS = ("preprocessor_config.json", "processor_config.json")
_FORWARD = {"method": "forward", "method_output_name": "last_hidden_state"}
_LIBRARIES = ("sentence-transformers", "transformers", "torch")


@dataclass(frozen=True, slots=True)
class Trained:
    """All that is to be written: the source folder, the model, and how its inputs are to be prepared."""

    source: str
    model: Qwen3VLForEmbedding
    pixels: PixelBudget
    query_prompt: str
    document_prompt: str
    generation_prompt: bool
    truncate_dim: int | None
    dims: tuple[int, ...]
    save_dtype: str | None
    record: dict[str, Any]


def write_checkpoint(out: str, trained: Trained) -> None:
    """Write every file of the checkpoint into the folder ``out``; OSError if the disk refuses.

    ``modules.json`` names sentence-transformers' own modules only: Transformer, Pooling (last token) and
    Normalize. The pixel budget stands in imgsearch.json and in the image processor's settings, where either
    library looks for it.
    """
    os.makedirs(out, exist_ok=True)
    for name in _COPIED:
        if os.path.exists(source := os.path.join(trained.source, name)):
            shutil.copyfile(source, os.path.join(out, name))
    for name in _PIXELS:
        _write_pixels(trained, out, name)
    config = _read(trained.source, "config.json")
    dtype = trained.save_dtype or str(config.get("dtype") or config.get("torch_dtype") or "float32")
    config.pop("torch_dtype", None)
    _write(out, "config.json", config | {"dtype": dtype})
    write_weights(os.path.join(out, "model.safetensors"), trained.model, getattr(torch, dtype))
    least, most = trained.pixels.min_pixels, trained.pixels.max_pixels
    settings = {"pixels": {"min_pixels": least, "max_pixels": most}, "matryoshka_dims": list(trained.dims)}
    _write(out, "imgsearch.json", settings | {"trained": trained.record})
    # modules.json comes last: it marks a run as finished.
    _write_modules(out, trained)


def write_weights(path: str, model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Write the parameters, in ``dtype`` and under the published names, beside and then in place."""
    # A file that is there may be the one that was trained from.
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in model.named_parameters()
    }
    save_file(tensors, f"{path}.part", metadata={"format": "pt"})
    # safetensors keeps its files to their owner; a checkpoint is as readable as the files around it.
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(f"{path}.part", 0o666 & ~mask)
    put_in_place(f"{path}.part", path, durable=False)


def versions() -> dict[str, str]:
    """Return the versions of imgsearch and the libraries that a result depends on."""
    return {"imgsearch": __version__, **{name: metadata.version(name) for name in _LIBRARIES}}


def _write_pixels(trained: Trained, out: str, name: str) -> None:
    """Take the image processor's settings over with the training budget in them."""
    if not os.path.exists(os.path.join(trained.source, name)):
        return
    settings = _read(trained.source, name)
    size = {"shortest_edge": trained.pixels.min_pixels, "longest_edge": trained.pixels.max_pixels}
    inner = settings.get("image_processor") if name == "processor_config.json" else settings
    if isinstance(inner, dict):
        inner["size"] = size
        for old in ("min_pixels", "max_pixels"):
            inner.pop(old, None)
    _write(out, name, settings)


def _write_modules(out: str, trained: Trained) -> None:
    """Write what sentence-transformers reads: its modules, their settings and the prompts."""
    module = "sentence_transformers.base.modules.{0}"
    pooling = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
    names = (
        ("", module.format("transformer.Transformer")),
        ("1_Pooling", pooling),
        ("2_Normalize", module.format("normalize.Normalize")),
    )
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(names)]
    kinds = dict.fromkeys(("text", "image", "video"), _FORWARD)
    transformer = {
        "transformer_task": "feature-extraction",
        "modality_config": {**kinds, "message": {**_FORWARD, "format": "structured"}},
        "module_output_name": "token_embeddings",
        "processing_kwargs": {"chat_template": {"add_generation_prompt": trained.generation_prompt}},
        "unpad_inputs": False,
    }
    _write(out, "sentence_bert_config.json", transformer)
    hidden = trained.model.model.language_model.config.hidden_size
    last = {"embedding_dimension": hidden, "pooling_mode": "lasttoken", "include_prompt": True}
    _write(out, "1_Pooling/config.json", last)
    unit = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
    _write(out, "2_Normalize/config.json", unit)
    library = {name.replace("-", "_"): version for name, version in versions().items() if name != "imgsearch"}
    whole = {
        "__version__": library | {"pytorch": library.pop("torch")},
        "model_type": "SentenceTransformer",
        "prompts": {"query": trained.query_prompt, "document": trained.document_prompt},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
        "truncate_dim": trained.truncate_dim,
    }
    _write(out, "config_sentence_transformers.json", whole)
    _write(out, "modules.json", modules)


def _read(folder: str, name: str) -> dict[str, Any]:
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        content: dict[str, Any] = json.load(file)
    return content


def _write(folder: str, name: str, content: Any) -> None:
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


_CARD = """\
---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, qwen3_vl, image-text-retrieval, imgsearch]
---

# {title}

A Qwen3-VL embedding model for finding images by text, trained by `imgsearch train`.

- Base model: {base}
- Training data: {dataset} ({examples:,} examples, {negatives} hard negatives each)
- Loss: MatryoshkaLoss over {loss}, dimensions {dims}
- Pixels per image: {least:,} to {most:,}
- Prompts: query {query!r}, document {document!r}

{scores}

## Hyperparameters

{table}

## Use

    imgsearch index FOLDER --model {folder}

or, with torchvision installed:

    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer("{folder}")
    model.similarity(model.encode_query(["a red circle"]), model.encode_document(["picture.png"]))

metrics.json has the loss, learning rate, seconds since the one before, and NDCG@10 of every logged step.
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
    scores = "It was not evaluated during training."
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
