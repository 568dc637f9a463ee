"""Writes a tiny random CLIP in the format of sentence-transformers: a peer of another family."""

from __future__ import annotations

import json
import os

import pytest


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the folder of a tiny random CLIP with vectors of 24 dimensions; tests must not write to it."""
    folder = str(tmp_path_factory.mktemp("clip") / "tiny-clip")
    write_tiny_clip(folder)
    return folder


def write_tiny_clip(folder: str) -> None:
    """Write config, random weights, a tokenizer of single characters, the image processor and modules.json."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(3)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    os.makedirs(folder)
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    text = {"vocab_size": len(words), "max_position_embeddings": 64, "bos_token_id": len(words) - 2}
    config = CLIPConfig(
        text_config={**small, **text, "eos_token_id": len(words) - 1},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    CLIPModel(config).save_pretrained(folder)
    _json(folder, "vocab.json", {word: number for number, word in enumerate(words)})
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n")
    _json(folder, "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", "model_max_length": 64})
    size = {"height": 32, "width": 32}
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 32},
        "crop_size": size,
    }
    _json(folder, "preprocessor_config.json", settings)
    modules = [
        {
            "idx": 0,
            "name": "0",
            "path": "",
            "type": "sentence_transformers.sentence_transformer.modules.CLIPModel",
        }
    ]
    _json(folder, "modules.json", modules)
    own = {
        "prompts": {"query": "a photo of ", "document": ""},
        "similarity_fn_name": "cosine",
        "truncate_dim": 8,
    }
    _json(folder, "config_sentence_transformers.json", own)


def _json(folder: str, name: str, value: object) -> None:
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file)
