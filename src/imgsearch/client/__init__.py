"""Gives the encoder that an index's identity asks for: by the running server's model, else by its own."""

from __future__ import annotations

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
    """Return the model as the index's identity wants it, and say which device and dtype were chosen and why.

    It is the model in the memory of this user's server, if one runs; IMGSEARCH_SERVER=off asks none.
    Raises CheckpointError, UsageError (a device or dtype that is not to be had).
    """
    encoder: ImageEncoder | None = None
    if os.environ.get("IMGSEARCH_SERVER", "").lower() != "off":
        from imgsearch.client.encoder import remote_encoder  # on use: it loads Pillow

        order = model_spec(checkpoint, spec, choice)
        encoder = remote_encoder(
            order, lambda: load_local_encoder(checkpoint, spec, choice, reporter), reporter.say
        )
    if encoder is None:
        return load_local_encoder(checkpoint, spec, choice, reporter)
    _say(checkpoint, encoder, reporter)
    return encoder


def load_local_encoder(
    checkpoint: hub.Checkpoint, spec: IndexSpec, choice: ModelOptions, reporter: Reporter
) -> ImageEncoder:
    """Load the model into this process, whether or not a server runs; otherwise as ``load_encoder``."""
    encoder = load_embedder(model_spec(checkpoint, spec, choice), reporter.say)
    _say(checkpoint, encoder, reporter)
    return encoder


def load_embedder(
    order: ModelSpec, notify: Notify, forward: Engine | Reference | None = None
) -> Qwen3VLEmbedder:
    """Load the model of an order into this process, or only put a new face on the weights in ``forward``."""
    from imgsearch.model.engine.pages import prefetch_pages

    with prefetch_pages(order.folder, order.device, order.dtype):
        with uncollected("imgsearch.model.embedder"):
            from imgsearch.model.embedder import Qwen3VLEmbedder  # on use: it loads torch

        return Qwen3VLEmbedder(
            order.folder,
            device=order.device,
            dtype=order.dtype,
            budget=order.budget,
            instruction=order.instruction,
            dim=order.dim,
            verbatim=True,  # the identity's prompts are ready for use, whatever has become of the folder
            notify=notify,
            forward=forward,
        )


def model_spec(checkpoint: hub.Checkpoint, spec: IndexSpec, choice: ModelOptions) -> ModelSpec:
    """Return what a server needs to know to load the model as ``load_local_encoder`` does."""
    return ModelSpec(
        folder=os.path.abspath(checkpoint.folder),
        fingerprint=spec.fingerprint,
        dim=spec.dim,
        budget=spec.pixels,
        instruction=spec.document_prompt,
        device=choice.device,
        dtype=choice.dtype,
    )


def _say(checkpoint: hub.Checkpoint, encoder: ImageEncoder, reporter: Reporter) -> None:
    runtime = encoder.runtime
    reporter.say(
        f"{checkpoint.name} ({checkpoint.reason}) on {runtime.device} in {runtime.dtype}: {runtime.reason}"
    )
