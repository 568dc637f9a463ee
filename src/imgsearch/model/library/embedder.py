"""Turns texts and images into unit vectors with a model of another family, by sentence-transformers."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from imgsearch.errors import CheckpointError, InputError, UsageError
from imgsearch.model import batching
from imgsearch.model.conventions import check_length
from imgsearch.model.library.files import LibraryCheckpoint
from imgsearch.model.library.forward import LibraryForward, LibraryInput
from imgsearch.model.library.prepare import prepare_image
from imgsearch.model.library.settings import library_conventions, patches_of
from imgsearch.model.passes import Passes
from imgsearch.model.runtime import choose, use_cores
from imgsearch.text import Option
from imgsearch.types import RGB, Input, ModelSpec, Notify, Patches, PixelBudget, Runtime, Vectors

_PROMPT_TOKENS = 64
"""What stands around an image where a language model reads it."""


class LibraryEmbedder(Passes):
    """A loaded model of another family; an ``ImageEncoder``. What has words in it is a query, an image a document."""

    forward: LibraryForward

    def __init__(
        self,
        spec: ModelSpec,
        checkpoint: LibraryCheckpoint,
        notify: Notify | None = None,
        forward: LibraryForward | None = None,
    ) -> None:
        """Load the model as ``spec`` asks for it; ``forward`` is that of another embedder, whose weights are shared.

        Raises CheckpointError, UsageError for a device, dtype or dim that does not exist, MissingExtra where the
        library is not installed, and ModelOutOfMemory for weights that are too many.
        """
        runtime = choose(spec.device, spec.dtype)
        if runtime.dtype == "int8":
            raise UsageError(
                f"{checkpoint.name or checkpoint.folder} is computed by sentence-transformers, which does not support "
                "int8: omit ",
                Option("dtype"),
            )
        use_cores()
        self.budget, self._instruction, self._folder = spec.budget, spec.instruction, checkpoint.folder
        self._name, self._told_of_cut = checkpoint.name, False
        full = library_conventions(checkpoint).full_dim
        loaded = forward or LibraryForward(checkpoint, runtime)
        if loaded.hidden != full:
            raise CheckpointError(
                f"{checkpoint.name or checkpoint.folder} makes embeddings of {loaded.hidden} dimensions, but its "
                f"settings have {full}: its files do not belong together"
            )
        if not 1 <= spec.dim <= full:
            raise UsageError(f"this model's embeddings have {full} dimensions; choose a dim from 1 to {full}")
        super().__init__(loaded, runtime, spec.dim, notify, shared=forward is not None)

    def _load(self, runtime: Runtime) -> LibraryForward:
        return LibraryForward(LibraryCheckpoint(self._folder, self._name), runtime)

    def _new_batching(self) -> batching.Batching:
        # Without self, so that an embedder that is let go gives its memory back at once, not when cycles are sought.
        choice = functools.partial(_choose_size, self.forward, self.budget, self.runtime)
        return batching.Batching(choice, self.runtime.device, self._notify)

    def expect(self, images: int) -> str:
        """Take note that so many ``images`` are about to be embedded; nothing is done for it."""
        return ""

    def int8_speedup(self) -> float:
        """Return 1: the library has no int8."""
        return 1.0

    def prepare(self, image: RGB, budget: PixelBudget | None = None) -> RGB:
        """Return a (height, width, 3) uint8 image, smaller where the model can't tell, as ``prepare_image`` does."""
        return prepare_image(image, budget or self.budget)

    def embed(
        self, inputs: Sequence[Input], normalize: bool = True, *, batch_size: int | None = None
    ) -> Vectors:
        """Return one float32 row an input, in their order: (len(inputs), dim), of unit length if ``normalize``.

        Texts go through the library's encode_query and images through its encode_document, each with its instruction as
        the prompt, the embedder's own for an input without one. ``batch_size`` inputs are computed at a time. A text
        longer than the model's context is cut, as the library does it, which is said once.

        A row that is not finite is computed once more in float32. Raises NonFiniteError with the numbers of the rows
        that are not finite even then, InputError or PictureError for an input that can't be taken, and ModelOutOfMemory
        if a single one does not fit into memory.
        """
        return self._in_batches(
            len(inputs), batch_size, normalize, lambda number: self._ready(inputs[number])
        )

    def _ready(self, item: Input) -> LibraryInput:
        """Return an input as the library takes it; InputError for one that is empty, or that is for another family."""
        if isinstance(item.image, Patches):
            raise InputError("the image is cut into patches, which this model does not take")
        check_length(item.text or "")
        # A shell hands over bytes that are no UTF-8 as lone surrogates.
        text = re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", item.text or "")
        if not text.strip() and item.image is None:
            raise InputError("there is nothing to embed: the text is empty and there is no image")
        self._tell_of_cut(text)
        image = None if item.image is None else self.prepare(_as_array(item.image), item.budget)
        prompt = self._instruction if item.instruction is None else item.instruction
        return LibraryInput(text if text.strip() else None, image, prompt)

    def _tell_of_cut(self, text: str) -> None:
        most = self.forward.max_tokens
        # No token is longer than the text; most texts are far too short for the question.
        if self._told_of_cut or most is None or len(text) + 2 <= most:
            return
        if (count := self.forward.tokens_of(text)) > most:
            self._told_of_cut = True
            self._notify(
                f"a text of {count} tokens was cut to its first {most}: this model takes no longer ones"
            )


def _as_array(image: Any) -> RGB:
    """Return an image of Pillow's, of any mode, as when its file is indexed; an array as it is."""
    if isinstance(image, np.ndarray):
        return image
    from imgsearch.rgb import to_rgb

    return np.asarray(to_rgb(image) if hasattr(image, "convert") else image)


def _choose_size(forward: LibraryForward, budget: PixelBudget, runtime: Runtime) -> tuple[int, str]:
    """Return how many images go into one pass, and why."""
    config: Any = forward.model.config
    patches = patches_of(budget, config)
    reads = "message" in forward.model.modalities  # a language model reads the image, patch by patch at most
    picture = batching.picture_bytes(
        forward.layer_sizes(),
        patches,
        (patches if reads else 0) + _PROMPT_TOKENS,
        getattr(torch, runtime.dtype).itemsize,
        on_cpu=runtime.device == "cpu",
    )
    return batching.choose_size(
        picture, batching.free_memory(runtime.device), runtime.device.partition(":")[0]
    )
