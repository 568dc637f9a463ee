"""The quick forward of a Qwen3-VL embedding model: prompts in, the hidden state of each one's last token out.

It needs torch and safetensors, not transformers. ``reference.Reference`` computes the same by transformers' own
modules, and is what the engine is compared with.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from imgsearch.errors import InputError
from imgsearch.model.batching import LayerSizes, free_memory, is_out_of_memory, keep_freed_memory
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.engine import packing, threads
from imgsearch.model.engine.config import LANGUAGE, VISION, Architecture, read_architecture
from imgsearch.model.engine.layers import (
    Int8Check,
    Int8Linear,
    Linear,
    int8_speedup,
    seconds_per_operation,
    uses_onednn,
)
from imgsearch.model.engine.prefix_cache import MAX_TOKENS, PrefixCache, PrefixStore
from imgsearch.model.engine.rotary import Placed, Rotary, prompt_rotary
from imgsearch.model.engine.text import KVCache, TextModel
from imgsearch.model.engine.vision import VisionTower
from imgsearch.model.engine.weights import Weights, find_tensors
from imgsearch.model.prompt import ModelInput, Tokens
from imgsearch.model.runtime import activations, bfloat16_unit
from imgsearch.types import Patches, Runtime

_PREPACK_AFTER = (
    20_000  # tokens: packing 2 billion weights takes seconds and saves some hundredths of each picture
)
_UPCAST_OVER = 8  # passes: to upcast weights for good takes as long as to upcast them anew in so many
_STORED_FROM = 2**27  # weights of the language layers: with fewer a prefix is computed sooner than read
_ROOM = 1.5  # times what upcast weights take must be free: the rest is for passes and other programs

_ID_BYTES = np.dtype(np.int64).itemsize
_Group = tuple[bytes, tuple[Placed, ...]]  # a prompt's prefix, and its pictures with their grids in patches


class Engine:
    """A loaded checkpoint; safe to use from several threads. ``hidden`` is how many numbers the hidden state has.

    The vision tower is loaded with the first picture. On the CPU, weights that are stored in the dtype of the
    computation, or in 16 bits where that is float32, are the mapped files themselves, so that loading takes no time
    and no memory of its own. What is stored in 16 bits is upcast for good by and by, if there is room.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        runtime: Runtime,
        architecture: Architecture | None = None,
        *,
        keep: bool = True,
        stores_prefixes: bool = True,
    ) -> None:
        """Load a checkpoint, its language layers first.

        ``architecture`` is what ``read_architecture`` gives, if that has been read already. Without ``keep`` the
        weights are read again, layer by layer, at each call: slow, in little memory. ``stores_prefixes`` is whether the
        prefixes of a large model's prompts are also kept as files.

        Raises CheckpointError for an architecture that the engine does not know, for a missing, unexpected or
        misshapen tensor of either tower, and for a damaged file.
        """
        keep_freed_memory()
        self._sizes = architecture or read_architecture(checkpoint)
        stored = find_tensors(checkpoint, self._sizes.shapes)
        dtype: torch.dtype = getattr(torch, activations(runtime.dtype))
        self._weights = Weights(stored, torch.device(runtime.device), dtype, int8=runtime.dtype == "int8")
        self._unit = bfloat16_unit() if (runtime.device, runtime.dtype) == ("cpu", "bfloat16") else None
        self._low_precision = any(
            self._weights.low_precision(name) for name in stored if f"{LANGUAGE}.layers" in name
        )
        self._folder, self._runtime, self._keep = checkpoint.folder, runtime, keep
        self._language = TextModel(self._weights, self._sizes.text, keep=keep)
        self._vision: VisionTower | None = None
        self._tokens = self._passes = 0
        self._int8_check = Int8Check(checkpoint.folder) if self._weights.int8 else None
        self._lock = threading.Lock()  # of what is made once and kept; the passes themselves share nothing
        # But an accelerator's memory: a question must not fail for a batch that is there at the same time.
        on_cpu = runtime.device == "cpu"
        self._one_at_a_time: AbstractContextManager[object] = nullcontext() if on_cpu else threading.Lock()
        # Without self: a cycle would keep the weights in memory after the engine is let go.
        rotary = functools.partial(prompt_rotary, self._sizes, self._weights.device)
        self._rotary = functools.lru_cache(maxsize=64)(rotary)
        prefill = functools.partial(_prefill, self._language, self._rotary)
        layers = sum(
            math.prod(shape) for name, shape in self._sizes.shapes.items() if f"{LANGUAGE}.layers" in name
        )
        computation = {
            "dtype": runtime.dtype,
            "activations": str(dtype),
            "sizes": repr(self._sizes.text),
            "onednn": str(uses_onednn(self._weights)),
        }
        # Now that the weights are mapped: the store asks whether they are still those whose headers were read.
        large = stores_prefixes and on_cpu and layers >= _STORED_FROM
        self._prefix_cache = PrefixCache(
            prefill, PrefixStore.open(checkpoint, computation) if large else None
        )
        self.hidden = self._sizes.text.hidden

    def load_vision(self) -> VisionTower:
        """Load the vision tower, if that has not happened yet."""
        with self._lock:
            if self._vision is None:
                self._vision = VisionTower(self._weights, self._sizes.vision, keep=self._keep)
            return self._vision

    def upcast(self, share: float = 1) -> None:
        """Keep a share of the loaded weights in the dtype of the computation.

        ``__call__`` does it by itself, an eighth at each pass from the second on: a single question is not worth it,
        and none of many should wait for all of it.
        """
        self._prefix_cache.drop_store()
        with self._lock:
            products = self._linears()
            for product in products[: math.ceil(share * len(products))]:
                product.upcast()

    def prepack(self) -> None:
        """Lay the loaded weights out for bulk work; ``__call__`` does it by itself once there is bulk work."""
        self._prefix_cache.drop_store()
        with self._lock:
            for product in self._linears():
                product.prepack()

    def expect(self, images: int, tokens: int, batch: int) -> str:
        """Take note that so many ``images`` of about so many ``tokens`` come, ``batch`` at a time; return a reason.

        A run that is long enough begins with ``prepack``: ``packing.pays`` decides it, by a trial that takes about as
        long as an image. Nothing is said, and nothing done, where there is no choice.
        """
        kept = self._keep and self._weights.device.type == "cpu"
        if not kept or images < packing.LEAST_IMAGES or self._count() < packing.LEAST_WEIGHTS:
            return ""
        self.load_vision()
        with self._lock:
            products = self._linears()
        try:
            trial = packing.measure(products, batch, tokens, self._unit)
            if trial is None:
                return ""
            pays, reason = packing.pays(images, trial)
            if pays and free_memory("cpu") < _ROOM * self.bytes_to_load():
                return "weights stay as they are stored: there is no memory to lay them out"
            if pays:
                self.prepack()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return "weights stay as they are stored: memory ran out while laying them out"
        return reason

    def int8_speedup(self, tokens: int) -> float:
        """Return about how many times as fast int8 is for images of so many tokens; measured, on the CPU only."""
        return int8_speedup(self._language.linears(), tokens)

    def seconds_for(self, tokens: int, patches: int) -> float:
        """Return about how long a pass over a picture takes, of so many ``tokens`` and ``patches`` each; on the CPU.

        Its largest product is timed, and what all weights take follows from that.
        """
        weights = {VISION: 0, LANGUAGE: 0}
        for name, shape in self._sizes.shapes.items():
            if len(shape) > 1 and not name.endswith(("embed_tokens.weight", "pos_embed.weight")):
                weights[VISION if name.startswith(VISION) else LANGUAGE] += math.prod(shape)
        operations = tokens * (weights[LANGUAGE] + patches * weights[VISION])
        return operations * seconds_per_operation(self._language.linears(), tokens)

    def _linears(self) -> list[Linear | Int8Linear]:
        """List the products of what is loaded."""
        return self._language.linears() + (self._vision.linears() if self._vision else [])

    @functools.cached_property
    def _room(self) -> bool:
        """Whether there is memory to upcast weights of lower precision than the computation for good."""
        return free_memory("cpu") >= _ROOM * self._count() * self._weights.dtype.itemsize

    def layer_sizes(self) -> LayerSizes:
        """Return what the memory of a pass is estimated by."""
        vision, text = self._sizes.vision, self._sizes.text
        return LayerSizes(
            pixels=vision.channels * vision.temporal * vision.patch**2,
            vision=vision.hidden,
            vision_mlp=vision.intermediate,
            text=text.hidden,
            text_mlp=text.intermediate,
            stacks=len(vision.deepstack),
        )

    def bytes_to_load(self) -> int:
        """Return how many bytes of weights memory must still take: those not read yet, and those that are mapped.

        The system counts the pages of mapped files as free, but passes are slow if it takes them away.
        """
        itemsize = 1 if self._weights.int8 else self._weights.dtype.itemsize
        if self._low_precision and not self._room:
            itemsize = 2
        return max(0, self._count() - self._weights.loaded) * itemsize

    def _count(self) -> int:
        """Count the numbers of all weights but the embeddings of tokens, which a CPU reads a few of."""
        tables = {f"{LANGUAGE}.embed_tokens.weight"} if self._weights.device.type == "cpu" else set()
        return sum(math.prod(shape) for name, shape in self._sizes.shapes.items() if name not in tables)

    def __call__(self, prompts: Sequence[ModelInput]) -> torch.Tensor:
        """Return the hidden state of each prompt's last token after the final norm: (prompts, hidden) float32.

        ``prompts`` are computed in groups of one prefix and the same grids of their pictures. Raises InputError for
        patches of a film, CheckpointError if int8 turns out to be too coarse for the weights.
        """
        groups: dict[_Group, list[int]] = {}
        for number, (tokens, pictures) in enumerate(prompts):
            group = (self._prefix(tokens).tobytes(), _placed(tokens, pictures))
            groups.setdefault(group, []).append(number)
        order = [(group, number) for group, numbers in groups.items() for number in numbers]
        counts = [len(prompts[number][0].ids) - len(group[0]) // _ID_BYTES for group, number in order]
        shared = self._keep and self._weights.device.type == "cpu"
        parts = threads.split(counts, torch.get_num_threads() if shared else 1, self._unit)
        if len(parts) > 1:
            self._compute_shared(groups)
        rows = torch.empty(len(prompts), self.hidden)
        found = threads.run(lambda part: self._pass(order[part], prompts), parts)
        for part, some in zip(parts, found, strict=True):
            rows[[number for _, number in order[part]]] = some
        self._tokens += sum(counts)
        self._passes += len(groups)
        if self._keep:
            self._prepare_weights()
        if self._int8_check:
            self._int8_check.check(prompts, rows, self._without_int8)
        return rows

    @torch.inference_mode()
    def _compute_shared(self, groups: Iterable[_Group]) -> None:
        """Compute what all parts of a batch read, here, where torch has all the cores."""
        for prefix, placed in groups:
            if prefix:
                self._prefix_cache.get(np.frombuffer(prefix, np.int64))
            if placed:
                self.load_vision()

    def _prepare_weights(self) -> None:
        """Upcast and prepack weights where that pays by now; without memory for it they stay as they are."""
        try:
            if self._low_precision and self._passes > 1 and self._room:
                if free_memory("cpu") < _ROOM * self.bytes_to_load():  # others may have taken it since
                    self._room = False
                else:
                    self.upcast(min(1, (self._passes - 1) / _UPCAST_OVER))
            if self._tokens >= _PREPACK_AFTER and (self._room or not self._low_precision):
                self.prepack()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._room, self._tokens = False, 0

    @torch.inference_mode()
    def _pass(self, order: Sequence[tuple[_Group, int]], prompts: Sequence[ModelInput]) -> torch.Tensor:
        """Compute the prompts that ``order`` names, those of a group at once."""
        rows = []
        for (_, placed), members in itertools.groupby(order, key=lambda entry: entry[0]):
            some = [prompts[number] for _, number in members]
            with self._one_at_a_time:
                rows.append(self._compute_group(some, placed).float())
        # An accelerator works on while the next group is asked of it: only here is it waited for.
        return torch.cat(rows).cpu()

    def in_float32(self, prompts: Sequence[ModelInput]) -> torch.Tensor:
        """Compute the same in float32, layer by layer from the files."""
        return self._in("float32", prompts)

    def _without_int8(self, prompts: Sequence[ModelInput]) -> torch.Tensor:
        return self._in(activations("int8"), prompts)

    def _in(self, dtype: str, prompts: Sequence[ModelInput]) -> torch.Tensor:
        # Opened anew: the files may be others by now than they were when the weights were mapped.
        checkpoint, runtime = Checkpoint(self._folder), replace(self._runtime, dtype=dtype)
        return Engine(checkpoint, runtime, self._sizes, keep=False)(prompts)

    def _compute_group(self, some: Sequence[ModelInput], placed: tuple[Placed, ...]) -> torch.Tensor:
        """Compute prompts that have the same prefix, and pictures of the same grids at the same places."""
        prompts = [tokens for tokens, _ in some]
        prefix = self._prefix(prompts[0])
        cached = len(prefix)
        kv_cache = self._prefix_cache.get(prefix) if cached else None
        lengths = [len(tokens.ids) - cached for tokens in prompts]
        ids = np.zeros((len(prompts), max(lengths)), dtype=np.int64)
        for row, tokens, length in zip(ids, prompts, lengths, strict=True):
            row[:length] = tokens.ids[cached:]
        hidden = self._language.embed(torch.from_numpy(ids))
        rotary = self._rotary(placed, cached + ids.shape[1]).part(cached, None)
        deepstack = []
        for place, (begin, grid) in enumerate(placed):
            vision = self.load_vision()(self._frames([pictures[place] for _, pictures in some]), grid)
            start = begin - cached
            hidden[:, start : start + vision.tokens.shape[1]] = vision.tokens
            deepstack.append((start, vision.deepstack))
        return self._language.forward_last(hidden, rotary, lengths, kv_cache, deepstack=deepstack)

    def _prefix(self, prompt: Tokens) -> NDArray[np.int64]:
        """Return the first tokens whose keys and values are, or will be, in the prefix cache; always less than all."""
        length = min(prompt.prefix_length, len(prompt.ids) - 1)
        return prompt.ids[: length if self._keep and length <= MAX_TOKENS else 0]

    def _frames(self, pictures: Sequence[Patches]) -> torch.Tensor:
        """Return one frame of each picture: (pictures, patches, channels · patch · patch), in the model's dtype."""
        sizes = self._sizes.vision
        frames = []
        for patches in pictures:
            values = patches.pixel_values.reshape(
                len(patches.pixel_values), sizes.channels, sizes.temporal, -1
            )
            if patches.grid[0] != 1 or not (patches.still or (values == values[:, :, :1]).all()):
                raise InputError("the patches are from a video; only still images can be embedded")
            frames.append(values[:, :, 0].reshape(len(values), -1))
        return torch.from_numpy(np.stack(frames)).to(self._weights.device, self._weights.dtype)


def _prefill(
    language: TextModel, rotary: Callable[[tuple[Placed, ...], int], Rotary], prefix: NDArray[np.int64]
) -> KVCache:
    """Compute the keys and values of a prefix."""
    ids = torch.from_numpy(prefix.copy())  # torch warns of what it can't write to
    return language.prefill(language.embed(ids[None]), rotary((), len(ids)))


def _placed(tokens: Tokens, pictures: Sequence[Patches]) -> tuple[Placed, ...]:
    """Return where each picture of a prompt begins, and the rows and columns of its patches."""
    if not pictures:
        return ()
    begins = np.flatnonzero(np.diff(tokens.types, prepend=0) == 1).tolist()
    return tuple((begin, patches.grid[1:]) for begin, patches in zip(begins, pictures, strict=True))
