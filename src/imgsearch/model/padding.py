"""Lays prompts of different lengths side by side, as transformers' own modules take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgsearch.model.prompt import Tokens


@dataclass(frozen=True, slots=True, eq=False)
class PaddedTokens:
    """Several prompts as one block: each array is (n, longest) int64; ``attention`` is 0 on padding."""

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    attention: NDArray[np.int64]


def pad_batch(prompts: Sequence[Tokens], side: str, pad_id: int) -> PaddedTokens:
    """Lay prompts of different lengths side by side, filled up with ``pad_id`` on the ``side`` "left" or "right"."""
    shape = (len(prompts), max(len(prompt.ids) for prompt in prompts))
    ids = np.full(shape, pad_id, dtype=np.int64)
    types, attention = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, prompt in enumerate(prompts):
        length = len(prompt.ids)
        place = slice(shape[1] - length, None) if side == "left" else slice(length)
        ids[row, place], types[row, place], attention[row, place] = prompt.ids, prompt.types, 1
    return PaddedTokens(ids, types, attention)
