"""Tests of products in int8: near the plain ones, each token for itself, and refused where they cost too much."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from imgsearch.errors import CheckpointError, UsageError
from imgsearch.model import runtime
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.engine import forward as forward_module
from imgsearch.model.engine import layers
from imgsearch.model.engine.config import UnknownArchitecture
from imgsearch.model.engine.forward import Engine
from imgsearch.model.engine.layers import Int8Check, Int8Linear, int8_fits, quantize
from imgsearch.model.locate import DEMO_FOLDER
from imgsearch.types import Input, Runtime
from random_checkpoint import TINY, write_random_checkpoint
from support.cli import imgsearch
from support.pictures import scene

pytestmark = pytest.mark.skipif(
    not (runtime.int8_pays()[0] and int8_fits(torch.float32)),
    reason="int8 is not offered on this processor, or this torch has no products of it",
)
DTYPES = [torch.float32, torch.bfloat16]


@st.composite
def activations(draw: st.DrawFn) -> torch.Tensor:
    """Draw tokens of very different sizes, zeros among them."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.sampled_from([(1, 1), (3, 17), (2, 5, 64), (1, 40, 96)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    sizes = 10.0 ** torch.randint(-6, 5, (*shape[:-1], 1), generator=generator)
    keep = torch.rand((*shape[:-1], 1), generator=generator) < 0.9
    return (torch.randn(shape, generator=generator) * sizes * keep).to(dtype)


@given(activations())
def test_quantising_is_off_by_half_a_step_at_most(x: torch.Tensor):
    """What codes and scale say is within half a step of every number, and the largest has the last code."""
    codes, scale = quantize(x)
    assert (codes.dtype, codes.shape, scale.shape) == (torch.uint8, x.shape, (*x.shape[:-1], 1))
    steps = codes.double() - 128
    assert steps.abs().max() <= 127
    assert ((steps * scale.double() - x.double()).abs() <= 0.505 * scale.double()).all()
    there = x.abs().amax(-1) > 0
    assert (steps.abs().amax(-1)[there] >= 126).all()


@given(activations(), st.integers(0, 2**32 - 1), st.booleans())
def test_a_product_is_that_of_the_codes(x: torch.Tensor, seed: int, bias: bool):
    """Nothing is lost but by quantising: the sums of codes are exact whatever their number."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(24, x.shape[-1], generator=generator)
    added = torch.randn(24, generator=generator).to(x.dtype) if bias else None
    codes, scale = quantize(x)
    rows, steps = layers._quantize_rows(weight)
    exact = (codes.double() - 128) @ rows.double().T * steps.double() * scale.double()
    right = exact if added is None else exact + added.double()
    found = Int8Linear(weight, added)(x)
    assert (found.dtype, found.shape) == (x.dtype, (*x.shape[:-1], 24))
    near = 1e-5 if x.dtype == torch.float32 else 1e-2
    within = near * (exact.abs() + (0 if added is None else added.double().abs())) + 1e-30
    assert ((found.double() - right).abs() <= within).all()


def test_weights_are_quantised_by_the_row():
    """A large output does not take the steps of a small one, an output of zeros stays zero."""
    weight = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [[1e4], [1e-4], [0]]
    )
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
    found, right = Int8Linear(weight, None)(x), F.linear(x, weight)
    assert (F.cosine_similarity(found[:, :2], right[:, :2], dim=0) > 0.999).all()
    assert (found[:, 2] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_token_does_not_depend_on_the_others(dtype: torch.dtype):
    """Beside a token of a million times its size, or one that is not finite, a token gets the same bits."""
    generator = torch.Generator().manual_seed(0)
    product = Int8Linear(torch.randn(32, 64, generator=generator), None)
    x = torch.randn(6, 64, generator=generator).to(dtype)
    other = x.clone()
    other[2] *= 1e6
    other[4, 7], other[5, 3] = float("inf"), float("nan")
    found, beside = product(x), product(other)
    assert torch.equal(found[[0, 1, 3]], beside[[0, 1, 3]])
    assert not torch.isfinite(beside[4:]).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_follows_a_product(dtype: torch.dtype):
    """GELU, SiLU, a factor and a sum are taken of the product, from activations or from their codes."""
    generator = torch.Generator().manual_seed(0)
    product = Int8Linear(
        torch.randn(32, 64, generator=generator), torch.randn(32, generator=generator).to(dtype)
    )
    x, other = (torch.randn(2, 3, size, generator=generator).to(dtype) for size in (64, 32))
    for form in (x, quantize(x)):
        plain = product(x)
        assert torch.equal(product(form), plain)
        assert torch.equal(product.gelu(form, "tanh"), F.gelu(plain, approximate="tanh"))
        assert torch.equal(product.gelu(form, "none"), F.gelu(plain))
        assert torch.equal(product.silu(form), F.silu(plain))
        assert torch.equal(product.times(form, other), plain * other)
        assert torch.equal(product.plus(form, other), plain + other)


def test_many_numbers_are_quantised_in_parts(monkeypatch: pytest.MonkeyPatch):
    """However few numbers are quantised at a time, codes, scales and steps are the same."""
    x = torch.randn(3, 7, 33, generator=torch.Generator().manual_seed(0))
    at_once, rows = quantize(x), layers._quantize_rows(x[0])
    for count in (1, 40, 70):
        monkeypatch.setattr(layers, "_AT_ONCE", count)
        for found, right in zip((*quantize(x), *layers._quantize_rows(x[0])), (*at_once, *rows), strict=True):
            assert torch.equal(found, right)


ITEMS: list[Any] = [
    "a red circle",
    "ein Café 猫\n\n two lines " * 4,
    *({"image": scene(seed, (96 + 16 * seed, 128))} for seed in range(6)),
    {"image": np.zeros((64, 64, 3), np.uint8)},
    Input(text="with an image", image=scene(7, (128, 96))),
]


@pytest.mark.parametrize("unit", [None, "AVX512-BF16"])
@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16", "demo"])
def test_vectors_in_int8_are_near_those_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str, unit: str | None
):
    """On random and on trained weights, in any stored dtype, with float32 or bfloat16 in between, cosine ≥ 0.999."""
    monkeypatch.setattr(runtime, "bfloat16_unit", lambda: unit)
    folder = DEMO_FOLDER if stored == "demo" else str(tmp_path)
    if stored != "demo":
        write_random_checkpoint(folder, TINY, dtype=stored)
    exact, rough = (Qwen3VLEmbedder(folder, device="cpu", dtype=dtype) for dtype in ("float32", "int8"))
    assert isinstance(rough.forward, Engine)
    assert rough.forward._weights.dtype == (torch.bfloat16 if unit else torch.float32)
    cosines = (exact.embed(ITEMS) * rough.embed(ITEMS)).sum(axis=1)
    assert cosines.min() >= 0.999
    assert cosines.max() < 0.9999999  # it is not float32 that has answered


def test_questions_and_batches_get_the_same_bits(tiny_checkpoint: str):
    """The check of the first call leaves no trace: later calls, and other embedders, give the same vectors."""
    first = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="int8")
    rows = first.embed(ITEMS)
    np.testing.assert_array_equal(first.embed(ITEMS), rows)
    np.testing.assert_array_equal(
        Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="int8").embed(ITEMS), rows
    )


@pytest.fixture
def uneven(tiny_copy: str) -> Callable[[str], str]:
    """Make one number of each token a thousand times the others where ``part`` of the model multiplies it.

    The weights take it back: without quantising, the vectors stay what they were.
    """

    def change(part: str) -> str:
        path = os.path.join(tiny_copy, "model.safetensors")
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
        for name, tensor in tensors.items():
            if part in name and name.endswith(("layernorm.weight", "norm1.weight", "norm2.weight")):
                tensor[3] *= 1000
            if part in name and name.endswith(("norm1.bias", "norm2.bias")):
                tensor[3] *= 1000
            if part in name and any(
                f"{kind}.weight" in name for kind in ("q_proj", "k_proj", "v_proj", "qkv")
            ):
                tensor[:, 3] /= 1000
            if part in name and any(
                f"{kind}.weight" in name for kind in ("gate_proj", "up_proj", "linear_fc1")
            ):
                tensor[:, 3] /= 1000
        save_file(tensors, path)
        return tiny_copy

    return change


def test_a_checkpoint_that_int8_is_too_coarse_for_is_refused(
    uneven: Callable[[str], str], tiny_checkpoint: str
):
    """Where one number of a token dwarfs the others, vectors would be wrong: the first is refused, with what to do."""
    folder = uneven("language_model.layers")
    plain, same = (
        Qwen3VLEmbedder(path, device="cpu", dtype="float32").embed(["a cat"])
        for path in (tiny_checkpoint, folder)
    )
    np.testing.assert_allclose(plain, same, atol=1e-5)
    embedder = Qwen3VLEmbedder(folder, device="cpu", dtype="int8")
    for _ in range(2):  # and every time
        with pytest.raises(CheckpointError, match=r"int8 is not accurate enough .*is -?0\.\d+; .*omit dtype"):
            embedder.embed(["a cat"])


def test_pictures_are_checked_apart_from_texts(uneven: Callable[[str], str]):
    """A vision tower that int8 is too coarse for does not keep texts from their vectors, but pictures."""
    embedder = Qwen3VLEmbedder(uneven("visual.blocks"), device="cpu", dtype="int8")
    assert embedder.embed(["a cat"]).shape[0] == 1
    with pytest.raises(CheckpointError, match="int8 is not accurate enough"):
        embedder.embed([{"image": scene(1, (96, 96))}])


def test_indexing_in_int8(tmp_path: Path, uneven: Callable[[str], str]):
    """An index made in int8 says so and is asked in float32; of weights that int8 is too coarse for none is made."""
    folder, index = tmp_path / "pictures", tmp_path / "index"
    folder.mkdir()
    for seed in range(4):
        scene(seed, (128, 96)).save(folder / f"{seed}.png")
    common = ("--index", index, "--model", "demo")
    done = imgsearch("index", folder, *common, "--dtype", "int8", "--device", "cpu", "--verbose")
    assert done.code == 0, done.err
    assert "in int8: CPU was requested; int8 was requested" in done.err
    assert b"in int8" in imgsearch("status", "--index", index).out
    found = imgsearch("similar", folder / "2.png", "--index", index, "--dtype", "float32", "--json")
    assert found.code == 0, found.err
    refused = imgsearch(
        "index",
        folder,
        "--index",
        tmp_path / "other",
        "--model",
        uneven("language_model.layers"),
        "--dtype",
        "int8",
    )
    assert refused.code == 2
    assert refused.err.strip().splitlines()[-1].startswith("imgsearch: ")
    assert "int8 is not accurate enough" in refused.err.strip().splitlines()[-1]


def test_rows_that_are_not_finite_are_computed_again_in_float32(tiny_checkpoint: str):
    """Rows that are not finite get their second chance in float32; they say nothing about int8."""
    exact = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32").embed(["a cat"])
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="int8")
    assert isinstance(embedder.forward, Engine)
    embedder.forward._language._norm.weight.fill_(float("inf"))
    np.testing.assert_allclose(embedder.embed(["a cat"]), exact, atol=1e-6)


def test_vectors_that_are_not_finite_prove_nothing(uneven: Callable[[str], str]):
    """A first vector that could not be compared leaves the check to the next one."""
    embedder = Qwen3VLEmbedder(uneven("language_model.layers"), device="cpu", dtype="int8")
    assert isinstance(embedder.forward, Engine)
    norm = embedder.forward._language._norm.weight
    kept = norm.clone()
    norm.fill_(float("inf"))
    embedder.embed(["a cat"])
    norm.copy_(kept)
    with pytest.raises(CheckpointError, match="int8 is not accurate enough"):
        embedder.embed(["a dog"])


def _cut_badly(columns: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Return vectors of 256 numbers, and others that are as good as whole ones but wrong in some small numbers."""
    plain = torch.randn(2, 256, generator=torch.Generator().manual_seed(0))
    plain[:, columns] *= 0.01
    rows = plain.clone()
    rows[:, columns] *= -1
    return rows, plain


@pytest.mark.parametrize("dim", [64, 128])
def test_vectors_are_checked_as_they_may_be_cut(dim: int):
    """Vectors that are near as a whole but not in the numbers that a Matryoshka dimension leaves are refused."""
    text: Any = (None, ())  # no picture
    rows, plain = _cut_badly(slice(0, dim))
    assert torch.cosine_similarity(rows, plain).min() >= layers.LEAST_COSINE
    with pytest.raises(CheckpointError, match=rf"/model: .*first {dim} dimensions.*is -1\.000"):
        Int8Check("/model").check([text, text], rows, lambda some: plain)
    rows, plain = _cut_badly(slice(0, 32))  # shorter than anything is cut to
    Int8Check("/model").check([text, text], rows, lambda some: plain)


def test_threads_prove_once():
    """Of threads that come with the first vectors at the same time one makes the check and the others wait."""
    rows = torch.randn(1, 64)
    computed: list[int] = []
    together = threading.Barrier(4)
    int8_check = Int8Check("/model")

    def plain(some: Any) -> torch.Tensor:
        computed.append(len(some))
        return rows

    def come(_: int) -> None:
        together.wait()
        int8_check.check([(None, ())], rows, plain)  # type: ignore[list-item]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come, range(4)))
    assert computed == [1]


def test_memory_to_come_is_a_byte_a_weight(tiny_checkpoint: str):
    """Until the vision tower is loaded, memory is kept free for a byte of each of its weights."""
    plain, small = (
        Engine(Checkpoint(tiny_checkpoint), Runtime("cpu", dtype, "for a test"))
        for dtype in ("float32", "int8")
    )
    assert 0 < small.bytes_to_load() < plain.bytes_to_load() / 4
    small.load_vision()
    assert small.bytes_to_load() < 0.02 * plain.bytes_to_load()


def test_int8_is_refused_where_it_does_not_work(monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: str):
    """Operators that are missing, fail or compute something else are found before the weights are loaded."""

    def fail(*_: Any) -> torch.Tensor:
        raise RuntimeError("could not create a primitive")

    real = torch.ops.onednn.qlinear_pointwise

    def saturated(*arguments: Any) -> torch.Tensor:
        return torch.as_tensor(real(*arguments)).clamp(-(2**13), 2**13)

    prepack = torch.ops.onednn.qlinear_prepack
    for broken in (
        object(),
        SimpleNamespace(qlinear_prepack=fail),
        SimpleNamespace(qlinear_prepack=prepack, qlinear_pointwise=fail),
        SimpleNamespace(qlinear_prepack=prepack, qlinear_pointwise=saturated),
    ):
        monkeypatch.setattr(torch.ops, "onednn", broken, raising=False)
        assert not int8_fits.__wrapped__(torch.float32)
        monkeypatch.setattr(layers, "int8_fits", int8_fits.__wrapped__)
        with pytest.raises(
            UsageError, match=r"int8 gives wrong results with this build of torch: omit dtype"
        ):
            Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="int8")


def test_the_reference_has_no_int8(tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch):
    """An architecture that only transformers knows is refused in int8."""

    def unknown(folder: str) -> None:
        raise UnknownArchitecture(f"{folder}: made unknown for a test")

    monkeypatch.setattr(forward_module, "read_architecture", unknown)
    with pytest.raises(UsageError, match="not support int8"):
        Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="int8")


def test_the_speedup_counts_the_products_alone(tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch):
    """If int8 multiplies four times as fast, a pass is 3.1 times as fast, for nine tenths of it are products."""
    seconds = iter([4.0, 1.0, 9.0, 2.0] * 4)  # plain and int8 in turns; the fastest of each counts
    monkeypatch.setattr(layers, "seconds_of", lambda work: (work(), next(seconds))[1])
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32")
    assert embedder.int8_speedup() == pytest.approx(1 / (0.1 + 0.9 / 4))
    assert Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="int8").int8_speedup() == 1
