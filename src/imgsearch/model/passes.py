"""Computes rows with a loaded model: in batches that fit into memory, and once more where a row is not finite."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from imgsearch.errors import ModelOutOfMemory, NonFiniteError, UsageError
from imgsearch.model import batching
from imgsearch.model.overflow import Overflow, instead_of_float16
from imgsearch.types import Notify, Runtime, Vectors


class Forward(Protocol):
    """A loaded model's weights, and the pass over them."""

    @property
    def hidden(self) -> int:
        """How many numbers a row has."""

    def __call__(self, inputs: Any, /) -> torch.Tensor:
        """Return one row an input, (inputs, hidden) float32 on the CPU."""

    def in_float32(self, inputs: Any, /) -> torch.Tensor:
        """Compute the same in float32."""


class Passes:
    """What the embedders of all families share: who computes, in which dtype, how much at a time, and what is finite.

    ``forward`` may be that of another embedder, whose weights are shared; then its dtype is kept.
    """

    def __init__(
        self, forward: Forward, runtime: Runtime, dim: int, notify: Notify | None, *, shared: bool
    ) -> None:
        """Take what is loaded, the length of the rows that are returned, and who takes lines for the user."""
        self.forward, self.runtime, self.dim = forward, runtime, dim
        self._notify, self._keeps_dtype = notify or warn, shared
        self._overflow, self._turn = Overflow(), threading.Lock()
        self._batching = self._new_batching()

    def _load(self, runtime: Runtime) -> Forward:
        """Load the weights in another dtype."""
        raise NotImplementedError

    def _new_batching(self) -> batching.Batching:
        """Return how much is computed at a time with what is loaded now."""
        raise NotImplementedError

    @property
    def recomputed(self) -> int:
        """How many rows were not finite in the model's dtype so far, and were computed once more in float32."""
        return self._overflow.again

    @property
    def batch_size(self) -> int:
        """How many pictures of the pixel budget fit into memory at a time."""
        return self._batching.size

    @property
    def batch_reason(self) -> str:
        """Why it is that many."""
        return self._batching.reason

    def _in_batches(
        self, count: int, batch_size: int | None, normalize: bool, ready: Callable[[int], Any]
    ) -> Vectors:
        """Return (count, dim) float32 rows: ``ready`` gives the forward's input of a number, batch by batch.

        Raises NonFiniteError with the numbers of the rows that are not finite in float32 either, and UsageError.
        """
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"a batch has at least 1 input, not {batch_size}")
        size = batch_size or (self.batch_size if count > 1 else 1)  # a query need not wait for the choice
        rows = np.empty((count, self.dim), dtype=np.float32)
        bad: list[int] = []
        for start in range(0, count, size):
            stop = min(start + size, count)
            rows[start:stop] = self._rows([ready(number) for number in range(start, stop)], normalize)
            bad += (start + np.flatnonzero(~np.isfinite(rows[start:stop]).all(axis=1))).tolist()
        if bad:
            raise NonFiniteError(bad)
        return rows

    def _rows(self, batch: Sequence[Any], normalize: bool) -> Vectors:
        """Compute one batch; rows that are not finite in the model's dtype get a second chance in float32."""
        # Outside of inference mode these are ordinary tensors again, that may be written to.
        forward = self.forward
        rows = torch.cat(self._batching.run(forward, batch))
        bad = (~torch.isfinite(rows).all(dim=1)).nonzero().flatten().tolist()
        if bad and self.runtime.dtype != "float32":
            again = [batch[index] for index in bad]
            # Float32 takes more memory: how much of it fits says nothing of other batches. Without room for a single
            # one the rows stay as they are and are reported.
            apart = batching.Batching(lambda: (1, ""), self.runtime.device, lambda line: None)
            with contextlib.suppress(ModelOutOfMemory):
                rows[bad] = torch.cat(apart.run(forward.in_float32, again))
        self._overflow.count(len(batch), len(bad))
        if self.runtime.dtype == "float16" and self._overflow.is_too_much:
            self._leave_float16()
        rows = rows[:, : self.dim]
        if normalize:
            rows = rows / rows.norm(dim=1, keepdim=True)
        result: Vectors = rows.numpy()
        return result

    def _leave_float16(self) -> None:
        """Continue in a dtype of more range; not without memory for it, nor where others share the weights."""
        with self._turn:
            if self.runtime.dtype != "float16" or self._keeps_dtype:
                return
            runtime = instead_of_float16(self.runtime, self._overflow)
            try:
                with batching.loading(runtime.device):
                    self.forward = self._load(runtime)
            except ModelOutOfMemory:
                self._keeps_dtype = True  # it is not tried again
                return
            self.runtime = runtime
            self._batching = self._new_batching()
        many = f"{self._overflow.again:,} of {self._overflow.rows:,} embeddings"
        self._notify(f"{many} overflowed in float16 and were computed again: continuing in {runtime.dtype}")


def warn(line: str) -> None:
    """Show a line as a warning where no one else takes it."""
    warnings.warn(line, stacklevel=2)
