"""Tests of sharing a batch between threads: every prompt once, in order, on all cores and no more."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import InputError
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.engine import threads
from imgsearch.model.reference import Reference
from support.pictures import scene

TOKENS = st.lists(st.integers(1, 2000), max_size=40)


@given(tokens=TOKENS, cores=st.integers(1, 64))
def test_parts_hold_every_prompt_once_and_divide_the_cores(tokens: list[int], cores: int):
    """Parts follow each other without a gap, none is empty, and no core is left over by as many as were wanted."""
    parts = threads.split(tokens, cores)
    assert [number for part in parts for number in range(len(tokens))[part]] == list(range(len(tokens)))
    assert all(part.stop > part.start for part in parts)
    assert len(parts) <= max(1, min(cores, sum(tokens) // threads.LEAST_TOKENS))


@given(prompts=st.integers(1, 60), each=st.integers(1, 500), cores=st.integers(1, 16))
def test_prompts_of_one_length_are_shared_evenly(prompts: int, each: int, cores: int):
    """Where all prompts are alike no part has two more than another, and the number of parts divides the cores."""
    parts = threads.split([each] * prompts, cores)
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert cores % len(parts) == 0


@pytest.mark.parametrize(
    ("tokens", "cores", "sizes"),
    [
        ([63] * 8, 2, [4, 4]),
        ([63] * 8, 1, [8]),
        ([63] * 8, 3, [8]),
        ([63] * 8, 16, [4, 4]),
        ([63] * 4, 2, [4]),
        ([256] * 2, 2, [1, 1]),
        ([1000, 100, 100, 100, 100, 100, 500], 2, [1, 6]),
        ([20], 8, [1]),
        ([], 8, []),
    ],
)
def test_parts_of_batches_as_they_come(tokens: list[int], cores: int, sizes: list[int]):
    """Eight pictures are two parts where the cores are even; a question, or four pictures, is one."""
    assert [part.stop - part.start for part in threads.split(tokens, cores)] == sizes


@pytest.mark.parametrize(
    ("prompts", "cores", "unit", "parts", "words"),
    [
        (16, 2, "AMX", 1, "AMX multiplies 1,008 tokens faster together"),
        (8, 2, "AMX", 2, "each thread has 1 of 2 cores and about 252 tokens"),
        (16, 4, "AMX", 4, "each thread has 1 of 4 cores"),
        (16, 2, "AVX512-BF16", 2, "each thread has 1 of 2 cores and about 504 tokens"),
        (16, 2, None, 2, "each thread has 1 of 2 cores"),
        (4, 2, None, 1, "252 tokens are too few to be shared"),
        (16, 1, None, 1, "there is one core"),
    ],
)
def test_whether_a_batch_is_shared_depends_on_the_processors_unit(
    prompts: int, cores: int, unit: str | None, parts: int, words: str
):
    """With AMX a large batch stays whole, without it is shared; the reason is said."""
    found, reason = threads.choose_parts([63] * prompts, cores, unit)
    assert found == parts == len(threads.split([63] * prompts, cores, unit))
    assert reason.startswith(words)


def test_each_part_has_cores_of_its_own():
    """Side by side the parts use all cores of the caller, whose own count, and that of later threads, stays."""
    before = torch.get_num_threads()
    together = threading.Barrier(2)

    def count(part: slice) -> tuple[int, int]:
        together.wait(timeout=60)  # both are at work at the same time
        return part.start, torch.get_num_threads()

    def later() -> int:
        torch.zeros(10).sum()
        return torch.get_num_threads()

    try:
        torch.set_num_threads(4)
        assert threads.run(count, [slice(0, 1), slice(1, 2)]) == [(0, 2), (1, 2)]
        assert torch.get_num_threads() == 4
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(later).result() == 4
    finally:
        torch.set_num_threads(before)


def test_the_first_error_comes_after_all_have_ended():
    """An error of one part is the caller's, once no other part is at work any more; the next run is a fresh one."""
    ended = []

    def compute(part: slice) -> int:
        if part.start == 0:
            raise InputError("no picture")
        ended.append(part.start)
        return part.start

    with pytest.raises(InputError, match="no picture"):
        threads.run(compute, [slice(0, 1), slice(1, 2)])
    assert ended == [1]
    assert threads.run(lambda part: part.start, [slice(3, 4), slice(4, 5)]) == [3, 4]


def test_threads_that_cannot_be_started_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch):
    """Where the system gives no further thread that is an error; what was started ends, and a later try succeeds."""
    real = threading.Thread.start
    started: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        real(thread)

    parts = [slice(number, number + 1) for number in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            threads.run(lambda part: part.start, parts)
        started[0].join(timeout=60)
        assert not started[0].is_alive()
    assert threads.run(lambda part: part.start, parts) == [0, 1, 2]


def test_a_failed_pass_is_forgotten_at_once():
    """What a failed part had in memory is gone with its error, so that there is memory for another try."""
    tensors: list[weakref.ref[torch.Tensor]] = []

    def compute(part: slice) -> torch.Tensor:
        large = torch.zeros(1000)
        tensors.append(weakref.ref(large))
        raise MemoryError(f"no room for {large.shape}")

    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            with contextlib.suppress(MemoryError):
                threads.run(compute, [slice(0, 1), slice(1, 2)])
        # A thread drops what it computed just after it has said so: the next run comes after that.
        threads.run(lambda part: part, [slice(0, 1), slice(1, 2)])
        assert [reference() for reference in tensors] == [None] * 4
    finally:
        gc.enable()


ITEMS: list[Any] = [
    *({"image": scene(seed, (96 + 16 * (seed % 3), 128))} for seed in range(7)),
    *({"text": f"number {seed}"} for seed in range(4)),
    {"image": scene(9, (128, 96)), "text": "the same at night"},
    {"image": np.zeros((64, 64, 3), np.uint8), "instruction": "Find it."},
]


@pytest.mark.parametrize("least", [1, 50, 10**6])
def test_vectors_do_not_depend_on_the_parts(
    tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch, least: int
):
    """However a mixed batch is shared, each prompt gets its own vector, that of transformers' forward."""
    monkeypatch.setattr(threads, "LEAST_TOKENS", least)
    embedder = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32")
    ready = [embedder._encode_input(item, 0, 1) for item in ITEMS]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        found = embedder.forward(ready)
    finally:
        torch.set_num_threads(before)
    right = Reference(Checkpoint(tiny_checkpoint), embedder.runtime, "left")(ready)
    assert torch.cosine_similarity(found, right).min() >= 0.99999
