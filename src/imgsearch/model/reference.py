"""The plain forward by transformers' own modules: what the engine is compared with, and what it can't compute."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel, Qwen3VLPreTrainedModel
from transformers.utils.generic import ModelOutput

from imgsearch.errors import CheckpointError, UsageError
from imgsearch.model.batching import LayerSizes
from imgsearch.model.checkpoint import MEND, Checkpoint
from imgsearch.model.engine.weights import find_tensors, read_tensor
from imgsearch.model.prompt import ModelInput, Tokens
from imgsearch.text import Option, error_line
from imgsearch.types import Runtime


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
            raise ValueError("images need mm_token_type_ids: without them their positions are lost")
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


def load_model(checkpoint: Checkpoint, runtime: Runtime) -> Qwen3VLForEmbedding:
    """Return the model of a checkpoint in ``runtime``'s dtype and on its device, ready to infer.

    Only safetensors are read, never pickles. The files are not mapped: their bytes are read in pieces of
    16 MiB into the model's own tensors and converted on the way, so that the peak of resident memory stays
    near the weights' size in the target dtype. Rotary frequencies are float32 in any dtype.

    Raises CheckpointError for a folder of another family, a missing, unexpected or misshapen tensor, and a
    damaged file; UsageError for int8.
    """
    config = read_config(checkpoint)
    if runtime.dtype == "int8":
        raise UsageError(
            f"{checkpoint.folder} runs on transformers' modules, which do not support int8: omit ",
            Option("dtype"),
        )
    with torch.device("meta"):
        model = Qwen3VLForEmbedding(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    stored = find_tensors(checkpoint, shapes)
    device, dtype = torch.device(runtime.device), getattr(torch, runtime.dtype)
    owners = {name: (module, leaf) for module, leaf, name in _parameters(model)}
    # In the order of the files: one pass over the disk.
    for name, where in sorted(stored.items(), key=lambda item: (item[1].path, item[1].start)):
        module, leaf = owners[name]
        tensor = read_tensor(where, dtype, device)
        module.register_parameter(leaf, torch.nn.Parameter(tensor, requires_grad=False))
    _rebuild_buffers(model, device)
    empty = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if empty:
        raise RuntimeError(f"tensors without content after loading: {empty}")
    model.train(False)
    return model


def read_config(checkpoint: Checkpoint) -> Qwen3VLConfig:
    """Return the checkpoint's config as transformers understands it; CheckpointError if it is of no Qwen3-VL."""
    content = copy.deepcopy(checkpoint.config)  # transformers changes what it is given
    try:
        config: Qwen3VLConfig = Qwen3VLConfig.from_dict(content)
    except Exception as error:  # its validation raises many kinds
        raise CheckpointError(
            f"{checkpoint.folder}: config.json is not valid ({error_line(error, first=True)}); ", MEND
        ) from error
    return config


def cast_parameters(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Convert the parameters in place, one at a time; buffers keep their float32 (``Module.to`` would round them)."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def _parameters(model: torch.nn.Module) -> Iterable[tuple[torch.nn.Module, str, str]]:
    """Yield the owning module, the name in it and the full name of every parameter."""
    for prefix, module in model.named_modules():
        for leaf in module._parameters:
            yield module, leaf, f"{prefix}.{leaf}" if prefix else leaf


def _rebuild_buffers(model: Qwen3VLForEmbedding, device: torch.device) -> None:
    """Compute what no checkpoint stores (rotary frequencies) as plain construction does: float32, on the CPU."""
    for module in model.modules():
        buffers = {name: buffer for name, buffer in module._buffers.items() if buffer is not None}
        if not buffers:
            continue
        for name, buffer in buffers.items():
            module._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)
        model._init_weights(module)  # type: ignore[no-untyped-call]
        for name in buffers:
            computed = module._buffers[name]
            assert computed is not None
            module._buffers[name] = computed.to(device)


@dataclass(frozen=True, slots=True, eq=False)
class PaddedTokens:
    """Several prompts as one block: each array is (n, longest) int64; ``attention`` is 0 on padding."""

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    attention: NDArray[np.int64]


def pad_batch(prompts: Sequence[Tokens], side: str, pad_id: int) -> PaddedTokens:
    """Lay prompts of different lengths side by side, filled up with ``pad_id`` on the ``side`` "left" or "right"."""
    shape = (len(prompts), max(len(prompt.ids) for prompt in prompts))
    ids = np.full(shape, pad_id, dtype=np.int64)
    types, attention = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, prompt in enumerate(prompts):
        length = len(prompt.ids)
        columns = slice(shape[1] - length, None) if side == "left" else slice(length)
        ids[row, columns], types[row, columns], attention[row, columns] = prompt.ids, prompt.types, 1
    return PaddedTokens(ids, types, attention)


class Reference:
    """A loaded checkpoint. ``model`` is the transformers module, ``hidden`` how many numbers its hidden state has."""

    def __init__(
        self, checkpoint: Checkpoint, runtime: Runtime, padding_side: str = "right", pad_id: int = 0
    ) -> None:
        """Load a checkpoint; batches are padded on ``padding_side`` with ``pad_id``.

        Raises as ``load_model`` does.
        """
        self.model = load_model(checkpoint, runtime)
        self.hidden: int = self.model.model.language_model.config.hidden_size
        self._runtime, self._padding = runtime, (padding_side, pad_id)
        self._lock = threading.RLock()  # in_float32 changes the weights that a pass computes with

    def layer_sizes(self) -> LayerSizes:
        """Return what the memory of a pass is estimated by."""
        config: Any = self.model.config
        vision, text = config.vision_config, config.text_config
        return LayerSizes(
            pixels=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
            vision=vision.hidden_size,
            vision_mlp=vision.intermediate_size,
            text=text.hidden_size,
            text_mlp=text.intermediate_size,
            stacks=len(vision.deepstack_visual_indexes),
        )

    def bytes_to_load(self) -> int:
        """Return how many bytes of weights memory must still take: all of them are there."""
        return 0

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[ModelInput]) -> torch.Tensor:
        """Return the last hidden state of each prompt's last token, (prompts, hidden) float32; one padded batch."""
        with self._lock:
            return self._pass(prompts)

    def _pass(self, prompts: Sequence[ModelInput]) -> torch.Tensor:
        device = self._runtime.device
        padded = pad_batch([tokens for tokens, _ in prompts], *self._padding)
        pictures = [patches for _, pictured in prompts for patches in pictured]
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

    def in_float32(self, prompts: Sequence[ModelInput]) -> torch.Tensor:
        """Compute the same in float32; the model is left as it was."""
        dtype: torch.dtype = getattr(torch, self._runtime.dtype)
        # Half precision to float32 and back changes no bit of the weights.
        with self._lock:
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
    columns = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    last = (columns * (attention_mask != 0)).amax(dim=1)
    return hidden_state[torch.arange(hidden_state.shape[0], device=hidden_state.device), last]
