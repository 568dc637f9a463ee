"""Gives the encoder that an index's spec asks for: the model in the running server's memory, else one loaded here."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.library.files import LibraryCheckpoint
from imgsearch.startup import collect, uncollected
from imgsearch.text import Message
from imgsearch.types import ImageEncoder, IndexSpec, ModelOptions, ModelSpec, Notify, Reporter

if TYPE_CHECKING:
    from imgsearch.model.embedder import Qwen3VLEmbedder
    from imgsearch.model.engine.forward import Engine
    from imgsearch.model.library.embedder import LibraryEmbedder
    from imgsearch.model.library.forward import LibraryForward
    from imgsearch.model.reference import Reference


def load_encoder(
    checkpoint: Checkpoint, spec: IndexSpec, choice: ModelOptions, reporter: Reporter
) -> ImageEncoder:
    """Return the model as the index's spec wants it, with a detail on which device and dtype were chosen and why.

    It is the model in the memory of this user's server, if one runs; IMGSEARCH_SERVER=off asks none.
    Raises CheckpointError, UsageError (a device or dtype that is not available).
    """
    reporter.wait("Loading the model")
    load = functools.partial(load_local_encoder, checkpoint, spec, choice, reporter)
    if os.environ.get("IMGSEARCH_SERVER", "").lower() == "off":
        return load()
    from imgsearch.client.encoder import remote_encoder  # on use: it loads Pillow

    encoder = remote_encoder(spec.model_spec(checkpoint.folder, choice), load, reporter.say)
    if encoder is None:
        return load()
    _detail(checkpoint, encoder, reporter)
    return encoder


def load_local_encoder(
    checkpoint: Checkpoint, spec: IndexSpec, choice: ModelOptions, reporter: Reporter
) -> ImageEncoder:
    """Load the model into this process, whether or not a server runs; otherwise as ``load_encoder``."""
    reporter.wait("Loading the model")
    encoder = load_embedder(spec.model_spec(checkpoint.folder, choice), checkpoint, reporter.say)
    _detail(checkpoint, encoder, reporter)
    return encoder


def load_embedder(
    model_spec: ModelSpec,
    checkpoint: Checkpoint,
    notify: Notify,
    forward: Engine | Reference | LibraryForward | None = None,
) -> Qwen3VLEmbedder | LibraryEmbedder:
    """Load a model of any family into this process, or only put a new face on the weights in ``forward``.

    The weights come from the disk while torch is imported.
    """
    if isinstance(checkpoint, LibraryCheckpoint):
        from imgsearch.model.library.embedder import LibraryEmbedder  # on use: it loads torch

        return LibraryEmbedder(model_spec, checkpoint, notify, cast("LibraryForward | None", forward))
    from imgsearch.model.engine.pages import prefetch_pages

    with prefetch_pages(checkpoint, model_spec.device, model_spec.dtype):
        with uncollected("imgsearch.model.embedder"):
            from imgsearch.model.embedder import Qwen3VLEmbedder  # on use: it loads torch

        weights = cast("Engine | Reference | None", forward)
        return Qwen3VLEmbedder.from_spec(model_spec, checkpoint=checkpoint, notify=notify, forward=weights)


class KeptModel:
    """The last model loaded, which stays in memory for whoever asks for the same one: ``load`` is ``load_encoder``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, local: bool = False) -> None:
        """Load nothing yet; if ``local``, the model is always loaded into this process, not the server's."""
        self._clock, self._local = clock, local
        self._used = 0.0
        self._model_spec: ModelSpec | None = None
        self._encoder: ImageEncoder | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether a model is in memory."""
        return self._encoder is not None

    def load(
        self, checkpoint: Checkpoint, spec: IndexSpec, choice: ModelOptions, reporter: Reporter
    ) -> ImageEncoder:
        """Return the model as ``load_encoder`` does; another one than before takes its place."""
        self._used = self._clock()
        model_spec = spec.model_spec(checkpoint.folder, choice)
        if self._encoder is None or model_spec != self._model_spec:
            self.unload()  # two models side by side may be more than there is memory
            load = load_local_encoder if self._local else load_encoder
            self._encoder = load(checkpoint, spec, choice, reporter)
            self._model_spec = model_spec
        return self._encoder

    def unload(self, idle_seconds: float = 0.0) -> bool:
        """Unload the model if nobody has asked for it, or called ``touch``, for so long; return whether it was."""
        if self._encoder is None or self._clock() - self._used < idle_seconds:
            return False
        device = self._encoder.runtime.device
        self._encoder = self._model_spec = None
        collect()
        if device.partition(":")[0] != "cpu":
            from imgsearch.model.batching import release  # on use: it loads NumPy

            release(device)  # else torch keeps an accelerator's memory from other programs
        return True

    def touch(self) -> None:
        """Count the model as used now."""
        self._used = self._clock()


def _detail(checkpoint: Checkpoint, encoder: ImageEncoder, reporter: Reporter) -> None:
    runtime = encoder.runtime
    reporter.detail(
        Message(
            f"{checkpoint.name} (",
            checkpoint.reason,
            f") on {runtime.device} in {runtime.dtype}: {runtime.reason}",
        )
    )
