"""Parity with transformers: from the same file bytes and text to the same tokens, patches and vectors.

The reference is Qwen3VLProcessor and Qwen3VLModel by the published recipe: chat template with the instruction as
system message and the generation prompt, the processor's own resizing and padding, the last token, L2.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen3VLModel, Qwen3VLProcessor

from imgsearch.model import reference as plain
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.reference import load_model, pad_batch
from imgsearch.types import MAX_PIXELS, MIN_PIXELS, Runtime
from support.pictures import encode, scene

INSTRUCTION = "Represent the user's input."
BUDGET = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}


@dataclass
class Case:
    """What both sides start from: a text, the bytes of a picture file, or both."""

    text: str | None = None
    content: bytes | None = None


PICTURES = {
    "landscape": encode(scene(1, (640, 427)), ".jpg"),
    "portrait": encode(scene(2, (333, 500)), ".png"),
    "panorama": encode(scene(3, (1200, 150)), ".jpg"),
    "small": encode(scene(4, (40, 30)), ".png"),
}
CASES = {
    "text": Case("a cat on the grass"),
    "other script": Case("Ein Café in Zürich — 猫と犬, \N{CAT FACE}!\n\n  two  spaces"),
    **{name: Case(content=content) for name, content in PICTURES.items()},
    "picture and text": Case("the same, but at night", PICTURES["landscape"]),
    "panorama and text": Case("a long one", PICTURES["panorama"]),
}


class ImageProcessor(Qwen3VLProcessor):
    """The published processor without its video half, which needs torchvision."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]


class Reference:
    """The published recipe on transformers alone."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.processor = ImageProcessor.from_pretrained(folder, backend="pil")
        self.model, report = Qwen3VLModel.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True
        )
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        self.model.eval()

    def inputs(self, cases: list[Case], side: str) -> Any:
        """Return the processor's output for a batch."""
        conversations, images = [], []
        for case in cases:
            content: list[dict[str, Any]] = []
            if case.content is not None:
                image = Image.open(io.BytesIO(case.content))
                images.append(image)
                content.append({"type": "image", "image": image})
            if case.text is not None:
                content.append({"type": "text", "text": case.text})
            system = {"role": "system", "content": [{"type": "text", "text": INSTRUCTION}]}
            conversations.append([system, {"role": "user", "content": content}])
        text = self.processor.apply_chat_template(conversations, tokenize=False, add_generation_prompt=True)
        return self.processor(
            text=text,
            images=images or None,
            images_kwargs={"size": BUDGET},
            text_kwargs={"padding": True, "padding_side": side},
            return_tensors="pt",
        )

    @torch.inference_mode()
    def vectors(self, inputs: Any) -> np.ndarray:
        """Return the unit vectors of a batch."""
        hidden = self.model(**inputs, use_cache=False).last_hidden_state
        mask = inputs["attention_mask"]
        last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
        return torch.nn.functional.normalize(hidden[torch.arange(len(hidden)), last], dim=-1).numpy()


@pytest.fixture(scope="module", params=["plain", "appends <|endoftext|>"])
def sides(request: pytest.FixtureRequest) -> tuple[Qwen3VLEmbedder, Reference]:
    """Give our embedder and the reference on the same checkpoint, in both variants of the tokenizer."""
    name = "tiny_checkpoint_bare" if request.param == "plain" else "tiny_checkpoint"
    folder = request.getfixturevalue(name)
    return Qwen3VLEmbedder(folder, device="cpu", dtype="float32"), Reference(folder)


def _ours(case: Case) -> dict[str, Any]:
    """Return a case as our embedder takes it, decoded from the same bytes."""
    item: dict[str, Any] = {"text": case.text}
    if case.content is not None:
        item["image"] = np.asarray(Image.open(io.BytesIO(case.content)).convert("RGB"))
    return item


def _assert_near(ours: np.ndarray, reference: np.ndarray) -> None:
    """Assert the parity that is promised: cosine at least 0.99999, no number off by more than 1e-4."""
    assert ours.shape == reference.shape
    assert (ours * reference).sum(axis=1).min() >= 0.99999
    assert np.abs(ours - reference).max() <= 1e-4


@pytest.mark.parametrize("name", CASES)
def test_inputs_and_vector(sides: tuple[Qwen3VLEmbedder, Reference], name: str):
    """Token ids, token types, grid, pixel values and vector of one input equal the reference's."""
    embedder, reference = sides
    expected = reference.inputs([CASES[name]], "right")
    tokens, pictures = embedder._encode_input(_ours(CASES[name]), 0, 1)
    assert tokens.ids.tolist() == expected["input_ids"][0].tolist()
    assert tokens.types.tolist() == expected["mm_token_type_ids"][0].tolist()
    if not pictures:
        assert "pixel_values" not in expected
    for patches in pictures:
        assert [list(patches.grid)] == expected["image_grid_thw"].tolist()
        assert np.array_equal(patches.pixel_values, expected["pixel_values"].numpy())
    _assert_near(embedder.embed([_ours(CASES[name])]), reference.vectors(expected))


@pytest.mark.parametrize("side", ["left", "right"])
def test_batches(sides: tuple[Qwen3VLEmbedder, Reference], side: str):
    """A batch of all kinds of input equals the reference's batch and its one-at-a-time vectors, on either side."""
    embedder, reference = sides
    cases = list(CASES.values())
    expected = reference.inputs(cases, side)
    ready = [embedder._encode_input(_ours(case), 0, 1) for case in cases]
    padded = pad_batch([tokens for tokens, _ in ready], side, embedder._prompt_encoder.pad_id)
    assert padded.ids.tolist() == expected["input_ids"].tolist()
    assert padded.attention.tolist() == expected["attention_mask"].tolist()
    assert padded.types.tolist() == expected["mm_token_type_ids"].tolist()
    ours = embedder.embed([_ours(case) for case in cases], batch_size=len(cases))
    _assert_near(ours, reference.vectors(expected))
    alone = [reference.vectors(reference.inputs([case], side)) for case in cases]
    _assert_near(ours, np.concatenate(alone))
    padded_by_us = plain.Reference(
        Checkpoint(reference.folder), embedder.runtime, side, embedder._prompt_encoder.pad_id
    )(ready)
    _assert_near(torch.nn.functional.normalize(padded_by_us, dim=-1).numpy(), reference.vectors(expected))


def test_the_side_and_token_of_padding(sides: tuple[Qwen3VLEmbedder, Reference]):
    """Where nothing is asked for, padding is on the side and with the token of transformers' tokenizer."""
    embedder, reference = sides
    assert embedder._prompt_encoder.padding_side == reference.processor.tokenizer.padding_side
    assert embedder._prompt_encoder.pad_id == reference.processor.tokenizer.pad_token_id


def test_dropping_the_token_types_would_be_seen(sides: tuple[Qwen3VLEmbedder, Reference]):
    """Without the token types' positions, the vector of a picture is outside of the parity that is promised."""
    embedder, reference = sides
    expected = reference.inputs([CASES["landscape"]], "right")
    flat = dict(expected) | {"mm_token_type_ids": torch.zeros_like(expected["mm_token_type_ids"])}
    ours = embedder.embed([_ours(CASES["landscape"])])
    _assert_near(ours, reference.vectors(expected))
    assert (ours * reference.vectors(flat)).sum() < 0.9999


def test_loading_by_transformers_gives_the_same_model(tiny_checkpoint: str):
    """Our way of loading and transformers' own give equal parameters and buffers."""
    from imgsearch.model.reference import Qwen3VLForEmbedding

    other = Qwen3VLForEmbedding.from_pretrained(tiny_checkpoint, dtype=torch.float32)
    own = load_model(Checkpoint(tiny_checkpoint), Runtime("cpu", "float32", "for a test"))
    ours = dict((*own.named_parameters(), *own.named_buffers()))
    theirs = dict((*other.named_parameters(), *other.named_buffers()))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
