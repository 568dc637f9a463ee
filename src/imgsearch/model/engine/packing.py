"""Decides whether a run lays the model's weights out for its products before it begins, by a trial on this machine.

oneDNN reads weights in blocks of its own. It takes them as they are stored, too, at a price at every product: a few
percent on most processors, about half on those with AMX, which are so quick that putting the weights in order takes
as long as the product. So how long a run must be for laying out to pay differs by a hundred times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from imgsearch.model.engine import threads
from imgsearch.model.engine.layers import Int8Linear, Linear, seconds_of

LEAST_IMAGES = 16
"""Of a run that makes a trial: what a shorter one could win is not worth it."""
LEAST_WEIGHTS = 2**27
"""Of a model that makes a trial: a smaller one is laid out in no time, and its vectors shall not depend on a trial."""
_MARGIN = 1.25  # times what laying out takes must be won: a trial on a busy machine is rough
_TRIALS = 3  # of each product, in turns, of which the fastest counts


class Trial(NamedTuple):
    """Seconds that laying out all weights takes, ``packing``, and those it saves for each image, ``saved``."""

    packing: float
    saved: float


def pays(images: int, trial: Trial) -> tuple[bool, str]:
    """Return whether weights are laid out before a run of so many ``images``, and why."""
    if trial.saved <= 0:
        return False, "weights stay as they are stored: laying them out makes products no faster here"
    won, needed = images * trial.saved, _MARGIN * trial.packing
    cost = f"it takes {trial.packing:.1f} s and saves {trial.saved:.3f} s an image"
    if won >= needed:
        return True, f"weights are laid out before the run: {cost}"
    return False, f"weights are not laid out for {images:,} images: {cost}"


def measure(
    products: Sequence[Linear | Int8Linear], images: int, tokens: int, unit: str | None = None
) -> Trial | None:
    """Time the largest of some ``products`` as a batch of ``images`` computes it, with ``tokens`` of each,
    on a CPU with this ``unit`` (``threads.choose_parts``).

    What all of them take follows from that. None where products take weights only as they are: in int8, and without
    oneDNN.
    """
    sample = max(products, key=lambda product: math.prod(product.shape))
    if not isinstance(sample, Linear) or not sample.is_packable:
        return None
    times = sum(math.prod(product.shape) for product in products) / math.prod(sample.shape)
    x = torch.randn(images, tokens, sample.shape[1], dtype=sample.dtype)
    parts = threads.split([tokens] * images, torch.get_num_threads(), unit)

    def seconds(product: Linear) -> float:
        return seconds_of(lambda: threads.run(lambda part: product(x[part]), parts))

    with torch.inference_mode():
        packing = min(seconds_of(sample.packed) for _ in range(2))
        packed = sample.packed()
        taken = [(seconds(sample), seconds(packed)) for _ in range(_TRIALS)]
    saved = min(plain for plain, _ in taken) - min(quick for _, quick in taken)
    return Trial(packing * times, saved * times / images)
