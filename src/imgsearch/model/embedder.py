"""Turns texts and pictures into unit vectors with a Qwen3-VL embedding checkpoint."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from imgsearch.errors import InputError, UsageError
from imgsearch.model import batching
from imgsearch.model import image as pixels
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.conventions import choose_instruction, own_conventions
from imgsearch.model.engine.config import UnknownArchitecture
from imgsearch.model.engine.forward import Engine
from imgsearch.model.passes import Passes
from imgsearch.model.prompt import MAX_LENGTH, ModelInput, PromptEncoder
from imgsearch.model.runtime import activations, bfloat16_unit, choose, use_cores
from imgsearch.text import Option
from imgsearch.types import RGB, Input, ModelSpec, Notify, Patches, PixelBudget, Runtime, Vectors

if TYPE_CHECKING:
    from imgsearch.model.reference import Reference

Embeddable = Input | str | Mapping[str, Any]
"""A text as str; text, image and instruction as Input or as a mapping with these keys."""


class Qwen3VLEmbedder(Passes):
    """A loaded checkpoint that embeds texts, pictures, or both; an ``ImageEncoder``.

    ``forward`` is the engine, or the reference where config.json asks for what the engine does not know; ``budget``
    the pixel budget, ``instruction`` that of inputs without one of their own.
    """

    forward: Engine | Reference

    def __init__(
        self,
        folder: str | Checkpoint,
        *,
        device: str = "auto",
        dtype: str = "auto",
        budget: PixelBudget | None = None,
        instruction: str | None = None,
        dim: int | None = None,
        verbatim: bool | None = None,
        max_length: int | None = None,
        padding_side: str | None = None,
        notify: Notify | None = None,
        forward: Engine | Reference | None = None,
        notice: Notify | None = None,
    ) -> None:
        """Load the checkpoint in ``folder``, or the one that is open already.

        ``device`` and ``dtype`` are as ``runtime.choose`` takes them. ``budget``, ``instruction`` and ``dim`` are as
        the checkpoint wants them if not given (``conventions``; of its prompts, the documents'): for a plain one
        4,096 to 57,600 pixels, the published instruction, all numbers. ``dim`` cuts every vector to its first
        numbers (Matryoshka). ``verbatim`` takes instructions as they stand, as sentence-transformers does, False
        ends them in punctuation; not given, it follows the checkpoint. ``padding_side`` overrides the tokenizer's
        (only the reference pads on a side).
        ``forward`` is that of another embedder of the same folder, device and dtype, whose weights are to be shared.
        ``notify`` takes lines such as that a text was cut; without it they are warnings. (``notice`` is its name of the
        version before.)

        Raises CheckpointError, UsageError for a device, dim, budget or side that does not exist, and
        ModelOutOfMemory for weights that are too many.
        """
        runtime = choose(device, dtype)
        checkpoint = Checkpoint.open(folder)
        conventions = own_conventions(checkpoint)
        self.budget = budget or conventions.pixels
        self._verbatim = conventions.verbatim if verbatim is None else verbatim
        self.instruction = choose_instruction(
            instruction, default=conventions.document_prompt, verbatim=self._verbatim
        )
        self._layout = pixels.read_layout(checkpoint)
        pixels.check_budget(self.budget, self._layout.factor)
        self._prompt_encoder = PromptEncoder(checkpoint)
        self._max_length = min(max_length or MAX_LENGTH, conventions.max_length or MAX_LENGTH)
        side = padding_side or self._prompt_encoder.padding_side
        if side not in ("left", "right"):
            raise UsageError(f"the padding side is left or right, not '{side}'")
        overhead = self._prompt_encoder.overhead(self.instruction)
        self._largest = self._largest_picture(overhead)
        self._folder, self._side = checkpoint.folder, side
        with batching.loading(runtime.device):
            loaded = forward or load_forward(checkpoint, runtime, side, self._prompt_encoder.pad_id)
        hidden = loaded.hidden
        if dim is not None and not 1 <= dim <= hidden:
            raise UsageError(
                f"this model's embeddings have {hidden} dimensions; choose a dim from 1 to {hidden}, not {dim}"
            )
        super().__init__(
            loaded, runtime, dim or conventions.dim, notify or notice, shared=forward is not None
        )

    @classmethod
    def from_spec(
        cls,
        spec: ModelSpec,
        *,
        checkpoint: Checkpoint | None = None,
        notify: Notify | None = None,
        forward: Engine | Reference | None = None,
    ) -> Qwen3VLEmbedder:
        """Load the model as ``spec`` asks for it; ``checkpoint`` is the one in its folder, if that is open already.

        The instruction is taken as it stands, whatever has become of the folder. Raises as the constructor does.
        """
        return cls(
            checkpoint or Checkpoint(spec.folder),
            device=spec.device,
            dtype=spec.dtype,
            budget=spec.budget,
            instruction=spec.instruction,
            dim=spec.dim,
            verbatim=True,
            notify=notify,
            forward=forward,
        )

    def expect(self, images: int) -> str:
        """Take note that so many ``images`` are about to be embedded; return what is done for it, and why, if anything.

        A model on a CPU may lay its weights out first, where such a run is long enough for that to pay.
        """
        if not isinstance(self.forward, Engine):
            return ""
        return self.forward.expect(images, self._largest[1], self.batch_size)

    def int8_speedup(self) -> float:
        """Return about how many times as fast int8 would embed images of the pixel budget; 1 where it can't be used.

        It is measured on this machine with a product of the model's size, which takes a second or two.
        """
        if self.runtime.device != "cpu" or not isinstance(self.forward, Engine):
            return 1.0
        try:
            choose("cpu", "int8")
        except UsageError:
            return 1.0
        _, tokens = self._largest
        return self.forward.int8_speedup(tokens)

    def prepare(self, image: RGB, budget: PixelBudget | None = None) -> Patches:
        """Resize a (height, width, 3) uint8 picture into a budget and cut it into patches, on any thread.

        Without a ``budget`` it is the embedder's own.

        Raises PictureError for an aspect ratio over 200, InputError for another shape or dtype.
        """
        return pixels.prepare(image, budget or self.budget, self._layout)

    def embed(
        self, inputs: Sequence[Embeddable], normalize: bool = True, *, batch_size: int | None = None
    ) -> Vectors:
        """Return one float32 row an input, in their order: (len(inputs), dim), of unit length if ``normalize``.

        An input's image is a (height, width, 3) uint8 array, ``Patches``, or anything like a Pillow image; it
        stands before the text in the prompt. ``batch_size`` inputs are computed at a time, the embedder's own
        number if it is not given; fewer, from then on, when memory runs out, which is said once.

        A row that is not finite is computed once more in float32; where that is more than 1 % of all rows in float16,
        the model is loaded again in another dtype, which is said. Raises NonFiniteError
        with the numbers of the rows that are not finite even then, InputError or PictureError for an input that can't
        be taken (its message says which), ModelOutOfMemory if a single one does not fit into memory, and never gives
        fewer rows than inputs.
        """
        if isinstance(inputs, str | Mapping | Input):
            raise InputError("embed takes a list of inputs: put this one in a list")
        count = len(inputs)
        return self._in_batches(
            count, batch_size, normalize, lambda number: self._encode_input(inputs[number], number, count)
        )

    def _largest_picture(self, prompt: int) -> tuple[int, int]:
        """Return how many patches the largest picture of the budget has, and how many tokens with its prompt's.

        Raises UsageError for a budget whose largest picture does not fit the token limit beside the prompt.
        """
        most, area = self.budget.max_pixels, self._layout.factor**2
        if most // area + prompt > self._max_length:
            raise UsageError(
                f"images of {most:,} pixels need more than the model's {self._max_length:,} tokens; use at most ",
                Option("pixels", replace(self.budget, max_pixels=(self._max_length - prompt) * area)),
            )
        return most // self._layout.patch**2, most // area + prompt

    def _encode_input(self, item: Embeddable, index: int, total: int) -> ModelInput:
        """Tokenise one input and cut its picture; an InputError says which input it was."""
        try:
            checked = _as_input(item)
            patches = None if checked.image is None else self._patches(checked.image, checked.budget)
            tokens = self._prompt_encoder.encode(
                checked.text,
                0 if patches is None else self._layout.tokens(patches.grid),
                choose_instruction(checked.instruction, default=self.instruction, verbatim=self._verbatim),
                max_length=self._max_length,
                notify=self._notify,
            )
        except InputError as error:
            which = f"input {index + 1} of {total}: " if total > 1 else ""
            raise InputError(which, error.as_message) from error
        return tokens, () if patches is None else (patches,)

    def _patches(self, image: Any, budget: PixelBudget | None) -> Patches:
        """Return the patches of a picture in any form that ``embed`` takes."""
        if isinstance(image, Patches):
            return image
        if not isinstance(image, np.ndarray):
            if hasattr(image, "convert"):
                # An image of Pillow's, of any mode: as when its file is indexed.
                from imgsearch.rgb import to_rgb

                image = to_rgb(image)
            image = np.asarray(image)
        return self.prepare(image, budget)

    def _load(self, runtime: Runtime) -> Engine | Reference:
        return load_forward(Checkpoint(self._folder), runtime, self._side, self._prompt_encoder.pad_id)

    def _new_batching(self) -> batching.Batching:
        # Without self, so that an embedder that is let go gives its memory back at once, not when cycles are sought.
        choice = functools.partial(_choose_size, self.forward, self._largest, self.runtime)
        return batching.Batching(choice, self.runtime.device, self._notify)


def load_forward(
    checkpoint: Checkpoint, runtime: Runtime, padding_side: str, pad_id: int, *, stores_prefixes: bool = True
) -> Engine | Reference:
    """Load the engine, or the reference for an architecture that the engine does not know."""
    use_cores()
    try:
        return Engine(checkpoint, runtime, stores_prefixes=stores_prefixes)
    except UnknownArchitecture:
        # transformers has the last word on what is no model at all, and says so.
        from imgsearch.model.reference import Reference  # on use: importing transformers takes seconds

        return Reference(checkpoint, runtime, padding_side, pad_id)


def _choose_size(
    forward: Engine | Reference, picture_size: tuple[int, int], runtime: Runtime
) -> tuple[int, str]:
    """Return how many pictures of ``picture_size`` (patches, tokens) go into one pass, and why."""
    patches, tokens = picture_size
    itemsize = getattr(torch, activations(runtime.dtype)).itemsize
    picture = batching.picture_bytes(
        forward.layer_sizes(), patches, tokens, itemsize, on_cpu=runtime.device == "cpu"
    )
    free = max(0, batching.free_memory(runtime.device) - forward.bytes_to_load())
    unit = bfloat16_unit() if (runtime.device, runtime.dtype) == ("cpu", "bfloat16") else None
    return batching.choose_size(picture, free, runtime.device.partition(":")[0], unit)


def _as_input(item: Embeddable) -> Input:
    """Return what was given as an Input; InputError for another type or an unknown key."""
    if isinstance(item, Input):
        return item
    if isinstance(item, str):
        return Input(text=item)
    if not isinstance(item, Mapping):
        raise InputError(f"an input is a text, an Input or a mapping, not {type(item).__name__}")
    unknown = sorted(str(key) for key in set(item) - {"text", "image", "instruction"})
    if unknown:
        raise InputError(f"an input has the keys text, image and instruction, not {', '.join(unknown)}")
    return Input(**item)
