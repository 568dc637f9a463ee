"""The random weights that a recipe begins with, where it says how large some of them are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel, get_vision_position_ids

from local_attention import attend_to_neighbours
from random_checkpoint import TINY, write_random_checkpoint


def test_a_recipe_chooses_how_large_its_first_weights_are(tmp_path: Path) -> None:
    """Named tensors get the gain over what keeps a signal's size, embeddings the deviation itself, others as before."""
    write_random_checkpoint(str(tmp_path / "plain"))
    write_random_checkpoint(str(tmp_path / "own"), gains={"pos_embed": 3.0, "attn.proj": 0.1})
    plain, own = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "own"))
    positions = "model.visual.pos_embed.weight"
    assert float(own[positions].std()) == pytest.approx(3, rel=0.05)
    assert float(plain[positions].std()) == pytest.approx(0.02, rel=0.05)
    mixes = "model.visual.blocks.0.attn.proj.weight"
    width = TINY["vision_config"]["hidden_size"]
    assert float(own[mixes].std()) == pytest.approx(0.1 / width**0.5, rel=0.1)
    for name in ("model.visual.blocks.0.attn.qkv.weight", "model.language_model.embed_tokens.weight"):
        assert float(own[name].std()) == pytest.approx(float(plain[name].std()), rel=0.05)


def test_attention_begins_at_the_neighbours(tmp_path: Path) -> None:
    """Before any training a patch changes the four beside it more than all others, wherever it is in the image."""
    sizes = TINY["vision_config"]
    folder = str(tmp_path / "model")
    write_random_checkpoint(folder)
    attend_to_neighbours(folder)
    weights = load_file(tmp_path / "model" / "model.safetensors")
    tower = Qwen3VLVisionModel(Qwen3VLVisionConfig(**sizes))
    tower.load_state_dict(
        {name.removeprefix("model.visual."): w for name, w in weights.items() if "visual" in name}
    )
    side = 6
    grid = torch.tensor([[1, side, side]])
    places = [tuple(place) for place in get_vision_position_ids(grid, 2).tolist()]
    patches = torch.randn(side * side, sizes["hidden_size"], generator=torch.Generator().manual_seed(0))
    angles = tower.rotary_pos_emb(patches, torch.tensor(places))
    for changed in ((1, 1), (2, 3), (4, 4)):
        other = patches.clone()
        other[places.index(changed)] *= -1
        with torch.no_grad():
            now, then = (
                tower.blocks[0].attn(shown, torch.tensor([0, side * side]), position_embeddings=angles)
                for shown in (patches, other)
            )
        moved = (now - then).norm(dim=1)
        most = {places[n] for n in moved.topk(4).indices.tolist()}
        row, column = changed
        assert most == {(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)}
