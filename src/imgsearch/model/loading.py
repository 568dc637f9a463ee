"""Loads a checkpoint into transformers' modules, straight into the dtype and onto the device that they compute in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from imgsearch.errors import CheckpointError, UsageError
from imgsearch.model.checkpoint import MEND, check_family
from imgsearch.model.tensors import find_tensors, read_tensor
from imgsearch.types import Runtime

if TYPE_CHECKING:
    from imgsearch.model.modeling import Qwen3VLConfig, Qwen3VLForEmbedding


def load_model(folder: str, runtime: Runtime) -> Qwen3VLForEmbedding:
    """Return the model of a checkpoint folder in ``runtime``'s dtype and on its device, ready to infer.

    Only safetensors are read, never pickles. The files are not mapped: their bytes are read in pieces of
    16 MiB into the model's own tensors and converted on the way, so that the peak of resident memory stays
    near the weights' size in the target dtype. Rotary frequencies are float32 in any dtype.

    Raises CheckpointError for a folder of another family, a missing, unexpected or misshapen tensor, and a
    damaged file; UsageError for int8.
    """
    config = read_config(folder)
    if runtime.dtype == "int8":
        raise UsageError(
            f"{folder} is computed by transformers' modules, which have no int8: leave --dtype out"
        )
    from imgsearch.model.modeling import Qwen3VLForEmbedding

    with torch.device("meta"):
        model = Qwen3VLForEmbedding(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    stored = find_tensors(folder, shapes, tied=config.tie_word_embeddings)
    device, dtype = torch.device(runtime.device), getattr(torch, runtime.dtype)
    places = {name: (module, leaf) for module, leaf, name in _parameters(model)}
    # In the order of the files: one pass over the disk.
    for name, where in sorted(stored.items(), key=lambda item: (item[1].path, item[1].start)):
        module, leaf = places[name]
        tensor = read_tensor(where, dtype, device)
        module.register_parameter(leaf, torch.nn.Parameter(tensor, requires_grad=False))
    _rebuild_buffers(model, device)
    left = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if left:
        raise RuntimeError(f"tensors without content after loading: {left}")
    model.train(False)
    return model


def read_config(folder: str) -> Qwen3VLConfig:
    """Return the checkpoint's config as transformers understands it; CheckpointError if it is of no Qwen3-VL."""
    content = check_family(folder)
    from imgsearch.model.modeling import Qwen3VLConfig

    try:
        config: Qwen3VLConfig = Qwen3VLConfig.from_dict(content)
    except Exception as error:  # its validation raises many kinds
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{folder}: config.json can't be understood ({first}); {MEND}") from error
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
