"""Makes transformers' Qwen3-VL quick at many small pictures, with the same results and gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

import torch
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision

from imgsearch.model.modeling import Qwen3VLForEmbedding


def quicken(model: Qwen3VLForEmbedding, attention: str) -> None:
    """Replace what is slow at many small pictures; parameters stay where they are, only methods are others.

    Pictures of one length attend in one call instead of one a picture and layer, patches are embedded by a
    matrix product instead of a convolution, and the deepstack features are added by an index whose gradient
    needs no sorting. ``attention`` is "sdpa" or "eager", as ``options.choose_attention`` says.
    """
    model.model.language_model.config._attn_implementation = attention
    model.model.language_model._deepstack_process = _add_features
    visual = model.model.visual
    visual.patch_embed.forward = MethodType(_embed_patches, visual.patch_embed)
    attend = _eager if attention == "eager" else torch.nn.functional.scaled_dot_product_attention
    for block in visual.blocks:
        block.attn.forward = MethodType(partial(_attend, attend=attend), block.attn)


def _embed_patches(self: Any, patches: torch.Tensor) -> torch.Tensor:
    """Qwen3VLVisionPatchEmbed.forward: a convolution whose stride is its kernel is one product a patch."""
    return torch.nn.functional.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


def _add_features(hidden: torch.Tensor, places: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Qwen3VLTextModel._deepstack_process: add ``features`` where the (batch, length) mask ``places`` is true."""
    flat = hidden.flatten(0, 1)
    index = places.flatten().nonzero().squeeze(1)
    return flat.index_add(0, index, features.to(flat.dtype)).view_as(hidden)


def _attend(
    self: Any,
    hidden_states: torch.Tensor,
    cu_seqlens: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    *,
    attend: Callable[..., torch.Tensor],
    **kwargs: Any,
) -> torch.Tensor:
    """Qwen3VLVisionAttention.forward, in groups of pictures that have as many patches as each other."""
    total = hidden_states.shape[0]
    query, key, value = self.qkv(hidden_states).reshape(total, 3, self.num_heads, -1).unbind(1)
    query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
    heads = torch.stack((query, key, value))
    lengths = cu_seqlens.diff()
    counts = lengths.tolist()
    if len(set(counts)) == 1:
        mixed = _attend_equal(attend, heads, len(counts))
    else:
        order, parts = [], []
        for length in dict.fromkeys(counts):
            starts = cu_seqlens[:-1][lengths == length]
            places = (starts[:, None] + torch.arange(length, device=starts.device)).flatten()
            order.append(places)
            parts.append(_attend_equal(attend, heads.index_select(1, places), len(starts)))
        mixed = torch.cat(parts).index_select(0, torch.argsort(torch.cat(order)))
    result: torch.Tensor = self.proj(mixed.reshape(total, -1))
    return result


def _attend_equal(attend: Callable[..., torch.Tensor], heads: torch.Tensor, pictures: int) -> torch.Tensor:
    """Attend within each of ``pictures`` runs of equal length; ``heads`` is (3, patches, heads, head size)."""
    query, key, value = heads.reshape(3, pictures, -1, *heads.shape[2:]).transpose(2, 3)
    mixed: torch.Tensor = attend(query, key, value).transpose(1, 2).flatten(0, 1)
    return mixed


def _eager(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attention as two products and a softmax: what the fused kernel computes."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    mixed: torch.Tensor = scores.softmax(dim=-1).to(value.dtype) @ value
    return mixed
