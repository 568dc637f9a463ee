"""A matrix product in 8-bit whole numbers: weights are quantised when they are loaded, activations token by token."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F

LEAST_COSINE = 0.995
"""Of a vector in int8 to the same without: a checkpoint that is further off is refused."""

_ZERO = 128  # oneDNN has quick kernels for activations without a sign only; this code means zero
_STEPS = 127  # codes on each side of it
# Numbers that are quantised at a time: 4 MB in float32, for which torch need not ask the system for new memory.
_AT_ONCE = 2**20


class Quantized(NamedTuple):
    """Activations: ``codes`` (…, inputs) uint8, zero at 128, and ``scale`` (…, 1), how much one step of a token is."""

    codes: torch.Tensor
    scale: torch.Tensor


def quantize(x: torch.Tensor) -> Quantized:
    """Quantise each token's activations by the largest of them: (…, inputs), float32 or bfloat16.

    A token with a number that is not finite gets a scale that isn't either, and so do its products.
    """
    rows = x.flatten(0, -2)
    codes = torch.empty(rows.shape, dtype=torch.int8)
    scale = torch.empty((len(rows), 1), dtype=x.dtype)
    for part in _parts(rows):
        exact = rows[part].float()
        largest = torch.maximum(exact.amax(1, keepdim=True), -exact.amin(1, keepdim=True))
        # In the dtype of x, in which products are multiplied with it: rounded only there, it would move the token.
        scale[part] = (largest / _STEPS).clamp(min=torch.finfo(x.dtype).tiny)
        codes[part] = torch.mul(exact, scale[part].float().reciprocal()).round_()
    # To uint8 torch converts one by one, to int8 many at a time; turning the first bit adds 128.
    shifted = codes.view(torch.uint8).bitwise_xor_(_ZERO)
    return Quantized(shifted.view(x.shape), scale.view(*x.shape[:-1], 1))


class Int8Linear:
    """x · weightᵀ + bias over the last axis, in int8, with the interface of ``linear.Linear``.

    Sums are exact, in 32 bits. Each output has a step of its own in the weight, each token one in the activations.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Quantise a weight (outputs, inputs); ``bias`` has the dtype of the computation."""
        codes, self._steps = _quantize_rows(weight)
        self._packed = torch.ops.onednn.qlinear_prepack(codes, None)
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        self._bias = bias

    def __call__(self, x: torch.Tensor | Quantized) -> torch.Tensor:
        """Return the product alone: (…, inputs) to (…, outputs), in the dtype of the activations."""
        codes, scale = x if isinstance(x, Quantized) else quantize(x)
        product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            codes,
            1.0,
            _ZERO,
            self._packed,
            self._steps,
            self._zeros,
            None,
            1.0,
            0,
            scale.dtype,
            "none",
            [],
            "",
        )
        product.mul_(scale)
        return product if self._bias is None else product.add_(self._bias)

    def gelu(self, x: torch.Tensor | Quantized, approximate: str) -> torch.Tensor:
        """Return GELU of the product; ``approximate`` is "tanh" or "none"."""
        return F.gelu(self(x), approximate=approximate)

    def silu(self, x: torch.Tensor | Quantized) -> torch.Tensor:
        """Return SiLU of the product."""
        return F.silu(self(x), inplace=True)

    def times(self, x: torch.Tensor | Quantized, factor: torch.Tensor) -> torch.Tensor:
        """Return the product, each number multiplied by ``factor``, which has the result's shape."""
        return self(x).mul_(factor)

    def plus(self, x: torch.Tensor | Quantized, summand: torch.Tensor) -> torch.Tensor:
        """Return the product plus ``summand``, which has the result's shape."""
        return self(x).add_(summand)

    def pack(self) -> None:
        """Do nothing: the weight was laid out when it was quantised."""


def _quantize_rows(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return int8 codes (outputs, inputs) of a weight and the step of each output, (outputs,) float32."""
    codes = torch.empty(weight.shape, dtype=torch.int8)
    steps = torch.empty(len(weight))
    for rows in _parts(weight):
        exact = weight[rows].float()
        steps[rows] = (exact.abs().amax(dim=1) / _STEPS).clamp(min=torch.finfo(torch.float32).tiny)
        codes[rows] = torch.div(
            exact, steps[rows, None]
        ).round_()  # the weight itself may be a read-only page
    return codes, steps


def _parts(rows: torch.Tensor) -> Iterator[slice]:
    """Yield what of (rows, numbers) is quantised at a time."""
    count = max(1, _AT_ONCE // rows.shape[1])
    return (slice(start, start + count) for start in range(0, len(rows), count))


@functools.cache
def int8_fits(dtype: torch.dtype) -> bool:
    """Tell whether torch's oneDNN product in int8 is there, for activations of ``dtype``, and right.

    It is what torch.compile uses, but no public interface: so it is tried, once a process. A processor without VNNI
    adds pairs of products in 16 bits, which overflow: the trial's numbers are the largest that there are.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 64, generator=generator).to(dtype)
    weight = torch.randn(16, 64, generator=generator)
    x[:2], weight[:2] = torch.tensor([[3.0], [-3.0]]), torch.tensor([[2.0], [-2.0]])
    plain = F.linear(x.double(), weight.double())
    try:
        found = Int8Linear(weight, None)(x)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(found.double(), plain, rtol=0.01, atol=0.5)  # of sums whose deviation is 8
