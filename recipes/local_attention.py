"""Lets the attention of a random vision tower begin at each patch's neighbours, as a convolution looks at an image."""

from __future__ import annotations

import json
import math
import os

import torch
from safetensors.torch import load_file, save_file

NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""Where the heads of a layer look: patches up, down, left and right; further heads begin again."""
_FREQUENCIES = 3  # of the rotary embedding, for each axis: the others hardly change within an image
_THETA = 10_000.0  # as in transformers' Qwen3VLVisionRotaryEmbedding


def attend_to_neighbours(folder: str, sharpness: float = 3.0, content: float = 0.1) -> None:
    """Change the checkpoint in ``folder``, one model.safetensors with attention biases, in its place.

    A head's queries and keys get biases that the rotary embedding turns with the position, so that its logits are
    highest one patch away in one direction and fall by about ``sharpness`` for a patch more; the weights for what a
    patch shows are multiplied by ``content``. Afterwards all of it is trained as before. The idea that a vision
    transformer learns from fewer images if its attention begins like a convolution is that of Zheng et al.,
    "Structured Initialization for Attention in Vision Transformers", 2024 (arXiv 2404.01139); theirs is made from
    position embeddings, this one from the rotary one.
    """
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        heads = json.load(file)["vision_config"]["num_heads"]
    path = os.path.join(folder, "model.safetensors")
    weights = load_file(path)
    for name, bias in weights.items():
        if "visual.blocks" not in name or not name.endswith("attn.qkv.bias"):
            continue
        width = len(bias) // 3
        bias.zero_()
        queries, keys = bias[:width].view(heads, -1), bias[width : 2 * width].view(heads, -1)
        for head in range(heads):
            for axis, steps in enumerate(NEIGHBOURS[head % len(NEIGHBOURS)]):
                _look(queries[head], keys[head], axis, steps, sharpness)
        weights[name.replace("bias", "weight")][: 2 * width] *= content
    save_file(weights, path, metadata={"format": "pt"})


def _look(query: torch.Tensor, key: torch.Tensor, axis: int, steps: int, sharpness: float) -> None:
    """Set the biases of one head so that it looks ``steps`` patches along an axis: 0 down, 1 to the right.

    The rotary embedding turns the pair of numbers i and i + half by an angle of frequency i for each patch: rows
    have the first quarter of a head's numbers, columns the second.
    """
    quarter = len(query) // 4
    frequencies = [_THETA ** (-i / quarter) for i in range(min(_FREQUENCIES, quarter))]
    # The logit is the sum of strength² · cos(frequency · (distance - steps)) / √len, over the frequencies.
    fall = sum(1 - math.cos(frequency) for frequency in frequencies)
    strength = math.sqrt(sharpness * math.sqrt(len(query)) / fall)
    for i, frequency in enumerate(frequencies):
        place = axis * quarter + i
        query[place] = strength
        key[place] = strength * math.cos(steps * frequency)
        key[place + 2 * quarter] = -strength * math.sin(steps * frequency)
