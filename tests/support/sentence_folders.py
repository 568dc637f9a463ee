"""Folders in sentence-transformers' format around a tiny random checkpoint, as SentenceTransformer.save writes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

_FORWARD = {"method": "forward", "method_output_name": "last_hidden_state"}
BUDGET = {"shortest_edge": 4_096, "longest_edge": 57_600}


def write(folder: Path, name: str, content: Any) -> None:
    """Write a JSON file of a checkpoint."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2))


def change(folder: Path, name: str, **values: Any) -> None:
    """Set keys of a JSON file; None takes a key away."""
    content = json.loads((folder / name).read_text()) | values
    write(folder, name, {key: value for key, value in content.items() if value is not None})


def sentence_folder(plain: str | Path, folder: Path, **config: Any) -> Path:
    """Copy a plain checkpoint and add what makes it one of sentence-transformers; return the folder.

    ``config`` is put into config_sentence_transformers.json. The image processor gets the budget that imgsearch
    takes by default, so that both see pictures in one size.
    """
    shutil.copytree(plain, folder)
    change(folder, "preprocessor_config.json", size=BUDGET)
    dim = json.loads((folder / "config.json").read_text())["text_config"]["hidden_size"]
    kinds = ("base.modules.transformer.Transformer", "sentence_transformer.modules.pooling.Pooling")
    kinds += ("base.modules.normalize.Normalize",)
    modules(folder, *(f"sentence_transformers.{kind}" for kind in kinds))
    write(
        folder,
        "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            "modality_config": {
                **dict.fromkeys(("text", "image", "video"), _FORWARD),
                "message": {**_FORWARD, "format": "structured"},
            },
            "module_output_name": "token_embeddings",
            "processing_kwargs": {"chat_template": {"add_generation_prompt": True}},
            "unpad_inputs": False,
        },
    )
    pooling = {"embedding_dimension": dim, "pooling_mode": "lasttoken", "include_prompt": True}
    write(folder, "1_Pooling/config.json", pooling)
    names = dict.fromkeys(("module_input_name", "module_output_name"), "sentence_embedding")
    write(folder, "2_Normalize/config.json", names)
    defaults = {
        "__version__": {"sentence_transformers": "6.2.0"},
        "model_type": "SentenceTransformer",
        "prompts": {"query": "", "document": ""},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
    write(folder, "config_sentence_transformers.json", defaults | config)
    return folder


def modules(folder: Path, *kinds: str) -> None:
    """Write modules.json with these classes, the first at the root."""
    paths = ["", *(f"{n}_{kind.rsplit('.', 1)[-1]}" for n, kind in enumerate(kinds[1:], start=1))]
    entries = [
        {"idx": n, "name": str(n), "path": path, "type": kind}
        for n, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    write(folder, "modules.json", entries)
