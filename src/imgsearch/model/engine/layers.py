"""A matrix product by one weight of the model, with what follows it, in the quickest form that the device has."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F

from imgsearch.model.int8 import Int8Linear, quantize
from imgsearch.model.tensors import MappedFiles, Stored, dtype_of, read_tensor

# Numbers that are widened at a time: 25 MB in float32. From 32 MB on, glibc asks the system anew for each block.
_AT_ONCE = 3 * 2**21


class Weights:
    """The tensors of one checkpoint as they are computed with: ``dtype`` on ``device``.

    On the CPU, large tensors that are stored in ``dtype``, or in a narrower one that float32 holds exactly, are not
    read but mapped. ``onednn`` says whether the products run by oneDNN, ``int8`` whether they multiply quantised
    weights and activations.
    """

    def __init__(
        self, stored: dict[str, Stored], device: torch.device, dtype: torch.dtype, *, int8: bool = False
    ) -> None:
        """Take what ``find_tensors`` found; nothing is read yet. ``held`` counts the numbers that are read from it."""
        self._stored, self._files, self.held = stored, MappedFiles(), 0
        self.device, self.dtype, self.int8 = device, dtype, int8
        self.onednn = device.type == "cpu" and onednn_fits(dtype)

    def read(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return a tensor as a copy in memory, in the dtype of the computation if no other is named."""
        found = read_tensor(self._stored[name], dtype or self.dtype, self.device)
        self.held += found.numel()
        return found

    def narrow(self, name: str) -> bool:
        """Tell whether a tensor is mapped in fewer bits than it is computed with: 16 where products are in float32."""
        stored = dtype_of(self._stored[name])
        narrower = self.dtype == torch.float32 and stored in (torch.bfloat16, torch.float16)
        return self.device.type == "cpu" and not self.int8 and narrower

    def matrix(self, name: str) -> torch.Tensor:
        """Return a weight: mapped, in the dtype of the computation or a narrower one, or else read."""
        where = self._stored[name]
        if self.narrow(name) or (self.device.type == "cpu" and dtype_of(where) == self.dtype):
            mapped = self._files.tensor(where)
            if mapped is not None:
                self._files.expect(where)
                return mapped
        return self.read(name)

    def table(self, name: str) -> torch.Tensor:
        """Return a tensor of which a few rows are looked up at a time: on the CPU mapped, in whatever dtype it has."""
        mapped = self._files.tensor(self._stored[name]) if self.device.type == "cpu" else None
        return self.read(name) if mapped is None else mapped

    def release(self, name: str) -> None:
        """Let go of the memory of a mapped tensor that has been copied."""
        self._files.release(self._stored[name])

    def linear(self, name: str, *, bias: bool) -> Linear | Int8Linear:
        """Return the product by the weight ``name``.weight, with its bias if it has one."""
        return self._int8_linear(name, bias) if self.int8 else Linear(self, name, bias)

    def operand(self, x: torch.Tensor) -> Any:
        """Return ``x`` as products take it, made once for several of them: Quantized in int8, else ``x``."""
        return quantize(x) if self.int8 else x

    def _int8_linear(self, name: str, bias: bool) -> Int8Linear:
        held, weight = self.held, self.table(f"{name}.weight")
        self.held = held + weight.numel()
        product = Int8Linear(weight, self.read(f"{name}.bias") if bias else None)
        self.release(f"{name}.weight")
        return product


class Linear:
    """x · weightᵀ + bias over the last axis, and the same with an activation, a factor or a sum behind it.

    oneDNN computes what follows the product while its numbers are still in the cache, and unrounded. A weight that
    is mapped in fewer bits is widened at each product, some rows at a time, until ``widen`` makes it stay so: a
    question alone needs neither the time nor the memory of a copy.
    """

    def __init__(self, weights: Weights, name: str, bias: bool) -> None:
        """Take a weight of shape (outputs, inputs)."""
        self._weights, self._name = weights, f"{name}.weight"
        self._weight = weights.matrix(self._name)
        self._bias = weights.read(f"{name}.bias") if bias else None
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
        if self._weights.onednn and weight.dtype == x.dtype:
            return self._onednn_binary(x, weight, factor, "mul")
        return self._product(x, "none", "").mul_(factor)

    def plus(self, x: torch.Tensor, summand: torch.Tensor) -> torch.Tensor:
        """Return the product plus ``summand``, which has the result's shape."""
        weight = self._weight
        if self._weights.onednn and weight.dtype == x.dtype:
            return self._onednn_binary(x, weight, summand, "add")
        return self._product(x, "none", "").add_(summand)

    def widen(self) -> None:
        """Keep the weight in the dtype of the computation from now on, in memory of its own."""
        if self._weight.dtype != self._weights.dtype:
            self._weight = self._weight.to(self._weights.dtype)
            self._weights.held += self._weight.numel()
            self._weights.release(self._name)

    def pack(self) -> None:
        """Lay the weight out as oneDNN's kernels read it, once instead of at every product; last bits may differ."""
        self.widen()
        if self._weights.onednn and not self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, None)
            self._packed = True
            self._weights.release(self._name)

    def _product(self, x: torch.Tensor, after: str, variant: str) -> torch.Tensor:
        """Return the product with what follows it, named as oneDNN does; a narrow weight is widened in parts."""
        weight = self._weight  # once: another thread may put a wider one in its place
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
        if self._weights.onednn:
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
