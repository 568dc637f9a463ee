"""The two norms of the model: layer norm in the vision tower, RMS norm in the language layers and on their heads.

torch has no kernel of its own for an RMS norm on a CPU: it composes six operations on the whole, in 16 bits with two
conversions. Here a vector norm takes the place of three of them, and a head's norm is left to ``Rotary``, which goes
over the same numbers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from imgsearch.model.engine.weights import Weights


class LayerNorm:
    """A layer norm with weight and bias; torch takes its statistics in float32 in any dtype."""

    def __init__(self, weights: Weights, name: str, epsilon: float) -> None:
        """Read ``name``.weight and ``name``.bias."""
        self._weight, self._bias = weights.read(f"{name}.weight"), weights.read(f"{name}.bias")
        self._epsilon = epsilon

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return (…, numbers) with mean 0 and variance 1 over the last axis, times weight, plus bias."""
        return F.layer_norm(x, self._weight.shape, self._weight, self._bias, self._epsilon)


class RMSNorm:
    """Divides by the root of the mean square, which is taken in float32 in any dtype, and multiplies by a weight.

    On a CPU everything is computed in float32 and rounded once.
    """

    def __init__(self, weights: Weights, name: str, epsilon: float) -> None:
        """Read ``name``.weight; ``weight`` is float32 on a CPU, elsewhere in the dtype of the computation."""
        self.on_cpu = weights.device.type == "cpu"
        self.weight = weights.read(f"{name}.weight")
        if self.on_cpu:
            self.weight = self.weight.float()
        self._epsilon = epsilon

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the norm of (…, numbers) over the last axis, in the dtype of ``x``."""
        if not self.on_cpu:
            return F.rms_norm(x, self.weight.shape, self.weight, self._epsilon)
        exact = x.float()
        scale = self.scale(exact)
        # What was converted is a copy, which may be written to.
        normed = exact * scale if exact is x else exact.mul_(scale)
        return normed.mul_(self.weight).to(x.dtype)

    def scale(self, exact: torch.Tensor) -> torch.Tensor:
        """Return what (…, numbers) float32 are to be multiplied by, without the weight: (…, 1) float32."""
        norm: torch.Tensor = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)
        return norm.square_().mul_(1 / exact.shape[-1]).add_(self._epsilon).rsqrt_()
