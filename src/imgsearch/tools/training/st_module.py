"""The module that lets sentence-transformers train a Qwen3-VL embedding checkpoint without torchvision, and quickly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from types import MethodType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.base.modules import InputModule
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision, rotate_half

from imgsearch.errors import DatasetError, InputError
from imgsearch.model.engine.rotary import token_positions
from imgsearch.model.image import PatchLayout
from imgsearch.model.prompt import MAX_LENGTH, PromptEncoder, Tokens
from imgsearch.model.reference import Qwen3VLForEmbedding, pad_batch
from imgsearch.types import Patches


def patch_attention(model: Qwen3VLForEmbedding, attention: str) -> None:
    """Replace what is slow at many small pictures; parameters stay where they are, only methods are others.

    Pictures of one length attend in one call instead of one a picture and layer, patches are embedded by a
    matrix product instead of a convolution, and the deepstack features are added by an index whose gradient
    needs no sorting. The last text layer, of which only the last token is asked for, is computed for that one:
    ``ends`` has to be given to the forward. ``attention`` is "sdpa" or "eager", as ``options.choose_attention`` says.
    """
    model.model.language_model.config._attn_implementation = attention
    model.model.language_model._deepstack_process = _add_features
    last = model.model.language_model.layers[-1]
    last.forward = MethodType(_forward_last_token, last)
    visual = model.model.visual
    visual.patch_embed.forward = MethodType(_embed_patches, visual.patch_embed)
    attend = _eager if attention == "eager" else torch.nn.functional.scaled_dot_product_attention
    for block in visual.blocks:
        block.attn.forward = MethodType(partial(_attend, attend=attend), block.attn)


def _embed_patches(self: Any, patches: torch.Tensor) -> torch.Tensor:
    """Qwen3VLVisionPatchEmbed.forward: a convolution whose stride is its kernel is one product a patch."""
    return torch.nn.functional.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


def _add_features(hidden: torch.Tensor, mask: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Qwen3VLTextModel._deepstack_process: add ``features`` where the (batch, length) ``mask`` is true."""
    flat = hidden.flatten(0, 1)
    index = mask.flatten().nonzero().squeeze(1)
    return flat.index_add(0, index, features.to(flat.dtype)).view_as(hidden)


def _forward_last_token(
    self: Any,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    *,
    ends: torch.Tensor,
    **kwargs: Any,
) -> torch.Tensor:
    """Qwen3VLTextDecoderLayer.forward for the token of each row that stands at ``ends``, (batch,); zeros elsewhere."""
    attention, rows = self.self_attn, torch.arange(len(ends), device=ends.device)
    normed = self.input_layernorm(hidden_states)
    last = normed[rows, ends].unsqueeze(1)

    def heads(tokens: torch.Tensor, product: torch.nn.Linear) -> torch.Tensor:
        states: torch.Tensor = product(tokens).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        return states

    def rotated(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        turned: torch.Tensor = rotate_half(states)  # type: ignore[no-untyped-call]
        return states * cos.unsqueeze(1) + turned * sin.unsqueeze(1)

    cos, sin = position_embeddings
    query = attention.q_norm(heads(last, attention.q_proj))
    key = attention.k_norm(heads(normed, attention.k_proj))
    mixed = torch.nn.functional.scaled_dot_product_attention(
        rotated(query, cos[rows, ends].unsqueeze(1), sin[rows, ends].unsqueeze(1)),
        rotated(key, cos, sin),
        heads(normed, attention.v_proj),
        attn_mask=(torch.arange(normed.shape[1], device=ends.device) <= ends[:, None])[:, None, None],
        scale=attention.scaling,
        enable_gqa=True,
    )
    token = hidden_states[rows, ends] + attention.o_proj(mixed.flatten(1))
    token = token + self.mlp(self.post_attention_layernorm(token))
    return torch.zeros_like(hidden_states).index_put((rows, ends), token)


def _attend(
    self: Any,
    hidden_states: torch.Tensor,
    cu_seqlens: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    *,
    attend: Callable[..., torch.Tensor],
    **kwargs: Any,
) -> torch.Tensor:
    """Qwen3VLVisionAttention.forward, in groups of pictures that have as many patches as each other."""
    total = hidden_states.shape[0]
    query, key, value = self.qkv(hidden_states).reshape(total, 3, self.num_heads, -1).unbind(1)
    query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
    heads = torch.stack((query, key, value))
    lengths = cu_seqlens.diff()
    counts = lengths.tolist()
    if len(set(counts)) == 1:
        mixed = _attend_equal(attend, heads, len(counts))
    else:
        order, parts = [], []
        for length in dict.fromkeys(counts):
            starts = cu_seqlens[:-1][lengths == length]
            indices = (starts[:, None] + torch.arange(length, device=starts.device)).flatten()
            order.append(indices)
            parts.append(_attend_equal(attend, heads.index_select(1, indices), len(starts)))
        mixed = torch.cat(parts).index_select(0, torch.argsort(torch.cat(order)))
    result: torch.Tensor = self.proj(mixed.reshape(total, -1))
    return result


def _attend_equal(attend: Callable[..., torch.Tensor], heads: torch.Tensor, pictures: int) -> torch.Tensor:
    """Attend within each of ``pictures`` runs of equal length; ``heads`` is (3, patches, heads, head size)."""
    query, key, value = heads.reshape(3, pictures, -1, *heads.shape[2:]).transpose(2, 3)
    mixed: torch.Tensor = attend(query, key, value).transpose(1, 2).flatten(0, 1)
    return mixed


def _eager(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attention as two products and a softmax: what the fused kernel computes."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    mixed: torch.Tensor = scores.softmax(dim=-1).to(value.dtype) @ value
    return mixed


Grid = tuple[int, int, int]


class Qwen3VLInput(InputModule):
    """Texts (str) and pictures (int: their numbers) → token embeddings, by our own prompts and patches.

    It exists while training only: what is written is read back by sentence-transformers' own Transformer.
    Prompts are padded on the right, where the gradient cache drops what a mini-batch does not need.
    """

    def __init__(
        self,
        model: Qwen3VLForEmbedding,
        prompt_encoder: PromptEncoder,
        layout: PatchLayout,
        patches: Callable[[int], Patches],
        query_prompt: str,
        document_prompt: str,
        attention: str = "sdpa",
        precision: str = "float32",
    ) -> None:
        """Take the parts; texts are read with ``query_prompt`` as the instruction, pictures with the other.

        ``attention`` and ``precision`` are as ``options.choose_attention`` and ``choose_precision`` return them.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        patch_attention(model, attention)
        self._layout, self._pad_id = layout, prompt_encoder.pad_id
        self._patches = patches
        self._precision: torch.dtype = getattr(torch, precision)

        @lru_cache(maxsize=200_000)
        def text(content: str) -> tuple[Tokens, NDArray[np.int64]]:
            tokens = prompt_encoder.encode(content, 0, query_prompt, max_length=MAX_LENGTH)
            return tokens, positions(tokens.types, None, layout.merge)

        @lru_cache(maxsize=4096)
        def picture(grid: Grid) -> tuple[Tokens, NDArray[np.int64]]:
            tokens = prompt_encoder.encode(None, layout.tokens(grid), document_prompt, max_length=MAX_LENGTH)
            return tokens, positions(tokens.types, grid, layout.merge)

        self._text, self._picture = text, picture

    def check_texts(self, texts: Iterable[str]) -> None:
        """Raise DatasetError, which names the query, for a text that the model can't take."""
        for content in dict.fromkeys(texts):
            try:
                self._text(content)
            except InputError as error:
                raise DatasetError(f"the query '{content[:60]}': ", error.as_message) from error

    @property
    def modalities(self) -> list[Any]:
        """Both sides of the search."""
        return ["text", "image"]

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Return one padded batch; ``prompt`` is left out, since the instructions are this module's own.

        ``input_ids``, ``attention_mask``: (batch, longest); ``position_ids``: (batch, longest, 3), batch first
        so that the gradient cache can cut it; with pictures ``pixel_values`` and ``image_grid_thw`` as
        Qwen3VLForEmbedding takes them, one picture an input.
        """
        pictures = [self._patches(item) for item in inputs if isinstance(item, int)]
        if pictures and len(pictures) < len(inputs):
            raise ValueError("a column holds texts or images, not both")
        if pictures:
            ready = [self._picture(patches.grid) for patches in pictures]
        else:
            ready = [self._text(item) for item in inputs]
        padded = pad_batch([tokens for tokens, _ in ready], "right", self._pad_id)
        position_ids = np.zeros((*padded.ids.shape, 3), dtype=np.int64)
        for row, (_, positions) in enumerate(ready):
            position_ids[row, : len(positions)] = positions
        features = {
            "input_ids": torch.from_numpy(padded.ids),
            "attention_mask": torch.from_numpy(padded.attention),
            "position_ids": torch.from_numpy(position_ids),
        }
        if pictures:
            values = np.concatenate([patches.pixel_values for patches in pictures])
            features["pixel_values"] = torch.from_numpy(values)
            features["image_grid_thw"] = torch.tensor([patches.grid for patches in pictures])
        return features

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Put the last hidden state, (batch, length, hidden) float32, under ``token_embeddings``.

        It is that of the last token, which is all that is pooled; what the others have is of no use.

        Only this pass runs in the lower precision: cosines that are rounded to bfloat16 before they are scaled
        would leave the loss with two digits.
        """
        device = features["input_ids"].device.type
        with torch.autocast(device, self._precision, enabled=self._precision != torch.float32):
            features["token_embeddings"] = self._hidden(features).float()
        return features

    def _hidden(self, features: dict[str, Any]) -> torch.Tensor:
        qwen = self.model.model
        seen: dict[str, Any] = {}
        if "pixel_values" in features:
            vision = qwen.visual(
                features["pixel_values"], grid_thw=features["image_grid_thw"], return_dict=True
            )
            # In one piece, where get_image_features would cut it up by pictures only to be joined again.
            vision.pooler_output = [vision.pooler_output]
            vision.deepstack_features = [[feature] for feature in vision.deepstack_features]
            seen["mm_encoder_outputs"] = {"image": vision}
        output = qwen(
            input_ids=features["input_ids"],
            attention_mask=features["attention_mask"],
            position_ids=features["position_ids"].permute(2, 0, 1),
            use_cache=False,
            ends=features["attention_mask"].sum(1) - 1,
            **seen,
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def get_embedding_dimension(self) -> int:
        """Return the length of a vector."""
        size: int = self.model.model.language_model.config.hidden_size
        return size

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Do nothing: ``export`` writes the checkpoint."""


def positions(types: NDArray[np.int64], grid: Grid | None, merge: int) -> NDArray[np.int64]:
    """Return the (length, 3) positions in time, height and width of a prompt's tokens, padding left out.

    ``types`` is 1 on the tokens of the one picture, whose patches are ``grid``.
    """
    pictures = [] if grid is None else [(int(np.argmax(types)), (grid[1] // merge, grid[2] // merge))]
    return token_positions(pictures, len(types)).T.numpy()
