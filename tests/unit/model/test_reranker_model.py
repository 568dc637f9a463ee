"""The reranker as a model: which checkpoints are one, and what is refused."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from imgsearch.errors import CheckpointError, InputError
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.locate import fetch_reranker
from imgsearch.model.prompt import check_reranks, token_id
from imgsearch.model.reranker import Qwen3VLReranker
from imgsearch.types import Input, PixelBudget, Silent
from support.checkpoints import write_reranker

IMAGES = [np.full((64, 96, 3), shade, np.uint8) for shade in (10, 120, 240)]


@pytest.fixture(scope="module")
def reranker(tiny_reranker: str) -> Qwen3VLReranker:
    """Give the tiny reranker, loaded."""
    return Qwen3VLReranker(tiny_reranker, device="cpu", dtype="float32", budget=PixelBudget(4096, 57_600))


def test_scores_are_probabilities_and_differ(reranker: Qwen3VLReranker) -> None:
    """Every image has a score between 0 and 1, its own, and the same one alone or among others."""
    scores = reranker.scores(Input(text="a dark room"), IMAGES)
    assert all(0 < score < 1 for score in scores)
    assert len({round(score, 5) for score in scores}) == 3
    assert reranker.scores(Input(text="a dark room"), IMAGES[1:2]) == [scores[1]]
    assert reranker.scores(Input(text="a bright room"), IMAGES[:1]) != scores[:1]


def test_an_empty_query_is_refused(reranker: Qwen3VLReranker) -> None:
    """Neither words nor an example is no query; nor may words hold the model's placeholder of an image."""
    with pytest.raises(InputError, match="the query is empty"):
        reranker.scores(Input(text=" "), IMAGES[:1])
    with pytest.raises(InputError, match="remove it"):
        reranker.scores(Input(text="<|image_pad|>"), IMAGES[:1])


def test_a_query_that_is_too_long_is_refused(reranker: Qwen3VLReranker) -> None:
    """More tokens than the published limit are an error that names it."""
    with pytest.raises(InputError, match="limit is 10240: shorten it"):
        reranker.scores(Input(text="1 " * 6_000), IMAGES[:1])


def test_its_time_is_estimated(reranker: Qwen3VLReranker) -> None:
    """Before anything is judged there is a time for an image, however short."""
    assert 0 < reranker.seconds_per_image() < math.inf


def test_an_embedding_model_is_no_reranker(tiny_checkpoint: str, tiny_checkpoint_bare: str) -> None:
    """A model for embeddings and one that only generates text are refused in one line, with what to use."""
    for folder, kind in ((tiny_checkpoint, "an embedding model"), (tiny_checkpoint_bare, "generates text")):
        with pytest.raises(CheckpointError) as caught:
            fetch_reranker(folder, Silent(), download=False)
        message = str(caught.value)
        assert "is not a reranker" in message
        assert kind in message
        assert message.endswith("use Qwen/Qwen3-VL-Reranker-2B")
        assert "\n" not in message


def test_it_is_known_by_modules_or_name(tiny_reranker: str, tmp_path: Path) -> None:
    """Modules of sentence-transformers make a reranker under any name; without them its name has to."""
    check_reranks(Checkpoint(shutil.copytree(tiny_reranker, tmp_path / "anything").as_posix()))
    plain = tmp_path / "My-ReRanker"
    write_reranker(str(plain), modules=False)
    assert fetch_reranker(str(plain), Silent(), download=False).folder == str(plain)
    assert token_id(Checkpoint(str(plain)), "yes") == token_id(Checkpoint(tiny_reranker), "yes")


def test_a_reranker_without_a_head_is_refused(tiny_reranker: str, tmp_path: Path) -> None:
    """Without a language-modelling head, tied or its own, there is nothing to score by."""
    folder = shutil.copytree(tiny_reranker, tmp_path / "reranker")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    with pytest.raises(CheckpointError, match=r"a reranker needs lm_head\.weight"):
        Qwen3VLReranker(str(folder), device="cpu", dtype="float32")


def test_answers_that_are_no_tokens_are_refused(tiny_reranker: str, tmp_path: Path) -> None:
    """A module without a token for one of the answers is an error that names the file."""
    folder = shutil.copytree(tiny_reranker, tmp_path / "reranker")
    (folder / "1_LogitScore" / "config.json").write_text('{"true_token_id": 5, "false_token_id": null}')
    with pytest.raises(CheckpointError, match=r"1_LogitScore/config\.json has no valid false_token_id"):
        Qwen3VLReranker(str(folder), device="cpu", dtype="float32")


def test_a_missing_one_names_its_own_option() -> None:
    """What is not on this computer is asked for by the option of the reranker, not by the model's."""
    with pytest.raises(CheckpointError) as caught:
        fetch_reranker("nobody/nothing-reranker", Silent(), download=False)
    assert caught.value.option == "rerank_model"


def test_a_query_is_not_kept_in_a_file(
    reranker: Qwen3VLReranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words of a query, which every prompt begins with, are computed once and never written down."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    reranker.scores(Input(text="something private"), IMAGES)
    assert not any(os.scandir(tmp_path))
