"""Tests of the prefix cache, in memory and as files: the same bits as a prefix that is computed, or none."""

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
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from imgsearch.model import checkpoint as checkpoint_module
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.engine import forward, prefix_cache
from imgsearch.model.engine.forward import Engine
from imgsearch.model.engine.prefix_cache import PrefixCache, code_digest
from imgsearch.model.engine.text import KVCache
from imgsearch.types import Runtime
from support.pictures import scene


def _engine(folder: str, dtype: str = "float32") -> Engine:
    return Engine(Checkpoint(folder), Runtime("cpu", dtype, "for a test"))


def _ask(engine: Engine, folder: str, *items: Any) -> torch.Tensor:
    prompts = Qwen3VLEmbedder(folder, device="cpu", dtype="float32")
    return engine([prompts._encode_input(item, 0, 1) for item in items])


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


# ---- as files ------------------------------------------------------------------------------------------------

Ask = Callable[..., torch.Tensor]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep prefixes of small checkpoints too, in a cache of the test's own."""
    monkeypatch.setattr(forward, "_STORED_FROM", 1)
    monkeypatch.setattr(checkpoint_module, "_SETTLED_NS", -(1 << 62))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "imgsearch" / "prefixes"


@pytest.fixture
def ask(tiny_checkpoint: str, files: Path) -> Ask:
    """Ask a fresh engine."""

    def embed(*items: Any, dtype: str = "float32", prepacked: bool = False) -> torch.Tensor:
        engine = _engine(tiny_checkpoint, dtype)
        if prepacked:
            engine.prepack()
        return _ask(engine, tiny_checkpoint, *(items or [{"image": scene(1, (96, 64))}]))

    return embed


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_stored_prefix_gives_the_same_bits(ask: Ask, files: Path, dtype: str):
    """What one process has computed the next one reads, and answers as the first; nobody else may read it."""
    first = ask(dtype=dtype)
    (stored,) = files.iterdir()
    written = stored.read_bytes()
    assert torch.equal(ask(dtype=dtype), first)
    assert stored.read_bytes() == written
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.stat().st_mode) == 0o700


def test_a_stored_prefix_is_what_is_computed_with(ask: Ask, files: Path):
    """A file that holds another prefix's keys under this one's name changes the answer: it is read indeed."""
    first = ask("a cat")
    (own,) = files.iterdir()
    ask({"text": "a cat", "instruction": "Find something that looks quite different."})
    (other,) = set(files.iterdir()) - {own}
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
def test_a_damaged_file_is_replaced(ask: Ask, files: Path, spoil: Callable[[bytes], bytes]):
    """A file that is cut short, longer, or has a bit turned is not used but written again."""
    first = ask()
    (stored,) = files.iterdir()
    whole = stored.read_bytes()
    stored.write_bytes(spoil(whole))
    assert torch.equal(ask(), first)
    assert stored.read_bytes() == whole


def test_a_file_in_the_place_of_the_folder_is_left_alone(ask: Ask, files: Path):
    """A cache that is no folder is neither used nor touched."""
    files.parent.mkdir(parents=True)
    files.write_bytes(b"mine")
    assert ask().shape[0] == 1
    assert files.read_bytes() == b"mine"


def test_another_machine_computes_its_own_prefixes(ask: Ask, files: Path, monkeypatch: pytest.MonkeyPatch):
    """With another processor, torch or number of threads a prefix has another name."""
    ask()
    monkeypatch.setattr(prefix_cache, "numerics", lambda: ["another processor"])
    ask()
    assert len(list(files.iterdir())) == 2


def test_dtypes_do_not_share_prefixes(ask: Ask, files: Path):
    """A prefix belongs to the dtype that it was computed in."""
    ask()
    ask(dtype="bfloat16")
    assert len(list(files.iterdir())) == 2


def test_only_the_last_few_files_are_kept(ask: Ask, files: Path):
    """However many instructions there are, the files are few, and one that is used stays."""
    used = {"text": "a cat", "instruction": "This one is used again and again."}
    ask(used)
    (stored,) = files.iterdir()
    for number in range(12):
        ask({"text": "a cat", "instruction": f"Find the picture of number {number}."}, used)
    assert stored in set(files.iterdir())
    assert len(list(files.iterdir())) <= 8


def test_long_prefixes_and_small_models_write_nothing(ask: Ask, files: Path, monkeypatch: pytest.MonkeyPatch):
    """What would take much room, or no time to compute, is not stored."""
    ask({"text": "a cat", "instruction": "Find. " * 40})
    monkeypatch.setattr(forward, "_STORED_FROM", 2**27)
    ask()
    assert not files.exists() or not list(files.iterdir())


def test_prepacked_weights_store_nothing(ask: Ask, files: Path):
    """Bits of prepacked products are not those that a cold query computes: they are not left to it."""
    ask(prepacked=True)
    assert not files.exists()


def _scale_weights(folder: str, factor: float) -> None:
    """Put other weights in the place of a checkpoint's, as a download or a training run does."""
    path = os.path.join(folder, "model.safetensors")
    save_file({name: tensor * factor for name, tensor in load_file(path).items()}, f"{path}.new")
    os.replace(f"{path}.new", path)


def _find(engine: Engine, folder: str, instruction: str = "Find it.") -> torch.Tensor:
    return _ask(engine, folder, {"text": "a cat", "instruction": instruction})


def test_weights_that_were_replaced_leave_nothing_to_the_new_ones(tiny_copy: str, files: Path):
    """An engine over weights that have been replaced keeps its prefixes apart from those of the new weights."""
    old = _engine(tiny_copy)
    _scale_weights(tiny_copy, 1.3)
    first = _find(old, tiny_copy)
    found = _find(_engine(tiny_copy), tiny_copy)
    shutil.rmtree(files)
    right = _find(_engine(tiny_copy), tiny_copy)
    assert torch.equal(found, right)
    assert not torch.equal(first, right)
    # Nor the other way round: what the new weights left is not the old engine's.
    shutil.rmtree(files)
    alone = _find(old, tiny_copy, "Find another.")
    _find(_engine(tiny_copy), tiny_copy, "Find a third.")
    third = _find(old, tiny_copy, "Find a third.")
    shutil.rmtree(files)
    assert not torch.equal(third, _find(_engine(tiny_copy), tiny_copy, "Find a third."))
    assert torch.equal(alone, _find(old, tiny_copy, "Find another."))


def test_weights_that_are_mended_in_place_have_other_prefixes(tiny_copy: str, files: Path):
    """A damaged number where no sample of the checkpoint's fingerprint lies leaves nothing behind once it is mended."""
    checkpoint = Checkpoint(tiny_copy)
    name = "layers.0.mlp.down_proj.weight"
    tensor = next(tensor for tensor in checkpoint.tensors if tensor.name.endswith(name))
    position = tensor.start + tensor.size // 4 // 4 * 4
    path = Path(tensor.path)
    whole = path.read_bytes()
    path.write_bytes(whole[:position] + np.float32(50).tobytes() + whole[position + 4 :])
    assert Checkpoint(tiny_copy).fingerprint == checkpoint.fingerprint
    damaged = _find(_engine(tiny_copy), tiny_copy)
    path.write_bytes(whole)
    found = _find(_engine(tiny_copy), tiny_copy)
    shutil.rmtree(files)
    assert torch.equal(found, _find(_engine(tiny_copy), tiny_copy))
    assert not torch.equal(damaged, found)


def test_weights_of_this_moment_are_not_trusted(tiny_copy: str, files: Path, monkeypatch: pytest.MonkeyPatch):
    """What was written a moment ago may change again unseen: nothing of it is stored."""
    monkeypatch.setattr(checkpoint_module, "_SETTLED_NS", 3_600_000_000_000)
    _scale_weights(tiny_copy, 1.1)
    _find(_engine(tiny_copy), tiny_copy)
    assert not files.exists()


def test_any_change_of_the_models_code_is_another_key(tmp_path: Path):
    """Whichever source file of the model changes, appears, goes or moves, stored prefixes are not read any more."""
    package = tmp_path / "model"
    shutil.copytree(Path(prefix_cache.__file__).parents[1], package)
    digests = {code_digest(str(package))}
    assert digests == {code_digest()}
    sources = sorted(package.rglob("*.py"))
    for source in sources:
        text = source.read_text()
        source.write_text(text + "# changed\n")
        digests.add(code_digest(str(package)))
        source.write_text(text)
    (package / "engine" / "new.py").write_text("")
    digests.add(code_digest(str(package)))
    (package / "engine" / "new.py").rename(package / "new.py")
    digests.add(code_digest(str(package)))
    assert len(digests) == len(sources) + 3


def test_another_version_of_the_code_computes_its_own_prefixes(
    ask: Ask, files: Path, monkeypatch: pytest.MonkeyPatch
):
    """A prefix belongs to the code that computed it."""
    ask()
    monkeypatch.setattr(prefix_cache, "code_digest", lambda: "another version")
    ask()
    assert len(list(files.iterdir())) == 2


def test_a_full_disk_leaves_nothing_half_written(ask: Ask, files: Path, monkeypatch: pytest.MonkeyPatch):
    """Where a prefix can't be written whole, no piece of it stays, and the answer is the same."""
    right = ask()
    shutil.rmtree(files)
    real = os.replace

    def full(source: str, target: str) -> None:
        if "prefixes" in str(target):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    for _ in range(3):
        assert torch.equal(ask(), right)
    assert list(files.iterdir()) == []


def test_a_cache_that_can_only_be_read_is_read(ask: Ask, files: Path, monkeypatch: pytest.MonkeyPatch):
    """On a read-only disk, where a file's time can't be set, stored prefixes are still used."""
    ask("a cat")
    (own,) = files.iterdir()
    first = ask("a cat")
    ask({"text": "a cat", "instruction": "Find something that looks quite different."})
    (other,) = set(files.iterdir()) - {own}
    other.replace(own)  # so that reading it shows

    def refuse(path: str) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert not torch.equal(ask("a cat"), first)
