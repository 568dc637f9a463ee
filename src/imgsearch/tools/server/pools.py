"""What a server keeps open: the models in memory, unloaded after idle time, and the indexes that were searched."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from imgsearch.client import load_embedder
from imgsearch.errors import IndexDamaged, IndexMismatch, IndexMissing, StorageError
from imgsearch.index import manifest
from imgsearch.index.reader import ImageIndex
from imgsearch.model import batching
from imgsearch.model.families import open_checkpoint
from imgsearch.types import ImageEncoder, ModelOptions, ModelSpec, Notify, Runtime

_MODELS = 2
"""In memory at a time: that for photos and that for pages."""
_ROOM = 3
"""Times the size of its files that must be free for a model to be loaded beside another: to load and to compute."""
_ENCODERS = 3  # encoders over the same weights; each has a tokenizer of its own, some 30 MB


class LoadedModel:
    """A checkpoint in memory, from which encoders with other budgets, dims and instructions can be made."""

    def __init__(self, model_spec: ModelSpec, notify: Notify) -> None:
        """Load a checkpoint. Raises CheckpointError, UsageError, IndexMismatch (if it is not the one that is meant)."""
        checkpoint = open_checkpoint(model_spec.folder)
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
        return load_embedder(
            model_spec, open_checkpoint(model_spec.folder), self._notify, self._first.forward
        )


def _resolved(model_spec: ModelSpec) -> tuple[str, str]:
    """Return the device and dtype that a spec comes down to on this machine."""
    from imgsearch.model.runtime import choose  # on use: it loads torch

    runtime = choose(model_spec.device, model_spec.dtype)
    return runtime.device, runtime.dtype


def device_of(asked: ModelSpec | ModelOptions) -> str:
    """Return the device that is meant, as ``runtime.choose`` has it."""
    from imgsearch.model.runtime import choose  # on use: it loads torch

    return choose(asked.device, asked.dtype).device


def fits(folder: str, device: str) -> bool:
    """Whether the checkpoint in a folder has ample room on a device, beside what is there."""
    try:
        size = sum(file.stat().st_size for file in os.scandir(folder) if file.name.endswith(".safetensors"))
    except OSError:
        return False
    return batching.free_memory(device) >= _ROOM * size


@dataclass(slots=True)
class _Kept:
    """A model in memory, the encoders over it, how many use it now, and when it was last used."""

    loaded: LoadedModel
    used: float
    encoders: dict[ModelSpec, ImageEncoder] = field(default_factory=dict)
    users: int = 0
    runtime: Runtime | None = None


class ModelPool:
    """Keeps one model, and another one beside it where both fit; else one takes the other's place when nobody uses it.

    Safe to use from many threads.
    """

    def __init__(
        self,
        load: Callable[[ModelSpec], LoadedModel],
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        resolve: Callable[[ModelSpec], tuple[str, str]] = _resolved,
        fits: Callable[[str, str], bool] = lambda folder, device: False,
    ) -> None:
        """Load nothing yet. ``idle_seconds`` after its last use, ``unload_idle`` lets a model go.

        ``resolve`` gives the device and dtype of a spec: those of the same checkpoint with the same two share it.
        ``fits`` tells whether the checkpoint in a folder has room on a device beside what is there.
        """
        self._load, self._idle_seconds, self._clock, self._resolve = load, idle_seconds, clock, resolve
        self._fits = fits
        # Who waits for another model is let in before those who come later for the one that is there.
        self._admission = threading.Lock()
        self._changed = threading.Condition()
        self._kept: OrderedDict[tuple[str, str, str, str], _Kept] = OrderedDict()

    @property
    def folder(self) -> str | None:
        """The checkpoint in memory that was used last."""
        return next((key[0] for key in reversed(self._kept)), None)

    @property
    def runtime(self) -> Runtime | None:
        """Where and in what that one computes."""
        return next((kept.runtime for kept in reversed(self._kept.values())), None)

    @contextmanager
    def use(self, model_spec: ModelSpec) -> Iterator[ImageEncoder]:
        """Hold the encoder that ``model_spec`` asks for during the block; its model is loaded for it if need be.

        Raises what loading raises; then that model is not in memory.
        """
        kept = self._take(model_spec)
        try:
            yield kept.encoders[model_spec]
        finally:
            with self._changed:
                kept.users -= 1
                kept.used = self._clock()
                self._changed.notify_all()

    def _take(self, model_spec: ModelSpec) -> _Kept:
        device, dtype = self._resolve(model_spec)
        key = (model_spec.folder, model_spec.fingerprint, device, dtype)
        with self._admission, self._changed:
            if key not in self._kept:
                if self._kept and (len(self._kept) >= _MODELS or not self._fits(model_spec.folder, device)):
                    self._changed.wait_for(lambda: not any(kept.users for kept in self._kept.values()))
                    self._drop(list(self._kept))
                self._kept[key] = _Kept(self._load(model_spec), self._clock())
            kept = self._kept[key]
            self._kept.move_to_end(key)
            if model_spec not in kept.encoders:
                if len(kept.encoders) >= _ENCODERS:
                    kept.encoders.pop(next(iter(kept.encoders)))
                kept.encoders[model_spec] = kept.loaded.encoder(model_spec)
            kept.runtime = kept.encoders[model_spec].runtime
            kept.users += 1
            return kept

    def unload_idle(self, idle_seconds: float | None = None) -> bool:
        """Let each model go that nobody has used for so long; whether one was let go now."""
        least = self._idle_seconds if idle_seconds is None else idle_seconds
        with self._changed:
            now = self._clock()
            idle = [key for key, kept in self._kept.items() if not kept.users and now - kept.used >= least]
            self._drop(idle)
            return bool(idle)

    def _drop(self, keys: Sequence[tuple[str, str, str, str]]) -> None:
        for key in keys:
            runtime = self._kept.pop(key).runtime
            batching.release(runtime.device if runtime else "cpu")  # else torch keeps it from other programs


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
        """Return what ``work`` makes of the index in ``folder``, as ``use_all`` does of several."""
        return self.use_all([folder], lambda opened: work(opened[0]))

    def use_all(self, folders: Sequence[str], work: Callable[[Sequence[ImageIndex]], T]) -> T:
        """Return what ``work`` makes of the indexes in some folders, at most ``_OPEN``, given as absolute paths.

        An index that is no longer the one on disk is opened anew before; where another takes its place meanwhile,
        ``work`` is done once more with that. Raises what opening an index raises, and what ``work`` does.
        """
        with self._turn:
            self._used = self._clock()
            known = [self._known(folder) for folder in folders]
            opened = [one for one in known if one is not None]
            if len(opened) == len(known):
                try:
                    return work(opened)
                except (IndexDamaged, IndexMismatch, IndexMissing, StorageError):
                    pass  # of the old one or of the new one: opening it tells
                for folder in folders:
                    self._open.pop(folder)[1].close()
            return work([self._known(folder) or self._fresh(folder) for folder in folders])

    def _known(self, folder: str) -> ImageIndex | None:
        """Return an index that is open; None if it is not, or no longer the one on disk: then it is closed."""
        if folder not in self._open:
            return None
        stamp, known = self._open[folder]
        if stamp != manifest.stamp(folder):
            self._open.pop(folder)[1].close()
            return None
        self._open.move_to_end(folder)
        return known

    def _fresh(self, folder: str) -> ImageIndex:
        # The stamp is taken before the index is opened: one that is older than the index costs an opening.
        stamp = manifest.stamp(folder)
        fresh = ImageIndex(folder)
        self._open[folder] = stamp, fresh
        if len(self._open) > _OPEN:
            self._open.popitem(last=False)[1][1].close()
        return fresh

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
