"""A model under evaluation: what its vectors are known by, and how they are made, batch by batch."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Literal, Protocol, TypeVar

from imgsearch.client import load_local_encoder
from imgsearch.errors import CheckpointError, DatasetError, InputError
from imgsearch.model.families import conventions_of
from imgsearch.model.library.files import LibraryCheckpoint
from imgsearch.model.library.loading import version
from imgsearch.model.locate import fetch_checkpoint
from imgsearch.spec import spec_of
from imgsearch.tools.dataset.retrieval import PictureRef, decode_each
from imgsearch.types import ImageEncoder, Input, ModelOptions, Reporter, Silent, Vectors

T = TypeVar("T")
BATCH_SIZE = 8


class EvalModel(Protocol):
    """A model with its settings. ``instructions`` are the query side's, None the model's own.

    ``full_dim`` and ``parameters`` are None where only the loaded model knows; ``pixels`` and ``dtype`` are
    None for a model that sees and computes as it likes. ``dims`` are those it was trained for, if it says so.
    """

    name: str
    peer: bool
    full_dim: int | None
    dims: tuple[int, ...]
    pixels: int | None
    dtype: str | None
    instructions: tuple[str | None, ...]

    @property
    def parameters(self) -> int | None:
        """How many parameters the model has."""

    def space(self, side: Side, instruction: str | None) -> dict[str, object]:
        """Return everything but the content that decides a vector."""

    def query_vectors(self, texts: Sequence[str], instruction: str | None) -> Iterator[Vectors]:
        """Yield the rows of the texts, in order, a batch at a time."""

    def picture_vectors(self, refs: Sequence[PictureRef]) -> Iterator[Vectors]:
        """Yield the rows of the pictures, in order, a batch at a time."""

    def close(self) -> None:
        """Let go of the model's memory."""


Side = Literal["query", "document"]


class OwnModel:
    """A model as an index uses it, at all of its dimensions, loaded on first use."""

    peer = False

    def __init__(
        self,
        options: ModelOptions,
        *,
        instructions: Sequence[str | None] = (None,),
        batch_size: int = BATCH_SIZE,
        reporter: Reporter,
    ) -> None:
        """Find the checkpoint and its settings; the model itself is not loaded. Raises as choose_spec does."""
        from imgsearch.model.runtime import choose

        found = fetch_checkpoint(options.model, options.revision, reporter, force_model=options.force_model)
        conventions = conventions_of(found)
        # Vectors are made at full length, whatever the checkpoint's default is: every table is cut from them.
        plain = replace(options, instruction=None, dim=conventions.full_dim)
        self._checkpoint, spec = found, spec_of(found, plain, reporter)
        self._spec = spec
        self._choice, self._batch_size, self._reporter = plain, batch_size, reporter
        # An instruction here is the query side's alone: pictures keep the model's own.
        self._prompts = {
            instruction: spec.query_prompt
            if instruction is None
            else spec_of(found, replace(plain, instruction=instruction), Silent()).query_prompt
            for instruction in instructions
        }
        self._conventions = [conventions.verbatim, conventions.generation_prompt, conventions.max_length]
        self._encoder: ImageEncoder | None = None
        self.name = self._checkpoint.name
        self.full_dim: int | None = conventions.full_dim
        self.dims = conventions.matryoshka_dims
        self.pixels: int | None = None if spec.own_pixels else spec.pixels.max_pixels
        self.dtype: str | None = choose(options.device, options.dtype).dtype
        self.instructions = tuple(instructions)

    @property
    def parameters(self) -> int | None:
        """How many parameters the checkpoint's files hold."""
        return self._checkpoint.info.parameters

    def space(self, side: Side, instruction: str | None) -> dict[str, object]:
        """Return checkpoint, prompt, dtype and, for pictures, the pixel budget."""
        spec = self._spec
        prompt = self._prompts[instruction] if side == "query" else spec.document_prompt
        space: dict[str, object] = {"model": spec.fingerprint, "prompt": prompt, "dtype": self.dtype}
        space["conventions"] = self._conventions
        if side == "document":
            space["pixels"] = [spec.pixels.min_pixels, spec.pixels.max_pixels]
        return {"side": side, **space}

    def query_vectors(self, texts: Sequence[str], instruction: str | None) -> Iterator[Vectors]:
        """Yield (batch, full_dim) rows of texts under the query prompt."""
        encoder = self._loaded()
        for batch in batches(texts, self._batch_size):
            inputs = [Input(text=text, instruction=self._prompts[instruction]) for text in batch]
            try:
                rows = encoder.embed(inputs, batch_size=self._batch_size)
            except InputError:
                self._name_culprit(inputs)
                raise
            yield rows

    def picture_vectors(self, refs: Sequence[PictureRef]) -> Iterator[Vectors]:
        """Yield (batch, full_dim) rows of pictures under the document prompt."""
        encoder = self._loaded()
        spec = self._spec
        patches = decode_each(refs, spec.pixels, encoder.prepare, ahead=2 * self._batch_size)
        for batch in batches(patches, self._batch_size):
            inputs = [Input(image=image, instruction=spec.document_prompt) for image in batch]
            yield encoder.embed(inputs, batch_size=self._batch_size)

    def close(self) -> None:
        """Let go of the model's memory."""
        self._encoder = None

    def _name_culprit(self, inputs: Sequence[Input]) -> None:
        """Raise DatasetError with the first text that can't be embedded, which a position in a batch does not tell."""
        for asked in inputs:
            try:
                self._loaded().embed([asked])
            except InputError as error:
                query = textwrap.shorten(asked.text or "", 80)
                raise DatasetError(f"the query {query!r}: ", error.as_message) from error

    def _loaded(self) -> ImageEncoder:
        if self._encoder is None:
            self._encoder = load_local_encoder(self._checkpoint, self._spec, self._choice, self._reporter)
        return self._encoder


class LibraryModel(OwnModel):
    """A peer: a model by sentence-transformers, whatever its family, with its own prompts, pixels and full length.

    It is the adapter by which such models are indexed, so that both give the same vectors.
    """

    peer = True

    def __init__(
        self, name: str, *, device: str = "auto", batch_size: int = BATCH_SIZE, reporter: Reporter
    ) -> None:
        """Find the model, which is loaded on first use. Raises as ``fetch_checkpoint``, and MissingExtra."""
        if not name.strip():
            raise CheckpointError(
                "the peer's name is empty; give a model's folder, or its name on Hugging Face"
            )
        self._version = version()
        # A name without its owner is taken for one of the library's own models.
        alone = "/" not in name and not os.path.isdir(name)
        wanted = f"sentence-transformers/{name}" if alone else name
        found = fetch_checkpoint(wanted, None, reporter, force_model=True)
        self._checkpoint = checkpoint = LibraryCheckpoint(found.folder, found.name, found.reason)
        self._settings = {key: checkpoint.own_settings.get(key) for key in ("prompts", "truncate_dim")}
        self._choice = ModelOptions(model=wanted, device=device, force_model=True)
        self._batch_size, self._reporter = batch_size, reporter
        self._encoder: ImageEncoder | None = None
        self.name = name
        self.full_dim: int | None = None
        self.dims: tuple[int, ...] = ()
        self.pixels: int | None = None
        self.dtype: str | None = None
        self.instructions: tuple[str | None, ...] = (None,)

    def space(self, side: Side, instruction: str | None) -> dict[str, object]:
        """Return the model's files, which hold its settings, its prompts, and the library that computes it."""
        made_by = f"sentence-transformers {self._version}"
        known = {"model": self._checkpoint.fingerprint, "settings": self._settings}
        return {"side": side, **known, "made_by": made_by}

    def _loaded(self) -> ImageEncoder:
        if self._encoder is None:
            self._reporter.say(
                f"{os.path.basename(self.name.rstrip('/'))}: with sentence-transformers {self._version}"
            )
            full = conventions_of(self._checkpoint).full_dim
            self._spec = spec_of(self._checkpoint, replace(self._choice, dim=full), Silent())
            self._prompts = {None: self._spec.query_prompt}
        return super()._loaded()


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of ``size`` items, the last one shorter."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
