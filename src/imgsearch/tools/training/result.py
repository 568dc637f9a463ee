"""Writes what a run made: the checkpoint, with the record of the run in it, its card and its log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from imgsearch.tools.training.data import Examples
from imgsearch.tools.training.export import Trained, versions, write_card, write_checkpoint
from imgsearch.tools.training.options import ResolvedOptions, TrainOptions
from imgsearch.tools.training.st_module import Qwen3VLInput
from imgsearch.tools.training.trainer import Trainer

if TYPE_CHECKING:
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss


def write_result(
    trainer: Trainer,
    examples: Examples,
    measured_on: str | None,
    resolved: ResolvedOptions,
    options: TrainOptions,
    out: str,
) -> None:
    """Write the trained checkpoint with its card and log into ``out``.

    ``measured_on`` is the name of the evaluation set, None without one. Raises OSError, or what safetensors
    raises where the disk refuses.
    """
    module = trainer.model[0]
    assert isinstance(module, Qwen3VLInput)
    base, (query, document) = resolved.checkpoint.name, resolved.prompts
    record = {
        **options.hyperparameters(),
        "steps": trainer.state.global_step,
        "negatives": examples.negatives,
        "precision": resolved.precision,
        # Of a folder only its own name: where it lies is nobody else's business.
        "base_model": os.path.basename(base) if os.path.isabs(base) else base,
        "dataset": examples.name,
        "examples": len(examples.examples),
        "evaluation": measured_on,
        "versions": versions(),
    }
    settings = {
        "loss": type(cast("MatryoshkaLoss", trainer.loss).loss).__name__,
        "dims": ", ".join(map(str, resolved.dims)),
        "least": resolved.budget.min_pixels,
        "most": resolved.budget.max_pixels,
        "query": query,
        "document": document,
    }
    trained = Trained(
        source=resolved.checkpoint.folder,
        model=module.model,
        pixels=resolved.budget,
        query_prompt=query,
        document_prompt=document,
        generation_prompt=resolved.generation_prompt,
        truncate_dim=resolved.truncate_dim,
        dims=resolved.dims,
        save_dtype=options.save_dtype,
        record=record,
    )
    write_card(out, record, settings, trainer.state.log_history)
    write_checkpoint(out, trained)
