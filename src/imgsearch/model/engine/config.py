"""The sizes of a Qwen3-VL embedding model as config.json gives them, and the tensors that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imgsearch.errors import CheckpointError
from imgsearch.model.checkpoint import Checkpoint

Shapes = dict[str, tuple[int, ...]]
LANGUAGE = "model.language_model"
VISION = "model.visual"


@dataclass(frozen=True, slots=True)
class VisionSizes:
    """The vision tower; lengths in numbers, ``patch`` in pixels. ``side`` squared is the count of learned positions.

    ``deepstack`` names the blocks, from 0, whose output is handed to the first language layers.
    """

    depth: int
    hidden: int
    intermediate: int
    heads: int
    channels: int
    patch: int
    temporal: int
    merge: int
    side: int
    deepstack: tuple[int, ...]
    theta: float


@dataclass(frozen=True, slots=True)
class TextSizes:
    """The language layers; ``sections`` says how many rotary frequencies belong to time, row and column."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_heads: int
    head: int
    vocabulary: int
    epsilon: float
    theta: float
    sections: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Both towers; ``shapes`` has every tensor by its name, as the published checkpoints name them."""

    vision: VisionSizes
    text: TextSizes
    shapes: Shapes


class UnknownArchitecture(CheckpointError):
    """config.json asks for what the engine does not know; transformers may."""


def read_architecture(checkpoint: Checkpoint) -> Architecture:
    """Read config.json. Raises UnknownArchitecture for what only transformers may know, else CheckpointError."""
    config = checkpoint.config
    try:
        text, vision = _text(config["text_config"]), _vision(config["vision_config"])
        if config["vision_config"]["out_hidden_size"] != text.hidden:
            raise ValueError("out_hidden_size")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnknownArchitecture(
            f"{checkpoint.folder}: config.json has settings that the engine does not know ({error.args[0]})"
        ) from error
    shapes = _text_shapes(text) | _vision_shapes(vision, text.hidden)
    return Architecture(vision, text, shapes)


def _text(config: dict[str, Any]) -> TextSizes:
    """Read text_config; ValueError for a feature of other models."""
    _only(config, hidden_act="silu", attention_bias=False)
    for name in ("layer_types", "sliding_window", "partial_rotary_factor"):
        if config.get(name) is not None:
            raise ValueError(name)
    rotary = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if (
        rotary.get("rope_type", rotary.get("type", "default")) != "default"
        or "partial_rotary_factor" in rotary
    ):
        raise ValueError("rope_type")
    time, row, column = (int(count) for count in rotary["mrope_section"])
    heads, key_heads = _size(config, "num_attention_heads"), _size(config, "num_key_value_heads")
    head = _size(config, "head_dim")
    if heads % key_heads or head % 2 or min(time, row, column) < 0:
        raise ValueError("num_key_value_heads, head_dim or mrope_section")
    return TextSizes(
        layers=_size(config, "num_hidden_layers"),
        hidden=_size(config, "hidden_size"),
        intermediate=_size(config, "intermediate_size"),
        heads=heads,
        key_heads=key_heads,
        head=head,
        vocabulary=_size(config, "vocab_size"),
        epsilon=float(config.get("rms_norm_eps", 1e-6)),
        theta=float(rotary.get("rope_theta") or config["rope_theta"]),
        sections=(time, row, column),
    )


def _vision(config: dict[str, Any]) -> VisionSizes:
    """Read vision_config; ValueError for a feature of other models."""
    _only(config, hidden_act="gelu_pytorch_tanh")
    rotary = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if rotary.get("rope_type", "axial") not in ("axial", "default") or "partial_rotary_factor" in {
        **config,
        **rotary,
    }:
        raise ValueError("rope_type")
    depth, hidden, heads = (_size(config, name) for name in ("depth", "hidden_size", "num_heads"))
    positions = _size(config, "num_position_embeddings")
    side = int(positions**0.5)
    deepstack = tuple(config["deepstack_visual_indexes"])
    if (
        hidden % (4 * heads)
        or side * side != positions
        or config.get("head_dim", hidden // heads) != hidden // heads
    ):
        raise ValueError("num_heads, head_dim or num_position_embeddings")
    if deepstack != tuple(sorted(set(deepstack))) or not set(deepstack) <= set(range(depth)):
        raise ValueError("deepstack_visual_indexes")
    return VisionSizes(
        depth=depth,
        hidden=hidden,
        intermediate=_size(config, "intermediate_size"),
        heads=heads,
        channels=_size(config, "in_channels"),
        patch=_size(config, "patch_size"),
        temporal=_size(config, "temporal_patch_size"),
        merge=_size(config, "spatial_merge_size"),
        side=side,
        deepstack=deepstack,
        theta=float(rotary.get("rope_theta") or config.get("rope_theta") or 10_000),
    )


def _size(config: dict[str, Any], name: str) -> int:
    """Return a positive whole number of the config."""
    value = config[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(name)
    return value


def _only(config: dict[str, Any], **known: Any) -> None:
    """Refuse a setting that is there and has another value than the one the engine computes with."""
    for name, value in known.items():
        if config.get(name, value) != value:
            raise ValueError(name)


def _text_shapes(sizes: TextSizes) -> Shapes:
    hidden, inner = sizes.hidden, sizes.intermediate
    queries, keys = sizes.heads * sizes.head, sizes.key_heads * sizes.head
    layer: Shapes = {
        "input_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (queries, hidden),
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.v_proj.weight": (keys, hidden),
        "self_attn.o_proj.weight": (hidden, queries),
        "self_attn.q_norm.weight": (sizes.head,),
        "self_attn.k_norm.weight": (sizes.head,),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }
    whole: Shapes = {"embed_tokens.weight": (sizes.vocabulary, hidden), "norm.weight": (hidden,)}
    for number in range(sizes.layers):
        whole |= {f"layers.{number}.{name}": shape for name, shape in layer.items()}
    return {f"{LANGUAGE}.{name}": shape for name, shape in whole.items()}


def _vision_shapes(sizes: VisionSizes, out: int) -> Shapes:
    hidden, merged = sizes.hidden, sizes.hidden * sizes.merge**2
    block = _norm("norm1", hidden) | _norm("norm2", hidden)
    block |= _product("attn.qkv", 3 * hidden, hidden) | _product("attn.proj", hidden, hidden)
    block |= _product("mlp.linear_fc1", sizes.intermediate, hidden)
    block |= _product("mlp.linear_fc2", hidden, sizes.intermediate)
    merger = _product("linear_fc1", merged, merged) | _product("linear_fc2", out, merged)
    patch = (hidden, sizes.channels, sizes.temporal, sizes.patch, sizes.patch)
    whole: Shapes = {
        "patch_embed.proj.weight": patch,
        "patch_embed.proj.bias": (hidden,),
        "pos_embed.weight": (sizes.side**2, hidden),
    }
    for number in range(sizes.depth):
        whole |= {f"blocks.{number}.{name}": shape for name, shape in block.items()}
    whole |= {f"merger.{name}": shape for name, shape in (merger | _norm("norm", hidden)).items()}
    for number in range(len(sizes.deepstack)):
        stacked = merger | _norm("norm", merged)
        whole |= {f"deepstack_merger_list.{number}.{name}": shape for name, shape in stacked.items()}
    return {f"{VISION}.{name}": shape for name, shape in whole.items()}


def _product(name: str, rows: int, columns: int) -> Shapes:
    """Name the weight and the bias of a matrix product."""
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, size: int) -> Shapes:
    """Name the weight and the bias of a layer norm."""
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
