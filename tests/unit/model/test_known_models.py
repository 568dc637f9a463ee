"""The rows of known models: that they are whole, true to the library, and refuse what needs its authors' code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from imgsearch.errors import CheckpointError, ModelOutOfMemory
from imgsearch.model import locate
from imgsearch.model.known import KNOWN, known_model, refuse_known, trial
from imgsearch.model.known.pages import PAGES
from imgsearch.model.known.row import KnownModel, Tower
from imgsearch.types import Runtime
from support.tiny_architectures import image_of, tiny_config

CPU = Runtime("cpu", "float32", "")
CODE = [row for row in KNOWN if row.road == "code"]
LOADED = sorted({row.architecture for row in KNOWN if row.road != "code"})
OF_THE_LIBRARY = [row for row in KNOWN if row.architecture in {*LOADED, "qwen2_vl", "qwen2_5_vl"}]


def ids(row: KnownModel) -> str:
    """Name a case by the model."""
    return row.name.rsplit("/", 1)[-1]


def test_the_published_comparison_is_whole() -> None:
    """Its twenty models are there with the figure of each, best first."""
    figures = [float(row.figures[0].value) for row in PAGES]
    assert len(PAGES) == 20
    assert figures == sorted(figures, reverse=True)
    assert (figures[0], figures[-1]) == (0.947, 0.335)


@pytest.mark.parametrize("row", KNOWN, ids=ids)
def test_a_row_says_what_a_person_needs(row: KnownModel) -> None:
    """Each has a name of the hub, sources with addresses, and a number or the word that it is not verified."""
    assert locate._HUB_NAME.fullmatch(row.name)
    assert all(figure.source.startswith("https://") for figure in row.figures)
    assert row.source.startswith("https://huggingface.co/")
    assert row.license
    assert row.languages
    assert row.parameters or "parameters" in row.unverified
    assert (row.road == "code") <= bool(row.needs)
    assert [one.name for one in KNOWN].count(row.name) == 1


@pytest.mark.parametrize("row", [row for row in KNOWN if row.towers and row.parameters], ids=ids)
def test_towers_have_about_the_parameters_of_the_model(row: KnownModel) -> None:
    """The layers that an image goes through hold from a fifth of the parameters to all of them."""
    held = 0
    for tower in row.towers:
        asked, kept = tower.attention
        inner = (3 if tower.gated else 2) * tower.inner
        held += tower.layers * tower.width * (2 * asked + 2 * kept + inner)
    assert 0.2 * row.parameters < held < row.parameters


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Collect what was loaded, by architecture, so that models of one architecture share it."""
    return {"folder": tmp_path_factory.mktemp("architectures")}


@pytest.mark.parametrize("row", OF_THE_LIBRARY, ids=ids)
def test_a_tiny_model_of_its_architecture_loads_without_code_of_its_own(
    row: KnownModel, made: dict[str, Any]
) -> None:
    """transformers' own class reads a tiny random checkpoint, and gives finite features of an image."""
    import torch
    from transformers import AutoModel, AutoModelForMultimodalLM

    if row.architecture not in made:
        # As sentence-transformers does it for the task "any-to-any".
        kind = AutoModelForMultimodalLM if row.architecture == "qwen2_5_omni_thinker" else AutoModel
        folder = made["folder"] / row.architecture
        torch.manual_seed(1)
        kind.from_config(tiny_config(row.architecture)).save_pretrained(folder)
        model = kind.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        with torch.no_grad():
            made[row.architecture] = model.get_image_features(**image_of(row.architecture))
    found = made[row.architecture].pooler_output
    found = found if isinstance(found, torch.Tensor) else found[0]
    assert found.shape[-1] in (24, 32)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("row", [row for row in CODE if row not in OF_THE_LIBRARY], ids=ids)
def test_the_library_has_no_class_for_an_architecture_of_its_authors(row: KnownModel, tmp_path: Path) -> None:
    """A checkpoint that brings its own classes is not loaded where its code may not run."""
    from transformers import AutoConfig, AutoModel

    own = {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": row.architecture, "auto_map": own}))
    (tmp_path / "modeling_own.py").write_text("raise SystemExit('this must not run')\n")
    if row.architecture == "qwen3_5":
        # The class is the library's, but its token for an embedding is its authors' matter.
        assert AutoConfig.from_pretrained(tmp_path, trust_remote_code=False).model_type == "qwen3_5"
        return
    with pytest.raises(ValueError, match=r"trust_remote_code|does not recognize|custom code"):
        AutoModel.from_pretrained(tmp_path, trust_remote_code=False, local_files_only=True)


@pytest.mark.parametrize("row", CODE, ids=ids)
def test_a_model_that_needs_such_code_is_refused_by_name(
    row: KnownModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is refused before anything is downloaded, whatever the case of its name, with a way to score it still."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(locate, "download_checkpoint", lambda *_, **__: pytest.fail("downloads"))
    for name in (row.name, row.name.upper()):
        with pytest.raises(CheckpointError, match=re.escape(f"{row.name} needs {row.needs}")) as caught:
            locate.find_checkpoint(name)
        assert "score_vectors" in str(caught.value)


def test_other_models_are_not_refused() -> None:
    """A model of the library and a name that nobody knows pass, and so does a revision, which may be without code."""
    refuse_known("google/siglip2-base-patch16-256")
    refuse_known("somebody/something")
    assert known_model("somebody/something") is None
    assert isinstance(locate.look_for(CODE[0].name, "refs/pr/1"), locate.Absent)


def test_operations_count_products_and_attention() -> None:
    """One layer of ViT-B over 197 tokens takes what is published for twelve of them: 35 gigaflop."""
    tower = Tower(tokens=197, width=768, inner=3072, layers=12, heads=12)
    assert 12 * tower.operations() == pytest.approx(35.1e9, rel=0.02)
    narrow = Tower(tokens=10, width=64, inner=128, layers=1, heads=4, kv_heads=2, head_dim=8, gated=True)
    assert narrow.operations() == 2 * 10 * 64 * (2 * 32 + 2 * 16 + 3 * 128) + 4 * 100 * 32


def test_a_trial_times_layers_of_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gated or not, with fewer heads for keys or not, with more tokens than are tried: there are seconds."""
    monkeypatch.setattr(trial, "_SECONDS", 0.0)
    towers = (
        Tower(tokens=9, width=32, inner=64, layers=2, heads=4),
        Tower(tokens=3000, width=32, inner=64, layers=2, heads=4, kv_heads=2, head_dim=16, gated=True),
    )
    row = KnownModel("a/b", "x", "library", "MIT", 1000, None, 32, "", "", "", towers=towers)
    assert trial.seconds_per_image(row, CPU) > 0


def test_what_does_not_fit_into_memory_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of 8 billion parameters needs 34 GB in float32, which is said before a layer is made."""
    monkeypatch.setattr(trial, "_free", lambda _: 20_000_000_000)
    monkeypatch.setattr(trial, "_layer_seconds", lambda *_: pytest.fail("begun"))
    row = known_model("Qwen/Qwen3-VL-Embedding-8B")
    assert row is not None
    with pytest.raises(ModelOutOfMemory, match=r"needs 33.6 GB of memory in float32, 20.0 GB free"):
        trial.seconds_per_image(row, CPU)
