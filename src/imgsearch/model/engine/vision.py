"""The vision tower: patches of pictures of one size to the tokens that the language layers read."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F

from imgsearch.model.engine.config import VISION, VisionSizes
from imgsearch.model.engine.layers import Int8Linear, Linear, linear
from imgsearch.model.engine.norms import LayerNorm
from imgsearch.model.engine.rotary import Grid, Rotary, patch_positions, patch_rotary
from imgsearch.model.engine.weights import Weights
from imgsearch.model.runtime import bfloat16_unit

_EPSILON = 1e-6  # of every layer norm; the published code has it fixed
SLICE = 1024  # patches that go through the tower at a time on a CPU, where more need memory and save nothing
_SCORES = (
    2**22
)  # numbers of attention that are in memory at a time: 8 MB in bfloat16, which stay in the cache
_GRIDS = 256  # sizes of pictures whose positions are kept


class VisionOutput(NamedTuple):
    """What the tower makes of pictures: ``tokens`` and, for the first language layers, ``deepstack``.

    All are (pictures, tokens, hidden size of the language layers).
    """

    tokens: torch.Tensor
    deepstack: list[torch.Tensor]


class VisionTower:
    """The tower with its weights, for inference."""

    def __init__(self, weights: Weights, sizes: VisionSizes, *, keep: bool = True) -> None:
        """Take the weights. With ``keep`` all of them stay, without it a block's are read when it is used."""
        self._weights, self._sizes = weights, sizes
        self._patches = _patch_weight(weights, sizes)
        self._patch_bias = weights.read(f"{VISION}.patch_embed.proj.bias")
        table = weights.read(f"{VISION}.pos_embed.weight")
        self._blocks = [_Block(weights, number) for number in range(sizes.depth)] if keep else None
        stacks = [f"{VISION}.deepstack_merger_list.{number}" for number in range(len(sizes.deepstack))]
        self._stacks = [_Merger(weights, name, sizes, after=True) for name in stacks]
        self._merger = _Merger(weights, f"{VISION}.merger", sizes, after=False)
        # Without self: a cycle would keep the weights in memory after the tower is let go.
        self._positions = functools.lru_cache(maxsize=_GRIDS)(functools.partial(_positions, table, sizes))

    def __call__(self, frames: torch.Tensor, grid: Grid) -> VisionOutput:
        """Return the tokens of pictures that all have ``grid`` patches.

        ``frames``: (pictures, patches, channels · patch · patch), in the order of ``image.prepare``.
        """
        step = max(1, SLICE // frames.shape[1]) if frames.device.type == "cpu" else len(frames)
        parts = [self._encode(frames[start : start + step], grid) for start in range(0, len(frames), step)]
        return VisionOutput(
            torch.cat([part.tokens for part in parts]),
            [torch.cat(level) for level in zip(*(part.deepstack for part in parts), strict=True)],
        )

    def _encode(self, frames: torch.Tensor, grid: Grid) -> VisionOutput:
        positions, rotary = self._positions(grid)
        hidden = F.linear(frames, self._patches, self._patch_bias) + positions
        deepstack: list[torch.Tensor] = []
        for number in range(self._sizes.depth):
            block = self._blocks[number] if self._blocks else _Block(self._weights, number)
            hidden = block(hidden, rotary, self._sizes.heads)
            if number in self._sizes.deepstack:
                deepstack.append(self._stacks[len(deepstack)](hidden))
        return VisionOutput(self._merger(hidden), deepstack)

    def linears(self) -> list[Linear | Int8Linear]:
        """List the products whose weights are kept."""
        blocks = [product for block in self._blocks or [] for product in block.linears()]
        return blocks + [product for merger in (*self._stacks, self._merger) for product in merger.linears()]


class _Block:
    """One transformer block: attention over all patches of a picture, then the MLP."""

    def __init__(self, weights: Weights, number: int) -> None:
        name = f"{VISION}.blocks.{number}"
        cpu = weights.device.type == "cpu" and weights.dtype == torch.bfloat16
        self._attend = _attend_by_products if cpu and bfloat16_unit() == "AVX512-BF16" else _attend
        self._norms = [LayerNorm(weights, f"{name}.norm{which}", _EPSILON) for which in (1, 2)]
        self._qkv = linear(weights, f"{name}.attn.qkv", bias=True)
        self._out = linear(weights, f"{name}.attn.proj", bias=True)
        self._up = linear(weights, f"{name}.mlp.linear_fc1", bias=True)
        self._down = linear(weights, f"{name}.mlp.linear_fc2", bias=True)

    def __call__(self, hidden: torch.Tensor, rotary: Rotary, heads: int) -> torch.Tensor:
        hidden = self._out.plus(self._mix(self._norms[0](hidden), rotary, heads), hidden)
        return self._down.plus(self._up.gelu(self._norms[1](hidden), "tanh"), hidden)

    def _mix(self, normed: torch.Tensor, rotary: Rotary, heads: int) -> torch.Tensor:
        """Attend; apart from the MLP, so that queries, keys and values are gone when that is computed."""
        mixed = self._qkv(normed).view(*normed.shape[:2], 3 * heads, -1)
        # Queries and keys lie side by side and are rotated together.
        query, key = rotary.apply_rotary(mixed[:, :, : 2 * heads]).transpose(1, 2).chunk(2, dim=1)
        value = mixed[:, :, 2 * heads :].transpose(1, 2)
        return self._attend(query, key, value).transpose(1, 2).flatten(2)

    def linears(self) -> list[Linear | Int8Linear]:
        return [self._qkv, self._out, self._up, self._down]


class _Merger:
    """Makes one token of each block of patches; the norm is taken of a patch or, ``after`` joining, of the block."""

    def __init__(self, weights: Weights, name: str, sizes: VisionSizes, *, after: bool) -> None:
        self._joined, self._after = sizes.hidden * sizes.merge**2, after
        self._norm = LayerNorm(weights, f"{name}.norm", _EPSILON)
        self._up = linear(weights, f"{name}.linear_fc1", bias=True)
        self._down = linear(weights, f"{name}.linear_fc2", bias=True)

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        shape = (len(hidden), -1, self._joined)
        joined = self._norm(hidden.reshape(shape)) if self._after else self._norm(hidden).reshape(shape)
        return self._down(self._up.gelu(joined, "none"))

    def linears(self) -> list[Linear | Int8Linear]:
        return [self._up, self._down]


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attend by torch's fused kernel; all are (pictures, heads, patches, head)."""
    return F.scaled_dot_product_attention(query, key, value)


def _attend_by_products(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attend by two products and a softmax, a few heads at a time.

    On a CPU with AVX512-BF16 but no AMX, torch's fused kernel multiplies bfloat16 at the speed of float32, plain
    products do not. The softmax is taken in float32 of scores that were rounded to bfloat16.
    """
    pictures, heads, patches, _ = query.shape
    query, key, value = (part.flatten(0, 1) for part in (query * query.shape[-1] ** -0.5, key, value))
    mixed = torch.empty_like(query)
    step = max(1, _SCORES // patches**2)
    for start in range(0, pictures * heads, step):
        part = slice(start, start + step)
        scores = torch.bmm(query[part], key[part].transpose(1, 2))
        torch.bmm(scores.softmax(dim=-1), value[part], out=mixed[part])
    return mixed.view(pictures, heads, patches, -1)


def _patch_weight(weights: Weights, sizes: VisionSizes) -> torch.Tensor:
    """Return the patch embedding as a matrix for one frame: (hidden, channels · patch · patch).

    The published convolution has steps as long as its kernel, so each patch is one product; and a still picture
    fills all frames alike, so the kernel's frames can be summed, in float32, before rather than after.
    """
    kernel = weights.read(f"{VISION}.patch_embed.proj.weight", torch.float32)
    return kernel.sum(dim=2).flatten(1).to(weights.dtype)


def _positions(table: torch.Tensor, sizes: VisionSizes, grid: Grid) -> tuple[torch.Tensor, Rotary]:
    """Return the position embeddings of a grid, (patches, hidden), and its rotary angles.

    The embeddings are learned on a square, ``table``; a picture's outermost patches stand on its rim, and in between
    the four nearest are mixed (bilinear).
    """
    corners: list[list[tuple[torch.Tensor, torch.Tensor]]] = []
    for position, length in zip(patch_positions(grid, sizes.merge), grid, strict=True):
        exact = position.float() * (sizes.side - 1) / max(length - 1, 1)
        low = exact.floor()
        share = exact - low
        corners.append([(low.long(), 1 - share), ((low.long() + 1).clamp(max=sizes.side - 1), share)])
    mixed = torch.zeros((), device=table.device)
    for row, row_share in corners[0]:
        for column, column_share in corners[1]:
            share = (row_share * column_share)[:, None].to(table.device)
            mixed = mixed + table[(row * sizes.side + column).to(table.device)] * share
    return mixed.to(table.dtype), patch_rotary(grid, sizes, table.device)
