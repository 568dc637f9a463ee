"""Writes tiny random models of other families, as sentence-transformers loads them: each one folder, once a session."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

CHAT = """\
{%- for message in messages %}
    {{- '<start_of_turn>' + message.role + '\\n' }}
    {%- for part in message.content %}
        {{- '<start_of_image>' if part.type == 'image' else part.text }}
    {%- endfor %}
    {{- '<end_of_turn>\\n' }}
{%- endfor %}
"""
_SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the folder of a tiny random CLIP with vectors of 24 dimensions; tests must not write to it."""
    folder = str(tmp_path_factory.mktemp("clip") / "tiny-clip")
    write_tiny_clip(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_siglip2(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the folder of a tiny random SigLIP 2 with vectors of 32 dimensions; tests must not write to it."""
    folder = str(tmp_path_factory.mktemp("siglip2") / "tiny-siglip2")
    write_tiny_siglip2(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_gemma3(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the folder of a tiny random vision-language model with vectors of 24; tests must not write to it."""
    folder = str(tmp_path_factory.mktemp("gemma3") / "tiny-gemma3")
    write_tiny_gemma3(folder)
    return folder


def write_tiny_clip(folder: str) -> None:
    """Write a CLIP by the library's old module for it: prompt for queries, 24 dimensions, of which 8 are used."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(3)
    os.makedirs(folder)
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    text = {"vocab_size": len(words), "max_position_embeddings": 64, "bos_token_id": len(words) - 2}
    config = CLIPConfig(
        text_config={**_SMALL, **text, "eos_token_id": len(words) - 1},
        vision_config={**_SMALL, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    CLIPModel(config).save_pretrained(folder)
    write_json(folder, "vocab.json", {word: number for number, word in enumerate(words)})
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n")
    write_json(folder, "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", "model_max_length": 64})
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
    }
    write_json(folder, "preprocessor_config.json", settings)
    write_modules(folder, "sentence_transformers.sentence_transformer.modules.CLIPModel")
    own = {
        "prompts": {"query": "a photo of ", "document": ""},
        "similarity_fn_name": "cosine",
        "truncate_dim": 8,
    }
    write_json(folder, "config_sentence_transformers.json", own)


def write_tiny_siglip2(folder: str) -> None:
    """Write a SigLIP 2 as its authors do, without modules: images of any shape, 256 patches of 16 pixels at most."""
    import torch
    from transformers import Siglip2Config, Siglip2Model

    torch.manual_seed(4)
    os.makedirs(folder)
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    words = write_tokenizer(folder, "PreTrainedTokenizerFast", special, end="<eos>", most=64)
    text = {"vocab_size": words, "max_position_embeddings": 64, "projection_size": 32}
    tokens = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    config = Siglip2Config(
        text_config={**_SMALL, **text, **tokens},
        vision_config={**_SMALL, "num_patches": 16, "patch_size": 16},
    )
    Siglip2Model(config).save_pretrained(folder)
    settings = {"image_processor_type": "Siglip2ImageProcessor", "processor_class": "Siglip2Processor"}
    write_json(folder, "preprocessor_config.json", {**settings, "patch_size": 16, "max_num_patches": 256})


def write_tiny_gemma3(folder: str) -> None:
    """Write a vision-language model by four modules: mean pooling, a layer to 24 dimensions, unit length; prompts."""
    import torch
    from safetensors.torch import save_file
    from transformers import Gemma3Config, Gemma3Model

    torch.manual_seed(5)
    os.makedirs(folder)
    images = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    turns = ["<pad>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]
    words = write_tokenizer(
        folder, "PreTrainedTokenizerFast", [*turns, *images.values()], begin="<bos>", most=512, **images
    )
    number = {token: place for place, token in enumerate([*turns, *images.values()])}
    text = {**_SMALL, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": words, "sliding_window": 64}
    config = Gemma3Config(
        text_config=text,
        vision_config={**_SMALL, "image_size": 32, "patch_size": 8},
        mm_tokens_per_image=4,
        boi_token_index=number["<start_of_image>"],
        eoi_token_index=number["<end_of_image>"],
        image_token_index=number["<image_soft_token>"],
    )
    model = Gemma3Model(config)
    torch.nn.init.normal_(model.multi_modal_projector.mm_input_projection_weight)  # else all images are alike
    model.save_pretrained(folder)
    settings = {"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 32, "width": 32}}
    write_json(folder, "preprocessor_config.json", settings)
    write_json(folder, "processor_config.json", {"processor_class": "Gemma3Processor", "image_seq_length": 4})
    with open(os.path.join(folder, "chat_template.jinja"), "w", encoding="utf-8") as file:
        file.write(CHAT)
    package = "sentence_transformers"
    write_modules(
        folder,
        f"{package}.base.modules.transformer.Transformer",
        f"{package}.sentence_transformer.modules.pooling.Pooling",
        f"{package}.base.modules.dense.Dense",
        f"{package}.base.modules.normalize.Normalize",
    )
    forward = {"method": "forward", "method_output_name": "last_hidden_state"}
    modalities = {"text": forward, "image": forward, "message": {**forward, "format": "structured"}}
    transformer = {"transformer_task": "feature-extraction", "modality_config": modalities}
    write_json(folder, "sentence_bert_config.json", {**transformer, "module_output_name": "token_embeddings"})
    pooling = {"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": True}
    write_json(folder, "1_Pooling/config.json", pooling)
    dense = {"in_features": 32, "out_features": 24, "bias": False}
    dense["activation_function"] = "torch.nn.modules.linear.Identity"
    write_json(folder, "2_Dense/config.json", dense)
    save_file({"linear.weight": torch.randn(24, 32)}, os.path.join(folder, "2_Dense", "model.safetensors"))
    os.makedirs(os.path.join(folder, "3_Normalize"))
    prompts = {"query": "Find the image that shows this:", "document": "Describe the image."}
    write_json(
        folder, "config_sentence_transformers.json", {"prompts": prompts, "similarity_fn_name": "cosine"}
    )


def write_tokenizer(
    folder: str,
    kind: str,
    special: list[str],
    *,
    begin: str = "",
    end: str = "",
    most: int = 64,
    **named: str,
) -> int:
    """Write a tokenizer of ``special`` tokens and single bytes; return how many tokens there are.

    ``begin`` and ``end`` stand around every text, ``most`` tokens fit, ``named`` are tokens that have a name.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    # A lower one eighth block stands for a space in the tokenizers of Gemma, which SigLIP 2 has, too.
    words = [*special, *sorted({*pre_tokenizers.ByteLevel.alphabet(), "\u2581"})]
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    around = [token for token in (begin, end) if token]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}".strip(),
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in around],
    )
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    usual = {f"{name}_token": f"<{name}>" for name in ("pad", "bos", "eos") if f"<{name}>" in special}
    settings = {"tokenizer_class": kind, "model_max_length": most, **usual}
    if named:
        settings["extra_special_tokens"] = named
    write_json(folder, "tokenizer_config.json", settings)
    return tokenizer.get_vocab_size()


def write_modules(folder: str, *kinds: str) -> None:
    """Write modules.json: the first module lies at the root, each other one in a folder by its number and name."""
    paths = ["", *(f"{number}_{kind.rsplit('.', 1)[-1]}" for number, kind in enumerate(kinds[1:], start=1))]
    entries = [
        {"idx": number, "name": str(number), "path": path, "type": kind}
        for number, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    write_json(folder, "modules.json", entries)


def write_json(folder: str, name: str, value: Any) -> None:
    """Write a JSON file into a model's folder, or into one below it."""
    path = Path(folder, name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
