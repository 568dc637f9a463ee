"""Peers: models by sentence-transformers, with their own prompts and their full length, and what can't be scored."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from imgsearch.errors import CheckpointError, NonFiniteError
from imgsearch.tools.dataset.retrieval import PictureRef
from imgsearch.tools.evaluation.models import LibraryModel
from imgsearch.types import Silent, Vectors
from support.pictures import scene


def _peer(name: str) -> LibraryModel:
    return LibraryModel(name, device="cpu", reporter=Silent())


def _queries(peer: LibraryModel, texts: Sequence[str]) -> Vectors:
    return np.concatenate([*peer.query_vectors(texts, None)])


def test_a_peer_gives_what_sentence_transformers_gives(tiny_clip: str, tmp_path: Path) -> None:
    """Texts go through encode_query with the model's prompt, pictures through encode_document; unit rows."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(tiny_clip, device="cpu")
    texts, pictures = ["red", "a blue car"], [scene(1), scene(2)]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    peer = _peer(tiny_clip)
    refs = [PictureRef(str(tmp_path / f"{number}.png")) for number in range(2)]
    documents = np.concatenate([*peer.picture_vectors(refs)])
    for ours, theirs in (
        (_queries(peer, texts), model.encode_query(texts, truncate_dim=24, normalize_embeddings=True)),
        (documents, model.encode_document(pictures, truncate_dim=24, normalize_embeddings=True)),
    ):
        assert ours.shape == (2, 24)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert peer.parameters == 61_121


def test_a_peers_space_follows_its_files(tiny_clip: str, tmp_path: Path) -> None:
    """A copy has the same, another prompt or weight another; what is only written about it does not count."""
    copy = str(tmp_path / "copy")
    shutil.copytree(tiny_clip, copy)
    Path(copy, "README.md").write_text("about")
    whole = _peer(tiny_clip).space("query", None)
    assert _peer(copy).space("query", None) == whole
    Path(copy, "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "other "}}))
    changed = _peer(copy).space("query", None)
    assert changed != whole
    with open(os.path.join(copy, "model.safetensors"), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    assert _peer(copy).space("query", None) != changed


def test_a_folder_below_the_home_folder_is_found(
    tiny_clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tilde that no shell has put the home folder for, as after --peer=, stands for it."""
    shutil.copytree(tiny_clip, tmp_path / "clip")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _peer("~/clip").parameters == 61_121


@pytest.mark.parametrize("name", ["some/clip", "clip"])
def test_a_peer_in_the_hubs_cache_is_found(
    name: str, tiny_clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by the name without an owner, which is sentence-transformers."""
    owner = "some" if "/" in name else "sentence-transformers"
    repo = tmp_path / f"models--{owner}--clip"
    shutil.copytree(tiny_clip, repo / "snapshots" / ("a" * 40))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert _peer(name).space("query", None)["model"] == _peer(tiny_clip).space("query", None)["model"]


def test_a_peer_that_gives_no_numbers_is_refused(tiny_clip: str, tmp_path: Path) -> None:
    """A vector that is not finite has no rank: nothing is scored."""
    from safetensors.numpy import load_file, save_file

    broken = str(tmp_path / "broken")
    shutil.copytree(tiny_clip, broken)
    weights = load_file(os.path.join(broken, "model.safetensors"))
    weights["text_projection.weight"][:] = np.nan
    save_file(weights, os.path.join(broken, "model.safetensors"), {"format": "pt"})
    with pytest.raises(NonFiniteError):
        _queries(_peer(broken), ["red"])


def test_an_empty_name_is_refused() -> None:
    """It names neither a folder nor a model."""
    with pytest.raises(CheckpointError, match="the peer's name is empty"):
        _peer(" ")
