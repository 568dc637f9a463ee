"""The plain forward by transformers' own modules: what the engine is compared with, and the way for what it lacks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from imgsearch.model.batching import Widths
from imgsearch.model.loading import cast_parameters, load_model
from imgsearch.model.padding import pad_batch
from imgsearch.model.prompt import Ready
from imgsearch.types import Runtime


class Reference:
    """A loaded checkpoint. ``model`` is the transformers module, ``hidden`` how many numbers its hidden state has."""

    def __init__(self, folder: str, runtime: Runtime, padding_side: str = "right", pad_id: int = 0) -> None:
        """Load the checkpoint in ``folder``; batches are padded on ``padding_side`` with ``pad_id``.

        Raises CheckpointError as ``loading.load_model`` does.
        """
        self.model = load_model(folder, runtime)
        self.hidden: int = self.model.model.language_model.config.hidden_size
        self._runtime, self._padding = runtime, (padding_side, pad_id)
        self._turn = threading.RLock()  # in_float32 changes the weights that a pass computes with

    def widths(self) -> Widths:
        """Return what the memory of a pass is estimated by."""
        config: Any = self.model.config
        vision, text = config.vision_config, config.text_config
        return Widths(
            pixels=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
            vision=vision.hidden_size,
            vision_mlp=vision.intermediate_size,
            text=text.hidden_size,
            text_mlp=text.intermediate_size,
            stacks=len(vision.deepstack_visual_indexes),
        )

    def to_come(self) -> int:
        """Return how many bytes of weights memory must still take: all of them are there."""
        return 0

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[Ready]) -> torch.Tensor:
        """Return the last hidden state of each prompt's last token, (prompts, hidden) float32; one padded batch."""
        with self._turn:
            return self._pass(prompts)

    def _pass(self, prompts: Sequence[Ready]) -> torch.Tensor:
        device = self._runtime.device
        padded = pad_batch([tokens for tokens, _ in prompts], *self._padding)
        pictures = [patches for _, patches in prompts if patches is not None]
        vision: dict[str, torch.Tensor] = {}
        if pictures:
            values = np.concatenate([patches.pixel_values for patches in pictures])
            vision["pixel_values"] = torch.from_numpy(values).to(device)
            vision["image_grid_thw"] = torch.tensor([patches.grid for patches in pictures], device=device)
        output = self.model(
            input_ids=torch.from_numpy(padded.ids).to(device),
            attention_mask=torch.from_numpy(padded.attention).to(device),
            mm_token_type_ids=torch.from_numpy(padded.types).to(device),
            **vision,
        )
        return pool_last(output.last_hidden_state, output.attention_mask).float().cpu()

    def in_float32(self, prompts: Sequence[Ready]) -> torch.Tensor:
        """Compute the same in float32; the model is left as it was."""
        dtype: torch.dtype = getattr(torch, self._runtime.dtype)
        # Half precision to float32 and back changes no bit of the weights.
        with self._turn:
            try:
                cast_parameters(self.model, torch.float32)
                return self(prompts)
            finally:
                cast_parameters(self.model, dtype)


def pool_last(hidden_state: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Return the hidden state of each row's last token that is no padding, whichever side the padding is on.

    ``hidden_state``: (batch, length, hidden); ``attention_mask``: (batch, length), 0 on padding. The result
    is (batch, hidden) in the same dtype.
    """
    places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    last = (places * (attention_mask != 0)).amax(dim=1)
    return hidden_state[torch.arange(hidden_state.shape[0], device=hidden_state.device), last]
