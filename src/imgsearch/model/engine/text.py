"""The language layers: from the tokens of prompts to the hidden state of each prompt's last token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from imgsearch.model.engine.config import LANGUAGE, TextSizes
from imgsearch.model.engine.layers import Int8Linear, Linear, linear, operand
from imgsearch.model.engine.norms import RMSNorm
from imgsearch.model.engine.rotary import Rotary
from imgsearch.model.engine.weights import Weights


class KVCache(NamedTuple):
    """The keys and values of tokens that stand before others: of each layer (1, key heads, tokens, head) twice."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]

    def __len__(self) -> int:
        """Return how many tokens it holds."""
        return self.keys[0].shape[2] if self.keys else 0


class TextModel:
    """The layers with their weights, for inference."""

    def __init__(self, weights: Weights, sizes: TextSizes, *, keep: bool = True) -> None:
        """Take the weights. With ``keep`` all of them stay, without it a layer's are read when it is used."""
        self._weights, self._sizes = weights, sizes
        self._table = weights.table(f"{LANGUAGE}.embed_tokens.weight")
        self._norm = RMSNorm(weights, f"{LANGUAGE}.norm", sizes.epsilon)
        self._layers = (
            [DecoderLayer(weights, number, sizes.epsilon) for number in range(sizes.layers)] if keep else None
        )

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of token ids: (batch, length) int64 to (batch, length, hidden)."""
        return self._table[ids.to(self._table.device)].to(self._weights.dtype)

    def linears(self) -> list[Linear | Int8Linear]:
        """List the products whose weights are kept."""
        return [product for layer in self._layers or [] for product in layer.linears()]

    def prefill(self, hidden: torch.Tensor, rotary: Rotary) -> KVCache:
        """Return the keys and values of one prompt's first tokens, for ``forward_last`` to go on from.

        ``hidden``: (1, length, hidden), embeddings of text; of the last layer nothing else is computed.
        """
        kv_cache = KVCache([], [])
        for number in range(self._sizes.layers):
            layer = self._layer(number)
            normed = self._normed(hidden, layer.before)
            key, value = self._keys(layer, normed, rotary)
            kv_cache.keys.append(key)
            kv_cache.values.append(value)
            if number < self._sizes.layers - 1:
                query = self._queries(layer, normed, rotary)
                mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
                hidden = self._finish(layer, mixed, hidden)
        return kv_cache

    def forward_last(
        self,
        hidden: torch.Tensor,
        rotary: Rotary,
        lengths: Sequence[int],
        kv_cache: KVCache | None = None,
        *,
        deepstack: Sequence[tuple[int, Sequence[torch.Tensor]]] = (),
    ) -> torch.Tensor:
        """Return the hidden state of each prompt's last token after the final norm: (batch, hidden).

        ``hidden``: (batch, length, hidden), embeddings, a shorter prompt filled up with anything on the right;
        ``lengths`` are the true ones. ``kv_cache`` holds what stands before all of them. ``deepstack`` has of
        each picture its first token and what is added to its tokens behind the first layers, one each.
        """
        cached, (batch, length, _) = len(kv_cache or ()), hidden.shape
        device = hidden.device
        ends = torch.tensor(lengths, device=device) - 1
        rows = torch.arange(batch, device=device)
        positions = torch.arange(cached + length, device=device)
        # A token sees what stands before it and itself; what is filled up stands behind everything.
        mask = None if not cached else positions <= positions[cached:, None]
        for number in range(self._sizes.layers):
            layer = self._layer(number)
            normed = self._normed(hidden, layer.before)
            before = (kv_cache.keys[number], kv_cache.values[number]) if kv_cache else None
            key, value = self._keys(layer, normed, rotary, before)
            if number == self._sizes.layers - 1:
                # Nobody reads what the last layer makes of the other tokens.
                hidden = hidden[rows, ends][:, None]
                normed = self._normed(hidden, layer.before)
                query = self._queries(layer, normed, Rotary(*(table[ends][:, None] for table in rotary)))
                mask = (positions <= cached + ends[:, None])[:, None, None]
            else:
                query = self._queries(layer, normed, rotary)
            mixed = F.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=True
            )
            hidden = self._finish(layer, mixed, hidden)
            for start, added in deepstack if number < self._sizes.layers - 1 else ():
                if number < len(added):
                    hidden[:, start : start + added[number].shape[1]] += added[number]
        return self._norm(hidden[:, 0])

    def _layer(self, number: int) -> DecoderLayer:
        return (
            self._layers[number] if self._layers else DecoderLayer(self._weights, number, self._sizes.epsilon)
        )

    def _queries(self, layer: DecoderLayer, normed: Any, rotary: Rotary) -> torch.Tensor:
        """Return (batch, heads, length, head)."""
        query = _by_heads(layer.query(normed), self._sizes.heads)
        return rotary.apply_rotary(query, layer.query_norm).transpose(1, 2)

    def _keys(
        self,
        layer: DecoderLayer,
        normed: Any,
        rotary: Rotary,
        before: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values, both (batch, key heads, length, head), behind those that stand ``before`` all."""
        key, value = (
            _by_heads(product(normed), self._sizes.key_heads) for product in (layer.key, layer.value)
        )
        if before is None:
            return rotary.apply_rotary(key, layer.key_norm).transpose(1, 2), value.transpose(1, 2)
        batch, length, heads, head = key.shape
        cached = before[0].shape[2]
        keys, values = (key.new_empty(batch, cached + length, heads, head) for _ in range(2))
        for whole, first in zip((keys, values), before, strict=True):
            whole[:, :cached] = first.transpose(1, 2)
        rotary.apply_rotary(key, layer.key_norm, into=keys[:, cached:])
        values[:, cached:] = value
        return keys.transpose(1, 2), values.transpose(1, 2)

    def _finish(self, layer: DecoderLayer, mixed: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Bring the heads together, then the MLP; each adds to the hidden state."""
        hidden = layer.out.plus(mixed.transpose(1, 2).flatten(2), hidden)
        normed = self._normed(hidden, layer.between)
        return layer.down.plus(layer.up.times(normed, layer.gate.silu(normed)), hidden)

    def _normed(self, hidden: torch.Tensor, norm: RMSNorm) -> Any:
        """Norm what several products read, in the form that they take (``Weights.operand``)."""
        return operand(self._weights, norm(hidden))


def _by_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """View (batch, length, numbers) as (batch, length, heads, head)."""
    return x.view(*x.shape[:2], heads, -1)


class DecoderLayer:
    """The weights of one decoder layer."""

    def __init__(self, weights: Weights, number: int, epsilon: float) -> None:
        """Read layer ``number`` of the text model; ``epsilon`` is that of its norms."""
        name = f"{LANGUAGE}.layers.{number}"
        self.before, self.between, self.query_norm, self.key_norm = (
            RMSNorm(weights, f"{name}.{norm}", epsilon)
            for norm in (
                "input_layernorm",
                "post_attention_layernorm",
                "self_attn.q_norm",
                "self_attn.k_norm",
            )
        )
        self.query, self.key, self.value, self.out = (
            linear(weights, f"{name}.self_attn.{letter}_proj", bias=False) for letter in "qkvo"
        )
        self.gate, self.up, self.down = (
            linear(weights, f"{name}.mlp.{which}_proj", bias=False) for which in ("gate", "up", "down")
        )

    def linears(self) -> list[Linear | Int8Linear]:
        """List the products."""
        return [self.query, self.key, self.value, self.out, self.gate, self.up, self.down]
