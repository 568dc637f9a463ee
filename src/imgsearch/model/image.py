"""Turns a picture into the patches that the vision tower takes; the pixel budget's one home."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgsearch.errors import CheckpointError, InputError, PictureError, UsageError
from imgsearch.model.checkpoint import MEND, Checkpoint
from imgsearch.types import MAX_ASPECT, RGB, Patches, PixelBudget


@dataclass(frozen=True)
class PatchLayout:
    """How a checkpoint cuts and scales its pictures; all lengths in pixels or patches.

    ``table`` maps channel and byte value to the normalised float32 number: (3, 256).
    """

    patch: int
    temporal: int
    merge: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale: float
    table: NDArray[np.float32] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out the table: rescaled in float64, normalised in float32, as transformers' processor does."""
        scaled = (np.arange(256, dtype=np.float64) * self.rescale).astype(np.float32)
        mean, std = (np.asarray(numbers, dtype=np.float32)[:, None] for numbers in (self.mean, self.std))
        object.__setattr__(self, "table", (scaled - mean) / std)

    @property
    def factor(self) -> int:
        """What both sides of a resized picture are multiples of: the side of one token, in pixels."""
        return self.patch * self.merge

    def tokens(self, grid: tuple[int, int, int]) -> int:
        """Return how many tokens a picture of this grid takes in the prompt."""
        return math.prod(grid) // self.merge**2


def read_layout(checkpoint: Checkpoint) -> PatchLayout:
    """Read how a checkpoint cuts its pictures into patches.

    They stand in the image processor's settings; a size that these leave out is taken from the vision_config
    of config.json. Raises CheckpointError for a number that is nowhere, or that makes no sense.
    """
    folder, vision = checkpoint.folder, checkpoint.config.get("vision_config") or {}
    # "spatial_merge_size" is config.json's name of what processors call "merge_size".
    settings = {"merge_size": vision.get("spatial_merge_size")} | vision | checkpoint.image_processor

    def number(name: str, default: Any = None) -> Any:
        value = settings.get(name)
        value = default if value is None else value
        if value is None:
            raise CheckpointError(
                f"{folder}: {name} is missing from both its processor's config and config.json; ", MEND
            )
        return value

    try:
        normalise = settings.get("do_normalize") is not False
        layout = PatchLayout(
            patch=int(number("patch_size")),
            temporal=int(number("temporal_patch_size")),
            merge=int(number("merge_size")),
            mean=_three(number("image_mean")) if normalise else (0.0, 0.0, 0.0),
            std=_three(number("image_std")) if normalise else (1.0, 1.0, 1.0),
            rescale=float(number("rescale_factor", 1 / 255))
            if settings.get("do_rescale") is not False
            else 1.0,
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: the processor's config is not valid ({error}); ", MEND) from error
    if min(layout.patch, layout.temporal, layout.merge) < 1 or 0.0 in layout.std:
        raise CheckpointError(f"{folder}: the processor's config has a patch size or deviation of 0; ", MEND)
    return layout


def target_size(height: int, width: int, budget: PixelBudget, factor: int) -> tuple[int, int]:
    """Return (height, width) in pixels that a picture is resized to: multiples of ``factor`` within ``budget``.

    The rule is Qwen2-VL's ``smart_resize`` (transformers, image_processing_qwen2_vl): each side goes to the nearest
    multiple; if the area is then out of the budget, both sides are scaled alike, downwards when it was too
    large and upwards when it was too small. A very long picture can't get thinner than one ``factor``, so
    there its long side is shortened until the area fits, where the published rule would leave the budget.

    Raises PictureError for an aspect ratio over 200, UsageError for a budget that is empty or below one token.
    """
    if height < 1 or width < 1:
        raise PictureError("empty image", f"{width}x{height}")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise PictureError(f"aspect ratio over {MAX_ASPECT}", f"{width}x{height}")
    check_budget(budget, factor)
    high, wide = round(height / factor) * factor, round(width / factor) * factor
    if high * wide > budget.max_pixels:
        shrink = math.sqrt(height * width / budget.max_pixels)
        high = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif high * wide < budget.min_pixels:
        grow = math.sqrt(budget.min_pixels / (height * width))
        high = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    if high * wide > budget.max_pixels:
        if high > wide:
            high = budget.max_pixels // wide // factor * factor
        else:
            wide = budget.max_pixels // high // factor * factor
    return high, wide


def check_budget(budget: PixelBudget, factor: int) -> None:
    """Raise UsageError for a pixel budget that no picture can meet."""
    if budget.max_pixels < factor * factor:
        raise UsageError(
            f"{budget.max_pixels} pixels are too few: this model needs at least {factor * factor}"
        )
    if budget.min_pixels > budget.max_pixels:
        raise UsageError(
            f"the minimum of pixels ({budget.min_pixels}) is above the maximum ({budget.max_pixels})"
        )


def resize(image: RGB, budget: PixelBudget, layout: PatchLayout) -> RGB:
    """Return a picture in the size that the model sees it in, resized by PIL, bicubic, if it has another.

    Raises InputError for anything but (height, width, 3) uint8, else as ``target_size`` does.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"an image must be (height, width, 3) uint8, not {image.shape} {image.dtype}")
    high, wide = target_size(image.shape[0], image.shape[1], budget, layout.factor)
    if image.shape[:2] != (high, wide):
        image = np.asarray(Image.fromarray(image).resize((wide, high), Image.Resampling.BICUBIC))
    return image


def prepare(image: RGB, budget: PixelBudget, layout: PatchLayout) -> Patches:
    """Resize a picture once, in PIL, bicubic, and cut it into patches; many threads may call this at once.

    ``image`` is (height, width, 3) uint8. The patches come in the order of Qwen2-VL's processor: row by row of
    merge blocks, inside a block row by row; each patch holds its channels, and in a channel the same pixels
    ``temporal`` times, since a still picture fills every frame.

    Raises what ``resize`` raises.
    """
    image = resize(image, budget, layout)
    high, wide = image.shape[:2]
    rows, columns, side, merge = high // layout.patch, wide // layout.patch, layout.patch, layout.merge
    blocks = image.reshape(rows // merge, merge, side, columns // merge, merge, side, 3)
    # (block row, block column, row in block, column in block, channel, y, x), still one byte a number.
    bytes_ = blocks.transpose(0, 3, 1, 4, 6, 2, 5).reshape(rows * columns, 3, side * side)
    values = np.empty((rows * columns, 3, layout.temporal, side * side), dtype=np.float32)
    for channel in range(3):
        values[:, channel] = layout.table[channel][bytes_[:, channel]][:, None]
    return Patches(values.reshape(rows * columns, -1), (1, rows, columns), still=True)


def _three(numbers: Any) -> tuple[float, ...]:
    """Return three floats, one a channel, of a list or of one number for all; ValueError for anything else."""
    if isinstance(numbers, int | float):
        numbers = [numbers] * 3
    if len(numbers) != 3:
        raise ValueError(f"expected three numbers, got {len(numbers)}")
    return tuple(float(number) for number in numbers)
