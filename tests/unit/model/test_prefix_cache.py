"""Tests of remembered openings: the same bits as computed ones, or none."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from imgsearch.model import checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.engine import forward as engine_module
from imgsearch.model.engine import prefix_cache
from imgsearch.model.engine.forward import Engine
from imgsearch.types import Runtime
from support.pictures import scene

Ask = Callable[..., torch.Tensor]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep openings of small checkpoints too, in a cache of the test's own."""
    monkeypatch.setattr(engine_module, "_STORED_FROM", 1)
    monkeypatch.setattr(prefix_cache, "_SETTLED_NS", 0, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "imgsearch" / "openings"


@pytest.fixture
def ask(tiny_checkpoint: str, cache: Path) -> Ask:
    """Ask a fresh engine."""
    prompts = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32")

    def embed(*items: Any, dtype: str = "float32", packed: bool = False) -> torch.Tensor:
        engine = Engine(tiny_checkpoint, Runtime("cpu", dtype, "for a test"))
        if packed:
            engine.prepack()
        return engine([prompts._ready(item, 0, 1) for item in items or [{"image": scene(1, (96, 64))}]])

    return embed


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_remembered_opening_gives_the_same_bits(ask: Ask, cache: Path, dtype: str):
    """What one process has computed the next one reads, and answers as the first."""
    first = ask(dtype=dtype)
    (kept,) = cache.iterdir()
    written = kept.read_bytes()
    assert torch.equal(ask(dtype=dtype), first)
    assert kept.read_bytes() == written
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_a_remembered_opening_is_what_is_computed_with(
    ask: Ask, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    """A file that holds another opening's keys under this one's name changes the answer: it is read indeed."""
    first = ask("a cat")
    (own,) = cache.iterdir()
    ask({"text": "a cat", "instruction": "Find something that looks quite different."})
    (other,) = set(cache.iterdir()) - {own}
    other.replace(own)
    assert not torch.equal(ask("a cat"), first)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[:20],
        lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: content + b"more",
    ],
)
def test_a_damaged_file_is_made_anew(ask: Ask, cache: Path, spoil: Callable[[bytes], bytes]):
    """A file that is cut short, longer, or has a bit turned is not used but replaced."""
    first = ask()
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(spoil(whole))
    assert torch.equal(ask(), first)
    assert kept.read_bytes() == whole


def test_a_file_in_the_place_of_the_folder(ask: Ask, cache: Path):
    """A cache that is no folder is left alone."""
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"mine")
    assert ask().shape[0] == 1
    assert cache.read_bytes() == b"mine"


def test_another_machine_computes_its_own(ask: Ask, cache: Path, monkeypatch: pytest.MonkeyPatch):
    """With another processor, torch or number of threads an opening has another name."""
    ask()
    monkeypatch.setattr(prefix_cache, "machine", lambda: ["another processor"])
    ask()
    assert len(list(cache.iterdir())) == 2


def test_dtypes_do_not_share(ask: Ask, cache: Path):
    """An opening belongs to the dtype that it was computed in."""
    ask()
    ask(dtype="bfloat16")
    assert len(list(cache.iterdir())) == 2


def test_only_the_last_few_are_kept(ask: Ask, cache: Path):
    """However many instructions there are, the files are few, and those that are used stay."""
    used = {"text": "a cat", "instruction": "This one is used again and again."}
    ask(used)
    (kept,) = cache.iterdir()
    for number in range(12):
        ask({"text": "a cat", "instruction": f"Find the picture of number {number}."}, used)
    assert kept in set(cache.iterdir())
    assert len(list(cache.iterdir())) <= 8


def test_long_openings_and_small_models_are_not_kept(ask: Ask, cache: Path, monkeypatch: pytest.MonkeyPatch):
    """What would take much room, or no time to compute, is not written."""
    ask({"text": "a cat", "instruction": "Find. " * 40})
    monkeypatch.setattr(engine_module, "_STORED_FROM", 2**27)
    ask()
    assert not cache.exists() or not list(cache.iterdir())


def test_packed_weights_keep_nothing(ask: Ask, cache: Path):
    """Bits of packed products are not those that a cold question computes: they are not left to it."""
    ask(packed=True)
    assert not cache.exists()


def _scale_weights(folder: str, factor: float) -> None:
    """Put other weights in the place of a checkpoint's, as a download or a training run does."""
    path = os.path.join(folder, "model.safetensors")
    save_file({name: tensor * factor for name, tensor in load_file(path).items()}, f"{path}.new")
    os.replace(f"{path}.new", path)


def _ask(engine: Engine, folder: str, text: str = "a cat", instruction: str = "Find it.") -> torch.Tensor:
    prompts = Qwen3VLEmbedder(folder, device="cpu", dtype="float32")
    return engine([prompts._ready({"text": text, "instruction": instruction}, 0, 1)])


RUNTIME = Runtime("cpu", "float32", "for a test")


def test_weights_that_were_replaced_leave_nothing_to_the_new_ones(tiny_copy: str, cache: Path):
    """An engine over weights that have been replaced keeps its openings apart from those of the new weights."""
    old = Engine(tiny_copy, RUNTIME)
    _scale_weights(tiny_copy, 1.3)
    first = _ask(old, tiny_copy)
    found = _ask(Engine(tiny_copy, RUNTIME), tiny_copy)
    shutil.rmtree(cache)
    right = _ask(Engine(tiny_copy, RUNTIME), tiny_copy)
    assert torch.equal(found, right)
    assert not torch.equal(first, right)
    # Nor the other way round: what the new weights left is not the old engine's.
    shutil.rmtree(cache)
    alone = _ask(old, tiny_copy, instruction="Find another.")
    _ask(Engine(tiny_copy, RUNTIME), tiny_copy, instruction="Find a third.")
    third = _ask(old, tiny_copy, instruction="Find a third.")
    shutil.rmtree(cache)
    assert not torch.equal(third, _ask(Engine(tiny_copy, RUNTIME), tiny_copy, instruction="Find a third."))
    assert torch.equal(alone, _ask(old, tiny_copy, instruction="Find another."))


def test_weights_that_are_mended_in_place_have_other_openings(tiny_copy: str, cache: Path):
    """A damaged number where no sample of the checkpoint's fingerprint lies leaves nothing behind once it is mended."""
    path = Path(tiny_copy, "model.safetensors")
    whole = path.read_bytes()
    tensors = checkpoint.tensor_ranges(str(path))
    start, end = next((a, b) for name, a, b in tensors if name.endswith("layers.0.mlp.down_proj.weight"))
    place = start + (end - start) // 4 // 4 * 4
    before = checkpoint.fingerprint(tiny_copy)
    path.write_bytes(whole[:place] + np.float32(50).tobytes() + whole[place + 4 :])
    assert checkpoint.fingerprint(tiny_copy) == before
    damaged = _ask(Engine(tiny_copy, RUNTIME), tiny_copy)
    path.write_bytes(whole)
    found = _ask(Engine(tiny_copy, RUNTIME), tiny_copy)
    shutil.rmtree(cache)
    assert torch.equal(found, _ask(Engine(tiny_copy, RUNTIME), tiny_copy))
    assert not torch.equal(damaged, found)


def test_weights_of_this_moment_are_not_trusted(tiny_copy: str, cache: Path, monkeypatch: pytest.MonkeyPatch):
    """What was written a moment ago may change again unseen: nothing of it is kept."""
    monkeypatch.setattr(prefix_cache, "_SETTLED_NS", 3_600_000_000_000)
    _scale_weights(tiny_copy, 1.1)
    _ask(Engine(tiny_copy, RUNTIME), tiny_copy)
    assert not cache.exists()


def test_another_version_of_the_code_computes_its_own(ask: Ask, cache: Path, monkeypatch: pytest.MonkeyPatch):
    """An opening belongs to the code that computed it."""
    ask()
    monkeypatch.setattr(prefix_cache, "_sources", lambda: "another version")
    ask()
    assert len(list(cache.iterdir())) == 2


def test_a_full_disk_leaves_nothing_half_written(ask: Ask, cache: Path, monkeypatch: pytest.MonkeyPatch):
    """Where an opening can't be written whole, no piece of it stays, and the answer is the same."""
    right = ask()
    shutil.rmtree(cache)
    real = os.replace

    def full(source: str, target: str) -> None:
        if "openings" in str(target):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    for _ in range(3):
        assert torch.equal(ask(), right)
    assert list(cache.iterdir()) == []


def test_a_cache_that_can_only_be_read_is_read(ask: Ask, cache: Path, monkeypatch: pytest.MonkeyPatch):
    """On a read-only disk, where a file's time can't be set, openings are still used."""
    ask("a cat")
    (own,) = cache.iterdir()
    first = ask("a cat")
    ask({"text": "a cat", "instruction": "Find something that looks quite different."})
    (other,) = set(cache.iterdir()) - {own}
    other.replace(own)  # so that reading it shows

    def refuse(path: str) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert not torch.equal(ask("a cat"), first)
