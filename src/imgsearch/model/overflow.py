"""What becomes of float16 where a model's numbers are too large for it: how many rows that costs, and what to take."""

from __future__ import annotations

from dataclasses import dataclass, replace

from imgsearch.model.runtime import bfloat16_unit
from imgsearch.types import Runtime

_SHARE = 0.01
"""Of the rows that may be computed twice: it takes a multiple of the time, since the weights are read again for it."""
_ENOUGH = 100
"""Rows that have to be computed before anything can be told of a share of them."""


@dataclass(slots=True)
class Overflow:
    """Counts the rows of a run, and those that had to be computed once more in float32."""

    rows: int = 0
    again: int = 0

    def count(self, rows: int, again: int) -> None:
        """Take in a batch."""
        self.rows += rows
        self.again += again

    @property
    def is_too_much(self) -> bool:
        """Whether another dtype is worth its loading."""
        return self.rows >= _ENOUGH and self.again > _SHARE * self.rows


def instead_of_float16(runtime: Runtime, overflow: Overflow) -> Runtime:
    """Return where to continue: in bfloat16 where the device multiplies it, else in float32; both have more range."""
    dtype = "bfloat16" if _multiplies_bfloat16(runtime.device.partition(":")[0]) else "float32"
    seen = f"{overflow.again:,} of {overflow.rows:,} embeddings overflowed in float16"
    return replace(runtime, dtype=dtype, reason=f"{runtime.reason}; {dtype} since {seen}")


def _multiplies_bfloat16(kind: str) -> bool:
    import torch

    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))
    return bfloat16_unit() is not None
