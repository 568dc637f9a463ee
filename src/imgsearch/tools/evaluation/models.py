"""A model under evaluation: what its vectors are known by, and how they are made, batch by batch."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Literal, Protocol, TypeVar

from imgsearch.dataset import PictureRef
from imgsearch.dataset.pictures import FULL, decode_each
from imgsearch.encoders import load_here
from imgsearch.errors import DatasetError, InputError, MissingExtra
from imgsearch.identity import ModelChoice, choose_identity, find
from imgsearch.types import Encoder, Input, Reporter, Silent, Vectors

Side = Literal["query", "document"]
T = TypeVar("T")
BATCH_SIZE = 8


class Contender(Protocol):
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


class OwnModel:
    """A Qwen3-VL checkpoint, at all of its dimensions, loaded on first use."""

    peer = False

    def __init__(
        self,
        choice: ModelChoice,
        *,
        instructions: Sequence[str | None] = (None,),
        batch_size: int = BATCH_SIZE,
        reporter: Reporter,
    ) -> None:
        """Find the checkpoint and its settings; the model itself is not loaded. Raises as choose_identity does."""
        from imgsearch.model.conventions import read_conventions
        from imgsearch.model.runtime import choose

        found = find(choice.model, choice.revision, reporter)
        own = read_conventions(found.folder, found.name)
        # Vectors are made at full length, whatever the checkpoint's default is: every table is cut from them.
        plain = replace(choice, instruction=None, dim=own.full_dim)
        self._checkpoint, identity = choose_identity(plain, reporter)
        self._identity = identity
        self._choice, self._batch_size, self._reporter = plain, batch_size, reporter
        # An instruction here is the query side's alone: pictures keep the model's own.
        self._prompts = {
            instruction: identity.query_prompt
            if instruction is None
            else choose_identity(replace(plain, instruction=instruction), Silent())[1].query_prompt
            for instruction in instructions
        }
        self._conventions = [own.verbatim, own.generation_prompt, own.max_length]
        self._encoder: Encoder | None = None
        self.name = self._checkpoint.name
        self.full_dim: int | None = own.full_dim
        self.dims = own.matryoshka_dims
        self.pixels: int | None = identity.pixels.max_pixels
        self.dtype: str | None = choose(choice.device, choice.dtype).dtype
        self.instructions = tuple(instructions)

    @property
    def parameters(self) -> int | None:
        """How many parameters the checkpoint's files hold."""
        from imgsearch.model.checkpoint import describe

        return describe(self._checkpoint.folder).parameters

    def space(self, side: Side, instruction: str | None) -> dict[str, object]:
        """Return checkpoint, prompt, dtype and, for pictures, the pixel budget."""
        identity = self._identity
        prompt = self._prompts[instruction] if side == "query" else identity.document_prompt
        space: dict[str, object] = {"model": identity.fingerprint, "prompt": prompt, "dtype": self.dtype}
        space["conventions"] = self._conventions
        if side == "document":
            space["pixels"] = [identity.pixels.min_pixels, identity.pixels.max_pixels]
        return {"side": side, **space}

    def query_vectors(self, texts: Sequence[str], instruction: str | None) -> Iterator[Vectors]:
        """Yield (batch, full_dim) rows of texts under the query prompt."""
        for batch in batches(texts, self._batch_size):
            inputs = [Input(text=text, instruction=self._prompts[instruction]) for text in batch]
            try:
                rows = self._loaded().embed(inputs, batch_size=self._batch_size)
            except InputError:
                self._name_culprit(inputs)
                raise
            yield rows

    def picture_vectors(self, refs: Sequence[PictureRef]) -> Iterator[Vectors]:
        """Yield (batch, full_dim) rows of pictures under the document prompt."""
        encoder, identity = self._loaded(), self._identity
        patches = decode_each(refs, identity.pixels, encoder.prepare, ahead=2 * self._batch_size)
        for batch in batches(patches, self._batch_size):
            inputs = [Input(image=image, instruction=identity.document_prompt) for image in batch]
            yield encoder.embed(inputs, batch_size=self._batch_size)

    def close(self) -> None:
        """Let go of the model's memory."""
        self._encoder = None

    def _name_culprit(self, inputs: Sequence[Input]) -> None:
        """Raise DatasetError with the first text that can't be embedded, which a place in a batch does not tell."""
        for asked in inputs:
            try:
                self._loaded().embed([asked])
            except InputError as error:
                raise DatasetError(
                    f"the query {textwrap.shorten(asked.text or '', 80)!r}: {error}"
                ) from error

    def _loaded(self) -> Encoder:
        if self._encoder is None:
            self._encoder = load_here(self._checkpoint, self._identity, self._choice, self._reporter)
        return self._encoder


class PeerModel:
    """A model of another family, with its own prompts, pixel budget and dtype."""

    peer = True
    dims: tuple[int, ...] = ()
    pixels: int | None = None
    dtype: str | None = None
    instructions: tuple[str | None, ...] = (None,)

    def __init__(
        self, name: str, *, device: str = "auto", batch_size: int = BATCH_SIZE, reporter: Reporter
    ) -> None:
        """Name the model; it is loaded on first use. Raises MissingExtra where it could never be."""
        from importlib import metadata

        from imgsearch.model.peers import Peer

        try:
            self._version = metadata.version("sentence-transformers")
        except metadata.PackageNotFoundError as error:
            raise MissingExtra("--peer", "train") from error
        self.name = name
        self.full_dim: int | None = None
        self._peer = Peer(name, device=device, batch_size=batch_size)
        self._batch_size, self._reporter = batch_size, reporter
        if self._peer.fingerprint is None:
            self._load()  # what it is can be told only once it is here

    @property
    def parameters(self) -> int | None:
        """How many parameters the model has, None if it was not loaded."""
        return self._peer.parameters

    def space(self, side: Side, instruction: str | None) -> dict[str, object]:
        """Return the model's files or commit, which hold its prompts and settings."""
        made_by = f"sentence-transformers {self._version}"
        return {"side": side, "model": self._peer.fingerprint or self.name, "made_by": made_by}

    def query_vectors(self, texts: Sequence[str], instruction: str | None) -> Iterator[Vectors]:
        """Yield (batch, dim) rows of texts, by the model's encode_query."""
        self._load()
        for batch in batches(texts, self._batch_size):
            yield self._peer.encode_queries(batch)

    def picture_vectors(self, refs: Sequence[PictureRef]) -> Iterator[Vectors]:
        """Yield (batch, dim) rows of pictures, by the model's encode_document."""
        self._load()
        pictures = decode_each(refs, FULL, lambda picture: picture, ahead=2 * self._batch_size)
        for batch in batches(pictures, self._batch_size):
            yield self._peer.encode_pictures(batch)

    def close(self) -> None:
        """Let go of the model's memory."""
        self._peer.close()

    def _load(self) -> None:
        if self._peer.loaded:
            return
        self._reporter.say(
            f"{os.path.basename(self.name.rstrip('/'))}: by sentence-transformers {self._version}"
        )
        self._peer.load()


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of ``size`` items, the last one shorter."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
