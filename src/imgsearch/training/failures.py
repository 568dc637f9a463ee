"""Tells what an exception of the libraries means to the user: memory or disk ran out, and what to do then."""

from __future__ import annotations

import torch
from safetensors import SafetensorError

from imgsearch.training.options import TrainOptions
from imgsearch.types import PixelBudget

# torch has a class for it on accelerators; on the CPU it raises a plain RuntimeError in these words.
_MEMORY = (
    "killed by signal: killed",  # the kernel ended a process that decoded pictures
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
)

# How torch and safetensors say that a file could not be written.
_DISK = ("pytorchstreamwriter failed", "no space left", "unexpected pos", "quota exceeded", "i/o error")


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an exception means that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _MEMORY)


def is_of_the_disk(error: Exception) -> bool:
    """Tell whether an exception means that a checkpoint could not be written."""
    said = str(error).lower()
    return isinstance(error, RuntimeError | SafetensorError) and any(word in said for word in _DISK)


def advice(options: TrainOptions) -> str:
    """Say which settings to lower, in the order of what they cost."""
    pixels = (
        f"it is {options.pixels.max_pixels:,}"
        if isinstance(options.pixels, PixelBudget)
        else "the model's own"
    )
    return (
        f"out of memory: lower --mini-batch (it is {min(options.mini_batch, options.batch_size)}), then "
        f"--max-pixels ({pixels}), or add --gradient-checkpointing"
    )
