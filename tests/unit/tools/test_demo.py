"""The demo and the checkpoint that ships: it finds what was asked for, and it is what its card says."""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.locate import DEMO_FOLDER
from imgsearch.tools.demo.gallery import CONTENTS, GALLERY, RIGHT
from imgsearch.types import Input
from shapes.drawn_rows import evaluation_rows
from support import ROOT
from support.cli import Done, imgsearch
from support.fakes import paint
from things.card import model_card


@pytest.fixture(scope="module")
def demo() -> Qwen3VLEmbedder:
    """The checkpoint that ships, loaded."""
    return Qwen3VLEmbedder(DEMO_FOLDER, device="cpu")


@pytest.fixture(scope="module")
def contents() -> dict[str, Any]:
    """What the gallery that ships says of its images: questions, example, and what none of them shows."""
    with zipfile.ZipFile(GALLERY) as archive:
        found: dict[str, Any] = json.loads(archive.read(CONTENTS))
    return found


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """Give the folder of a demo's first run, without network, and what the run said."""
    out = tmp_path_factory.mktemp("demo") / "gallery"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        return out, imgsearch("demo", "--out", str(out))


@pytest.fixture(scope="module")
def second_run(first_run: tuple[Path, Done]) -> tuple[Done, list[str]]:
    """Give what a second run into the same folder says with --verbose, and what it opened."""
    opened: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("webbrowser.open", opened.append)
        return imgsearch("demo", "--verbose", "--out", str(first_run[0])), opened


@pytest.mark.slow("embeds 300 pictures")
def test_the_demo_finds_what_it_asks_for_and_shows_it(
    first_run: tuple[Path, Done], contents: dict[str, Any]
) -> None:
    """Six searches of 300 images: every first result is correct, and most others; a contact sheet for each."""
    out, done = first_run
    assert done.code == 0, done.err
    right, shown, first, asked = map(
        int, re.search(r"(\d+) of (\d+) results are correct, and (\d+) of (\d+) first", done.err).groups()
    )
    assert (shown, asked) == (48, len(contents["questions"]) + 1)
    assert first == asked
    assert right >= 0.8 * shown
    counts = re.findall(r"^(\d) of 8 correct   imgsearch (?:query|similar) ", done.err, re.MULTILINE)
    assert sum(map(int, counts)) == right
    sheets = sorted(os.listdir(out / "sheets"))
    asked_for = [*contents["questions"], contents["example"]]
    assert sheets == [f"{n}-{'-'.join(one['text'].split())}.png" for n, one in enumerate(asked_for, start=1)]
    page = (out / "results.html").read_text()
    assert re.findall(r'<img src="sheets/(.*?)">', page) == sheets
    assert f"See them in {os.path.relpath(out / 'results.html')}\n" in done.err
    assert "imgsearch index ~/Pictures" in done.err


@pytest.mark.slow("embeds 300 pictures")
@pytest.mark.parametrize("number", [0, 3])
def test_an_answer_of_the_gallery_ends_where_chance_begins(
    first_run: tuple[Path, Done], contents: dict[str, Any], number: int
) -> None:
    """With --cut auto the eight right images are found, with few others."""
    question = contents["questions"][number]
    done = _cut(first_run[0], question["text"])
    assert done.code == 0
    found = [os.path.basename(path) for path in done.lines]
    assert len(found) <= 2 * RIGHT
    assert {*question["right"]} <= {*found}


@pytest.mark.slow("embeds 300 pictures")
def test_what_no_image_of_the_gallery_shows_is_not_answered(
    first_run: tuple[Path, Done], contents: dict[str, Any]
) -> None:
    """With --cut auto nothing is found of what is not there, and the demo says so."""
    out, done = first_run
    assert _cut(out, contents["absent"]).code == 1
    assert re.search(f"nothing stands out   imgsearch query .?{contents['absent']}", done.err)
    for text in ("purple cross on green", "invoice from 2021"):
        assert _cut(out, text).code == 1, text


def _cut(out: Path, text: str) -> Done:
    """Ask a demo's index; the answer ends by itself."""
    flags = ("--cut", "auto", "-k", "40", "--paths", "--index", out / ".imgsearch", "--model", "demo")
    return imgsearch("query", text, *flags)


@pytest.mark.slow("embeds 300 pictures")
def test_a_second_demo_embeds_nothing(second_run: tuple[Done, list[str]]) -> None:
    """The pictures are there as they were, so that their vectors are known."""
    again, _ = second_run
    assert again.code == 0
    assert "0 indexed" in again.err


def test_a_folder_that_can_t_be_written_is_named(tmp_path: Path) -> None:
    """The demo ends with one line that names the folder and says what to do."""
    (tmp_path / "file").write_text("not a folder")
    done = imgsearch("demo", "--out", str(tmp_path / "file"))
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert str(tmp_path / "file") in done.err
    assert "--out" in done.err


def test_a_folder_of_pictures_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    """Where the demo has not been before, it overwrites nothing."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "001.png").write_text("a photograph")
    done = imgsearch("demo", "--out", str(tmp_path))
    assert done.code == 2
    assert "pictures is not from an earlier demo; choose another folder with --out" in done.err
    assert (tmp_path / "pictures" / "001.png").read_text() == "a photograph"


def test_a_demo_of_another_version_is_named(tmp_path: Path, tiny_checkpoint: str) -> None:
    """Where an index of another model lies in the folder, one line says what to delete, and the index stays."""
    out = tmp_path / "demo-gallery"
    (out / "sheets").mkdir(parents=True)
    paint(out / "pictures" / "red.png", "red", size=(64, 64))
    index = out / ".imgsearch"
    assert imgsearch("index", out / "pictures", "--index", index, "--model", tiny_checkpoint).code == 0
    done = imgsearch("demo", "--out", str(out))
    assert done.code == 2
    assert f"{out} is from the demo of another version; delete it, or choose another folder" in done.err
    assert imgsearch("list", "--index", index, "-0").out.count(b"\0") == 1


@pytest.mark.slow("embeds 300 pictures")
def test_the_results_are_opened_for_whoever_wants_to_see_them(
    first_run: tuple[Path, Done], second_run: tuple[Done, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a browser can be seen the demo offers the page; elsewhere it names the file and starts nothing."""
    assert second_run[1] == []
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("imgsearch.cli.commands.models._has_display", lambda: True)
    imgsearch("demo", "--yes", "--out", str(first_run[0]))
    assert opened == [(first_run[0] / "results.html").as_uri()]


@pytest.mark.slow("embeds 300 pictures")
def test_more_messages_name_every_result(second_run: tuple[Done, list[str]]) -> None:
    """With --verbose each result is a line: its score, its file, and whether it is correct."""
    done, _ = second_run
    assert len(re.findall(r"  \d\.\d{4}  .*\.webp  (?:correct|wrong)\n", done.err)) == 48


@pytest.mark.slow("embeds 300 pictures")
def test_a_contact_sheet_that_can_t_be_written_is_named(first_run: tuple[Path, Done]) -> None:
    """A disk that refuses late is one line, too."""
    out, _ = first_run
    sheet = min((out / "sheets").iterdir())
    sheet.rename(out / "kept.png")
    sheet.mkdir()
    done = imgsearch("demo", "--out", str(out))
    sheet.rmdir()
    (out / "kept.png").rename(sheet)
    assert done.code == 2
    assert f"{sheet.name} can't be written: Is a directory" in done.err


def test_the_checkpoint_has_the_published_architecture_in_few_parameters() -> None:
    """Both towers, deepstack, interleaved mrope, tied embeddings; at most ten million float16 numbers, 20 MB."""
    config = json.loads(Path(DEMO_FOLDER, "config.json").read_text())
    assert config["architectures"] == ["Qwen3VLForConditionalGeneration"]
    assert config["vision_config"]["deepstack_visual_indexes"]
    assert config["text_config"]["rope_scaling"]["mrope_interleaved"]
    assert config["tie_word_embeddings"]
    weights = os.path.join(DEMO_FOLDER, "model.safetensors")
    assert os.path.getsize(weights) <= 20_000_000
    with safe_open(weights, framework="np") as tensors:
        names = list(tensors.keys())
        assert {tensors.get_slice(name).get_dtype() for name in names} == {"F16"}
        count = sum(int(np.prod(tensors.get_slice(name).get_shape())) for name in names)
    assert 1_000_000 < count <= 10_000_000
    assert {name.split(".")[1] for name in names} == {"language_model", "visual"}


def test_the_checkpoint_finds_unseen_combinations(demo: Qwen3VLEmbedder) -> None:
    """Of 60 unseen combinations of colour, shape, count and ground, most come first among 300 pictures."""
    rows = list(evaluation_rows(60, 11, "group", ("colour", "shape", "count", "ground")))
    queries = demo.embed([Input(text=row.query) for row in rows])
    pictures = [picture for row in rows for picture in (row.image, *row.negatives)]
    documents = demo.embed([Input(image=np.asarray(picture)) for picture in pictures], batch_size=32)
    full = queries.shape[1]
    for dim in (full, full // 4):
        scores = (
            queries[:, :dim]
            @ (documents[:, :dim] / np.linalg.norm(documents[:, :dim], axis=1, keepdims=True)).T
        )
        first = scores.argmax(axis=1) == 5 * np.arange(60)
        assert first.mean() >= 0.75, dim


def test_the_card_shows_what_was_measured() -> None:
    """The tables of the model card are those of the figures that the recipe kept beside it."""
    card = Path(DEMO_FOLDER, "README.md").read_text()
    figures = json.loads(Path(DEMO_FOLDER, "figures.json").read_text())
    weights = os.path.getsize(os.path.join(DEMO_FOLDER, "model.safetensors"))
    assert card == model_card(figures, weights)


def test_the_page_of_models_shows_the_figures_of_the_card() -> None:
    """The tables of the model card, which the recipe wrote, stand in docs/models.md as they are."""
    card, page = Path(DEMO_FOLDER, "README.md").read_text(), (ROOT / "docs" / "models.md").read_text()
    tables = re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE)
    assert tables
    for table in tables:
        assert table in page
