"""The engine on the device of IMGSEARCH_TEST_DEVICE: near to float32 on the CPU, in every dtype that it multiplies.

Elsewhere than on the CPU run ``IMGSEARCH_TEST_DEVICE=cuda pytest tests/parity``; on the CPU the tests are the same,
so that they are known to work.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.reference import Reference
from imgsearch.types import Input, PixelBudget, Runtime
from support.device import DEVICE

BUDGET = PixelBudget(256, 16_384)
LEAST = {"float32": 0.99999, "float16": 0.9995, "bfloat16": 0.995}
"""The least cosine to float32 on the CPU, with a tiny random checkpoint."""


def _picture(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


ITEMS = [
    "a cat",
    {"image": _picture(200, 300, 1)},
    Input(text="ein Café 猫\n\n two lines " * 4),
    {"image": _picture(300, 200, 2), "text": "the same, at night"},
    {"text": "a dog", "instruction": "Find the animal."},
    *({"image": _picture(60 + 9 * seed, 340 - 8 * seed, seed)} for seed in range(5)),
    *({"image": _picture(240, 200, 90 + seed)} for seed in range(5)),
]


@pytest.fixture(scope="module")
def exact(tiny_checkpoint: str) -> np.ndarray:
    """Give the vectors of ITEMS by transformers on the CPU in float32."""
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32", budget=BUDGET)
    reference = Reference(Checkpoint(tiny_checkpoint), Runtime("cpu", "float32", "for a test"), "left")
    rows = reference([embedder._encode_input(item, 0, 1) for item in ITEMS])
    return torch.nn.functional.normalize(rows).numpy()


@pytest.mark.parametrize("dtype", LEAST)
def test_vectors_on_device_are_those_of_the_cpu(tiny_checkpoint: str, exact: np.ndarray, dtype: str):
    """Whatever the size of a batch, the device's vectors are near to the CPU's in float32."""
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device=DEVICE, dtype=dtype, budget=BUDGET)
    for size in (3, len(ITEMS)):
        found = embedder.embed(ITEMS, batch_size=size)
        assert found.dtype == np.float32
        assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        assert (found * exact).sum(axis=1).min() >= LEAST[dtype]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_on_device_is_as_near_as_the_reference(
    tiny_checkpoint: str, exact: np.ndarray, dtype: str
):
    """In 16 bits the distance to float32 is at most 1.2 times that of transformers' own on the device."""
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device=DEVICE, dtype=dtype, budget=BUDGET)
    reference = Reference(Checkpoint(tiny_checkpoint), Runtime(DEVICE, dtype, "for a test"), "left")
    theirs = reference([embedder._encode_input(item, 0, 1) for item in ITEMS])
    ours = embedder.embed(ITEMS)
    distances = [
        np.linalg.norm(rows - exact, axis=1) for rows in (ours, torch.nn.functional.normalize(theirs).numpy())
    ]
    assert np.sqrt((distances[0] ** 2).mean()) <= 1.2 * np.sqrt((distances[1] ** 2).mean())


def test_a_row_that_overflows_on_device_is_computed_in_float32(tiny_checkpoint: str):
    """What is not finite in float16 gets its vector by a second pass in float32, also on the device."""
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device=DEVICE, dtype="float16", budget=BUDGET)
    plain = embedder.embed(ITEMS[:4])
    forward = embedder.forward

    class Overflowing:
        """The engine, but the second row of each batch is infinite."""

        hidden = forward.hidden
        in_float32 = staticmethod(forward.in_float32)

        def __call__(self, prompts):
            rows = forward(prompts)
            rows[1] = torch.inf
            return rows

    embedder.forward = Overflowing()
    assert (embedder.embed(ITEMS[:4], batch_size=4) * plain).sum(axis=1).min() >= 0.9995
