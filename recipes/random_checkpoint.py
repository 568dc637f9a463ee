"""Writes complete checkpoints with random weights, for tests, the demo and benchmarks: real shapes, no training."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from imgsearch.errors import UsageError

SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
CHAT_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- for part in message.content %}
        {{- '<|vision_start|><|image_pad|><|vision_end|>' if part.type == 'image' else part.text }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{{- '<|im_start|>assistant\\n' if add_generation_prompt }}
"""
TERSE_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' }}
    {%- for part in message.content %}
        {{- '<|vision_start|><|image_pad|><|vision_end|>' if part.type == 'image' else part.text }}
    {%- endfor %}
    {{- '<|im_end|>' }}
{%- endfor %}
"""
"""The same without roles: two tokens beside a text instead of eleven, for a model small enough that it counts."""
# What the tokenizer learns its merges from, if nothing else is given.
SENTENCES = (
    "Represent the user's input. system user assistant",
    "a photograph of a cat on the grass in the evening light, and a dog that looks the other way",
    "red, green and blue circles, squares and stripes on a white ground; two of them touch each other",
    "mountains over the lake at sunrise, a boat with three people, snow, clouds and a long shadow",
    "the menu of a small restaurant with prices; a handwritten letter; a map of the old town",
)
# How Qwen's published tokenizer.json cuts text into words before merging.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(post_processor_eot: bool, sentences: Sequence[str], vocabulary: int = 600) -> Tokenizer:
    """Train a small byte-level BPE tokenizer that splits as Qwen's does and has its special tokens.

    With ``post_processor_eot`` it appends <|endoftext|> to every prompt. ``vocabulary`` is the most tokens it
    learns; the special ones come on top.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        sentences,
        trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS]
    )
    if post_processor_eot:
        end = SPECIAL_TOKENS[0]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", special_tokens=[(end, tokenizer.token_to_id(end))]
        )
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def tokenizer_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return tokenizer_config.json with the keys of the published one that say something."""
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    added = {str(tokenizer.token_to_id(token)): {"content": token} | plain for token in SPECIAL_TOKENS}
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "eos_token": "<|im_end|>",
        "model_max_length": 262144,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


PUBLISHED_2B: dict[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "model_type": "qwen3_vl",
    "tie_word_embeddings": True,
    "text_config": {
        "model_type": "qwen3_vl_text",
        "attention_bias": False,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "max_position_embeddings": 262144,
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
        "rope_theta": 5_000_000,
        "tie_word_embeddings": True,
        "vocab_size": 151936,
    },
    "vision_config": {
        "model_type": "qwen3_vl",
        "deepstack_visual_indexes": [5, 11, 17],
        "depth": 24,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1024,
        "in_channels": 3,
        "intermediate_size": 4096,
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": 2048,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
}
"""The sizes of Qwen/Qwen3-VL-Embedding-2B, as its config.json gives them."""

TINY: dict[str, Any] = PUBLISHED_2B | {
    "text_config": PUBLISHED_2B["text_config"]
    | {
        "head_dim": 32,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [6, 5, 5], "rope_type": "default"},
        "vocab_size": 640,
    },
    "vision_config": PUBLISHED_2B["vision_config"]
    | {
        "deepstack_visual_indexes": [0, 1, 2],
        "depth": 4,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "num_position_embeddings": 144,
        "out_hidden_size": 128,
    },
}
"""The same architecture in four small layers a tower, deepstack on: loads and runs in no time."""

_DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}  # torch's names and those of safetensors
_PIECE = 2**22  # numbers that are drawn and written at a time

_Shapes = dict[str, tuple[int, ...]]


def write_random_checkpoint(
    folder: str,
    config: dict[str, Any] | None = None,
    *,
    seed: int = 0,
    dtype: str = "float32",
    post_processor_eot: bool = True,
    shard_bytes: int | None = None,
    sentences: Sequence[str] = SENTENCES,
    vocabulary: int = 600,
    template: str = CHAT_TEMPLATE,
    device: str = "cpu",
    gains: Mapping[str, float] | None = None,
) -> None:
    """Write every file of a Qwen3-VL embedding checkpoint with random weights into ``folder``.

    ``config`` is the content of a config.json, ``TINY`` if not given; the ids of its special tokens are set to
    those of the tokenizer that is written, and its vocabulary is made large enough for it. The same ``seed``
    gives the same bytes, if it is drawn on the same kind of ``device``. ``dtype`` is float32, bfloat16 or float16.
    With ``post_processor_eot`` the tokenizer appends <|endoftext|> to every prompt, as the published one does;
    without, as that of the instruct models, it appends nothing. ``shard_bytes`` is the most tensor bytes a file
    holds; without it there is one file. Tensors are written in pieces: memory stays small whatever the model's size.
    ``sentences`` are what the tokenizer learns its merges from, ``vocabulary`` how many tokens it learns at most,
    ``template`` is the chat template.

    The weights keep a signal's size from layer to layer, and the token embeddings are small beside it, so that
    the last token's state depends on the picture: different pictures get different vectors. ``gains`` are for a
    checkpoint that is trained: by a part of the names of tensors, the deviation of embeddings, and of matrices in
    multiples of what keeps a signal's size.
    """
    if dtype not in _DTYPES:
        raise UsageError(f"a random checkpoint can be {', '.join(_DTYPES)}, not '{dtype}'")
    os.makedirs(folder, exist_ok=True)
    config = copy.deepcopy(TINY if config is None else config)
    tokenizer = train_tokenizer(post_processor_eot, sentences, vocabulary)
    for name in ("image", "video"):
        config[f"{name}_token_id"] = tokenizer.token_to_id(f"<|{name}_pad|>")
    for name in ("start", "end"):
        config[f"vision_{name}_token_id"] = tokenizer.token_to_id(f"<|vision_{name}|>")
    text = config["text_config"]
    text["vocab_size"] = max(text["vocab_size"], tokenizer.get_vocab_size())
    config["dtype"] = dtype
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "chat_template.jinja"), "w", encoding="utf-8") as file:
        file.write(template)
    _write_json(folder, "config.json", config)
    _write_json(folder, "tokenizer_config.json", tokenizer_config(tokenizer))
    _write_json(folder, "preprocessor_config.json", _preprocessor_config(config["vision_config"]))
    generator = torch.Generator(device).manual_seed(seed)
    _write_weights(folder, _shapes(config), dtype, generator, shard_bytes, gains or {})


def _preprocessor_config(vision: dict[str, Any]) -> dict[str, Any]:
    """Return preprocessor_config.json with the published numbers and the vision tower's sizes."""
    return {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "image_std": [0.5, 0.5, 0.5],
        "merge_size": vision["spatial_merge_size"],
        "patch_size": vision["patch_size"],
        "processor_class": "Qwen3VLProcessor",
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"longest_edge": 16777216, "shortest_edge": 65536},
        "temporal_patch_size": vision["temporal_patch_size"],
    }


def _shapes(config: dict[str, Any]) -> _Shapes:
    """Return the names and shapes of all tensors, as the model that will load them declares them."""
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

    from imgsearch.model.reference import Qwen3VLForEmbedding

    with torch.device("meta"):
        model = Qwen3VLForEmbedding(Qwen3VLConfig.from_dict(copy.deepcopy(config)))
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _write_weights(
    folder: str,
    shapes: _Shapes,
    dtype: str,
    generator: torch.Generator,
    shard_bytes: int | None,
    gains: Mapping[str, float],
) -> None:
    """Write the tensors as model.safetensors, or as shards with their index."""
    item = getattr(torch, dtype).itemsize
    shards: list[_Shapes] = [{}]
    room = shard_bytes or math.inf
    for name, shape in shapes.items():
        size = math.prod(shape) * item
        if size > room and shards[-1]:
            shards.append({})
            room = shard_bytes or math.inf
        shards[-1][name] = shape
        room -= size
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors" if shard_bytes else "model.safetensors"
        _write_safetensors(os.path.join(folder, file), shard, dtype, generator, gains)
        where |= dict.fromkeys(shard, file)
    if shard_bytes:
        total = sum(math.prod(shape) * item for shape in shapes.values())
        index = {"metadata": {"total_size": total}, "weight_map": where}
        _write_json(folder, "model.safetensors.index.json", index)


def _write_safetensors(
    path: str, shapes: _Shapes, dtype: str, generator: torch.Generator, gains: Mapping[str, float]
) -> None:
    """Write one safetensors file (length of the header, header, tensor bytes) without holding it in memory."""
    label, kind = _DTYPES[dtype], getattr(torch, dtype)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * kind.itemsize
        header[name] = {"dtype": label, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            for piece in _numbers(name, shape, generator, gains):
                file.write(piece.to(kind).cpu().view(torch.uint8).numpy().data)


def _numbers(
    name: str, shape: tuple[int, ...], generator: torch.Generator, gains: Mapping[str, float]
) -> Iterator[torch.Tensor]:
    """Draw a tensor's numbers in pieces, as float32, flat: norms near 1, biases near 0, matrices to keep a size."""
    mean, deviation = 0.0, 1 / math.sqrt(math.prod(shape[1:]))
    embeds = "embed_tokens" in name or "pos_embed" in name
    gain = next((gain for part, gain in gains.items() if part in name), None)
    if len(shape) == 1:
        mean, deviation = (0.0, 0.02) if name.endswith(".bias") else (1.0, 0.1)
    elif gain is not None:
        deviation = gain if embeds else gain * deviation
    elif embeds:
        deviation = 0.02
    elif name.endswith(("mlp.down_proj.weight", "mlp.linear_fc2.weight")):
        # Smaller steps make a smoother function: the vector of a slightly altered picture stays near.
        deviation *= 0.3
    left = math.prod(shape)
    while left:
        count = min(left, _PIECE)
        yield torch.empty(count, device=generator.device).normal_(mean, deviation, generator=generator)
        left -= count


def _write_json(folder: str, name: str, content: dict[str, Any]) -> None:
    """Write an object as indented JSON."""
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
