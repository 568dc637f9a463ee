"""Tests of the batch size: chosen from memory, smaller for good once memory has run out, never at the rows' expense."""

from __future__ import annotations

import gc
import hashlib
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import ModelOutOfMemory, NonFiniteError
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.options import IndexResult
from imgsearch.machine import cgroups
from imgsearch.model import batching
from imgsearch.model import embedder as embedder_module
from imgsearch.model.batching import LayerSizes, choose_size, picture_bytes
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.engine import forward as forward_module
from imgsearch.model.engine import rotary, threads, vision
from imgsearch.model.engine.config import UnknownArchitecture
from imgsearch.model.prompt import ModelInput
from imgsearch.model.reference import Reference
from imgsearch.types import Input, ModelOptions, PixelBudget
from support import fakes
from support.fakes import FakeModel, indexed, run

fake_model, gallery = fakes.fake_model, fakes.gallery
PUBLISHED = LayerSizes(pixels=1536, vision=1024, vision_mlp=4096, text=2048, text_mlp=6144, stacks=3)
KINDS = st.sampled_from(["cpu", "cuda", "mps"])
BYTES = st.integers(0, 2**42)
SIDES = st.integers(2, 160).map(lambda side: 2 * side)


# ---- the choice -----------------------------------------------------------------------------------------------


def _chosen(kind: str, free: int, side: int, itemsize: int = 4) -> int:
    """Return the size for pictures of ``side`` by ``side`` patches."""
    picture = picture_bytes(PUBLISHED, side**2, side**2 // 4 + 20, itemsize, on_cpu=kind == "cpu")
    size, reason = choose_size(picture, free, kind)
    assert reason
    return size


@given(kind=KINDS, free=BYTES, less=BYTES, side=SIDES, longer=SIDES)
def test_less_memory_or_more_pixels_never_make_a_larger_batch(
    kind: str, free: int, less: int, side: int, longer: int
) -> None:
    """The size is from 1 to the device's most, and does not grow when memory shrinks, or pixels or numbers grow."""
    size = _chosen(kind, free, side)
    assert 1 <= size <= batching.MAX_BATCH[kind]
    assert _chosen(kind, min(free, less), side) <= size
    assert _chosen(kind, free, max(side, longer)) <= size
    assert _chosen(kind, free, side, itemsize=2) >= size


@pytest.mark.parametrize(
    ("free", "size", "words"),
    [
        (20_000_000_000, 8, "the limit on CPU; half of the 20.0 GB free would hold"),
        (200_000_000, 4, "each takes about 21 MB; half of the 200 MB free is used"),
        (0, 1, "of the 0 MB free"),
    ],
)
def test_the_choice_names_its_reason(free: int, size: int, words: str) -> None:
    """With plenty of memory the device's most decides, else what a picture takes of it; the reason has the figures."""
    picture = picture_bytes(PUBLISHED, 224, 72, 4, on_cpu=True)
    chosen, reason = choose_size(picture, free, "cpu")
    assert chosen == size
    assert words in reason


@pytest.mark.parametrize(
    ("kind", "unit", "size", "words"),
    [
        ("cpu", "AMX", 16, "the limit on CPU with AMX"),
        ("cpu", "AVX512-BF16", 8, "the limit on CPU;"),
        ("cpu", None, 8, "the limit on CPU;"),
        ("mps", "AMX", 32, "the limit on MPS;"),
    ],
)
def test_a_cpu_with_amx_takes_larger_batches(kind: str, unit: str | None, size: int, words: str) -> None:
    """What the CPU multiplies with decides its most; it means nothing to other devices."""
    chosen, reason = choose_size(
        picture_bytes(PUBLISHED, 224, 72, 2, on_cpu=True), 20_000_000_000, kind, unit
    )
    assert chosen == size
    assert words in reason


def test_the_estimate_is_near_what_torch_allocates(
    tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more picture takes at least half of the estimate where all go at once; a CPU's slices take less of it."""
    monkeypatch.setattr(
        threads, "LEAST_TOKENS", 10**9
    )  # what other threads allocate the profiler does not see
    budget = PixelBudget(4096, 262_144)
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32", budget=budget)
    ready = [embedder._encode_input({"image": np.zeros((512, 512, 3), np.uint8)}, 0, 1)] * 5
    sliced = (_peak(embedder, ready) - _peak(embedder, ready[:1])) / 4
    monkeypatch.setattr(vision, "SLICE", 10**9)  # as on an accelerator
    monkeypatch.setattr(rotary, "_AT_ONCE", 10**9)
    growth = (_peak(embedder, ready) - _peak(embedder, ready[:1])) / 4
    tokens, (patches,) = ready[0]
    estimate = picture_bytes(
        embedder.forward.layer_sizes(), len(patches.pixel_values), len(tokens.ids), 4, on_cpu=False
    )
    assert 0.5 * estimate <= growth <= estimate
    assert sliced < growth


def _peak(embedder: Qwen3VLEmbedder, ready: list[ModelInput]) -> int:
    """Return the most bytes that torch had at a time during one pass, beyond those before it."""
    embedder.forward(ready)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as seen:
        embedder.forward(ready)
    assert seen.profiler is not None
    events = seen.profiler.kineto_results.events()
    changes = [event.nbytes() for event in events if event.name() == "[memory]"]
    return int(np.cumsum(changes).max())


@pytest.mark.parametrize("forward", ["engine", "reference"])
def test_both_forwards_have_the_same_widths(
    tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch, forward: str
) -> None:
    """The engine and the reference are estimated by the same numbers, and an embedder of either has a size."""
    if forward == "reference":
        monkeypatch.setattr(forward_module, "read_architecture", _unknown)
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32")
    assert isinstance(embedder.forward, Reference) == (forward == "reference")
    assert embedder.forward.layer_sizes() == LayerSizes(1536, 64, 128, 128, 256, 3)
    assert embedder.batch_size == 8
    assert "the limit on CPU" in embedder.batch_reason


def _unknown(folder: str) -> None:
    raise UnknownArchitecture(f"{folder}: made unknown for a test")


def test_memory_for_weights_that_are_not_loaded_yet_is_set_aside(
    tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that weights will take, being mapped or not read yet, is not given to pictures."""
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32")
    bytes_to_load = embedder.forward.bytes_to_load()
    assert bytes_to_load > 1_000_000
    monkeypatch.setattr(batching, "free_memory", lambda device: bytes_to_load + 1_000_000)
    assert embedder.batch_size == 1
    assert "of the 1 MB free" in embedder.batch_reason


# ---- the memory that is free ----------------------------------------------------------------------------------


def _group(folder: Path, limit_file: str, limit: str, used_file: str, used: int, stat: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit_file).write_text(f"{limit}\n")
    (folder / used_file).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(stat)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder that stands for the system's control groups, where 8 GB of memory are available."""
    monkeypatch.setattr(cgroups, "ROOT", str(tmp_path))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8_000_000_000))
    return tmp_path


@pytest.mark.parametrize(
    ("limit", "free"),
    [("3000000000", 1_500_000_000), ("max", 8_000_000_000), ("20000000000", 8_000_000_000), ("9", 0)],
)
def test_a_containers_limit_is_heeded(system: Path, limit: str, free: int) -> None:
    """What a container's limit leaves is free, files in the cache included, and never more than there is."""
    stat = "anon 7\nactive_file 300000000\ninactive_file 200000000\n"
    _group(system, "memory.max", limit, "memory.current", 2_000_000_000, stat)
    assert batching.free_memory("cpu") == free


def test_limits_of_the_groups_around_are_heeded(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tightest limit counts, be it on the process's own group or on one around it, in either version."""
    monkeypatch.setattr(cgroups, "groups", lambda controller: ["", "user", "user/session"])
    _group(system / "user", "memory.max", "5000000000", "memory.current", 0, "")
    _group(system / "user" / "session", "memory.max", "6000000000", "memory.current", 2_000_000_000, "")
    assert batching.free_memory("cpu") == 4_000_000_000
    names = ("memory.limit_in_bytes", "7000000000", "memory.usage_in_bytes")
    _group(system / "memory" / "user", *names, 6_000_000_000, "total_inactive_file 1000000000\n")
    assert batching.free_memory("cpu") == 2_000_000_000


def test_free_memory_of_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA what torch holds in reserve counts as free; MPS has a recommended most."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 400)
    assert batching.free_memory("cuda:1") == 1100
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 700)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 300)
    assert batching.free_memory("mps") == 400


# ---- running out of memory ------------------------------------------------------------------------------------

OOM: dict[str, Exception] = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "mps": RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cpu": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4503599627370496 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "windows": RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
    "onednn": RuntimeError("std::bad_alloc"),
    "numpy": MemoryError("Unable to allocate 2.00 GiB"),
}


class Crowded:
    """A forward in whose memory ``room`` prompts fit at a time; counts the ``passes`` that came to an end."""

    def __init__(self, forward: Callable[..., torch.Tensor], room: int, error: Exception) -> None:
        self.forward, self.room, self.error = forward, room, error
        self.passes: list[int] = []

    def __call__(self, prompts: Sequence[ModelInput]) -> torch.Tensor:
        if len(prompts) > self.room:
            raise self.error
        self.passes.append(len(prompts))
        return self.forward(prompts)

    def __getattr__(self, name: str) -> object:
        return getattr(self.forward, name)


INPUTS = [
    Input(image=np.random.default_rng(seed).integers(0, 256, (96 + 32 * (seed % 3), 128, 3), dtype=np.uint8))
    if seed % 2
    else Input(text=f"number {seed}")
    for seed in range(11)
]


def _crowded(folder: str, room: int, error: Exception) -> tuple[Qwen3VLEmbedder, Crowded, list[str]]:
    lines: list[str] = []
    embedder = Qwen3VLEmbedder(folder, device="cpu", dtype="float32", notify=lines.append)
    crowded = Crowded(embedder.forward, room, error)
    embedder.forward = crowded  # type: ignore[assignment]
    return embedder, crowded, lines


@pytest.mark.parametrize("kind", OOM)
@pytest.mark.parametrize("room", [1, 3, 5])
def test_memory_that_runs_out_makes_smaller_batches(
    tiny_checkpoint: str, tiny_embedder: Qwen3VLEmbedder, kind: str, room: int
) -> None:
    """Every row is there, right and in order, the batches stay small from then on, and one line says so."""
    embedder, crowded, lines = _crowded(tiny_checkpoint, room, OOM[kind])
    expected = tiny_embedder.embed(INPUTS)
    np.testing.assert_allclose(embedder.embed(INPUTS), expected, atol=1e-5)
    fits = {1: 1, 3: 2, 5: 4}[room]
    assert embedder.batch_size == fits
    assert embedder.batch_reason == "ran out of memory with 8"
    assert lines == [f"ran out of memory with 8 inputs at a time: continuing with {fits}"]
    crowded.room = 100
    np.testing.assert_allclose(embedder.embed(INPUTS, batch_size=11), expected, atol=1e-5)
    assert max(crowded.passes) == fits
    assert len(lines) == 1


def test_a_wish_beyond_the_choice_is_tried(tiny_checkpoint: str, tiny_embedder: Qwen3VLEmbedder) -> None:
    """A batch size that was asked for is taken as long as memory holds it, whatever would have been chosen."""
    embedder, crowded, lines = _crowded(tiny_checkpoint, 11, OOM["cpu"])
    np.testing.assert_allclose(embedder.embed(INPUTS, batch_size=11), tiny_embedder.embed(INPUTS), atol=1e-5)
    assert crowded.passes == [11]
    assert lines == []


@pytest.mark.parametrize("kind", OOM)
def test_a_single_input_that_does_not_fit(tiny_checkpoint: str, kind: str) -> None:
    """Where not even one input fits, one line says what to do, and no row is given."""
    embedder, _, lines = _crowded(tiny_checkpoint, 0, OOM[kind])
    with pytest.raises(ModelOutOfMemory, match="max_pixels=57600") as caught:
        embedder.embed(INPUTS)
    assert "\n" not in str(caught.value)
    assert lines == []


def test_other_errors_are_passed_on(tiny_checkpoint: str) -> None:
    """An error that is not about memory is a bug of ours and stays what it is."""
    embedder, _, _ = _crowded(tiny_checkpoint, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        embedder.embed(INPUTS)


def test_the_failed_pass_is_forgotten_before_the_next_try() -> None:
    """When a smaller batch is tried, nothing of the one that failed is in memory any more."""
    left: list[weakref.ref[torch.Tensor]] = []

    def compute(inputs: Sequence[int]) -> int:
        assert all(reference() is None for reference in left)
        activations = torch.zeros(len(inputs))
        left.append(weakref.ref(activations))
        if len(inputs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return len(inputs)

    gc.disable()
    try:
        batches = batching.Batching(lambda: (4, ""), "cpu", lambda line: None)
        assert batches.run(compute, range(4)) == [1, 1, 1, 1]
    finally:
        gc.enable()


def test_rows_that_are_not_finite_keep_their_places(tiny_checkpoint: str) -> None:
    """A row that is never finite is named by its number also when its batch had to be divided."""
    embedder, crowded, _ = _crowded(tiny_checkpoint, 2, OOM["cpu"])

    def spoilt(prompts: Sequence[ModelInput]) -> torch.Tensor:
        rows = crowded(prompts).clone()
        rows[[bool(pictures) for _, pictures in prompts]] = float("nan")
        return rows

    embedder.forward = spoilt  # type: ignore[assignment]
    with pytest.raises(NonFiniteError) as caught:
        embedder.embed(INPUTS, batch_size=11)
    assert caught.value.rows == [1, 3, 5, 7, 9]


@pytest.mark.parametrize("room", [0, 1])
def test_the_second_chance_in_little_memory(tiny_checkpoint: str, room: int) -> None:
    """Rows that overflowed are computed in float32 as memory allows; without room for one they are reported."""
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float16")
    whole = embedder.forward

    class Overflowing:
        """Overflows for texts in float16 and has ``room`` in float32."""

        def __call__(self, prompts: Sequence[ModelInput]) -> torch.Tensor:
            rows = whole(prompts).clone()
            rows[[not pictures for _, pictures in prompts]] = float("inf")
            return rows

        in_float32 = Crowded(whole.in_float32, room, OOM["cuda"])

    embedder.forward = Overflowing()  # type: ignore[assignment]
    if room:
        exact = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32").embed(INPUTS)
        np.testing.assert_allclose(embedder.embed(INPUTS, batch_size=11), exact, atol=0.01)
    else:
        with pytest.raises(NonFiniteError) as caught:
            embedder.embed(INPUTS, batch_size=11)
        assert caught.value.rows == [0, 2, 4, 6, 8, 10]
    assert embedder.batch_size == 8


@pytest.mark.parametrize("kind", OOM)
def test_weights_that_do_not_fit(tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Memory that runs out while the model is loaded is one line that says what to do."""

    def load(*_: object, **__: object) -> None:
        raise OOM[kind]

    monkeypatch.setattr(embedder_module, "Engine", load)
    with pytest.raises(ModelOutOfMemory, match="the model does not fit into the memory of cpu"):
        Qwen3VLEmbedder(tiny_checkpoint, device="cpu")


def test_an_accelerators_advice_names_the_cpu() -> None:
    """On an accelerator the line names the CPU as a way out, and what torch holds in reserve was given back before."""
    given_back: list[bool] = []
    batches = batching.Batching(lambda: (4, ""), "mps", lambda line: None)

    def compute(inputs: Sequence[int]) -> int:
        raise OOM["mps"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.mps, "empty_cache", lambda: given_back.append(True))
        with pytest.raises(ModelOutOfMemory, match="device='cpu'"):
            batches.run(compute, range(4))
    assert given_back


def test_an_embedder_that_is_let_go_gives_its_memory_back(tiny_checkpoint: str) -> None:
    """Weights leave memory with the last embedder that has them, not at some later search for cycles."""
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32")
    embedder.embed(INPUTS)
    weights = weakref.ref(embedder.forward._language)  # type: ignore[union-attr]
    tower = weakref.ref(embedder.forward.load_vision())  # type: ignore[union-attr]
    gc.disable()
    try:
        del embedder
        assert weights() is None
        assert tower() is None
    finally:
        gc.enable()


# ---- indexing -------------------------------------------------------------------------------------------------


def _crowded_runs(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Let every model that is loaded run out of memory with more than ``room`` inputs at a time."""
    real = embedder_module.load_forward
    monkeypatch.setattr(
        embedder_module,
        "load_forward",
        lambda *args: Crowded(real(*args), room, torch.OutOfMemoryError("CUDA out of memory")),
    )


@pytest.mark.parametrize("asked", [None, 5])
def test_a_run_goes_on_with_smaller_batches(
    tmp_path: Path, gallery: Path, tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch, asked: int | None
) -> None:
    """When memory runs out during indexing, every picture gets its vector all the same, and the user is told once."""
    model, notes = ModelOptions(tiny_checkpoint), fakes.Notes()
    run(tmp_path / "whole", gallery, model=model)
    _crowded_runs(monkeypatch, room=2)
    result = run(tmp_path / "crowded", gallery, model=model, batch_size=asked, reporter=notes)
    assert result.indexed == 5
    assert notes.text.count("ran out of memory with") == 1
    with ImageIndex(str(tmp_path / "whole")) as whole, ImageIndex(str(tmp_path / "crowded")) as crowded:
        for path in sorted(indexed(tmp_path / "whole")):
            sha256 = hashlib.sha256(Path("/", path).read_bytes()).digest()
            ours, theirs = crowded.vector(sha256), whole.vector(sha256)
            assert ours is not None
            assert theirs is not None
            np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_a_picture_too_large_for_memory_ends_the_run(
    tmp_path: Path, gallery: Path, fake_model: FakeModel
) -> None:
    """The run ends with the error, since all pictures may be as large; what was embedded until then is kept."""

    def run_out(embedded: int) -> None:
        if embedded >= 2:
            raise ModelOutOfMemory("a single input is too much")

    fake_model.before = run_out
    with pytest.raises(ModelOutOfMemory):
        run(tmp_path / "index", gallery, batch_size=1)
    assert len(indexed(tmp_path / "index")) == 2
    fake_model.before = None
    assert run(tmp_path / "index", gallery, batch_size=1).indexed == 3


def test_the_stats_name_batch_and_wait(tmp_path: Path, gallery: Path, tiny_checkpoint: str) -> None:
    """A run says how many pictures the model took at a time and why, and what share of its time it waited for them."""
    model = ModelOptions(tiny_checkpoint, device="cpu", dtype="float32")
    assert "; batches of 8 (the limit on CPU; " in run(tmp_path / "a", gallery, model=model).timing()
    assert "; batches of 3 (as asked for)" in run(tmp_path / "b", gallery, model=model, batch_size=3).timing()
    told = IndexResult(indexed=40, seconds=12.0, embedding=6.0, waiting=2.0).timing()
    assert told == (
        "12.0 s in total; the model worked 6.0 s and waited 25 % of the time for images (2.0 s); 5 images/s"
    )
    assert "waited 0 % of the time" in IndexResult().timing()


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 2 GiB",
        "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes",
        "Cannot allocate memory",
        "std::bad_alloc",
        "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate",
        "DataLoader worker (pid 7) is killed by signal: Killed.",
    ],
)
def test_memory_runs_out_in_many_words(words: str):
    """Embedding and training know memory that ran out by the same words, in a RuntimeError only."""
    assert batching.is_out_of_memory(RuntimeError(words))
    assert not batching.is_out_of_memory(ValueError(words))
    assert not batching.is_out_of_memory(RuntimeError("size mismatch"))
