"""The list of known models: what is chosen, what is on this machine, and what the command prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch.errors import ModelOutOfMemory
from imgsearch.model.known import KNOWN, known_model, trial
from imgsearch.tools import models
from imgsearch.tools.models import choose_rows, folder_of, list_models
from support.cli import imgsearch

SIGLIP = "google/siglip2-base-patch16-256"


@pytest.fixture(autouse=True)
def empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give each test a cache and a data folder of its own, and no model in the checkout."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("IMGSEARCH_MODEL_DIR", raising=False)
    monkeypatch.chdir(tmp_path)


def test_a_part_of_a_name_chooses_rows() -> None:
    """Any part does, whatever its case; a whole name chooses one, though it is a part of another."""
    assert len(choose_rows(None)) == len(KNOWN)
    assert len(choose_rows("SigLIP2")) == 4
    assert [row.name for row in choose_rows("qwen/qwen3-vl-embedding-2b")] == ["Qwen/Qwen3-VL-Embedding-2B"]
    assert choose_rows("no such model") == []


def test_a_model_in_either_folder_is_on_this_machine(tmp_path: Path) -> None:
    """The Hugging Face cache counts and so does ours, but not a folder without weights."""
    row = known_model(SIGLIP)
    assert row is not None
    assert folder_of(row) is None
    snapshot = tmp_path / "cache" / f"models--{SIGLIP.replace('/', '--')}" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("c0ffee")
    (snapshot / "config.json").write_text("{}")
    assert folder_of(row) is None
    (snapshot / "model.safetensors").write_bytes(b"weights")
    assert folder_of(row) == str(snapshot)


def test_rates_come_with_what_can_not_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row has a rate or the reason why there is none."""

    def seconds(row: object, _: object) -> float:
        if "8B" in row.name:  # type: ignore[attr-defined]
            raise ModelOutOfMemory("needs 33.6 GB of memory in float32, 20.0 GB free")
        return 0.5

    monkeypatch.setattr(trial, "seconds_per_image", seconds)
    monkeypatch.setattr(trial, "check_memory", lambda *_: None)
    listed = {one.row.name: one for one in list_models(KNOWN, measure=True)}
    assert listed[SIGLIP].rate == 2.0
    assert listed["Qwen/Qwen3-VL-Embedding-8B"].why_not.startswith("needs 33.6 GB")
    assert listed["jinaai/jina-clip-v2"].why_not.startswith("needs its authors' own code")
    assert all((one.rate is None) == bool(one.why_not) for one in listed.values())


def test_the_model_itself_is_measured_where_it_is_asked_for_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is on this machine is loaded and embeds images; the figure says so."""
    monkeypatch.setattr(models, "folder_of", lambda _: models.look_for("demo", None).folder)
    monkeypatch.setattr(models, "_SECONDS", 0.0)
    monkeypatch.setattr(models, "_SIZE", (30, 40, 3))
    (one,) = list_models(choose_rows("Qwen/Qwen3-VL-Embedding-2B"), measure=True)
    assert one.measured
    assert one.rate is not None
    assert one.as_json()["measured_with"] == "the model"


def test_the_command_lists_every_model_once() -> None:
    """Names, parameters, sizes and licenses stand in groups by who computes the model."""
    done = imgsearch("models")
    text = done.out.decode()
    assert done.code == 0
    assert all(text.count(f"  {row.name} ") == 1 for row in KNOWN)
    assert "Qwen/Qwen3-VL-Embedding-2B                    2.1B    4.3 GB  0.888" in text
    assert text.index("Computed by imgsearch itself") < text.index("Need their authors' own code")


def test_one_model_is_told_in_full() -> None:
    """Its figures come with their sources, and what no source confirms is named."""
    text = imgsearch("models", "clip-ViT-L-14").out.decode()
    assert "NDCG@10 on English document pages (300 queries): 0.611" in text
    assert "https://huggingface.co/tomaarsen/Qwen3-VL-Embedding-2B-vdr" in text
    assert "Not verified:     license" in text
    assert imgsearch("models", "no-such-model").code == 1


def test_json_has_a_line_a_model() -> None:
    """Every field is there for every model."""
    lines = imgsearch("models", "--json").objects
    assert [line["name"] for line in lines] == [row.name for row in KNOWN]
    assert {frozenset(line) for line in lines} == {frozenset(lines[0])}
    assert lines[8]["parameters"] == 2_127_532_032
