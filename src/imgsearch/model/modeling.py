"""The reference forward of a Qwen3-VL embedding model: transformers' Qwen3VLModel, its last hidden state shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel, Qwen3VLPreTrainedModel
from transformers.utils.generic import ModelOutput

__all__ = ["Qwen3VLConfig", "Qwen3VLForEmbedding", "Qwen3VLForEmbeddingOutput"]


@dataclass
class Qwen3VLForEmbeddingOutput(ModelOutput):
    """What pooling needs.

    ``last_hidden_state``: (batch, length, hidden) in the model's dtype, after the final norm.
    ``attention_mask``: (batch, length) int64, 0 on padding, as it was given.
    """

    last_hidden_state: torch.Tensor | None = None
    attention_mask: torch.Tensor | None = None


class Qwen3VLForEmbedding(Qwen3VLPreTrainedModel):  # type: ignore[no-untyped-call]  # transformers is half typed
    """Both towers of Qwen3-VL without a language-modelling head; every size comes from the config.

    The parameter names are those of the published checkpoints: ``model.language_model.…``, ``model.visual.…``.
    """

    def __init__(self, config: Qwen3VLConfig) -> None:
        """Build the modules that ``config`` describes."""
        super().__init__(config)
        self.model = Qwen3VLModel(config)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        image_grid_thw: torch.Tensor | None = None,
        mm_token_type_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Qwen3VLForEmbeddingOutput:
        """Return the last hidden state of every token.

        ``input_ids``, ``attention_mask``, ``mm_token_type_ids``: (batch, length) int64, the last 1 on tokens
        of a picture. ``pixel_values``: (patches of all pictures, numbers of a patch), ``image_grid_thw``:
        (pictures, 3) int64, both None without pictures. Follows the published recipe of Qwen3-VL-Embedding.
        """
        # The type ids make the rotary positions three-dimensional; a version of transformers that does not
        # insist on them would quietly give other vectors.
        if pixel_values is not None and mm_token_type_ids is None:
            raise ValueError("pictures need mm_token_type_ids: without them their positions are lost")
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            image_grid_thw=image_grid_thw,
            mm_token_type_ids=mm_token_type_ids,
            use_cache=False,
            **kwargs,
        )
        return Qwen3VLForEmbeddingOutput(outputs.last_hidden_state, attention_mask)
