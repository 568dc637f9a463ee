"""Loads a checkpoint's weights straight into the dtype and onto the device that the model computes in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import torch
from safetensors import SafetensorError, safe_open

from imgsearch.errors import CheckpointError
from imgsearch.model.checkpoint import MEND, check_family, weight_files
from imgsearch.types import Runtime

if TYPE_CHECKING:
    from imgsearch.model.modeling import Qwen3VLConfig, Qwen3VLForEmbedding

CHUNK = 16 * 2**20  # bytes that are read and converted at a time
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_HEAD = "lm_head.weight"


@dataclass(frozen=True)
class _Stored:
    """Where one tensor lies: file, position and length in bytes, shape, and dtype in safetensors' words."""

    path: str
    start: int
    size: int
    shape: tuple[int, ...]
    dtype: str


def load_model(folder: str, runtime: Runtime) -> Qwen3VLForEmbedding:
    """Return the model of a checkpoint folder in ``runtime``'s dtype and on its device, ready to infer.

    Only safetensors are read, never pickles. The files are not mapped: their bytes are read in pieces of
    16 MiB into the model's own tensors and converted on the way, so that the peak of resident memory stays
    near the weights' size in the target dtype. Rotary frequencies are float32 in any dtype.

    Raises CheckpointError for a folder of another family, a missing, unexpected or misshapen tensor, and a
    damaged file.
    """
    config = read_config(folder)
    stored = _canonical(_find_tensors(folder), config, folder)
    # Importing transformers takes seconds: only when the files look right.
    from imgsearch.model.modeling import Qwen3VLForEmbedding

    with torch.device("meta"):
        model = Qwen3VLForEmbedding(config)
    _check(model, stored, folder)
    device, dtype = torch.device(runtime.device), getattr(torch, runtime.dtype)
    places = {name: (module, leaf) for module, leaf, name in _parameters(model)}
    # In the order of the files: one pass over the disk.
    for name, where in sorted(stored.items(), key=lambda item: (item[1].path, item[1].start)):
        module, leaf = places[name]
        tensor = _read_tensor(where, dtype, device)
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


def _find_tensors(folder: str) -> dict[str, _Stored]:
    """List the tensors of all files that make up the weights."""
    found: dict[str, _Stored] = {}
    for name in weight_files(folder):
        tensors = _read_header(os.path.join(folder, name))
        if twice := sorted(set(tensors) & set(found)):
            raise CheckpointError(f"{folder}: two files of the weights hold {_some(twice)}; {MEND}")
        found |= tensors
    return found


def _read_header(path: str) -> dict[str, _Stored]:
    """List the tensors of one safetensors file, after checking that its header is sound and no byte is missing."""
    try:
        # The library maps the file to check the header against its length; no page of the data is touched.
        with safe_open(path, framework="np"):
            pass
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing (weights are read from safetensors files only, never from .bin); {MEND}"
        ) from error
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or incomplete ({error}); delete it and {MEND}") from error
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        found[name] = _Stored(path, 8 + length + start, end - start, tuple(entry["shape"]), entry["dtype"])
    return found


def _canonical(stored: dict[str, _Stored], config: Qwen3VLConfig, folder: str) -> dict[str, _Stored]:
    """Return the tensors under the names of Qwen3VLForEmbedding.

    Fine-tunes saved from a bare Qwen3VLModel lack the prefix ``model.``: it is put in front of all names or of
    none. A ``lm_head.weight`` is left out if the config ties it to the input embeddings, since then it is a
    copy of a tensor that is there; where the two are not tied it marks a model that generates text, whose
    vectors mean nothing, and is refused as any other unexpected tensor (the published embedding models
    have none, also the untied 8B).
    """
    if _HEAD in stored and config.tie_word_embeddings:
        stored = {name: where for name, where in stored.items() if name != _HEAD}
    if stored and all(name.startswith(("language_model.", "visual.")) for name in stored):
        stored = {f"model.{name}": where for name, where in stored.items()}
    return stored


def _check(model: Qwen3VLForEmbedding, stored: dict[str, _Stored], folder: str) -> None:
    """Raise CheckpointError unless the stored tensors are exactly those of the model."""
    wanted = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    missing, unexpected = sorted(set(wanted) - set(stored)), sorted(set(stored) - set(wanted))
    if missing:
        raise CheckpointError(f"{folder}: the weights lack {_some(missing)}; {MEND}")
    if unexpected:
        hint = "this is a model that generates text, not an embedding model" if _HEAD in unexpected else MEND
        raise CheckpointError(
            f"{folder}: the weights hold more than the model has: {_some(unexpected)}; {hint}"
        )
    for name, where in stored.items():
        if where.shape != wanted[name]:
            raise CheckpointError(
                f"{where.path}: {name} has the shape {where.shape}, config.json says {wanted[name]}; {MEND}"
            )
        if where.dtype not in _DTYPES:
            raise CheckpointError(
                f"{where.path}: {name} is stored as {where.dtype}; only {', '.join(_DTYPES)} can be loaded"
            )


def _read_tensor(where: _Stored, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Read one tensor, directly into its place if nothing is to be converted, else piece by piece."""
    source = _DTYPES[where.dtype]
    result = torch.empty(where.shape, dtype=dtype, device=device)
    with open(where.path, "rb", buffering=0) as file:
        file.seek(where.start)
        if source == dtype and device.type == "cpu":
            _fill(file, result.view(-1).view(torch.uint8).numpy().data, where.path)
            return result
        flat, position = result.view(-1), 0
        piece = torch.empty(min(CHUNK, where.size) // source.itemsize, dtype=source)
        raw = piece.view(torch.uint8).numpy().data
        while position < flat.numel():
            count = min(piece.numel(), flat.numel() - position)
            _fill(file, raw[: count * source.itemsize], where.path)
            # Converted on the CPU: not every device knows every dtype.
            flat[position : position + count].copy_(piece[:count].to(dtype))
            position += count
    return result


def _fill(file: BinaryIO, view: memoryview, path: str) -> None:
    """Read until ``view`` is full; CheckpointError if the file ends before."""
    done = 0
    while done < len(view):
        try:
            count = file.readinto(view[done : done + 2**30])  # type: ignore[attr-defined]
        except OSError as error:
            raise CheckpointError(f"{path} can't be read ({error}); {MEND}") from error
        if not count:
            raise CheckpointError(f"{path} ends too early; delete it and {MEND}")
        done += count


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


def _some(names: list[str]) -> str:
    """Name the first few of many."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
