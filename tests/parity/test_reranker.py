"""Parity of the reranker with transformers: the published recipe, word for word, on Qwen3VLForConditionalGeneration.

What others serve gives every picture 0.5: their prompt lost the picture, or its last line break. So these tests compare
tokens and pixels too, and scores of different pictures must differ.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from imgsearch.model.engine.forward import Engine
from imgsearch.model.reranker import Qwen3VLReranker
from imgsearch.types import Input, PixelBudget
from support.checkpoints import write_reranker
from support.pictures import encode, scene

BUDGET = PixelBudget(4_096, 57_600)
PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
PICTURES = {
    "landscape": encode(scene(1, (320, 214)), ".png"),
    "portrait": encode(scene(2, (160, 250)), ".png"),
    "panorama": encode(scene(3, (600, 75)), ".png"),
    "another of the same size": encode(scene(5, (320, 214)), ".png"),
}
QUERIES = {
    "text": ("a dog on the beach", None),
    "image": (None, encode(scene(7, (200, 120)), ".png")),
    "text and image": ("the same place in winter\nEin Café — 猫", encode(scene(8, (90, 190)), ".png")),
}


class Processor(Qwen3VLProcessor):
    """The published processor without its video half, which needs torchvision."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]


class Recipe:
    """The published recipe on transformers alone, its prompt spelled out as the model card's template renders it."""

    def __init__(self, folder: str) -> None:
        self.processor = Processor.from_pretrained(folder, backend="pil")
        self.model = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        words = self.processor.tokenizer.get_vocab()
        self.yes, self.no = words["yes"], words["no"]

    def inputs(self, query: tuple[str | None, bytes | None], picture: bytes) -> Any:
        """Return the processor's output for one pair."""
        text, example = query
        prompt = (
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
            'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
            "<Instruct>: Given a search query, retrieve relevant candidates that answer the query."
            f"<Query>:{PICTURE if example else ''}{text or ''}\n<Document>:{PICTURE}<|im_end|>\n<|im_start|>assistant\n"
        )
        images = [Image.open(io.BytesIO(content)) for content in (example, picture) if content]
        size = {"shortest_edge": BUDGET.min_pixels, "longest_edge": BUDGET.max_pixels}
        return self.processor(text=[prompt], images=images, images_kwargs={"size": size}, return_tensors="pt")

    @torch.inference_mode()
    def score(self, inputs: Any) -> float:
        """Return the probability of "yes" against "no" as the next word, by the whole language-modelling head."""
        logits = self.model(**inputs, use_cache=False).logits[0, -1]
        return float(torch.softmax(logits[[self.yes, self.no]].double(), 0)[0])


def _pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _asked(query: tuple[str | None, bytes | None]) -> Input:
    text, example = query
    return Input(text=text, image=None if example is None else _pixels(example))


@pytest.fixture(scope="module", params=["tied", "a head of its own"])
def sides(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Qwen3VLReranker, Recipe]:
    """Give our reranker and the recipe on the same checkpoint, with either kind of head."""
    if request.param == "tied":
        folder = request.getfixturevalue("tiny_reranker")
    else:
        folder = str(tmp_path_factory.mktemp("model") / "with-head-reranker")
        write_reranker(folder, modules=False, head=True)
    reranker = Qwen3VLReranker(folder, device="cpu", dtype="float32", budget=BUDGET)
    assert isinstance(reranker.forward, Engine)
    return reranker, Recipe(folder)


@pytest.mark.parametrize("asked", QUERIES)
def test_prompt_pixels_and_score(sides: tuple[Qwen3VLReranker, Recipe], asked: str):
    """Tokens, patches and score of every kind of query with every picture equal the recipe's."""
    reranker, recipe = sides
    query, scores, expected = QUERIES[asked], [], []
    for content in PICTURES.values():
        inputs = recipe.inputs(query, content)
        tokens, pictures = reranker.encode(_asked(query), _pixels(content))
        assert tokens.ids.tolist() == inputs["input_ids"][0].tolist()
        assert tokens.types.tolist() == inputs["mm_token_type_ids"][0].tolist()
        assert [list(patches.grid) for patches in pictures] == inputs["image_grid_thw"].tolist()
        values = np.concatenate([patches.pixel_values for patches in pictures])
        assert np.array_equal(values, inputs["pixel_values"].numpy())
        expected.append(recipe.score(inputs))
    scores = reranker.scores(_asked(query), [_pixels(content) for content in PICTURES.values()])
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    apart = np.abs(np.subtract.outer(scores, scores))[~np.eye(len(scores), dtype=bool)]
    assert apart.min() > 1e-4, "different pictures must get different scores"


def test_the_picture_of_the_query_counts(sides: tuple[Qwen3VLReranker, Recipe]):
    """The same words with another example image give other scores, and in the other order others again."""
    reranker, _ = sides
    one, two = (_pixels(content) for content in list(PICTURES.values())[:2])
    scores = [
        reranker.scores(Input(text="like this", image=query), [image])[0]
        for query, image in ((one, two), (two, one), (two, two))
    ]
    assert min(abs(a - b) for a in scores for b in scores if a is not b) > 1e-5


def test_parity_where_the_engine_does_not_know_the_architecture(
    tiny_reranker: str, monkeypatch: pytest.MonkeyPatch
):
    """By transformers' modules, which take what the engine can't compute, the scores are the same."""
    from imgsearch.model.engine import forward
    from imgsearch.model.engine.config import UnknownArchitecture
    from imgsearch.model.reference import Reference

    images = [_pixels(content) for content in PICTURES.values()]
    engine = Qwen3VLReranker(tiny_reranker, device="cpu", dtype="float32", budget=BUDGET)

    def unknown(checkpoint: object) -> object:
        raise UnknownArchitecture("for a test")

    monkeypatch.setattr(forward, "read_architecture", unknown)
    plain = Qwen3VLReranker(tiny_reranker, device="cpu", dtype="float32", budget=BUDGET)
    assert isinstance(plain.forward, Reference)
    for query in QUERIES.values():
        np.testing.assert_allclose(
            plain.scores(_asked(query), images), engine.scores(_asked(query), images), atol=1e-5
        )


def test_bfloat16_ranks_as_float32(tmp_path: Path):
    """In bfloat16, as published, scores stay within a hundredth of those in float32."""
    write_reranker(str(tmp_path / "reranker"), dtype="bfloat16", head=True)
    images = [_pixels(content) for content in PICTURES.values()]
    exact, half = (
        Qwen3VLReranker(str(tmp_path / "reranker"), device="cpu", dtype=dtype, budget=BUDGET)
        for dtype in ("float32", "bfloat16")
    )
    asked = _asked(QUERIES["text"])
    np.testing.assert_allclose(half.scores(asked, images), exact.scores(asked, images), atol=0.02)
