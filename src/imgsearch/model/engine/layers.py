"""A matrix product by one weight of the model, in the quickest form that the device has: float32, 16 bits, int8."""

from __future__ import annotations

import copy
import functools
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from imgsearch.errors import CheckpointError
from imgsearch.model.engine.weights import Weights
from imgsearch.model.prompt import ModelInput
from imgsearch.text import Option

LEAST_COSINE = 0.995
"""Of a vector in int8 to the same without: a checkpoint that is further off is refused."""

_TRIALS = 8  # of each product, in turns, of which the fastest counts: other programs only make them slower
_IMAGES = 4  # of a batch in one product: with few rows int8 is no faster
_PRODUCTS = 0.9  # share of a pass that is products: 0.80 to 0.91 (benchmarks/LOG.md)
_CHECKED = 4  # prompts that are computed twice, of texts and of pictures
_LEAST_DIM = 64  # the fewest numbers that the published model's vectors are made to be cut to

_ZERO = 128  # oneDNN has quick kernels for activations without a sign only; this code means zero
_STEPS = 127  # codes on each side of it
# Numbers that are quantised at a time: 4 MB in float32, for which torch need not ask the system for new memory.
# Numbers that are upcast at a time: 25 MB in float32. From 32 MB on, glibc asks the system anew for each block.
_AT_ONCE = 3 * 2**21
_QUANTISED_AT_ONCE = 2**20


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
    """x · weightᵀ + bias over the last axis, in int8, with the interface of ``Linear``.

    Sums are exact, in 32 bits. Each output has a step of its own in the weight, each token one in the activations.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Quantise a weight (outputs, inputs); ``bias`` has the dtype of the computation."""
        self.shape = weight.shape
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

    def upcast(self) -> None:
        """Do nothing: 8 bits is what the product wants."""

    def prepack(self) -> None:
        """Do nothing: the weight was laid out when it was quantised."""


def int8_speedup(products: Sequence[Linear | Int8Linear], rows: int) -> float:
    """Return about how many times as fast a pass is in int8; 1 where it is in int8 already.

    The largest of its ``products`` is timed both ways, with as many ``rows`` as an image has. What a pass does beside
    its products takes as long as before.
    """
    sample = max(products, key=lambda product: math.prod(product.shape))
    if not isinstance(sample, Linear):
        return 1.0
    x = torch.randn(_IMAGES * rows, sample.shape[1], dtype=sample.dtype)
    plain, int8 = sample.timed(x), Int8Linear(torch.randn(sample.shape), None)
    taken = [(seconds_of(plain), seconds_of(lambda: int8(x))) for _ in range(_TRIALS)]
    ratio = min(seconds for seconds, _ in taken) / min(seconds for _, seconds in taken)
    return 1 / (1 - _PRODUCTS + _PRODUCTS / ratio)


def seconds_per_operation(products: Sequence[Linear | Int8Linear], rows: int) -> float:
    """Return about how long one multiplication and addition takes, by the largest of some products, for many rows."""
    sample = max(products, key=lambda product: math.prod(product.shape))
    x = torch.randn(rows, sample.shape[1])
    timed = sample.timed(x.to(sample.dtype)) if isinstance(sample, Linear) else functools.partial(sample, x)
    return seconds_of(timed) / (rows * math.prod(sample.shape))


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long ``work`` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Int8Check:
    """Checks int8 on one checkpoint, by the first prompts that are computed; safe to use from several threads.

    How much is lost lies with the weights: with how far a token's largest number is from its others.
    """

    def __init__(self, folder: str) -> None:
        """Take the checkpoint's folder, for messages; nothing is checked yet."""
        self._folder = folder
        self._checked: set[bool] = set()
        self._lock = threading.Lock()

    def check(
        self,
        prompts: Sequence[ModelInput],
        rows: torch.Tensor,
        plain: Callable[[Sequence[ModelInput]], torch.Tensor],
    ) -> None:
        """Compare the first ``rows`` in int8, of texts and of pictures, with what ``plain`` gives without it.

        They are compared whole and cut, as a Matryoshka dimension cuts them, at every half down to 64 numbers.
        Raises CheckpointError where a cosine is below LEAST_COSINE.
        """
        for pictured in {bool(pictures) for _, pictures in prompts} - self._checked:
            with self._lock:
                if pictured not in self._checked:
                    indices = [
                        index for index, (_, pictures) in enumerate(prompts) if bool(pictures) == pictured
                    ][:_CHECKED]
                    if self._compare(rows[indices], plain([prompts[index] for index in indices])):
                        self._checked.add(pictured)

    def _compare(self, rows: torch.Tensor, plain: torch.Tensor) -> bool:
        """Tell whether there was anything to compare; CheckpointError if it is too far off."""
        dim = rows.shape[1]
        while True:
            cosines = torch.cosine_similarity(rows[:, :dim], plain[:, :dim])
            lowest = float(cosines.nan_to_num(1).min())  # what is not finite is computed anew in float32
            if lowest < LEAST_COSINE:
                raise CheckpointError(
                    f"{self._folder}: int8 is not accurate enough for this model (in the first {dim:,} dimensions, the "
                    f"cosine similarity to full precision is {lowest:.3f}; {LEAST_COSINE} is required): omit ",
                    Option("dtype"),
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
    count = max(1, _QUANTISED_AT_ONCE // rows.shape[1])
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


def linear(weights: Weights, name: str, *, bias: bool) -> Linear | Int8Linear:
    """Return the product by the weight ``name``.weight, with its bias if it has one."""
    if not weights.int8:
        return Linear(weights, name, bias)
    loaded, weight = weights.loaded, weights.table(f"{name}.weight")
    weights.loaded = loaded + weight.numel()
    product = Int8Linear(weight, weights.read(f"{name}.bias") if bias else None)
    weights.release(f"{name}.weight")
    return product


def operand(weights: Weights, x: torch.Tensor) -> Any:
    """Return ``x`` as products take it, made once for several of them: Quantized in int8, else ``x``."""
    return quantize(x) if weights.int8 else x


def uses_onednn(weights: Weights) -> bool:
    """Tell whether products by these weights run by oneDNN, with what follows them."""
    return weights.device.type == "cpu" and onednn_fits(weights.dtype)


class Linear:
    """x · weightᵀ + bias over the last axis, and the same with an activation, a factor or a sum behind it.

    oneDNN computes what follows the product while its numbers are still in the cache, and unrounded. A weight that
    is mapped in fewer bits is upcast at each product, some rows at a time, until ``upcast`` does so for good: a
    question alone needs neither the time nor the memory of a copy.
    """

    def __init__(self, weights: Weights, name: str, bias: bool) -> None:
        """Take a weight of shape (outputs, inputs)."""
        self._weights, self._name = weights, f"{name}.weight"
        self._weight = weights.matrix(self._name)
        self.shape, self.dtype = self._weight.shape, weights.dtype
        self._bias = weights.read(f"{name}.bias") if bias else None
        self._onednn = uses_onednn(weights)
        self._packed = False

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product alone: (…, inputs) to (…, outputs)."""
        return self._product(x, "none", "")

    def gelu(self, x: torch.Tensor, approximate: str) -> torch.Tensor:
        """Return GELU of the product; ``approximate`` is "tanh" or "none"."""
        return self._product(x, "gelu", approximate)

    def silu(self, x: torch.Tensor) -> torch.Tensor:
        """Return SiLU of the product."""
        return self._product(x, "swish", "")

    def times(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """Return the product, each number multiplied by ``factor``, which has the result's shape."""
        weight = self._weight
        if self._onednn and weight.dtype == x.dtype:
            return self._onednn_binary(x, weight, factor, "mul")
        return self._product(x, "none", "").mul_(factor)

    def plus(self, x: torch.Tensor, summand: torch.Tensor) -> torch.Tensor:
        """Return the product plus ``summand``, which has the result's shape."""
        weight = self._weight
        if self._onednn and weight.dtype == x.dtype:
            return self._onednn_binary(x, weight, summand, "add")
        return self._product(x, "none", "").add_(summand)

    def upcast(self) -> None:
        """Keep the weight in the dtype of the computation from now on, in memory of its own."""
        if self._weight.dtype != self._weights.dtype:
            self._weight = self._weight.to(self._weights.dtype)
            self._weights.loaded += self._weight.numel()
            self._weights.release(self._name)

    def prepack(self) -> None:
        """Lay the weight out as oneDNN's kernels read it, once instead of at every product; last bits may differ."""
        self.upcast()
        if self._onednn and not self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, None)
            self._packed = True
            self._weights.release(self._name)

    @property
    def is_packable(self) -> bool:
        """Whether ``prepack`` would change anything."""
        return self._onednn and not self._packed

    def packed(self) -> Linear:
        """Return the same product with its weight laid out in memory of its own; this one stays as it is."""
        other = copy.copy(self)
        other._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight.to(self.dtype), None)
        other._packed = True
        return other

    def timed(self, x: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Return what computes a product of this size with ``x`` as bulk work does: with a weight that is laid out."""
        weight = torch.randn(self.shape, dtype=self.dtype)
        if self._onednn:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        return lambda: self._whole(x, weight, None, "none", "")

    def _product(self, x: torch.Tensor, after: str, variant: str) -> torch.Tensor:
        """Return the product with what follows it, named as oneDNN does; low precision is upcast in parts."""
        weight = self._weight  # once: another thread may replace it by its upcast
        if weight.dtype == x.dtype:
            return self._whole(x, weight, self._bias, after, variant)
        result = x.new_empty(*x.shape[:-1], len(weight))
        step = max(1, _AT_ONCE // weight.shape[1])
        for start in range(0, len(weight), step):
            rows = slice(start, start + step)
            bias = None if self._bias is None else self._bias[rows]
            result[..., rows] = self._whole(x, weight[rows].to(x.dtype), bias, after, variant)
        return result

    def _whole(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, after: str, variant: str
    ) -> torch.Tensor:
        if self._onednn:
            fused: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], variant)
            return fused
        product = F.linear(x, weight, bias)
        if after == "gelu":
            return F.gelu(product, approximate=variant)
        return F.silu(product) if after == "swish" else product

    def _onednn_binary(
        self, x: torch.Tensor, weight: torch.Tensor, other: torch.Tensor, after: str
    ) -> torch.Tensor:
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, weight, self._bias, after)
        return result


@functools.cache
def onednn_fits(dtype: torch.dtype) -> bool:
    """Tell whether torch's oneDNN products with something behind them are there, for ``dtype``, and right.

    They are what torch.compile uses on a CPU, but no public interface: so they are tried, once a process.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    generator = torch.Generator().manual_seed(0)
    x, other, weight = (torch.randn(16, 16, generator=generator).to(dtype) for _ in range(3))
    bias = torch.randn(16, generator=generator).to(dtype)
    plain = F.linear(x.double(), weight.double(), bias.double())
    try:
        ops: Any = torch.ops.mkldnn  # without oneDNN in this build of torch, none of these is there
        packed = ops._reorder_linear_weight(weight, None)
        tried = [
            (ops._linear_pointwise(x, weight, bias, "none", [], ""), plain),
            (ops._linear_pointwise(x, packed, bias, "gelu", [], "tanh"), F.gelu(plain, approximate="tanh")),
            (ops._linear_pointwise(x, weight, bias, "gelu", [], "none"), F.gelu(plain)),
            (ops._linear_pointwise(x, weight, bias, "swish", [], ""), F.silu(plain)),
            (ops._linear_pointwise.binary(x, other, weight, bias, "mul"), plain * other.double()),
            (ops._linear_pointwise.binary(x, other, packed, bias, "add"), plain + other.double()),
        ]
    except (AttributeError, RuntimeError, TypeError):
        return False
    near = 1e-4 if dtype == torch.float32 else 0.05
    return all(torch.allclose(found.double(), right, rtol=near, atol=near) for found, right in tried)
