"""float16 that overflows: when another dtype takes its place, which one, and what is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import ModelOutOfMemory
from imgsearch.index import side_db
from imgsearch.model import embedder as embedder_module
from imgsearch.model import overflow as overflow_module
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.overflow import Overflow, instead_of_float16
from imgsearch.model.prompt import ModelInput
from imgsearch.types import Runtime

TEXTS = ["a cat", "a dog", "red", "blue", "a boat", "a tree"]


class Overflowing:
    """A forward whose first rows of each call are infinite."""

    def __init__(self, whole: object, rows: int) -> None:
        """Take the real one, and how many rows of a call overflow."""
        self.whole, self.rows, self.hidden = whole, rows, whole.hidden  # type: ignore[attr-defined]
        self.in_float32 = whole.in_float32  # type: ignore[attr-defined]

    def __call__(self, prompts: Sequence[ModelInput]) -> torch.Tensor:
        """Compute, and spoil the first rows."""
        rows: torch.Tensor = self.whole(prompts).clone()  # type: ignore[operator]
        rows[: self.rows] = float("inf")
        return rows


def _embedder(folder: str, rows: int, lines: list[str]) -> Qwen3VLEmbedder:
    found = Qwen3VLEmbedder(folder, device="cpu", dtype="float16", notify=lines.append)
    found.forward = Overflowing(found.forward, rows)  # type: ignore[assignment]
    return found


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 4)), max_size=8))
def test_a_dtype_is_left_beyond_one_percent_of_a_hundred_rows(batches: list[tuple[int, int]]) -> None:
    """It takes more than 1 % of all rows so far, and a hundred of these: an odd query changes nothing."""
    overflow = Overflow()
    for rows, again in batches:
        overflow.count(rows, again)
    rows, again = sum(rows for rows, _ in batches), sum(again for _, again in batches)
    assert overflow.is_too_much == (rows >= 100 and 100 * again > rows)


@pytest.mark.parametrize(
    ("device", "unit", "dtype"),
    [
        ("cpu", "AMX", "bfloat16"),
        ("cpu", None, "float32"),
        ("cuda:1", True, "bfloat16"),
        ("cuda", False, "float32"),
    ],
)
def test_the_dtype_instead_is_the_one_that_the_device_multiplies(
    monkeypatch: pytest.MonkeyPatch, device: str, unit: object, dtype: str
) -> None:
    """bfloat16 has the range of float32, where the hardware has it; the reason tells what was seen."""
    monkeypatch.setattr(overflow_module, "bfloat16_unit", lambda: unit)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: unit)
    found = instead_of_float16(Runtime(device, "float16", "CUDA device found"), Overflow(800, 12))
    seen = f"CUDA device found; {dtype} since 12 of 800 embeddings overflowed in float16"
    assert found == Runtime(device, dtype, seen)


def test_a_model_that_overflows_often_is_loaded_in_another_dtype_once(
    tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are right before and after, the change is told in one line, and what was computed twice is counted."""
    monkeypatch.setattr(overflow_module, "bfloat16_unit", lambda: None)
    monkeypatch.setattr(overflow_module, "_ENOUGH", 5)
    lines: list[str] = []
    embedder = _embedder(tiny_checkpoint, 1, lines)
    exact = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32").embed(TEXTS)
    np.testing.assert_allclose(embedder.embed(TEXTS, batch_size=2), exact, atol=0.01)
    assert embedder.runtime.dtype == "float32"
    assert embedder.recomputed == 3
    assert lines == ["3 of 6 embeddings overflowed in float16 and were computed again: continuing in float32"]
    np.testing.assert_allclose(embedder.embed(TEXTS), exact, atol=1e-6)
    assert (embedder.recomputed, len(lines)) == (3, 1)


@pytest.mark.parametrize("shared", [True, False])
def test_the_dtype_stays_where_weights_are_shared_or_memory_is_short(
    tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    """Then each row that overflows is computed again, as before, and nothing is said."""
    lines: list[str] = []
    embedder = _embedder(tiny_checkpoint, 1, lines)
    tried: list[object] = []

    def no_memory(*given: object) -> None:
        tried.append(given)
        raise ModelOutOfMemory("the model does not fit")

    monkeypatch.setattr(embedder_module, "load_forward", no_memory)
    monkeypatch.setattr(overflow_module, "_ENOUGH", 5)
    if shared:
        embedder = Qwen3VLEmbedder(
            tiny_checkpoint, device="cpu", dtype="float16", notify=lines.append, forward=embedder.forward
        )
    assert np.isfinite(embedder.embed(TEXTS, batch_size=1)).all()
    assert (embedder.runtime.dtype, embedder.recomputed, lines) == ("float16", 6, [])
    assert len(tried) == (0 if shared else 1)


def test_what_was_computed_again_is_kept_until_a_run_without(tmp_path: Path) -> None:
    """The status of an index tells it of the last run."""
    folder = str(tmp_path)
    assert side_db.recomputed(folder) == (0, 0)
    side_db.record_recomputed(folder, 0, 10)
    assert list(tmp_path.iterdir()) == []
    side_db.record_recomputed(folder, 12, 800)
    assert side_db.recomputed(folder) == (12, 800)
    side_db.record_recomputed(folder, 0, 800)
    assert side_db.recomputed(folder) == (0, 800)
