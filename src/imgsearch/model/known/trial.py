"""How fast a model would be on this machine, by a trial of its layers: random weights, the products' real sizes."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from imgsearch.errors import ModelOutOfMemory
from imgsearch.machine import memory
from imgsearch.model.known.row import KnownModel, Tower
from imgsearch.text import format_bytes
from imgsearch.types import Runtime

if TYPE_CHECKING:
    import torch

_BATCH = 8  # images
_MOST_TOKENS = 512  # of a batch: from here on a layer takes as long as it has operations
_SECONDS = 0.4  # of a tower; a first pass that is shorter does not count
_LAYERS = 2  # so that the second does not find the weights of the first in the cache
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_BESIDE = 1_000_000_000
"""Bytes that a model in memory needs beside its weights: for a batch, and for the program."""


def memory_needed(row: KnownModel, dtype: str) -> int | None:
    """Return how many bytes of memory the whole model needs in ``dtype``; None where its size is not known."""
    return None if row.parameters is None else row.parameters * _BYTES[dtype] + _BESIDE


def check_memory(row: KnownModel, runtime: Runtime) -> None:
    """Raise ModelOutOfMemory for a model that does not fit into what is free on the device."""
    needed = memory_needed(row, runtime.dtype)
    if needed is not None and needed > (left := _free(runtime.device)):
        raise ModelOutOfMemory(
            f"needs {format_bytes(needed)} of memory in {runtime.dtype}, {format_bytes(left)} free"
        )


def seconds_per_image(row: KnownModel, runtime: Runtime) -> float:
    """Return about how many seconds an image takes, without reading and decoding it.

    Two layers of each tower are made and timed; the others are taken to be like them. The row must have towers.
    Raises ModelOutOfMemory before anything is made, where the whole model does not fit.
    """
    check_memory(row, runtime)
    return sum(tower.layers * _layer_seconds(tower, runtime) for tower in row.towers)


@functools.cache
def _layer_seconds(tower: Tower, runtime: Runtime) -> float:
    """Return the seconds that an image takes in one layer, in a batch."""
    import torch

    from imgsearch.model.runtime import use_cores

    use_cores()
    tokens = min(tower.tokens, _MOST_TOKENS)
    images = max(1, min(_BATCH, _MOST_TOKENS // tokens))
    place: dict[str, Any] = {"device": runtime.device, "dtype": getattr(torch, runtime.dtype)}
    with torch.inference_mode():
        layers = [_weights(tower, place) for _ in range(_LAYERS)]
        x = torch.randn(images, tokens, tower.width, **place)
        began = time.perf_counter()
        _pass(layers, x, tower)
        passes, seconds = 1, time.perf_counter() - began
        if seconds < _SECONDS:
            passes, began = 0, time.perf_counter()
            while time.perf_counter() - began < _SECONDS:
                _pass(layers, x, tower)
                passes += 1
            seconds = time.perf_counter() - began
        seconds /= passes * _LAYERS * images
    return seconds * tower.operations() / tower.operations(tokens)


def _weights(tower: Tower, place: dict[str, Any]) -> list[torch.Tensor]:
    """Make the matrices of one layer: queries, keys and values, output; and those of its feed-forward layer."""
    import torch

    asked, kept = tower.attention
    into = (2 if tower.gated else 1) * tower.inner
    shapes = [
        (asked + 2 * kept, tower.width),
        (tower.width, asked),
        (into, tower.width),
        (tower.width, tower.inner),
    ]
    return [torch.randn(*shape, **place) * shape[1] ** -0.5 for shape in shapes]


def _pass(layers: list[list[torch.Tensor]], x: torch.Tensor, tower: Tower) -> None:
    """Send a batch (images, tokens, width) through the layers, and wait for it."""
    import torch
    from torch.nn import functional

    asked, kept = tower.attention
    dim = asked // tower.heads
    images, tokens, width = x.shape
    for joint, out, into, back in layers:
        parts = torch.split(
            functional.linear(functional.layer_norm(x, (width,)), joint), [asked, kept, kept], dim=2
        )
        q, k, v = (part.view(images, tokens, -1, dim).transpose(1, 2) for part in parts)
        shared = k.shape[1] != q.shape[1]
        seen = functional.scaled_dot_product_attention(q, k, v, enable_gqa=shared)
        x = x + functional.linear(seen.transpose(1, 2).reshape(images, tokens, asked), out)
        wide = functional.linear(functional.layer_norm(x, (width,)), into)
        if tower.gated:
            gate, wide = wide.chunk(2, dim=2)
            wide = functional.silu(gate) * wide
        else:
            wide = functional.gelu(wide)
        x = x + functional.linear(wide, back)
    x.sum().item()  # on a GPU the work is done only now


def _free(device: str) -> int:
    """Return the free bytes of the device's memory."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return memory.free()
