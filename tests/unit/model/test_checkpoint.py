"""Tests of the Checkpoint: each file is read once, and what it says is of the files as they were read."""

from __future__ import annotations

import builtins
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from safetensors.torch import load_file, save_file

from imgsearch.errors import CheckpointError
from imgsearch.model import checkpoint as checkpoint_module
from imgsearch.model import locate
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.engine.forward import Engine
from imgsearch.model.reference import load_model
from imgsearch.types import Runtime
from support.sentence_folders import sentence_folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each file is opened by Python, and each file's safetensors header is read."""
    counts: Counter[str] = Counter()
    real_open, real_header = builtins.open, checkpoint_module._read_header

    def counting_open(file: Any, *args: Any, **kwargs: Any) -> Any:
        counts[str(file)] += 1
        return real_open(file, *args, **kwargs)

    def counting_header(path: str) -> Any:
        counts[f"header of {path}"] += 1
        return real_header(path)

    monkeypatch.setattr(builtins, "open", counting_open)
    monkeypatch.setattr(checkpoint_module, "_read_header", counting_header)
    return counts


def _opened_again(opened: Counter[str], folder: str) -> dict[str, int]:
    """Return what of a folder but the weights themselves was opened more than once."""
    small = [path for path in opened if folder in path and not path.startswith(f"{folder}/model.safetensors")]
    return {path: opened[path] for path in small if opened[path] > 1}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a user's cache of the test's own, in which files count as settled at once."""
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.setattr(checkpoint_module, "_SETTLED_NS", -(1 << 62))
    return tmp_path / "cache"


@pytest.mark.parametrize("make", [lambda folder, out: folder, sentence_folder], ids=["plain", "sentence"])
def test_each_file_is_read_once(
    tiny_checkpoint: str, tmp_path: Path, cache: Path, opened: Counter[str], make: Callable[..., Any]
) -> None:
    """To find a checkpoint, fingerprint it and load an embedder, each small file and each header is read once."""
    folder = str(make(tiny_checkpoint, tmp_path / "made"))
    opened.clear()
    checkpoint = locate.find_checkpoint(folder)
    assert checkpoint.fingerprint
    embedder = Qwen3VLEmbedder(checkpoint, device="cpu")
    assert embedder.dim
    assert _opened_again(opened, folder) == {}
    assert opened[f"{folder}/config.json"] == opened[f"{folder}/tokenizer.json"] == 1
    assert opened[f"header of {folder}/model.safetensors"] == 1


def test_a_folder_is_read_once_too(tiny_checkpoint: str, opened: Counter[str]) -> None:
    """An embedder made from a folder's name reads each small file at most once."""
    Qwen3VLEmbedder(tiny_checkpoint, device="cpu")
    assert _opened_again(opened, tiny_checkpoint) == {}
    assert opened[f"{tiny_checkpoint}/config.json"] == 1
    assert opened[f"header of {tiny_checkpoint}/model.safetensors"] == 1


def test_what_was_read_before_a_change_is_not_cached_for_what_is_there_now(
    tiny_copy: str, cache: Path
) -> None:
    """A checkpoint whose files change after they were read has the old fingerprint; the folder gets the new one."""
    whole = Checkpoint(tiny_copy).fingerprint
    shutil.rmtree(cache)
    checkpoint = Checkpoint(tiny_copy)
    assert checkpoint.missing_files() == []
    template = Path(tiny_copy, "chat_template.jinja")
    template.write_text(template.read_text() + "{# another #}")
    assert checkpoint.fingerprint == whole
    changed = Checkpoint(tiny_copy).fingerprint
    assert changed != whole
    assert Checkpoint(tiny_copy).fingerprint == changed


def test_files_that_were_new_when_they_were_read_are_not_cached(
    tiny_copy: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the time of reading that counts, however long after it the fingerprint is asked for."""
    monkeypatch.setattr(checkpoint_module, "_SETTLED_NS", 2_000_000_000)
    os.utime(Path(tiny_copy, "config.json"))
    checkpoint = Checkpoint(tiny_copy)
    now = checkpoint_module.time.time_ns() + 3_600_000_000_000
    monkeypatch.setattr(checkpoint_module.time, "time_ns", lambda: now)
    assert checkpoint.fingerprint
    assert not list(cache.rglob("*.json"))


def test_an_open_checkpoint_is_taken_as_it_is(tiny_checkpoint: str) -> None:
    """A folder's name is opened, a checkpoint that is open stays the same one."""
    checkpoint = Checkpoint.open(tiny_checkpoint)
    assert checkpoint.folder == tiny_checkpoint
    assert Checkpoint.open(checkpoint) is checkpoint


@pytest.mark.parametrize("load", [Engine, load_model], ids=["engine", "reference"])
def test_weights_that_were_replaced_since_are_not_loaded(tiny_copy: str, load: Callable[..., Any]) -> None:
    """A checkpoint whose weights become others before they are loaded is refused; opened again it loads."""
    runtime = Runtime("cpu", "float32", "for a test")
    checkpoint = Checkpoint(tiny_copy)
    assert checkpoint.missing_files() == []
    path = os.path.join(tiny_copy, "model.safetensors")
    tensors = load_file(path)
    tensors["model.language_model.norm.weight"] = tensors["model.language_model.norm.weight"].bfloat16()
    save_file(tensors, f"{path}.new")  # every tensor behind it lies elsewhere
    os.replace(f"{path}.new", path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors changed while it was open"):
        load(checkpoint, runtime)
    assert load(Checkpoint(tiny_copy), runtime)
