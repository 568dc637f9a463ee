"""A matrix product in 8-bit whole numbers: weights are quantised when they are loaded, activations token by token."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from imgsearch.errors import CheckpointError
from imgsearch.model.prompt import Ready

LEAST_COSINE = 0.995
"""Of a vector in int8 to the same without: a checkpoint that is further off is refused."""

_PROOF = 4  # prompts that are computed twice, of texts and of pictures
_LEAST_DIM = 64  # the fewest numbers that the published model's vectors are made to be cut to

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

    def widen(self) -> None:
        """Do nothing: 8 bits is what the product wants."""

    def pack(self) -> None:
        """Do nothing: the weight was laid out when it was quantised."""


class Proof:
    """What has been seen of int8 on one checkpoint; safe to use from several threads.

    How much is lost lies with the weights: with how far a token's largest number is from its others.
    """

    def __init__(self, folder: str) -> None:
        """Take the checkpoint's folder, for messages; nothing is proven yet."""
        self._folder = folder
        self._proven: set[bool] = set()
        self._turn = threading.Lock()

    def check(
        self, prompts: Sequence[Ready], rows: torch.Tensor, plain: Callable[[Sequence[Ready]], torch.Tensor]
    ) -> None:
        """Compare the first ``rows`` in int8, of texts and of pictures, with what ``plain`` gives without it.

        They are compared whole and cut, as a Matryoshka dimension cuts them, at every half down to 64 numbers.
        Raises CheckpointError where a cosine is below LEAST_COSINE.
        """
        for pictured in {patches is not None for _, patches in prompts} - self._proven:
            with self._turn:
                if pictured not in self._proven:
                    alike = [
                        place
                        for place, (_, patches) in enumerate(prompts)
                        if (patches is not None) == pictured
                    ]
                    some = alike[:_PROOF]
                    if self._compare(rows[some], plain([prompts[place] for place in some])):
                        self._proven.add(pictured)

    def _compare(self, rows: torch.Tensor, plain: torch.Tensor) -> bool:
        """Tell whether there was anything to compare; CheckpointError if it is too far off."""
        dim = rows.shape[1]
        while True:
            cosines = torch.cosine_similarity(rows[:, :dim], plain[:, :dim])
            lowest = float(cosines.nan_to_num(1).min())  # what is not finite is computed anew in float32
            if lowest < LEAST_COSINE:
                raise CheckpointError(
                    f"{self._folder}: int8 takes too much from this checkpoint's vectors (their first {dim:,} numbers "
                    f"have a cosine of {lowest:.3f} to those without, {LEAST_COSINE} is the least): leave --dtype out"
                )
            if dim // 2 < _LEAST_DIM:
                return bool(cosines.isfinite().any())
            dim //= 2


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
