"""Makes tiny random models by their architecture, without tokenizers: what the library's own classes can load."""

from __future__ import annotations

from typing import Any

_SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_TEXT = {**_SMALL, "num_key_value_heads": 2, "vocab_size": 128}
_ROPE = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]}
_IMAGE = 100  # the token that stands for a piece of an image
_QWEN = {
    "image_token_id": _IMAGE,
    "video_token_id": 101,
    "vision_start_token_id": 102,
    "vision_end_token_id": 103,
}


def tiny_config(architecture: str) -> Any:
    """Return the configuration of a tiny model of this model_type, as transformers has it."""
    from transformers import AutoConfig

    return AutoConfig.for_model(architecture, **_SETTINGS[architecture])


def image_of(architecture: str) -> dict[str, Any]:
    """Return what the model takes for one image, as its image processor would give it."""
    import torch

    generator = torch.Generator().manual_seed(0)
    if architecture in ("clip", "siglip"):
        return {"pixel_values": torch.randn(1, 3, 32, 32, generator=generator)}
    if architecture == "llava_next":
        return {
            "pixel_values": torch.randn(1, 2, 3, 32, 32, generator=generator),
            "image_sizes": torch.tensor([[32, 32]]),
        }
    if architecture == "embedding_gemma2":
        places = torch.stack(torch.meshgrid(torch.arange(6), torch.arange(6), indexing="xy"), dim=-1)
        return {
            "pixel_values": torch.rand(1, 36, 3 * 8 * 8, generator=generator),
            "image_position_ids": places.reshape(1, 36, 2),
        }
    size = 3 * 2 * _SETTINGS[architecture]["vision_config"]["patch_size"] ** 2
    return {
        "pixel_values": torch.randn(16, size, generator=generator),
        "image_grid_thw": torch.tensor([[1, 4, 4]]),
    }


_QWEN2_VISION = {
    "depth": 2,
    "embed_dim": 32,
    "hidden_size": 32,
    "num_heads": 2,
    "mlp_ratio": 2,
    "patch_size": 4,
}
_QWEN25_VISION = {
    "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32, "patch_size": 4,
    "window_size": 16, "fullatt_block_indexes": [1],
}  # fmt: skip
_SETTINGS: dict[str, dict[str, Any]] = {
    "clip": {
        "text_config": {**_SMALL, "vocab_size": 128, "max_position_embeddings": 16},
        "vision_config": {**_SMALL, "image_size": 32, "patch_size": 8},
        "projection_dim": 24,
    },
    "siglip": {
        "text_config": {**_SMALL, "vocab_size": 128, "max_position_embeddings": 16, "projection_size": 32},
        "vision_config": {**_SMALL, "image_size": 32, "patch_size": 8},
    },
    "llava_next": {
        "text_config": {"model_type": "mistral", **_TEXT},
        "vision_config": {"model_type": "clip_vision_model", **_SMALL, "image_size": 32, "patch_size": 8},
        "image_token_index": _IMAGE,
        "image_grid_pinpoints": [[32, 32]],
        "vision_feature_layer": -1,
    },
    "qwen2_vl": {
        "text_config": {**_TEXT, "rope_parameters": _ROPE},
        "vision_config": _QWEN2_VISION,
        **_QWEN,
    },
    "qwen2_5_vl": {
        "text_config": {**_TEXT, "rope_parameters": _ROPE},
        "vision_config": _QWEN25_VISION,
        **_QWEN,
    },
    "qwen2_5_omni_thinker": {
        "text_config": {**_TEXT, "rope_parameters": _ROPE},
        "vision_config": _QWEN25_VISION,
        "audio_config": {
            "d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 64, "output_dim": 32,
            "num_mel_bins": 16, "max_source_positions": 16,
        },
        "image_token_id": _IMAGE, "video_token_id": 101, "audio_token_id": 104, "vision_start_token_id": 102,
    },
    "qwen3_vl": {
        "text_config": {**_TEXT, "head_dim": 16, "rope_parameters": {**_ROPE, "mrope_interleaved": True}},
        "vision_config": {
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
            "patch_size": 4, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
        },
        **_QWEN,
    },
    "embedding_gemma2": {
        "text_config": {
            **_TEXT, "num_hidden_layers": 2, "head_dim": 16, "num_key_value_heads": 1, "hidden_size_per_layer_input": 8,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        "vision_config": {
            "model_type": "gemma4_vision", **_SMALL, "num_key_value_heads": 2, "head_dim": 16, "patch_size": 8,
        },
        "image_token_id": _IMAGE,
    },
}  # fmt: skip
