"""Settles what a run's options leave to the checkpoint and the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgsearch.identity import ModelChoice, chosen_pixels, find
from imgsearch.model import checkpoint as checkpoints
from imgsearch.model.conventions import read_conventions
from imgsearch.model.weights import Checkpoint
from imgsearch.training import folder
from imgsearch.training.options import TrainOptions, choose_dims, choose_precision
from imgsearch.types import PixelBudget, Reporter

if TYPE_CHECKING:
    from imgsearch.model.pixels import PatchLayout


@dataclass(frozen=True, slots=True)
class Settled:
    """What the options, the checkpoint and the machine together decide; ``reasons`` is for the user.

    ``layout`` is how the checkpoint cuts its pictures. ``prompts`` are those of queries and of pictures, word
    for word. ``truncate_dim`` is the length that the checkpoint cuts its vectors to by default, None if it
    does not.
    """

    checkpoint: Checkpoint
    dims: tuple[int, ...]
    budget: PixelBudget
    layout: PatchLayout
    prompts: tuple[str, str]
    generation_prompt: bool
    truncate_dim: int | None
    device: str
    precision: str
    reasons: tuple[str, ...]


def settle(options: TrainOptions, out: str, reporter: Reporter) -> Settled:
    """Find the checkpoint and decide what it, the machine and the options leave open.

    Raises CheckpointError, DownloadError, UsageError, and StorageError where ``out`` has no room for the run.
    """
    from imgsearch.model.pixels import check_budget, read_layout  # on use: it loads Pillow
    from imgsearch.model.prompt import punctuated
    from imgsearch.model.runtime import choose

    checkpoint = find(options.model, options.revision, reporter)
    info = checkpoints.describe(checkpoint.folder)
    own = read_conventions(checkpoint.folder, checkpoint.name)
    dims, why_dims = choose_dims(info.dim, options.dims)
    device = choose(options.device).device
    precision, why = choose_precision(device, options.dtype)
    budget = chosen_pixels(ModelChoice(pixels=options.pixels), checkpoint)
    layout = read_layout(checkpoint.folder)
    check_budget(budget, layout.factor)
    folder.check_room(out, info.parameters, info.weights_bytes)

    def prompt(given: str | None, default: str) -> str:
        text = next(text for text in (given, options.instruction, default) if text is not None)
        return text if own.verbatim else punctuated(text)

    return Settled(
        checkpoint=checkpoint,
        dims=dims,
        budget=budget,
        layout=layout,
        prompts=(
            prompt(options.query_prompt, own.query_prompt),
            prompt(options.document_prompt, own.document_prompt),
        ),
        generation_prompt=own.generation_prompt,
        truncate_dim=own.dim if own.dim < own.full_dim else None,
        device=device,
        precision=precision,
        reasons=(
            f"{checkpoint.name} ({checkpoint.reason}) on {device} in {precision}: {why}",
            f"dimensions {', '.join(map(str, dims))}: {why_dims}",
        ),
    )
