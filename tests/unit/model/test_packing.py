"""Tests of the decision to lay weights out before a run, and of the trial that it rests on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.engine import forward as engine_module
from imgsearch.model.engine import layers, packing
from imgsearch.model.engine.forward import Engine
from imgsearch.model.engine.packing import Trial, pays
from imgsearch.types import Runtime
from support.pictures import scene

onednn = pytest.mark.skipif(not layers.onednn_fits(torch.float32), reason="this torch has no oneDNN products")


@pytest.mark.parametrize(
    ("images", "trial", "whether", "words"),
    [
        (
            24,
            Trial(2.0, 0.15),
            True,
            "weights are laid out before the run: it takes 2.0 s and saves 0.150 s an image",
        ),
        (
            24,
            Trial(4.0, 0.02),
            False,
            "not laid out for 24 images: it takes 4.0 s and saves 0.020 s an image",
        ),
        (300, Trial(4.0, 0.02), True, "before the run"),
        (10**6, Trial(4.0, 0.0), False, "laying them out makes products no faster here"),
        (10**6, Trial(4.0, -0.01), False, "laying them out makes products no faster here"),
    ],
)
def test_a_run_that_wins_more_than_it_costs_is_laid_out_for(
    images: int, trial: Trial, whether: bool, words: str
):
    """Weights are laid out where that saves clearly more than it takes; the reason has both figures."""
    found, reason = pays(images, trial)
    assert found is whether
    assert words in reason


@given(
    images=st.integers(0, 10**6),
    more=st.integers(0, 10**6),
    packing_=st.floats(0, 1e3),
    saved=st.floats(-1, 10, allow_subnormal=False),
)
@example(images=1, more=1, packing_=1e3, saved=1e-307)
def test_a_longer_run_is_never_worth_less(images: int, more: int, packing_: float, saved: float):
    """What pays for some images pays for more of them."""
    trial = Trial(packing_, saved)
    assert pays(images + more, trial)[0] >= pays(images, trial)[0]


@onednn
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_trial_leaves_the_products_as_they_are(tiny_checkpoint: str, dtype: str):
    """Laying out is tried on a copy: the engine's vectors keep their bits, and its count of memory."""
    if not layers.onednn_fits(getattr(torch, dtype)):
        pytest.skip("this processor has no oneDNN products in this dtype")
    engine = Engine(Checkpoint(tiny_checkpoint), Runtime("cpu", dtype, "for a test"))
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype=dtype, forward=engine)
    ready = [embedder._encode_input({"image": scene(1, (96, 128))}, 0, 1)]
    before, memory = engine(ready), engine.bytes_to_load()
    trial = packing.measure(engine._linears(), 4, 63)
    assert trial is not None
    assert trial.packing > 0
    assert torch.equal(engine(ready), before)
    assert engine.bytes_to_load() == memory


@onednn
@pytest.mark.parametrize(
    ("images", "trial", "free", "is_packed", "words"),
    [
        (24, Trial(0.1, 1.0), 10**12, True, "laid out before the run"),
        (24, Trial(100.0, 1.0), 10**12, False, "not laid out for 24 images"),
        (15, Trial(0.1, 1.0), 10**12, False, ""),
        (24, Trial(0.1, 1.0), 0, False, "there is no memory"),
        (24, None, 10**12, False, ""),
    ],
)
def test_a_run_begins_with_packed_weights_if_that_pays(
    tiny_checkpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    images: int,
    trial: Trial | None,
    free: int,
    is_packed: bool,
    words: str,
):
    """An encoder that is told of a long run lays its weights out before the first image, if there is room."""
    monkeypatch.setattr(packing, "LEAST_WEIGHTS", 0)
    monkeypatch.setattr(packing, "measure", lambda *_: trial)
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32")
    assert embedder.batch_size  # chosen by the memory that there is
    monkeypatch.setattr(engine_module, "free_memory", lambda device: free)
    assert words in embedder.expect(images)
    assert isinstance(embedder.forward, Engine)
    assert all(product.is_packable is not is_packed for product in embedder.forward._linears())


def test_small_models_make_no_trial(tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch):
    """The vectors of a small model do not depend on what a trial finds: it makes none."""
    monkeypatch.setattr(packing, "measure", lambda *_: pytest.fail("a trial was made"))
    assert Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32").expect(10**6) == ""


def test_memory_that_runs_out_in_a_trial_costs_no_run(tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch):
    """Without memory for the copy of a weight the run goes on with weights as they are."""

    def fail(*_: object) -> None:
        raise RuntimeError("not enough memory: you tried to allocate 50331648 bytes")

    monkeypatch.setattr(packing, "LEAST_WEIGHTS", 0)
    monkeypatch.setattr(packing, "measure", fail)
    assert "memory ran out" in Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32").expect(100)
