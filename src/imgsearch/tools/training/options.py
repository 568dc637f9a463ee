"""What a training run is asked for, and what follows from it, the checkpoint and the machine, each with its reason."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from imgsearch.errors import UsageError
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.conventions import own_conventions
from imgsearch.model.locate import fetch_checkpoint
from imgsearch.spec import chosen_pixels
from imgsearch.text import Message, Option
from imgsearch.tools.training import run_dir
from imgsearch.types import ModelOptions, PixelBudget, Reporter

if TYPE_CHECKING:
    from imgsearch.model.image import PatchLayout

DIMS = (2048, 1536, 1024, 512, 256, 128, 64)
"""The Matryoshka dimensions of the recipe; a model has those that fit it."""
FALLBACK_DIVISORS = (1, 2, 4, 8)
"""What a smaller model's full length is divided by instead."""
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
"""What ``schedule`` takes → transformers' name for it."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How to train; the defaults are the published recipe's. None leaves a value to the model or the dataset.

    ``steps`` ends the run early or late, whatever ``epochs`` says. ``warmup`` is the share of all steps in
    which the rate rises. ``mini_batch`` is how many inputs are in memory at a time. ``scale`` is what cosines
    are multiplied by, one over the temperature. ``symmetric`` also asks of each document which query is its own, as
    CLIP was trained; else only each query is asked for its document.
    """

    out: str
    model: str | None = None
    revision: str | None = None
    split: str = "train"
    evaluate_on: str | None = None
    evaluation_split: str | None = None
    epochs: float = 1.0
    steps: int | None = None
    batch_size: int = 64
    mini_batch: int = 16
    learning_rate: float = 2e-5
    warmup: float = 0.1
    schedule: str = "linear"
    weight_decay: float = 0.0
    scale: float = 20.0
    symmetric: bool = False
    dims: tuple[int, ...] | None = None
    negatives: int | None = None
    pixels: PixelBudget | Literal["checkpoint"] | None = None
    instruction: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    eval_steps: int | None = None
    save_steps: int | None = None
    log_steps: int = 10
    seed: int = 42
    resume: bool = False
    keep_checkpoints: bool = False
    gradient_checkpointing: bool = False
    device: str = "auto"
    dtype: str = "auto"
    save_dtype: str | None = None
    force_model: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError for figures that can't be meant."""
        for name in (
            *("epochs", "batch_size", "mini_batch", "learning_rate", "scale", "log_steps"),
            *("steps", "eval_steps", "save_steps"),
        ):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(Option(name, value), ": must be above 0")
        if self.batch_size < 2:
            raise UsageError(
                Option("batch_size", 1),
                ": must be at least 2, as the other examples of a batch serve as negatives",
            )
        if not 0 <= self.warmup < 1:
            raise UsageError(
                Option("warmup", self.warmup), ": must be a fraction of all steps, at least 0 and below 1"
            )
        if self.weight_decay < 0 or not math.isfinite(self.weight_decay):
            raise UsageError(Option("weight_decay", self.weight_decay), ": must be 0 or more")
        if not 0 <= self.seed < 2**32:
            raise UsageError(Option("seed", self.seed), f": must be a number from 0 to {2**32 - 1}")
        if self.schedule not in SCHEDULES:
            raise UsageError(f"unknown schedule '{self.schedule}'; choose one of {', '.join(SCHEDULES)}")
        if self.negatives is not None and self.negatives < 0:
            raise UsageError(Option("negatives", self.negatives), ": must be 0 or more")

    def hyperparameters(self) -> dict[str, Any]:
        """Return what decides the result, for the record that is written beside the weights."""
        how = {"out", "resume", "keep_checkpoints", "log_steps", "eval_steps", "save_steps", "evaluate_on"}
        how |= {"evaluation_split", "model", "save_dtype", "force_model"}
        return {name: value for name, value in asdict(self).items() if name not in how and value is not None}


def choose_dims(full: int, wanted: tuple[int, ...] | None) -> tuple[tuple[int, ...], str]:
    """Return the Matryoshka dimensions, largest first and the full length among them, and why these.

    ``full`` is the length of the model's vectors. Raises UsageError for a dimension that it does not have.
    """
    if wanted:
        if bad := [dim for dim in wanted if not 1 <= dim <= full]:
            raise UsageError(
                Option("dims", bad[0]),
                f": this model's embeddings have {full} dimensions; choose from 1 to {full}",
            )
        return tuple(sorted(set(wanted) | {full}, reverse=True)), "as requested, plus the full length"
    fitting = [dim for dim in DIMS if dim < full]
    if len(fitting) >= len(FALLBACK_DIVISORS) - 1:
        return (full, *fitting), f"the recipe's, up to this model's {full}"
    halves = tuple(full // part for part in FALLBACK_DIVISORS if full % part == 0)
    return halves, f"this model's {full}, and halves of it"


def choose_precision(device: str, dtype: str) -> tuple[str, str]:
    """Return the dtype that products are computed in, "float32" or "bfloat16", and why.

    The weights and the optimizer's state stay float32 either way. ``device`` is a torch device's name,
    ``dtype`` what was asked for. Raises UsageError for float16, which needs its gradients scaled.
    """
    if dtype == "float16":
        raise UsageError(Option("dtype", "float16"), ": training computes in float32 or bfloat16")
    if dtype != "auto":
        return dtype, f"{dtype} was requested"
    kind = device.partition(":")[0]
    if kind == "cuda":
        import torch

        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16", "this CUDA device supports bfloat16"
        return "float32", "this CUDA device does not support bfloat16"
    if kind == "mps":
        return "float32", "float32 is the safe dtype on MPS"
    from imgsearch.model.runtime import cpu_dtype

    return cpu_dtype()


def choose_attention(device: str, precision: str, tokens: int) -> str:
    """Return "eager" or "sdpa" (torch's fused kernel), whichever is quicker; both compute the same.

    On the CPU the fused kernel takes 3 to 7 times as long as two products and a softmax in bfloat16 (its
    backward, mostly), and as long in float32. The plain form keeps tokens² numbers a head, so only where these
    are few. ``tokens`` is how many a picture may have, patches included.
    """
    return "eager" if device == "cpu" and precision == "bfloat16" and tokens <= 1024 else "sdpa"


@dataclass(frozen=True, slots=True)
class ResolvedOptions:
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


def resolve_options(options: TrainOptions, out: str, reporter: Reporter) -> ResolvedOptions:
    """Find the checkpoint and decide what it, the machine and the options leave open.

    Raises CheckpointError, DownloadError, UsageError, and StorageError where ``out`` has no room for the run.
    """
    from imgsearch.model.image import check_budget, read_layout  # on use: it loads Pillow
    from imgsearch.model.runtime import choose

    checkpoint = fetch_checkpoint(options.model, options.revision, reporter, force_model=options.force_model)
    info, conventions = checkpoint.info, own_conventions(checkpoint)
    dims, why_dims = choose_dims(info.dim, options.dims)
    device = choose(options.device).device
    precision, why = choose_precision(device, options.dtype)
    budget = chosen_pixels(ModelOptions(pixels=options.pixels), checkpoint)
    layout = read_layout(checkpoint)
    check_budget(budget, layout.factor)
    run_dir.check_room(out, info.parameters, info.weights_bytes)

    return ResolvedOptions(
        checkpoint=checkpoint,
        dims=dims,
        budget=budget,
        layout=layout,
        prompts=conventions.prompts(
            options.instruction, query=options.query_prompt, document=options.document_prompt
        ),
        generation_prompt=conventions.generation_prompt,
        truncate_dim=conventions.dim if conventions.dim < conventions.full_dim else None,
        device=device,
        precision=precision,
        reasons=(
            Message(f"{checkpoint.name} (", checkpoint.reason, f") on {device} in {precision}: {why}"),
            f"dimensions {', '.join(map(str, dims))}: {why_dims}",
        ),
    )
