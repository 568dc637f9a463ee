"""Gives the encoder that an index's spec asks for: the model in the running server's memory, else one loaded here."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from imgsearch.model.checkpoint import Checkpoint
from imgsearch.startup import uncollected
from imgsearch.text import Message
from imgsearch.types import ImageEncoder, IndexSpec, ModelOptions, ModelSpec, Notify, Reporter

if TYPE_CHECKING:
    from imgsearch.model.embedder import Qwen3VLEmbedder
    from imgsearch.model.engine.forward import Engine
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
    model_spec: ModelSpec, checkpoint: Checkpoint, notify: Notify, forward: Engine | Reference | None = None
) -> Qwen3VLEmbedder:
    """Load a model into this process, or only put a new face on the weights in ``forward``.

    The weights come from the disk while torch is imported.
    """
    from imgsearch.model.engine.pages import prefetch_pages

    with prefetch_pages(checkpoint, model_spec.device, model_spec.dtype):
        with uncollected("imgsearch.model.embedder"):
            from imgsearch.model.embedder import Qwen3VLEmbedder  # on use: it loads torch

        return Qwen3VLEmbedder.from_spec(model_spec, checkpoint=checkpoint, notify=notify, forward=forward)


def _detail(checkpoint: Checkpoint, encoder: ImageEncoder, reporter: Reporter) -> None:
    runtime = encoder.runtime
    reporter.detail(
        Message(
            f"{checkpoint.name} (",
            checkpoint.reason,
            f") on {runtime.device} in {runtime.dtype}: {runtime.reason}",
        )
    )
