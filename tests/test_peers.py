"""Peers: models of other families, with their own prompts and their full length, and what can't be scored."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from imgsearch.errors import CheckpointError
from imgsearch.model.peers import Peer

from pictures import scene


def test_a_peer_gives_what_sentence_transformers_gives(tiny_clip: str) -> None:
    """Texts go through encode_query with the model's prompt, pictures through encode_document; unit rows."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(tiny_clip, device="cpu")
    texts, pictures = ["red", "a blue car"], [scene(1), scene(2)]
    peer = Peer(tiny_clip, device="cpu")
    queries, documents = (
        peer.encode_queries(texts),
        peer.encode_pictures([np.array(image) for image in pictures]),
    )
    for ours, theirs in (
        (queries, model.encode_query(texts, truncate_dim=24, normalize_embeddings=True)),
        (documents, model.encode_document(pictures, truncate_dim=24, normalize_embeddings=True)),
    ):
        assert ours.shape == (2, 24)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert peer.parameters == Peer(tiny_clip).parameters == 61_121


def test_a_fingerprint_follows_the_files(tiny_clip: str, tmp_path: Path) -> None:
    """A copy has the same, another prompt or weight another; what is only written about it does not count."""
    copy = str(tmp_path / "copy")
    shutil.copytree(tiny_clip, copy)
    Path(copy, "README.md").write_text("about")
    peer = Peer(copy)
    assert peer.fingerprint == Peer(tiny_clip).fingerprint
    settings = Path(copy, "config_sentence_transformers.json")
    settings.write_text(json.dumps({"prompts": {"query": "other "}}))
    changed = peer.fingerprint
    assert changed != Peer(tiny_clip).fingerprint
    with open(os.path.join(copy, "model.safetensors"), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    assert peer.fingerprint != changed


def test_what_can_not_be_loaded_is_refused_in_one_line(tmp_path: Path, tiny_clip: str) -> None:
    """A folder that is no model, one that is not there, and modules of code that a checkpoint brings along."""
    os.mkdir(tmp_path / "empty")
    foreign = str(tmp_path / "foreign")
    shutil.copytree(tiny_clip, foreign)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "own_code.Encoder"}]
    Path(foreign, "modules.json").write_text(json.dumps(modules))
    Path(foreign, "own_code.py").write_text("raise SystemExit('this ran')\n")
    for folder in ("empty", "gone", "foreign"):
        with pytest.raises(CheckpointError) as refused:
            Peer(str(tmp_path / folder)).load()
        assert str(tmp_path / folder) in str(refused.value)
        assert "\n" not in str(refused.value)
