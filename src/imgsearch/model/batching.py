"""Chooses how many inputs one pass of the model takes, by the free memory, and takes fewer when that runs out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from imgsearch.errors import ModelOutOfMemory
from imgsearch.machine import memory
from imgsearch.model.runtime import LABEL
from imgsearch.text import Message, Option, format_bytes
from imgsearch.types import DETAIL, MIN_PIXELS, Notify, PixelBudget

MAX_BATCH = {"cpu": 8, "cuda": 256, "mps": 32}
"""Inputs in one pass at most. On a CPU 16 were no quicker than 8, but for one with AMX (``AMX_BATCH``). A card (H200)
does up to 38 images of one shape in the time that Python takes to ask for them: of seven shapes, 64 at a time are done
at 252 a second, 256 at 768, in 4.5 GB with the weights. That of MPS is not measured."""
AMX_BATCH = 16
"""The same on a CPU with AMX in bfloat16: there a batch of 16 is not shared between threads (``threads.choose_parts``),
which took 0.97 of the time that it takes shared. Against 8 it is not measured."""

# Of the free memory: the rest is for what decodes pictures beside the model, and for other programs.
_SHARE = 0.5
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class LayerSizes:
    """How many numbers the parts of a pass have, by which its memory is estimated.

    ``pixels`` are those of a patch with all its frames; ``vision`` and ``text`` the hidden sizes, the others those
    inside of the MLPs; ``stacks`` how many hidden states of a picture wait for the first language layers.
    """

    pixels: int
    vision: int
    vision_mlp: int
    text: int
    text_mlp: int
    stacks: int


def picture_bytes(layer_sizes: LayerSizes, patches: int, tokens: int, itemsize: int, *, on_cpu: bool) -> int:
    """Return about what one more picture takes in a pass: ``patches`` in the tower, ``tokens`` with its prompt.

    ``itemsize`` is that of the computation's dtype, in bytes. The largest moment counts: the tower's attention holds
    nine numbers of the dtype for each one of the hidden state (states, queries, keys, values) and eight in float32
    (rotary); an MLP its inner numbers and four of the outer. On the CPU there are also the patches as float32:
    of this picture twice, of the two that are decoded ahead for it once.

    Measured on a CPU at the published 2B sizes, as growth of the peak between batches of 1 and of 5 pictures of 224 by
    256 to 768 by 768 pixels: what torch allocates for transformers' forward is 0.8 to 0.9 times this, patches left
    out; what a process with an engine that took all pictures at once had from the system, patches included, was 0.5
    to 1.2 times this. On a CPU the engine puts a few pictures at a time through the tower (``vision.SLICE``) and
    takes less: there the choice errs on the safe side.
    """
    tower = patches * max(
        layer_sizes.vision * (9 * itemsize + 8 * 4),
        (4 * layer_sizes.vision + layer_sizes.vision_mlp) * itemsize,
    )
    language = tokens * ((4 + layer_sizes.stacks) * layer_sizes.text + 2 * layer_sizes.text_mlp) * itemsize
    patch_bytes = 4 * patches * layer_sizes.pixels * 4 if on_cpu else 0
    return max(tower, language) + patch_bytes


def choose_size(picture: int, free: int, kind: str, unit: str | None = None) -> tuple[int, str]:
    """Return how many pictures of ``picture`` bytes go into one pass, at least 1, and why.

    ``free`` is the memory that nobody needs, in bytes; ``kind`` is "cpu", "cuda" or "mps"; ``unit`` what a CPU
    multiplies the model's dtype with, as ``runtime.bfloat16_unit`` names it.
    """
    amx = kind == "cpu" and unit == "AMX"
    most, fits = AMX_BATCH if amx else MAX_BATCH[kind], int(free * _SHARE) // picture
    if fits >= most:
        return (
            most,
            f"the limit on {LABEL[kind]}{' with AMX' if amx else ''}; half of the {format_bytes(free, 0)} free "
            f"would hold {fits:,}",
        )
    size = max(1, fits)
    return (
        size,
        f"each takes about {format_bytes(picture, 0)}; half of the {format_bytes(free, 0)} free is used",
    )


def free_memory(device: str) -> int:
    """Return how many bytes the device can still give: of a CPU also without going over a container's limit."""
    kind = device.partition(":")[0]
    if kind == "cpu":
        return memory.free()
    import torch

    if kind == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds in reserve is free to us.
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())


class Batching:
    """How many inputs are computed at a time, and fewer for good once memory has run out."""

    def __init__(self, choose: Callable[[], tuple[int, str]], device: str, notify: Notify) -> None:
        """Take what ``choose_size`` is asked through, at the first use, and who takes a line when memory runs out."""
        self._choose, self._device, self._notify = choose, device, notify
        self._limit: int | None = None  # unknown until memory runs out: until then a larger wish is tried
        self._reason, self._notified = "", False

    @property
    def size(self) -> int:
        """How many pictures of the pixel budget fit into memory at a time."""
        return min(self._chosen[0], self._limit or self._chosen[0])

    @property
    def reason(self) -> str:
        """Why it is that many."""
        return self._reason or self._chosen[1]

    @functools.cached_property
    def _chosen(self) -> tuple[int, str]:
        return self._choose()

    def run(self, compute: Callable[[Sequence[T]], R], inputs: Sequence[T]) -> list[R]:
        """Compute ``inputs`` in as few parts as memory allows; return what ``compute`` gave for each, in order.

        Raises ModelOutOfMemory if a single input is too much; every other error is passed on.
        """
        results: list[R] = []
        done, tried = 0, 0
        while done < len(inputs):
            part = inputs[done : done + (self._limit or len(inputs))]
            if found := _attempt(compute, part):
                results += found
                done += len(part)
                continue
            release(self._device)
            if len(part) == 1:
                raise ModelOutOfMemory("a single input does not fit into ", _advice(self._device))
            tried = tried or len(part)
            self._limit = min(len(part) // 2, self._limit or len(part))  # another thread may know of less
            self._reason = f"ran out of memory with {tried}"
        if tried and not self._notified:
            self._notify(f"ran out of memory with {tried} inputs at a time: continuing with {self._limit}")
            self._notified = True
        return results


@contextmanager
def loading(device: str) -> Iterator[None]:
    """Raise ModelOutOfMemory for whatever says that the weights did not fit into memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelOutOfMemory("the model does not fit into ", _advice(device)) from error


def _attempt(compute: Callable[[Sequence[T]], R], inputs: Sequence[T]) -> list[R]:
    """Return what ``compute`` gives, in a list; an empty one if memory ran out.

    A function of its own, so that the error is gone when it returns: its traceback holds the tensors of the pass.
    """
    try:
        return [compute(inputs)]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return []


def release(device: str) -> None:
    """Give back what torch holds in reserve on an accelerator: pieces that are too small for the next try's tensors."""
    kind = device.partition(":")[0]
    if kind != "cpu":
        import torch

        (torch.cuda if kind == "cuda" else torch.mps).empty_cache()


def _advice(device: str) -> Message:
    """Name the device's memory and what to do about it."""
    elsewhere = Message(", or compute on the CPU: ", Option("device", "cpu")) if device != "cpu" else ""
    return Message(
        f"the memory of {device}: close other programs, use fewer pixels per image (",
        Option("pixels", PixelBudget(MIN_PIXELS, DETAIL["low"])),
        ", or fewer with ",
        Option("pixels"),
        "; an existing index needs ",
        Option("rebuild", True),
        " for it)",
        elsewhere,
    )


# How torch, oneDNN, the C++ library and the system say it in a plain RuntimeError.
_OUT_OF_MEMORY = (
    *("out of memory", "not enough memory", "bad_alloc", "alloc_failed"),
    *("can't allocate memory", "cannot allocate memory"),
    "killed by signal: killed",  # the system ended a process that read pictures for torch
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out; torch has a class of its own for it on accelerators only."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def keep_freed_memory() -> None:
    """Let the C library keep the memory that a pass frees for the next one, up to 62 MB.

    glibc gives large blocks back to the system, which must clear each page of them when they are asked for again: a
    twentieth of a pass. What is large it learns from the largest block that has been freed, up to 32 MB. Nothing
    of this block is touched, so it costs nothing; to other C libraries it means nothing.
    """
    import torch

    torch.empty(31 * 2**20, dtype=torch.uint8)
