"""Folders that look like a model of the family and are none that can be used: quantised ones, and text generators."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from imgsearch.errors import CheckpointError
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.options import IndexOptions
from imgsearch.indexing.run import index_pictures
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.conventions import own_conventions
from imgsearch.model.hub import download_bytes, download_checkpoint
from imgsearch.model.locate import download, fetch_checkpoint, find_checkpoint
from imgsearch.search.encoding import embed_inputs
from imgsearch.spec import checkpoint_for, choose_spec
from imgsearch.tools.training.options import TrainOptions, resolve_options
from imgsearch.types import ModelOptions, Silent
from random_checkpoint import write_random_checkpoint
from support.hub_server import Hub, checkpoint, hub
from support.pictures import scene
from support.sentence_folders import sentence_folder

__all__ = ["hub"]

QUANTISED = {
    "awq": {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}},
    "gptq": {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    "fp8": {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
    "compressed-tensors": {"text_config": {"quantization_config": {"quant_method": "compressed-tensors"}}},
    "bitsandbytes": {"quantization_config": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}},
    "mlx": {
        "quantization": {"group_size": 64, "bits": 4},
        "quantization_config": {"group_size": 64, "bits": 4},
    },
    "modelopt": {"quantization_config": {"quant_algo": "modelopt"}},
}


def configured(folder: str, changes: dict[str, Any]) -> str:
    """Merge settings into config.json, those of an inner object into that object."""
    path = Path(folder, "config.json")
    config = json.loads(path.read_text())
    for key, value in changes.items():
        config[key] = config[key] | value if isinstance(config.get(key), dict) else value
    path.write_text(json.dumps(config))
    return folder


# Quantised models


@pytest.mark.parametrize("method", QUANTISED)
def test_a_quantised_folder_is_refused_by_its_method(tiny_copy: str, method: str) -> None:
    """The line names the method and what to take instead, also where the weights would load."""
    configured(tiny_copy, QUANTISED[method])
    with pytest.raises(
        CheckpointError, match=rf"is quantised \({method}\), .*Qwen/Qwen3-VL-Embedding-2B.*dtype='int8'"
    ):
        choose_spec(ModelOptions(tiny_copy), Silent())


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_quantisation_is_none(tiny_copy: str, nothing: Any) -> None:
    """A ``quantization_config`` of null or of nothing leaves a model what it is."""
    configured(tiny_copy, {"quantization_config": nothing})
    assert own_conventions(find_checkpoint(tiny_copy)).full_dim == 128


@pytest.mark.parametrize("config", [True, False])
def test_a_gguf_folder_and_a_gguf_file_are_refused(tiny_copy: str, config: bool) -> None:
    """GGUF weights are named as what they are, not as missing files; a file of them, too."""
    os.rename(f"{tiny_copy}/model.safetensors", f"{tiny_copy}/model-Q4_K_M.gguf")
    if not config:
        os.unlink(f"{tiny_copy}/config.json")
    for given in (tiny_copy, f"{tiny_copy}/model-Q4_K_M.gguf"):
        with pytest.raises(CheckpointError, match=r"is quantised \(gguf\)"):
            find_checkpoint(given)


def test_gguf_files_beside_the_weights_are_left_alone(tiny_copy: str) -> None:
    """A folder that has safetensors, too, is used with these."""
    Path(tiny_copy, "model-Q8_0.gguf").write_bytes(b"GGUF")
    assert own_conventions(find_checkpoint(tiny_copy)).full_dim == 128


@pytest.mark.parametrize("method", QUANTISED)
def test_a_quantised_repository_is_refused_before_its_weights(hub: Hub, tmp_path: Path, method: str) -> None:
    """The small files are enough to refuse it: no weights are fetched."""
    files = checkpoint()
    config = json.loads(files["config.json"]) | QUANTISED[method]
    hub.commit("acme/small", files | {"config.json": json.dumps(config).encode()})
    with pytest.raises(CheckpointError, match=rf"acme/small is quantised \({method}\)"):
        download_checkpoint("acme/small", None, str(tmp_path / "into"))
    assert "model.safetensors" not in hub.fetched()


@pytest.mark.parametrize("kind", ["told", "gguf"])
def test_a_repository_that_tells_of_it_is_refused_before_a_question(
    hub: Hub, tmp_path: Path, kind: str
) -> None:
    """Where the hub's listing shows it, nothing at all is fetched, nobody is asked, and a dry run refuses it, too."""
    files = checkpoint()
    if kind == "told":
        hub.told = {"quantization_config": {"quant_method": "gguf"}}
    else:
        files["model-Q4_K_M.gguf"] = files.pop("model.safetensors")
    hub.commit("acme/small", files)
    asked: list[str] = []

    def approve(question: str) -> bool:
        asked.append(question)
        return True

    with pytest.raises(CheckpointError, match=r"acme/small is quantised \(gguf\)"):
        download_checkpoint("acme/small", None, str(tmp_path / "into"), approve=approve)
    with pytest.raises(CheckpointError, match=r"acme/small is quantised \(gguf\)"):
        download_bytes("acme/small", None)
    assert (asked, hub.fetched()) == ([], set())


# Models that generate text


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """Give a folder of two images."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        scene(seed, (64, 64)).save(folder / f"{seed}.png")
    return str(folder)


@pytest.fixture
def instruct(tmp_path: Path) -> str:
    """Give a folder made like an instruct model: a head, no modules, and a tokenizer that appends no end token."""
    folder = str(tmp_path / "instruct")
    write_random_checkpoint(folder, post_processor_eot=False)
    return folder


def test_a_model_that_generates_text_is_refused(instruct: str, photos: str, tmp_path: Path) -> None:
    """Whatever would take it as an embedding model refuses it, and names the option that takes it anyway."""
    model = ModelOptions(instruct)
    said = r"instruct is not an embedding model: .*force_model=True"
    with pytest.raises(CheckpointError, match=said):
        index_pictures([photos], str(tmp_path / "index"), IndexOptions(model))
    with pytest.raises(CheckpointError, match=said):
        embed_inputs(["a boat"], texts=True, choice=model)
    with pytest.raises(CheckpointError, match=said):
        resolve_options(TrainOptions(str(tmp_path / "out"), instruct), str(tmp_path), Silent())


def test_it_is_used_with_force(instruct: str, photos: str, tmp_path: Path) -> None:
    """With force_model an index is made, and that decision holds for its queries and for a rebuild of it."""
    index = str(tmp_path / "index")
    done = index_pictures([photos], index, IndexOptions(ModelOptions(instruct, force_model=True)))
    assert done.indexed == 2
    with ImageIndex(index) as opened:
        assert checkpoint_for(index, opened.spec, ModelOptions(), Silent()).folder == instruct
    assert index_pictures([], index, IndexOptions(ModelOptions(dim=64), rebuild=True)).indexed == 2


def test_the_variable_has_an_indexs_model_if_it_is_the_same(
    tiny_checkpoint: str, tiny_copy: str, tiny_checkpoint_bare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IMGSEARCH_MODEL_DIR is used for an index that was made with another name of the same model, and only for such."""
    spec = choose_spec(ModelOptions(tiny_checkpoint), Silent())[1]
    for named, used in ((tiny_copy, tiny_copy), (tiny_checkpoint_bare, tiny_checkpoint)):
        monkeypatch.setenv("IMGSEARCH_MODEL_DIR", named)
        assert checkpoint_for("index", spec, ModelOptions(), Silent()).folder == used


def test_modules_or_an_end_token_make_an_embedding_model(
    instruct: str, tiny_checkpoint: str, tmp_path: Path
) -> None:
    """One of the two is enough: a fine-tune may have its modules and no end token, a plain folder the token alone."""
    for folder in (tiny_checkpoint, str(sentence_folder(instruct, tmp_path / "modules"))):
        assert fetch_checkpoint(folder, None, Silent()).folder == folder


def test_a_text_generator_is_refused_before_its_weights(
    hub: Hub, instruct: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name on the hub it is refused once its tokenizer is there; with force it is downloaded."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    hub.commit("acme/talker", {path.name: path.read_bytes() for path in Path(instruct).iterdir()})
    for attempt in (
        lambda: download("acme/talker", None, Silent()),
        lambda: fetch_checkpoint("acme/talker", None, Silent()),
    ):
        with pytest.raises(CheckpointError, match="acme/talker is not an embedding model"):
            attempt()
    assert "model.safetensors" not in hub.fetched()
    folder = download("acme/talker", None, Silent(), force_model=True)
    assert Checkpoint(folder).missing_files() == []
