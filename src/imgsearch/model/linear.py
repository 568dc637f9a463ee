"""A matrix product by one weight of the model, with what follows it, in the quickest form that the device has."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F

from imgsearch.model.int8 import Int8Linear, quantize
from imgsearch.model.tensors import MappedFiles, Stored, dtype_of, read_tensor


class Weights:
    """The tensors of one checkpoint as they are computed with: ``dtype`` on ``device``.

    On the CPU, large tensors that are stored in ``dtype`` are not read but mapped. ``onednn`` says whether the
    products run by oneDNN, ``int8`` whether they multiply quantised weights and activations.
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

    def matrix(self, name: str) -> torch.Tensor:
        """Return a weight in the dtype of the computation: mapped if that is how it is stored, else read."""
        where = self._stored[name]
        if self.device.type == "cpu" and dtype_of(where) == self.dtype:
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

    oneDNN computes what follows the product while its numbers are still in the cache, and unrounded.
    """

    def __init__(self, weights: Weights, name: str, bias: bool) -> None:
        """Take a weight of shape (outputs, inputs)."""
        self._weights, self._name = weights, f"{name}.weight"
        self._weight = weights.matrix(self._name)
        self._bias = weights.read(f"{name}.bias") if bias else None
        self._packed = False

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product alone: (…, inputs) to (…, outputs)."""
        if self._weights.onednn:
            return self._onednn(x, "none", "")
        return F.linear(x, self._weight, self._bias)

    def gelu(self, x: torch.Tensor, approximate: str) -> torch.Tensor:
        """Return GELU of the product; ``approximate`` is "tanh" or "none"."""
        if self._weights.onednn:
            return self._onednn(x, "gelu", approximate)
        return F.gelu(F.linear(x, self._weight, self._bias), approximate=approximate)

    def silu(self, x: torch.Tensor) -> torch.Tensor:
        """Return SiLU of the product."""
        if self._weights.onednn:
            return self._onednn(x, "swish", "")
        return F.silu(F.linear(x, self._weight, self._bias))

    def times(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """Return the product, each number multiplied by ``factor``, which has the result's shape."""
        if self._weights.onednn:
            return self._onednn_binary(x, factor, "mul")
        return F.linear(x, self._weight, self._bias) * factor

    def plus(self, x: torch.Tensor, summand: torch.Tensor) -> torch.Tensor:
        """Return the product plus ``summand``, which has the result's shape."""
        if self._weights.onednn:
            return self._onednn_binary(x, summand, "add")
        return summand + F.linear(x, self._weight, self._bias)

    def pack(self) -> None:
        """Lay the weight out as oneDNN's kernels read it, once instead of at every product; last bits may differ."""
        if self._weights.onednn and not self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, None)
            self._packed = True
            self._weights.release(self._name)

    def _onednn(self, x: torch.Tensor, after: str, variant: str) -> torch.Tensor:
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, after, [], variant
        )
        return result

    def _onednn_binary(self, x: torch.Tensor, other: torch.Tensor, after: str) -> torch.Tensor:
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            x, other, self._weight, self._bias, after
        )
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
