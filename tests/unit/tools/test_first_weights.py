"""The random weights that a recipe begins with, where it says how large some of them are."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

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
