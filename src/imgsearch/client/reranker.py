"""Gives the reranker that a search asks for: found or downloaded on first use, loaded into this process, and kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from imgsearch.model.checkpoint import Checkpoint
from imgsearch.startup import collect, uncollected
from imgsearch.types import RGB, Input, Notify, Patches, PixelBudget, Runtime

if TYPE_CHECKING:
    from imgsearch.model.reranker import Qwen3VLReranker


def load_reranker(
    checkpoint: Checkpoint, device: str, dtype: str, budget: PixelBudget, notify: Notify
) -> Qwen3VLReranker:
    """Load a reranker into this process; its weights come from the disk while torch is imported.

    Raises CheckpointError, UsageError (a device or dtype that is not available), ModelOutOfMemory.
    """
    from imgsearch.model.engine.pages import prefetch_pages

    with prefetch_pages(checkpoint, device, dtype):
        with uncollected("imgsearch.model.reranker"):
            from imgsearch.model.reranker import Qwen3VLReranker  # on use: it loads torch

        return Qwen3VLReranker(checkpoint, device=device, dtype=dtype, budget=budget, notify=notify)


class LoadedReranker(Protocol):
    """A reranker in memory, here or in the server's."""

    runtime: Runtime

    def scores(self, query: Input, images: Sequence[RGB]) -> list[float]:
        """Return for each image the probability that it answers the query."""

    def seconds_per_image(self) -> float:
        """Return about how long an image takes; 0 where nobody can tell."""


class KeptReranker:
    """The last reranker loaded, for whoever asks for the same one; one request is judged at a time."""

    def __init__(self, notify: Notify, clock: Callable[[], float] = time.monotonic) -> None:
        """Load nothing yet."""
        self._notify, self._clock = notify, clock
        self._used = 0.0
        self._key: tuple[str, str, str, PixelBudget] | None = None
        self._reranker: Qwen3VLReranker | None = None
        self._turn = threading.Lock()

    def has(self, checkpoint: Checkpoint, device: str, dtype: str, budget: PixelBudget) -> bool:
        """Whether the reranker that ``scores`` would take is in memory."""
        return self._key == (checkpoint.folder, device, dtype, budget)

    def scores(
        self,
        checkpoint: Checkpoint,
        device: str,
        dtype: str,
        budget: PixelBudget,
        query: Input,
        images: Sequence[RGB | Patches],
    ) -> list[float]:
        """Judge images with the reranker in ``checkpoint``, which takes another one's place. Raises as that does."""
        with self._turn:
            reranker = self._take(checkpoint, device, dtype, budget)
            try:
                return reranker.scores(query, images)
            finally:
                self._used = self._clock()

    def load(
        self, checkpoint: Checkpoint, device: str, dtype: str, budget: PixelBudget
    ) -> tuple[Runtime, float]:
        """Have it in memory; return where it computes, and about how many seconds an image takes. Raises as above."""
        with self._turn:
            reranker = self._take(checkpoint, device, dtype, budget)
            self._used = self._clock()
            return reranker.runtime, reranker.seconds_per_image()

    def _take(self, checkpoint: Checkpoint, device: str, dtype: str, budget: PixelBudget) -> Qwen3VLReranker:
        key = checkpoint.folder, device, dtype, budget
        if self._reranker is None or key != self._key:
            self._drop()  # two models side by side may be more than there is memory
            self._reranker = load_reranker(*(checkpoint, device, dtype, budget), self._notify)
            self._key = key
        return self._reranker

    def unload_idle(self, idle_seconds: float) -> bool:
        """Let the reranker go if nobody has asked it for so long; return whether it was let go now."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            if self._reranker is None or self._clock() - self._used < idle_seconds:
                return False
            self._drop()
            return True
        finally:
            self._turn.release()

    def _drop(self) -> None:
        if self._reranker is not None:
            device = self._reranker.runtime.device
            self._reranker = self._key = None
            collect()
            from imgsearch.model.batching import release  # on use: it loads NumPy

            release(device)  # else torch keeps an accelerator's memory from other programs
