"""What a server keeps open: the one model in memory, unloaded after idle time, and the indexes that were searched."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from imgsearch.client import load_embedder
from imgsearch.errors import IndexDamaged, IndexMismatch, IndexMissing, StorageError
from imgsearch.index import manifest
from imgsearch.index.reader import ImageIndex
from imgsearch.model import batching
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.types import ImageEncoder, ModelSpec, Notify, Runtime

_ENCODERS = 3  # encoders over the same weights; each has a tokenizer of its own, some 30 MB


class LoadedModel:
    """A checkpoint in memory, from which encoders with other budgets, dims and instructions can be made."""

    def __init__(self, model_spec: ModelSpec, notify: Notify) -> None:
        """Load a checkpoint. Raises CheckpointError, UsageError, IndexMismatch (if it is not the one that is meant)."""
        checkpoint = Checkpoint(model_spec.folder)
        found = checkpoint.fingerprint
        if found != model_spec.fingerprint:
            raise IndexMismatch(
                f"the model in {model_spec.folder} ({found[:8]}) is not the one that was requested "
                f"({model_spec.fingerprint[:8]})"
            )
        self._notify, self._model_spec = notify, model_spec
        self._first = load_embedder(model_spec, checkpoint, notify)

    def encoder(self, model_spec: ModelSpec) -> ImageEncoder:
        """Return an encoder over these weights. Raises UsageError for a dim or budget that the model has not."""
        if model_spec == self._model_spec:
            return self._first
        # Opened anew: the folder's files may be others by now.
        return load_embedder(model_spec, Checkpoint(model_spec.folder), self._notify, self._first.forward)


def _resolved(model_spec: ModelSpec) -> tuple[str, str]:
    """Return the device and dtype that a spec comes down to on this machine."""
    from imgsearch.model.runtime import choose  # on use: it loads torch

    runtime = choose(model_spec.device, model_spec.dtype)
    return runtime.device, runtime.dtype


class ModelPool:
    """Keeps at most one model; another one takes its place when nobody uses it. Safe to use from many threads."""

    def __init__(
        self,
        load: Callable[[ModelSpec], LoadedModel],
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        resolve: Callable[[ModelSpec], tuple[str, str]] = _resolved,
    ) -> None:
        """Load nothing yet. ``idle_seconds`` after its last use, ``unload_idle`` lets the model go.

        ``resolve`` gives the device and dtype of a spec: those of the same checkpoint with the same two share it.
        """
        self._load, self._idle_seconds, self._clock, self._resolve = load, idle_seconds, clock, resolve
        # Who waits for another model is let in before those who come later for the one that is there.
        self._admission = threading.Lock()
        self._changed = threading.Condition()
        self._key: tuple[str, str, str, str] | None = None
        self._loaded: LoadedModel | None = None
        self._encoders: dict[ModelSpec, ImageEncoder] = {}
        self._users = 0
        self._used = clock()
        self.runtime: Runtime | None = None

    @property
    def folder(self) -> str | None:
        """The checkpoint that is in memory now."""
        key = self._key
        return key[0] if key else None

    @contextmanager
    def use(self, model_spec: ModelSpec) -> Iterator[ImageEncoder]:
        """Hold the encoder that ``model_spec`` asks for during the block; its model is loaded for it if need be.

        Raises what loading raises; then no model is in memory.
        """
        encoder = self._take(model_spec)
        try:
            yield encoder
        finally:
            with self._changed:
                self._users -= 1
                self._used = self._clock()
                self._changed.notify_all()

    def _take(self, model_spec: ModelSpec) -> ImageEncoder:
        key = (model_spec.folder, model_spec.fingerprint, *self._resolve(model_spec))
        with self._admission, self._changed:
            if key != self._key:
                # Two models side by side may be more than there is memory.
                self._changed.wait_for(lambda: not self._users)
                self._drop()
                self._loaded = self._load(model_spec)
                self._key = key
            assert self._loaded is not None
            if model_spec not in self._encoders:
                if len(self._encoders) >= _ENCODERS:
                    self._encoders.pop(next(iter(self._encoders)))
                self._encoders[model_spec] = self._loaded.encoder(model_spec)
            encoder = self._encoders[model_spec]
            self.runtime = encoder.runtime
            self._users += 1
            return encoder

    def unload_idle(self) -> bool:
        """Let the model go if nobody has used it for long enough; whether it was let go now."""
        with self._changed:
            if self._key is None or self._users or self._clock() - self._used < self._idle_seconds:
                return False
            self._drop()
            return True

    def _drop(self) -> None:
        device = self.runtime.device if self.runtime else "cpu"
        self._key, self._loaded, self.runtime = None, None, None
        self._encoders.clear()
        batching.release(device)  # else torch keeps an accelerator's memory from other programs


T = TypeVar("T")

_OPEN = 4


class IndexPool:
    """Open indexes by their folders; one is used by one thread at a time."""

    def __init__(self, idle_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Open nothing yet. ``idle_seconds`` after the last use, ``close_idle`` lets go of all."""
        self._idle_seconds, self._clock, self._used = idle_seconds, clock, clock()
        self._turn = threading.Lock()
        self._open: OrderedDict[str, tuple[object, ImageIndex]] = OrderedDict()

    def use(self, folder: str, work: Callable[[ImageIndex], T]) -> T:
        """Return what ``work`` makes of the index in ``folder``, an absolute path.

        An index that is no longer the one on disk is opened anew before; where another takes its place meanwhile,
        ``work`` is done once more with that. Raises what opening an index raises, and what ``work`` does.
        """
        with self._turn:
            self._used = self._clock()
            if folder in self._open:
                stamp, known = self._open[folder]
                self._open.move_to_end(folder)
                if stamp == manifest.stamp(folder):
                    try:
                        return work(known)
                    except (IndexDamaged, IndexMismatch, IndexMissing, StorageError):
                        pass  # of the old one or of the new one: opening it tells
                self._open.pop(folder)[1].close()
            # The stamp is taken before the index is opened: one that is older than the index costs an opening.
            stamp = manifest.stamp(folder)
            fresh = ImageIndex(folder)
            self._open[folder] = stamp, fresh
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)[1][1].close()
            return work(fresh)

    def close_idle(self) -> None:
        """Let go of every index if none was asked for long enough, so that a drive can be taken away.

        This waits for nobody: while an index is used, none is idle.
        """
        if self._turn.acquire(blocking=False):
            try:
                if self._clock() - self._used >= self._idle_seconds:
                    self._close()
            finally:
                self._turn.release()

    def close(self) -> None:
        """Let go of every index."""
        with self._turn:
            self._close()

    def _close(self) -> None:
        while self._open:
            self._open.popitem()[1][1].close()
