"""Folders of other families: which family they are, what they lack, their identity, and what is refused by name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from imgsearch.errors import CheckpointError, MissingExtra
from imgsearch.model import locate
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.families import check_embeds, conventions_of, family_of, open_checkpoint
from imgsearch.model.library import loading
from imgsearch.model.library.files import LibraryCheckpoint
from imgsearch.types import Silent
from support.tiny_models import write_json, write_modules


@pytest.fixture
def clip(tiny_clip: str, tmp_path: Path) -> str:
    """Give a copy of a tiny CLIP that a test may damage."""
    folder = str(tmp_path / "clip")
    shutil.copytree(tiny_clip, folder)
    return folder


@pytest.fixture
def gemma(tiny_gemma3: str, tmp_path: Path) -> str:
    """Give a copy of a tiny vision-language model that a test may damage."""
    folder = str(tmp_path / "gemma")
    shutil.copytree(tiny_gemma3, folder)
    return folder


def _change(folder: str, name: str, **values: object) -> None:
    content = json.loads(Path(folder, name).read_text()) | values
    write_json(folder, name, {key: value for key, value in content.items() if value is not None})


def _refusal(folder: str) -> str:
    """Return the one line by which a folder is refused when an index is made with it."""
    with pytest.raises(CheckpointError) as refused:
        conventions_of(locate.fetch_checkpoint(folder, None, Silent()))
    line = str(refused.value)
    assert "\n" not in line
    assert folder in line
    return line


def test_the_family_stands_in_the_config(tiny_checkpoint: str, tiny_clip: str, tmp_path: Path) -> None:
    """With its reason; a folder with nothing in it is one of ours, with everything missing."""
    ours, theirs = family_of(Checkpoint(tiny_checkpoint)), family_of(Checkpoint(tiny_clip))
    assert (ours.by_library, ours.reason) == (False, "config.json has the model_type 'qwen3_vl'")
    assert (theirs.by_library, theirs.reason) == (True, "config.json has the model_type 'clip'")
    assert type(open_checkpoint(str(tmp_path))) is Checkpoint
    assert not family_of(Checkpoint(str(tmp_path))).by_library


def test_a_model_in_a_folder_of_its_own_is_found(clip: str) -> None:
    """As the library's own CLIP models have it: 0_CLIPModel, and nothing but settings beside it."""
    below = os.path.join(clip, "0_CLIPModel")
    os.mkdir(below)
    for name in os.listdir(clip):
        if name not in ("modules.json", "config_sentence_transformers.json", "0_CLIPModel"):
            shutil.move(os.path.join(clip, name), below)
    _change_module(clip, "0_CLIPModel")
    found = locate.fetch_checkpoint(clip, None, Silent())
    assert isinstance(found, LibraryCheckpoint)
    assert (conventions_of(found).full_dim, found.info.parameters) == (24, 61_121)


def _change_module(folder: str, path: str) -> None:
    entries = json.loads(Path(folder, "modules.json").read_text())
    entries[0]["path"] = path
    write_json(folder, "modules.json", entries)


def test_the_fingerprint_follows_what_moves_a_vector(gemma: str, tiny_gemma3: str) -> None:
    """Weights of any module, tokenizer, template and processor count; prompts, texts about it and records do not."""
    before = open_checkpoint(tiny_gemma3).fingerprint
    Path(gemma, "README.md").write_text("about")
    _change(gemma, "config_sentence_transformers.json", prompts={"query": "other "})
    _change(gemma, "config.json", transformers_version="1.0")
    assert open_checkpoint(gemma).fingerprint == before
    seen = {before}
    for name in ("2_Dense/model.safetensors", "model.safetensors"):
        with open(os.path.join(gemma, name), "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x7f")
        seen.add(open_checkpoint(gemma).fingerprint)
    for name in ("tokenizer.json", "chat_template.jinja"):
        Path(gemma, name).write_text(Path(gemma, name).read_text().replace("<end_of_turn>", "<end_of_talk>"))
        seen.add(open_checkpoint(gemma).fingerprint)
    _change(gemma, "preprocessor_config.json", image_mean=[0.1, 0.1, 0.1])
    seen.add(open_checkpoint(gemma).fingerprint)
    _change(gemma, "1_Pooling/config.json", pooling_mode="cls")
    seen.add(open_checkpoint(gemma).fingerprint)
    assert len(seen) == 7


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("model.safetensors", "model.safetensors"),
        ("2_Dense/model.safetensors", "2_Dense/model.safetensors"),
        ("1_Pooling/config.json", "1_Pooling/config.json"),
        ("tokenizer.json", "tokenizer.json"),
    ],
)
def test_half_a_model_is_refused_with_what_it_lacks(gemma: str, name: str, missing: str) -> None:
    """Whichever file is gone, or cut in the middle."""
    path = Path(gemma, name)
    whole = path.read_bytes()
    path.unlink()
    assert f"incomplete ({missing}" in _refusal(gemma)
    if name != "tokenizer.json":
        path.write_bytes(whole[: len(whole) // 2])
        assert f"incomplete ({missing}" in _refusal(gemma)


def test_weights_that_are_only_pickled_are_never_loaded(gemma: str) -> None:
    """The line names the file and says why; it is not read, wherever it lies."""
    os.rename(
        os.path.join(gemma, "2_Dense/model.safetensors"), os.path.join(gemma, "2_Dense/pytorch_model.bin")
    )
    assert "only as pickles (2_Dense/pytorch_model.bin), which may run code" in _refusal(gemma)


def _code_of_its_own(folder: str) -> None:
    _change(folder, "config.json", model_type="own_clip", auto_map={"AutoModel": "own.Model"})


def _own_processor(folder: str) -> None:
    auto = {"AutoImageProcessor": "own.Processor"}
    _change(folder, "preprocessor_config.json", auto_map=auto, image_processor_type="OwnProcessor")


def _own_module(folder: str) -> None:
    write_modules(folder, "own_code.Encoder")
    Path(folder, "own_code.py").write_text("raise SystemExit('this ran')\n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_code_of_its_own, "config.json: AutoModel"),
        (_own_processor, "preprocessor_config.json: AutoImageProcessor"),
        (_own_module, "modules.json names the module own_code.Encoder"),
    ],
)
def test_code_that_comes_with_a_model_is_refused_by_name(
    clip: str, spoil: Callable[[str], None], said: str
) -> None:
    """It is never run; the line says which file asks for it."""
    spoil(clip)
    line = _refusal(clip)
    assert said in line
    assert "which imgsearch does not run" in line


def test_code_that_transformers_has_meanwhile_is_no_reason(clip: str) -> None:
    """A repository may still name it, from the time before; the classes of transformers are used."""
    _change(clip, "config.json", auto_map={"AutoModel": "modeling_clip.CLIPModel"})
    assert conventions_of(locate.fetch_checkpoint(clip, None, Silent())).full_dim == 24


def _of_text(folder: str) -> None:
    write_modules(folder, "sentence_transformers.models.Transformer")


def _named_text(folder: str) -> None:
    write_modules(folder, "sentence_transformers.models.Transformer")
    forward = {"method": "forward", "method_output_name": "last_hidden_state"}
    write_json(folder, "sentence_bert_config.json", {"modality_config": {"text": forward}})


def _of_words(folder: str) -> None:
    write_modules(folder, "sentence_transformers.sentence_transformer.modules.StaticEmbedding")


def _of_images(folder: str) -> None:
    os.unlink(os.path.join(folder, "modules.json"))
    for name in ("vocab.json", "tokenizer_config.json"):
        os.unlink(os.path.join(folder, name))


def _without_images(folder: str) -> None:
    os.unlink(os.path.join(folder, "modules.json"))
    os.unlink(os.path.join(folder, "preprocessor_config.json"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            _of_text,
            "embeds text only (its settings are those of a model for text): it can't be used for images",
        ),
        (_named_text, "embeds text only (its settings name text)"),
        (_of_words, "embeds text only (its first module, StaticEmbedding, takes text only)"),
        (_without_images, "embeds text only (it has no image processor)"),
        (_of_images, "embeds images only (it has no tokenizer): no words could be searched for"),
    ],
)
def test_a_model_with_one_side_is_refused(clip: str, spoil: Callable[[str], None], said: str) -> None:
    """Before it is loaded, and so before any work is done."""
    spoil(clip)
    assert said in _refusal(clip)


def test_other_kinds_of_model_are_refused(clip: str, gemma: str) -> None:
    """A reranker, an adapter, a measure that is no cosine, an unknown architecture, and a model that writes."""
    _change(clip, "config_sentence_transformers.json", similarity_fn_name="euclidean")
    assert "the similarity 'euclidean' is not supported" in _refusal(clip)
    _change(clip, "config_sentence_transformers.json", similarity_fn_name="cosine", model_type="CrossEncoder")
    assert "is a CrossEncoder" in _refusal(clip)
    _change(clip, "config_sentence_transformers.json", model_type=None)
    _change(clip, "config.json", model_type="never_heard_of")
    assert "is a 'never_heard_of' model, which transformers" in _refusal(clip)
    write_json(clip, "adapter_config.json", {})
    assert "is an adapter" in _refusal(clip)
    os.unlink(os.path.join(gemma, "modules.json"))
    _change(gemma, "config.json", architectures=["Gemma3ForConditionalGeneration"])
    assert "is not an embedding model: it generates text" in _refusal(gemma)
    assert locate.fetch_checkpoint(gemma, None, Silent(), force_model=True).folder == gemma


def test_without_the_library_the_extra_is_named(tiny_clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is downloaded for it."""
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"\[models\]"):
        check_embeds(open_checkpoint(tiny_clip))
