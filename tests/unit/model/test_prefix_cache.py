"""Tests of the prefix cache: a prefix is computed once, and the same prompt gets the same vector at first and later."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.engine.forward import Engine
from imgsearch.model.engine.prefix_cache import PrefixCache
from imgsearch.model.engine.text import KVCache
from imgsearch.types import Runtime
from support.pictures import scene


def _engine(folder: str, dtype: str = "float32") -> Engine:
    return Engine(Checkpoint(folder), Runtime("cpu", dtype, "for a test"))


def _ask(engine: Engine, folder: str, *items: Any) -> torch.Tensor:
    prompts = Qwen3VLEmbedder(folder, device="cpu", dtype="float32")
    return engine([prompts._ready(item, 0, 1) for item in items])


def _counting() -> tuple[PrefixCache, list[list[int]]]:
    """Return a cache whose entries cost nothing, and the list of what was computed."""
    computed: list[list[int]] = []

    def prefill(ids: NDArray[np.int64]) -> KVCache:
        computed.append(ids.tolist())
        return KVCache([], [])

    return PrefixCache(prefill), computed


def test_a_prefix_is_computed_once():
    """Asked for again, a prefix is the same object; another one is computed."""
    cache, computed = _counting()
    first = cache.get(np.array([1, 2]))
    assert cache.get(np.array([1, 2])) is first
    assert cache.get(np.array([1, 3])) is not first
    assert computed == [[1, 2], [1, 3]]


def test_the_least_recently_used_prefix_goes():
    """Only the last few prefixes stay in memory, and of those one that is used stays longest."""
    cache, computed = _counting()
    used = cache.get(np.array([0]))
    for number in range(1, 20):
        cache.get(np.array([number]))
        assert cache.get(np.array([0])) is used
    assert len(cache._entries) == 4
    cache.get(np.array([1]))
    assert computed.count([1]) == 2


def test_a_prefix_that_fails_is_not_kept():
    """An error while a prefix is computed leaves nothing behind: the next try computes it."""
    tries = iter([MemoryError(), None])

    def prefill(ids: NDArray[np.int64]) -> KVCache:
        if error := next(tries):
            raise error
        return KVCache([], [])

    cache = PrefixCache(prefill)
    with pytest.raises(MemoryError):
        cache.get(np.array([1]))
    assert cache.get(np.array([1])) == KVCache([], [])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_cached_prefix_gives_the_same_bits(tiny_checkpoint: str, dtype: str):
    """A prompt gets the same vector with a prefix that is computed for it and with one that was there before."""
    items = [{"image": scene(1, (96, 64))}, "a cat", {"text": "a cat", "instruction": "Find it."}]
    engine = _engine(tiny_checkpoint, dtype)
    for item in items:
        first = _ask(engine, tiny_checkpoint, item)
        assert torch.equal(_ask(engine, tiny_checkpoint, item), first)
        assert torch.equal(_ask(_engine(tiny_checkpoint, dtype), tiny_checkpoint, item), first)


def test_weights_that_were_replaced_have_their_own_prefixes(tiny_copy: str):
    """An engine over weights that have been replaced answers as before; one over the new weights does not."""
    old = _engine(tiny_copy)
    before = _ask(old, tiny_copy, "a cat")
    path = os.path.join(tiny_copy, "model.safetensors")
    save_file({name: tensor * 1.3 for name, tensor in load_file(path).items()}, f"{path}.new")
    os.replace(f"{path}.new", path)
    assert torch.equal(_ask(old, tiny_copy, "a cat"), before)
    assert not torch.equal(_ask(_engine(tiny_copy), tiny_copy, "a cat"), before)


def test_nothing_of_a_prefix_is_written(
    tiny_checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Prefixes live in memory only: no file of the user's cache decides a vector."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _ask(_engine(tiny_checkpoint), tiny_checkpoint, "a cat", {"image": scene(1, (96, 64))})
    assert list(tmp_path.rglob("*")) == []
