"""Peers: models of other families, with their own prompts and their full length, and what can't be scored."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from imgsearch.errors import CheckpointError
from imgsearch.tools.evaluation.models import SentenceTransformerModel
from support.pictures import scene


def test_a_peer_gives_what_sentence_transformers_gives(tiny_clip: str) -> None:
    """Texts go through encode_query with the model's prompt, pictures through encode_document; unit rows."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(tiny_clip, device="cpu")
    texts, pictures = ["red", "a blue car"], [scene(1), scene(2)]
    peer = SentenceTransformerModel(tiny_clip, device="cpu")
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
    assert peer.parameters == SentenceTransformerModel(tiny_clip).parameters == 61_121


def test_a_fingerprint_follows_the_files(tiny_clip: str, tmp_path: Path) -> None:
    """A copy has the same, another prompt or weight another; what is only written about it does not count."""
    copy = str(tmp_path / "copy")
    shutil.copytree(tiny_clip, copy)
    Path(copy, "README.md").write_text("about")
    peer = SentenceTransformerModel(copy)
    assert peer.fingerprint == SentenceTransformerModel(tiny_clip).fingerprint
    settings = Path(copy, "config_sentence_transformers.json")
    settings.write_text(json.dumps({"prompts": {"query": "other "}}))
    changed = peer.fingerprint
    assert changed != SentenceTransformerModel(tiny_clip).fingerprint
    with open(os.path.join(copy, "model.safetensors"), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    assert peer.fingerprint != changed


def test_a_link_to_nowhere_is_no_part_of_a_fingerprint(tiny_clip: str, tmp_path: Path) -> None:
    """A folder with a dangling link has the fingerprint of what is there."""
    copy = str(tmp_path / "copy")
    shutil.copytree(tiny_clip, copy)
    os.symlink("gone", os.path.join(copy, "more.safetensors"))
    assert SentenceTransformerModel(copy).fingerprint == SentenceTransformerModel(tiny_clip).fingerprint


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
            SentenceTransformerModel(str(tmp_path / folder)).load()
        assert str(tmp_path / folder) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_text_is_never_fetched(tiny_clip: str) -> None:
    """A query that reads like a picture's address is words like any other."""
    peer = SentenceTransformerModel(tiny_clip, device="cpu")
    texts = ["https://nowhere.invalid/a.png", "data:image/png;base64,AAAA", "red"]
    rows = peer.encode_queries(texts)
    assert rows.shape == (3, 24)
    np.testing.assert_allclose(rows[2:], peer.encode_queries(["red"]), atol=1e-6)


def test_a_folder_below_the_home_folder_is_found(
    tiny_clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tilde that no shell has put the home folder for, as after --peer=, stands for it."""
    shutil.copytree(tiny_clip, tmp_path / "clip")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert SentenceTransformerModel("~/clip", device="cpu").encode_queries(["red"]).shape == (1, 24)


@pytest.mark.parametrize("name", ["some/clip", "clip"])
def test_a_model_in_the_hubs_cache_stays_at_its_commit(
    name: str, tiny_clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit that the fingerprint names is the one that is loaded, also by the name without an owner."""
    import sentence_transformers
    from huggingface_hub import constants

    commit, owner = "a" * 40, "some" if "/" in name else "sentence-transformers"
    repo = tmp_path / f"models--{owner}--clip"
    shutil.copytree(tiny_clip, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    loaded = []

    class Loaded:
        """Takes note of what is asked for, in place of the hub."""

        def __init__(self, given: str, *, revision: str | None, **_: object) -> None:
            """Load nothing."""
            loaded.append((given, revision))

        def eval(self) -> None:
            """Do nothing."""

    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", Loaded)
    peer = SentenceTransformerModel(name)
    assert peer.fingerprint == f"{name}@{commit}"
    peer.load()
    assert loaded == [(name, commit)]


def test_a_peer_that_gives_no_numbers_is_refused(tiny_clip: str, tmp_path: Path) -> None:
    """A vector that is not finite has no rank: the model is named, nothing is scored."""
    from safetensors.numpy import load_file, save_file

    broken = str(tmp_path / "broken")
    shutil.copytree(tiny_clip, broken)
    weights = load_file(os.path.join(broken, "model.safetensors"))
    weights["text_projection.weight"][:] = np.nan
    save_file(weights, os.path.join(broken, "model.safetensors"), {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"broken: encode_query returned NaN or infinity"):
        SentenceTransformerModel(broken, device="cpu").encode_queries(["red"])


def test_an_empty_name_is_refused() -> None:
    """It names neither a folder nor a model."""
    with pytest.raises(CheckpointError, match="the peer's name is empty"):
        SentenceTransformerModel(" ")
