"""Tests of remembered openings: the same bits as computed ones, or none."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from imgsearch.model import engine as engine_module
from imgsearch.model import openings
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.engine import Engine
from imgsearch.model.openings import Openings
from imgsearch.types import Runtime

from pictures import scene

Ask = Callable[..., torch.Tensor]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep openings of small checkpoints too, in a cache of the test's own."""
    monkeypatch.setattr(engine_module, "_STORED_FROM", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "imgsearch" / "openings"


@pytest.fixture
def ask(tiny_checkpoint: str, cache: Path) -> Ask:
    """Ask a fresh engine."""
    prompts = Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32")

    def embed(*items: Any, dtype: str = "float32", packed: bool = False) -> torch.Tensor:
        engine = Engine(tiny_checkpoint, Runtime("cpu", dtype, "for a test"))
        if packed:
            engine.pack()
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
    monkeypatch.setattr(openings, "machine", lambda: ["another processor"])
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


def test_a_checkpoint_that_changes_has_other_openings(tiny_copy: str, cache: Path):
    """An opening belongs to the weights: with others it is computed again."""
    where = Path(tiny_copy, "model.safetensors")
    changed = bytearray(where.read_bytes())
    store = Openings(tiny_copy, {})
    past = engine_module.Past([torch.ones(1, 1, 2, 4)], [torch.zeros(1, 1, 2, 4)])
    store.write(b"ids", past)
    found = store.read(b"ids")
    assert found is not None
    assert torch.equal(found.keys[0], past.keys[0])
    assert torch.equal(found.values[0], past.values[0])
    assert store.read(b"others") is None
    changed[-1] ^= 1
    where.write_bytes(changed)
    assert store.read(b"ids") is None
    os.remove(where)
    assert store.read(b"ids") is None
    store.write(b"ids", past)  # and nothing is raised
