"""Rotary position embeddings: pairs of numbers rotated by angles, over rows and columns of patches and of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from imgsearch.model.engine.config import Architecture, TextSizes, VisionSizes
from imgsearch.model.engine.norms import RMSNorm

Grid = tuple[int, int]
"""Rows and columns."""
Placed = tuple[int, Grid]
"""The first token of a picture in its prompt, and the picture's grid."""


_AT_ONCE = 2**18  # numbers that are rotated at a time on a CPU: 1 MB in float32, which stays in the cache


class Rotary(NamedTuple):
    """Cosines and sines of the angles, float32, each (length, 1, head); the sines of a head's first half negative.

    Where the prompts have different angles, (batch, length, 1, head).
    """

    cosine: torch.Tensor
    sine: torch.Tensor

    def apply_rotary(
        self, x: torch.Tensor, norm: RMSNorm | None = None, *, into: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Rotate (batch, length, heads, head), ``norm`` taken of each head before: number i is paired with i + half.

        Computed in float32, returned in the dtype of ``x``, in ``into`` if that is given.
        """
        if norm and not norm.on_cpu:
            return self.apply_rotary(norm(x), into=into)
        batch, length, heads, head = x.shape
        step = max(1, _AT_ONCE // (batch * heads * head)) if x.device.type == "cpu" else length
        half = head // 2
        rotated = torch.empty(x.shape, dtype=x.dtype, device=x.device) if into is None else into
        cosine, sine = self.cosine, self.sine
        exact_result = rotated.dtype == cosine.dtype
        if norm:
            # The angles are few, the heads many: the norm's weight is multiplied with the former.
            cosine, sine = cosine * norm.weight, sine * norm.weight.roll(half)
        for start in range(0, length, step):
            part = slice(start, start + step)
            # CUDA multiplies numbers of two dtypes as fast as it reads them, a CPU slowly, and not every device can.
            exact = x[:, part] if x.device.type == "cuda" else x[:, part].float()
            # Where nothing is to be rounded, the result is computed in its place.
            mixed = rotated[:, part] if exact_result else torch.empty_like(exact, dtype=cosine.dtype)
            torch.mul(exact, cosine[..., part, :, :], out=mixed)
            mixed[..., :half].addcmul_(exact[..., half:], sine[..., part, :, :half])
            mixed[..., half:].addcmul_(exact[..., :half], sine[..., part, :, half:])
            if norm:
                mixed.mul_(norm.scale(exact))
            if not exact_result:
                rotated[:, part] = mixed
        return rotated

    def part(self, start: int, stop: int | None) -> Rotary:
        """Return the angles of some positions."""
        return Rotary(self.cosine[start:stop], self.sine[start:stop])


def patch_positions(grid: Grid, merge: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return row and column of every patch, in the order of ``image.prepare``: block by block, then inside."""
    rows, columns = grid
    inner = torch.arange(merge)
    row = (torch.arange(0, rows, merge)[:, None, None, None] + inner[:, None]).expand(
        -1, columns // merge, -1, merge
    )
    column = (torch.arange(0, columns, merge)[:, None, None] + inner).expand(rows // merge, -1, merge, -1)
    return row.flatten(), column.flatten()


def patch_rotary(grid: Grid, sizes: VisionSizes, device: torch.device) -> Rotary:
    """Return the angles of a picture's patches: half of a head's pairs go by the row, half by the column."""
    frequencies = _frequencies(sizes.hidden // sizes.heads // 2, sizes.theta)
    angles = [position.float()[:, None] * frequencies for position in patch_positions(grid, sizes.merge)]
    return _rotary(torch.cat(angles, dim=1), device)


def token_positions(pictures: Sequence[Placed], length: int) -> torch.Tensor:
    """Return the M-RoPE positions of a prompt in time, row and column: (3, length) int64.

    ``pictures`` are those in the prompt, in their order, their grids in tokens. Text counts on in all three alike. A
    picture stands still in time, its rows and columns count from where it begins, and the text behind it begins where
    the longer of the two has ended (transformers, Qwen3VLModel.get_rope_index).
    """
    parts, done, position = [], 0, 0
    for begin, grid in pictures:
        parts.append((torch.arange(begin - done) + position)[None].expand(3, -1))
        position += begin - done
        rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
        parts.append(torch.stack((torch.zeros(grid, dtype=torch.int64), rows, columns)).flatten(1) + position)
        position += max(grid)
        done = begin + grid[0] * grid[1]
    parts.append((torch.arange(length - done) + position)[None].expand(3, -1))
    return torch.cat(parts, dim=1)


def token_rotary(pictures: Sequence[Placed], length: int, sizes: TextSizes, device: torch.device) -> Rotary:
    """Return the angles of a prompt, given as to ``token_positions``.

    The frequencies go to time, row and column by turns (``mrope_interleaved``).
    """
    by_axis = token_positions(pictures, length).float()[..., None] * _frequencies(sizes.head, sizes.theta)
    angles = by_axis[0].clone()
    for axis in (1, 2):
        chosen = slice(axis, 3 * sizes.sections[axis], 3)
        angles[:, chosen] = by_axis[axis, :, chosen]
    return _rotary(angles, device)


def _frequencies(size: int, theta: float) -> torch.Tensor:
    """Return the falling frequencies of ``size`` numbers, one a pair, in float32 as transformers computes them."""
    return 1.0 / (theta ** (torch.arange(0, size, 2, dtype=torch.float32) / size))


def _rotary(angles: torch.Tensor, device: torch.device) -> Rotary:
    """Return the factors for angles of (length, pairs)."""
    cosine, sine = angles[:, None].cos(), angles[:, None].sin()
    return Rotary(torch.cat((cosine, cosine), -1).to(device), torch.cat((-sine, sine), -1).to(device))


def prompt_rotary(
    sizes: Architecture, device: torch.device, pictures: tuple[Placed, ...], length: int
) -> Rotary:
    """Return the angles of a prompt of ``length`` tokens with some pictures, their grids in patches."""
    merge = sizes.vision.merge
    in_tokens = [(begin, (rows // merge, columns // merge)) for begin, (rows, columns) in pictures]
    return token_rotary(in_tokens, length, sizes.text, device)
