"""Gives the encoder that an index's spec asks for: the model in the running server's memory, else one loaded here."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from imgsearch.model import hub
from imgsearch.startup import uncollected
from imgsearch.types import ImageEncoder, IndexSpec, ModelOptions, ModelSpec, Notify, Reporter

if TYPE_CHECKING:
    from imgsearch.model.embedder import Qwen3VLEmbedder
    from imgsearch.model.engine.forward import Engine
    from imgsearch.model.reference import Reference


def load_encoder(
    checkpoint: hub.Checkpoint, spec: IndexSpec, choice: ModelOptions, reporter: Reporter
) -> ImageEncoder:
    """Return the model as the index's spec wants it, and say which device and dtype were chosen and why.

    It is the model in the memory of this user's server, if one runs; IMGSEARCH_SERVER=off asks none.
    Raises CheckpointError, UsageError (a device or dtype that is not to be had).
    """
    load = functools.partial(load_local_encoder, checkpoint, spec, choice, reporter)
    if os.environ.get("IMGSEARCH_SERVER", "").lower() == "off":
        return load()
    from imgsearch.client.encoder import remote_encoder  # on use: it loads Pillow

    encoder = remote_encoder(spec.model_spec(checkpoint.folder, choice), load, reporter.say)
    if encoder is None:
        return load()
    _say(checkpoint, encoder, reporter)
    return encoder


def load_local_encoder(
    checkpoint: hub.Checkpoint, spec: IndexSpec, choice: ModelOptions, reporter: Reporter
) -> ImageEncoder:
    """Load the model into this process, whether or not a server runs; otherwise as ``load_encoder``."""
    encoder = load_embedder(spec.model_spec(checkpoint.folder, choice), reporter.say)
    _say(checkpoint, encoder, reporter)
    return encoder


def load_embedder(
    model_spec: ModelSpec, notify: Notify, forward: Engine | Reference | None = None
) -> Qwen3VLEmbedder:
    """Load a model into this process, or only put a new face on the weights in ``forward``."""
    from imgsearch.model.engine.pages import prefetch_pages

    with prefetch_pages(model_spec.folder, model_spec.device, model_spec.dtype):
        with uncollected("imgsearch.model.embedder"):
            from imgsearch.model.embedder import Qwen3VLEmbedder  # on use: it loads torch

        return Qwen3VLEmbedder(
            model_spec.folder,
            device=model_spec.device,
            dtype=model_spec.dtype,
            budget=model_spec.budget,
            instruction=model_spec.instruction,
            dim=model_spec.dim,
            verbatim=True,  # the spec's prompts are ready for use, whatever has become of the folder
            notify=notify,
            forward=forward,
        )


def _say(checkpoint: hub.Checkpoint, encoder: ImageEncoder, reporter: Reporter) -> None:
    runtime = encoder.runtime
    reporter.say(
        f"{checkpoint.name} ({checkpoint.reason}) on {runtime.device} in {runtime.dtype}: {runtime.reason}"
    )
