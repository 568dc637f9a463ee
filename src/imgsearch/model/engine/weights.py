"""Finds, checks, reads and maps the tensors of a checkpoint's safetensors files."""

from __future__ import annotations

import mmap
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import BinaryIO

import torch

from imgsearch.errors import CheckpointError
from imgsearch.model.checkpoint import HEAD, MEND, ORIGINAL, Checkpoint, TensorInfo
from imgsearch.model.engine.pages import map_file
from imgsearch.text import error_line

CHUNK = 16 * 2**20  # bytes that are read and converted at a time
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def find_tensors(checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
    """List the tensors of a checkpoint under the names of ``shapes``; nothing but headers is read.

    Fine-tunes saved from a bare Qwen3VLModel lack the prefix ``model.``: it is put in front of all names or of
    none. A ``lm_head.weight`` is left out, whether the config ties it to the input embeddings or not: no embedding
    depends on it.

    Raises CheckpointError for a missing, unexpected or misshapen tensor, for a damaged file, and for one that was
    replaced after the checkpoint was opened.
    """
    checkpoint.check_weights()
    folder, stored = checkpoint.folder, {tensor.name: tensor for tensor in checkpoint.tensors}
    if len(stored) < len(checkpoint.tensors):
        counts = Counter(tensor.name for tensor in checkpoint.tensors)
        twice = sorted(name for name, count in counts.items() if count > 1)
        raise CheckpointError(f"{folder}: two weight files contain {_some(twice)}; ", MEND)
    stored.pop(HEAD, None)
    if stored and all(name.startswith(("language_model.", "visual.")) for name in stored):
        stored = {f"model.{name}": where for name, where in stored.items()}
    _check(stored, shapes, folder)
    return stored


def read_tensor(
    where: TensorInfo, dtype: torch.dtype, device: torch.device, into: torch.Tensor | None = None
) -> torch.Tensor:
    """Read one tensor, directly into memory if nothing is to be converted, else in pieces of 16 MiB.

    ``into`` is a contiguous tensor of that shape, dtype and device to be filled; without it a new one is made.
    """
    source = _DTYPES[where.dtype]
    result = torch.empty(where.shape, dtype=dtype, device=device) if into is None else into
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


def read_rows(where: TensorInfo, rows: Sequence[int]) -> torch.Tensor:
    """Read a few rows of a matrix, and nothing else of it: (rows, columns) float32."""
    size = where.size // where.shape[0]
    found = [replace(where, start=where.start + row * size, size=size, shape=where.shape[1:]) for row in rows]
    return torch.stack([read_tensor(row, torch.float32, torch.device("cpu")) for row in found])


class MappedFiles:
    """Tensors that stand in memory as the files' own pages, in the dtype that they are stored in.

    Nothing is copied and only what is touched is read. The files must stay as they are while they are in use:
    replacing one under its name is harmless, cutting it short kills the process.
    """

    def __init__(self) -> None:
        """Map nothing yet."""
        self._maps: dict[str, mmap.mmap] = {}

    def tensor(self, where: TensorInfo) -> torch.Tensor | None:
        """Return one tensor; None where its bytes do not lie as the processor wants them."""
        dtype = _DTYPES[where.dtype]
        if where.start % dtype.itemsize or not where.size:
            return None
        if where.path not in self._maps:
            self._maps[where.path] = map_file(where.path)
        count = where.size // dtype.itemsize
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given buffer is not writable")  # and nobody writes to it
            flat = torch.frombuffer(self._maps[where.path], dtype=dtype, count=count, offset=where.start)
        return flat.view(where.shape)

    def expect(self, where: TensorInfo) -> None:
        """Tell the system that a tensor will be read soon, so that it comes from the disk in large pieces."""
        self._advise(where, "MADV_WILLNEED")

    def release(self, where: TensorInfo) -> None:
        """Give back the memory of a tensor that was copied; touched again, it is read again."""
        self._advise(where, "MADV_DONTNEED")

    def _advise(self, where: TensorInfo, advice: str) -> None:
        """Advise the system on the whole pages inside of a tensor; systems without such advice do without."""
        option = getattr(mmap, advice, None)
        first = -(-where.start // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (where.start + where.size - first) // mmap.PAGESIZE * mmap.PAGESIZE
        if option is not None and length > 0 and where.path in self._maps:
            self._maps[where.path].madvise(option, first, length)


def dtype_of(where: TensorInfo) -> torch.dtype:
    """Return the dtype that a tensor is stored in."""
    return _DTYPES[where.dtype]


class Weights:
    """The tensors of one checkpoint as they are computed with: ``dtype`` on ``device``.

    On the CPU, large tensors that are stored in ``dtype``, or in lower precision where that is float32, are not read
    but mapped. ``int8`` says whether products multiply quantised weights and activations.
    """

    def __init__(
        self, stored: dict[str, TensorInfo], device: torch.device, dtype: torch.dtype, *, int8: bool = False
    ) -> None:
        """Take what ``find_tensors`` found; nothing is read yet. ``loaded`` counts the numbers that have been read."""
        self._stored, self._files, self.loaded = stored, MappedFiles(), 0
        self.device, self.dtype, self.int8 = device, dtype, int8

    def read(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return a tensor as a copy in memory, in the dtype of the computation if no other is named."""
        found = read_tensor(self._stored[name], dtype or self.dtype, self.device)
        self.loaded += found.numel()
        return found

    def low_precision(self, name: str) -> bool:
        """Tell whether a tensor is mapped in fewer bits than it is computed with: 16 where products are in float32."""
        stored = dtype_of(self._stored[name])
        lower = self.dtype == torch.float32 and stored in (torch.bfloat16, torch.float16)
        return self.device.type == "cpu" and not self.int8 and lower

    def matrix(self, name: str) -> torch.Tensor:
        """Return a weight: mapped, in the dtype of the computation or in lower precision, or else read."""
        where = self._stored[name]
        if self.low_precision(name) or (self.device.type == "cpu" and dtype_of(where) == self.dtype):
            mapped = self._files.tensor(where)
            if mapped is not None:
                self._files.expect(where)
                return mapped
        return self.read(name)

    def table(self, name: str) -> torch.Tensor:
        """Return a tensor of which a few rows are looked up at a time: on the CPU mapped, in whatever dtype it has."""
        mapped = self._files.tensor(self._stored[name]) if self.device.type == "cpu" else None
        return self.read(name) if mapped is None else mapped

    def release(self, name: str) -> None:
        """Let go of the memory of a mapped tensor that has been copied."""
        self._files.release(self._stored[name])


def _check(stored: Mapping[str, TensorInfo], wanted: Mapping[str, tuple[int, ...]], folder: str) -> None:
    """Raise CheckpointError unless the stored tensors are exactly those of the model, and none is quantised.

    That comes first: a quantised model also lacks tensors and has others, which no second download would change.
    """
    for name, where in stored.items():
        if where.dtype not in _DTYPES:
            raise CheckpointError(f"{where.path}: {name} is quantised ({where.dtype}); ", ORIGINAL)
    missing, unexpected = sorted(set(wanted) - set(stored)), sorted(set(stored) - set(wanted))
    if missing:
        raise CheckpointError(f"{folder}: the weights are missing {_some(missing)}; ", MEND)
    if unexpected:
        raise CheckpointError(f"{folder}: the weights contain unknown tensors: {_some(unexpected)}; ", MEND)
    for name, where in stored.items():
        if where.shape != tuple(wanted[name]):
            raise CheckpointError(
                f"{where.path}: {name} has the shape {where.shape}, config.json has {tuple(wanted[name])}; ",
                MEND,
            )


def _fill(file: BinaryIO, view: memoryview, path: str) -> None:
    """Read until ``view`` is full; CheckpointError if the file ends before."""
    done = 0
    while done < len(view):
        try:
            count = file.readinto(view[done : done + CHUNK])  # type: ignore[attr-defined]
        except OSError as error:
            raise CheckpointError(f"{path} can't be read ({error_line(error)}); ", MEND) from error
        if not count:
            raise CheckpointError(f"{path} is truncated; delete it and ", MEND)
        done += count


def _some(names: list[str]) -> str:
    """Name the first few of many."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
