"""Tests of float32 over weights that are stored in 16 bits: mapped as they are, upcast when used, then for good."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.engine import forward as engine_module
from imgsearch.model.engine import layers
from imgsearch.model.engine.forward import Engine
from imgsearch.model.engine.layers import Linear, Weights
from imgsearch.model.engine.weights import find_tensors
from imgsearch.model.reference import Reference
from imgsearch.types import Runtime
from random_checkpoint import TINY, write_random_checkpoint
from support.pictures import scene

RUNTIME = Runtime("cpu", "float32", "for a test")
ITEMS: list[Any] = [
    "a red circle",
    {"image": scene(1, (96, 128))},
    {"image": scene(2, (200, 96)), "text": "with an image"},
    {"text": "ein Café", "instruction": "Find it."},
]


@pytest.fixture(scope="module", params=["bfloat16", "float16"])
def bits16(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a tiny checkpoint that is stored in 16 bits."""
    folder = str(tmp_path_factory.mktemp("model") / "bits16")
    write_random_checkpoint(folder, TINY, dtype=request.param)
    return folder


def _ready(folder: str) -> list[Any]:
    prompts = Qwen3VLEmbedder(folder, device="cpu", dtype="float32")
    return [prompts._encode_input(item, 0, 1) for item in ITEMS]


def _room(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(engine_module, "free_memory", lambda device: free)


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("at_once", [1, 70, 10**6])
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_a_narrow_weight_multiplies_like_a_wide_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: torch.dtype, at_once: int, onednn: bool
):
    """However many rows are upcast at a time, and kept or not, a product and what follows it are float32's."""
    monkeypatch.setattr(layers, "_AT_ONCE", at_once)
    if not onednn:
        monkeypatch.setattr(layers, "onednn_fits", lambda dtype: False)
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "a.weight": torch.randn(24, 32, generator=generator).to(stored),
        "a.bias": torch.randn(24, generator=generator).to(stored),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    weights = Weights(find_tensors(Checkpoint(str(tmp_path)), shapes), torch.device("cpu"), torch.float32)
    product = Linear(weights, "a", bias=True)
    assert product._weight.dtype == stored
    x, other = (torch.randn(2, 5, size, generator=generator) for size in (32, 24))
    plain = F.linear(x, tensors["a.weight"].float(), tensors["a.bias"].float())
    expected = [
        plain,
        F.gelu(plain, approximate="tanh"),
        F.gelu(plain),
        F.silu(plain),
        plain * other,
        plain + other,
    ]
    for step in (lambda: None, product.upcast, product.prepack):
        step()
        found = [
            product(x),
            product.gelu(x, "tanh"),
            product.gelu(x, "none"),
            product.silu(x),
            product.times(x, other),
            product.plus(x, other),
        ]
        for one, right in zip(found, expected, strict=True):
            torch.testing.assert_close(one, right, rtol=1e-5, atol=1e-5)
    assert product._weight.dtype == torch.float32


def test_parity_while_weights_are_upcast(bits16: str, monkeypatch: pytest.MonkeyPatch):
    """From the first pass to packed weights, vectors are those of transformers' own forward in float32."""
    _room(monkeypatch, 10**12)
    engine, ready = Engine(Checkpoint(bits16), RUNTIME), _ready(bits16)
    right = Reference(Checkpoint(bits16), RUNTIME, "left")(ready)
    to_load = [engine.bytes_to_load()]
    for _ in range(6):
        found = engine(ready)
        assert torch.cosine_similarity(found, right).min() >= 0.99999
        to_load.append(engine.bytes_to_load())
    assert all(product._weight.dtype == torch.float32 for product in engine._linears())
    assert to_load == sorted(to_load, reverse=True)
    assert to_load[-1] < 0.05 * to_load[0]
    engine.prepack()
    assert torch.cosine_similarity(engine(ready), right).min() >= 0.99999


def test_a_single_question_upcasts_nothing(bits16: str, monkeypatch: pytest.MonkeyPatch):
    """One question leaves the language layers as the file has them; each further one upcasts an eighth at most."""
    _room(monkeypatch, 10**12)
    engine, ready = Engine(Checkpoint(bits16), RUNTIME), _ready(bits16)[:1]
    counts = []
    for _ in range(10):
        engine(ready)
        counts.append(sum(product._weight.dtype == torch.float32 for product in engine._linears()))
    total = len(engine._linears())
    assert counts[0] == 0
    assert counts[-1] == total
    assert max(after - before for before, after in itertools.pairwise(counts)) <= total // 8 + 1


def test_without_room_weights_stay_in_16_bits(bits16: str, monkeypatch: pytest.MonkeyPatch):
    """Where upcast weights would take most of the memory nothing is upcast, and less is set aside for weights."""
    _room(monkeypatch, 10**12)
    in_float32 = Engine(Checkpoint(bits16), RUNTIME).bytes_to_load()
    _room(monkeypatch, int(1.4 * in_float32))
    monkeypatch.setattr(engine_module, "_PREPACK_AFTER", 1)
    engine, ready = Engine(Checkpoint(bits16), RUNTIME), _ready(bits16)
    assert 0.4 * in_float32 < engine.bytes_to_load() < 0.6 * in_float32
    for _ in range(5):
        engine(ready)
    assert all(product._weight.dtype != torch.float32 for product in engine._linears())


def test_memory_that_runs_out_while_upcasting_costs_no_answer(bits16: str, monkeypatch: pytest.MonkeyPatch):
    """Where there is no memory for wider weights after all, vectors are still right, and it is not tried again."""
    _room(monkeypatch, 10**12)
    tried: list[int] = []

    def fail(product: Linear) -> None:
        tried.append(1)
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(Linear, "upcast", fail)
    engine, ready = Engine(Checkpoint(bits16), RUNTIME), _ready(bits16)
    first = engine(ready[:1])
    for _ in range(4):
        assert torch.equal(engine(ready[:1]), first)
    assert len(tried) == 1


def test_memory_that_others_took_since_is_not_counted_on(bits16: str, monkeypatch: pytest.MonkeyPatch):
    """Room that is gone by the time that weights would be upcast leaves them in 16 bits."""
    _room(monkeypatch, 10**12)
    engine, ready = Engine(Checkpoint(bits16), RUNTIME), _ready(bits16)
    assert engine._room
    _room(monkeypatch, 1000)
    for _ in range(4):
        engine(ready)
    assert all(product._weight.dtype != torch.float32 for product in engine._linears())


def test_an_engine_for_one_batch_upcasts_nothing(bits16: str, monkeypatch: pytest.MonkeyPatch):
    """Where weights are read anew at each call none is kept wider, in memory that is short as it is."""
    _room(monkeypatch, 10**12)
    engine, ready = Engine(Checkpoint(bits16), RUNTIME, keep=False), _ready(bits16)
    for _ in range(3):
        engine(ready)
    assert all(product._weight.dtype != torch.float32 for product in engine._linears())


def test_the_same_question_gets_the_same_bits(bits16: str, monkeypatch: pytest.MonkeyPatch):
    """A question gets the same vector whether weights are in 16 bits, some of them upcast, or all."""
    _room(monkeypatch, 10**12)
    engine, ready = Engine(Checkpoint(bits16), RUNTIME), _ready(bits16)[:2]
    first = engine(ready)
    for _ in range(8):
        assert torch.equal(engine(ready), first)


_OWN = """
import sys
from imgsearch.model.embedder import Qwen3VLEmbedder

def own():
    lines = (line.split() for line in open("/proc/self/status"))
    return next(int(line[1]) * 1024 for line in lines if line[0] == "RssAnon:")

Qwen3VLEmbedder(sys.argv[1], device="cpu", dtype="float32").embed(["a cat"])
before = own()
embedder = Qwen3VLEmbedder(sys.argv[2], device="cpu", dtype="float32")
embedder.embed(["a cat"])
print(own() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of a process")
def test_a_question_takes_little_memory_of_its_own(tmp_path: Path, tiny_checkpoint: str):
    """In float32 over bfloat16 files, a first question takes far less than the layers in float32 would."""
    text = TINY["text_config"] | {"hidden_size": 1024, "intermediate_size": 8192, "num_hidden_layers": 6}
    vision = TINY["vision_config"] | {"out_hidden_size": 1024}
    folder = str(tmp_path / "model")
    write_random_checkpoint(folder, TINY | {"text_config": text, "vision_config": vision}, dtype="bfloat16")
    in_float32 = sum(
        4 * int(torch.tensor(where.shape).prod())
        for name, where in find_tensors(
            Checkpoint(folder), Engine(Checkpoint(folder), RUNTIME)._sizes.shapes
        ).items()
        if "language_model.layers" in name
    )
    assert in_float32 > 600_000_000
    done = subprocess.run(
        [sys.executable, "-c", _OWN, tiny_checkpoint, folder], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 0.5 * in_float32  # 25 MB at a time, and what libraries keep of them
