"""Tests of the model class: its parameters and what it passes on."""

from __future__ import annotations

import copy

import pytest
import torch

from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.embedder import Qwen3VLEmbedder
from imgsearch.model.reference import Qwen3VLConfig, Qwen3VLForEmbedding, load_model
from imgsearch.types import Runtime
from random_checkpoint import PUBLISHED_2B


def test_full_size_has_the_published_names():
    """The published 2B configuration gives the 625 tensors of the published checkpoint, and no language-model head."""
    with torch.device("meta"):
        model = Qwen3VLForEmbedding(Qwen3VLConfig.from_dict(copy.deepcopy(PUBLISHED_2B)))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert len(shapes) == 625
    assert all(name.startswith(("model.language_model.", "model.visual.")) for name in shapes)
    assert not any("lm_head" in name for name in shapes)
    expected = {
        "model.language_model.embed_tokens.weight": (151936, 2048),
        "model.language_model.norm.weight": (2048,),
        "model.language_model.layers.27.mlp.down_proj.weight": (2048, 6144),
        "model.language_model.layers.0.self_attn.k_proj.weight": (1024, 2048),
        "model.language_model.layers.0.self_attn.q_norm.weight": (128,),
        "model.visual.patch_embed.proj.weight": (1024, 3, 2, 16, 16),
        "model.visual.pos_embed.weight": (2304, 1024),
        "model.visual.blocks.23.attn.qkv.bias": (3072,),
        "model.visual.blocks.0.mlp.linear_fc1.weight": (4096, 1024),
        "model.visual.merger.norm.weight": (1024,),
        "model.visual.deepstack_merger_list.2.norm.weight": (4096,),
        "model.visual.merger.linear_fc2.weight": (2048, 4096),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    assert sum(tensor.numel() for tensor in model.parameters()) == 2_127_532_032


def test_published_positions_are_understood():
    """The rotary settings, which the published config keeps under their older names, reach the modules."""
    with torch.device("meta"):
        model = Qwen3VLForEmbedding(Qwen3VLConfig.from_dict(copy.deepcopy(PUBLISHED_2B)))
    rotary = model.model.language_model.rotary_emb
    assert rotary.config.rope_parameters["rope_theta"] == 5_000_000
    assert rotary.mrope_section == [24, 20, 20]


@pytest.fixture(scope="module")
def tiny_model(tiny_checkpoint: str) -> Qwen3VLForEmbedding:
    """Give the tiny checkpoint as transformers' module."""
    return load_model(Checkpoint(tiny_checkpoint), Runtime("cpu", "float32", "for a test"))


def _picture_inputs(embedder: Qwen3VLEmbedder) -> dict[str, torch.Tensor]:
    """Return the model's inputs for one prompt with a picture of 2 by 3 tokens."""
    tokens = embedder._prompt_encoder.encode("a cat", 6)
    generator = torch.Generator().manual_seed(0)
    return {
        "input_ids": torch.from_numpy(tokens.ids)[None],
        "attention_mask": torch.ones(1, len(tokens.ids), dtype=torch.int64),
        "mm_token_type_ids": torch.from_numpy(tokens.types)[None],
        "pixel_values": torch.rand(24, 1536, generator=generator) * 2 - 1,
        "image_grid_thw": torch.tensor([[1, 4, 6]]),
    }


@torch.inference_mode()
def test_token_types_reach_the_positions(tiny_embedder: Qwen3VLEmbedder, tiny_model: Qwen3VLForEmbedding):
    """With the type ids all zero a picture's tokens lose their rows and columns, and the vector is another one."""
    inputs = _picture_inputs(tiny_embedder)
    right = tiny_model(**inputs).last_hidden_state[0, -1]
    inputs["mm_token_type_ids"] = torch.zeros_like(inputs["mm_token_type_ids"])
    flat = tiny_model(**inputs).last_hidden_state[0, -1]
    assert torch.cosine_similarity(right, flat, dim=0) < 0.9999


def test_pictures_without_token_types_are_an_error(
    tiny_embedder: Qwen3VLEmbedder, tiny_model: Qwen3VLForEmbedding
):
    """Type ids that are dropped on the way raise an error instead of giving wrong vectors."""
    inputs = _picture_inputs(tiny_embedder)
    del inputs["mm_token_type_ids"]
    with pytest.raises(ValueError, match="mm_token_type_ids"):
        tiny_model(**inputs)


@torch.inference_mode()
def test_output_carries_the_mask(tiny_embedder: Qwen3VLEmbedder, tiny_model: Qwen3VLForEmbedding):
    """The output has the last hidden state of every token and the mask that pooling needs."""
    inputs = _picture_inputs(tiny_embedder)
    output = tiny_model(**inputs)
    assert output.last_hidden_state.shape == (*inputs["input_ids"].shape, tiny_embedder.dim)
    assert output.attention_mask is inputs["attention_mask"]
