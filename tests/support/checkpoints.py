"""Tiny random checkpoints for the tests, each written once a session."""

from __future__ import annotations

import json
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
def tiny_reranker(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the folder of a tiny reranker, as the published one but for its sizes; tests must not write to it."""
    folder = str(tmp_path_factory.mktemp("model") / "tiny-reranker")
    write_reranker(folder)
    return folder


def write_reranker(folder: str, *, modules: bool = True, head: bool = False, dtype: str = "float32") -> None:
    """Write a tiny random reranker: what it knows is random, too, but different images get different scores.

    With ``modules`` it has those of sentence-transformers. With ``head`` the language-modelling head has weights of its
    own, as in the published 8B model; without, it is the token embeddings, as in the 2B model.
    """
    import torch
    from safetensors.torch import load_file, save_file

    from random_checkpoint import SENTENCES, TINY, write_random_checkpoint

    config = TINY | {"tie_word_embeddings": not head}
    sentences = [*SENTENCES, *(["yes", "no"] * 50)]
    write_random_checkpoint(folder, config, post_processor_eot=False, sentences=sentences, dtype=dtype)
    if head:
        path = os.path.join(folder, "model.safetensors")
        tensors = load_file(path)
        shape = tensors["model.language_model.embed_tokens.weight"].shape
        torch.manual_seed(7)
        tensors["lm_head.weight"] = torch.randn(shape).mul(0.2).to(getattr(torch, dtype))
        save_file(tensors, path, {"format": "pt"})
    if modules:
        package = "sentence_transformers"
        listed = [
            ("", f"{package}.base.modules.transformer.Transformer"),
            ("1_LogitScore", f"{package}.cross_encoder.modules.logit_score.LogitScore"),
        ]
        entries = [
            {"idx": n, "name": str(n), "path": path, "type": kind} for n, (path, kind) in enumerate(listed)
        ]
        ids = {
            key: _token(folder, word) for key, word in (("true_token_id", "yes"), ("false_token_id", "no"))
        }
        os.makedirs(os.path.join(folder, "1_LogitScore"))
        for name, content in (
            ("modules.json", entries),
            ("sentence_bert_config.json", {"transformer_task": "text-generation"}),
            ("1_LogitScore/config.json", ids),
        ):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                json.dump(content, file)


def _token(folder: str, word: str) -> int:
    from tokenizers import Tokenizer

    token: int | None = Tokenizer.from_file(os.path.join(folder, "tokenizer.json")).token_to_id(word)
    assert token is not None
    return token


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
