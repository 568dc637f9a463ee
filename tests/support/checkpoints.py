"""Tiny random checkpoints for the tests, each written once a session."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from imgsearch.model.embedder import Qwen3VLEmbedder

# Without bfloat16 "auto" is float32 on every machine, also in the processes that tests start; int8 needs VNNI.
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_VNNI"

# torch and transformers take seconds to import: only the tests that ask for a checkpoint pay for them.


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the folder of a tiny random checkpoint, its tokenizer as the published one; tests must not write to it."""
    from random_checkpoint import write_random_checkpoint

    folder = str(tmp_path_factory.mktemp("model") / "tiny")
    write_random_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint_bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the folder of a tiny checkpoint whose tokenizer appends nothing, as those of the instruct models."""
    from random_checkpoint import write_random_checkpoint

    folder = str(tmp_path_factory.mktemp("model") / "tiny-bare")
    write_random_checkpoint(folder, post_processor_eot=False)
    return folder


@pytest.fixture(scope="session")
def tiny_embedder(tiny_checkpoint: str) -> Qwen3VLEmbedder:
    """Give the tiny checkpoint, loaded on the CPU in float32; tests must leave it as it is."""
    from imgsearch.model.embedder import Qwen3VLEmbedder

    return Qwen3VLEmbedder(tiny_checkpoint, device="cpu", dtype="float32")


@pytest.fixture
def tiny_copy(tiny_checkpoint: str, tmp_path: Path) -> str:
    """Give a copy of the tiny checkpoint that a test may damage."""
    folder = os.path.join(tmp_path, "copy")
    shutil.copytree(tiny_checkpoint, folder)
    return folder
