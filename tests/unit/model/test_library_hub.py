"""Downloads of models of other families: the files that they need, and no others, by our own code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgsearch.errors import CheckpointError, DownloadError
from imgsearch.model import locate
from imgsearch.model.families import open_checkpoint
from imgsearch.types import Silent
from support.hub_server import Files, Hub, hub

__all__ = ["hub"]
NAME = "Some/Gemma"


def _files(folder: str) -> Files:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
    }


@pytest.fixture
def served(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Give a hub that this process downloads from, into a folder of the test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return hub


def test_what_a_model_needs_is_downloaded_and_nothing_else(served: Hub, tiny_gemma3: str) -> None:
    """Its modules' folders with their weights; no pickles, exports for other programs, or images."""
    needed = _files(tiny_gemma3)
    extra = (
        "pytorch_model.bin",
        "onnx/model.onnx",
        "openvino/model.safetensors",
        "assets/a.png",
        "README.md",
    )
    served.commit(NAME, {**needed, **dict.fromkeys(extra, b"not needed")})
    found = locate.fetch_checkpoint(NAME, None, Silent())
    assert {str(path) for path in needed} == {
        name for name in _files(found.folder) if not os.path.basename(name).startswith(".")
    }
    assert not served.fetched() & set(extra)
    assert found.fingerprint == open_checkpoint(tiny_gemma3).fingerprint
    before = len(served.log)
    assert locate.fetch_checkpoint(NAME, None, Silent()).folder == found.folder
    assert len(served.log) == before


def test_a_model_that_can_not_be_used_is_refused_before_its_weights(served: Hub, tiny_clip: str) -> None:
    """By its small files: code of its own, in this case."""
    config = b'{"model_type": "own", "auto_map": {"AutoModel": "own.Model"}}'
    served.commit(NAME, {**_files(tiny_clip), "config.json": config})
    with pytest.raises(CheckpointError, match=r"config\.json: AutoModel"):
        locate.fetch_checkpoint(NAME, None, Silent())
    assert "model.safetensors" not in served.fetched()


def test_pickled_weights_are_not_downloaded(served: Hub, tiny_clip: str) -> None:
    """The line says what there is and why it is not taken."""
    files = _files(tiny_clip)
    served.commit(NAME, {"pytorch_model.bin": files.pop("model.safetensors"), **files})
    with pytest.raises(DownloadError, match=r"only as pickles \(pytorch_model\.bin\)"):
        locate.fetch_checkpoint(NAME, None, Silent())
    assert not served.fetched()
