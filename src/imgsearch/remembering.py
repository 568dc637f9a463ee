"""An encoder for questions that knows those asked before, and loads the model only for the others."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from imgsearch.identity import ModelChoice
from imgsearch.index import questions
from imgsearch.index.image_index import ImageIndex
from imgsearch.types import RGB, Encoder, Input, Patches, Runtime, Vectors


class RememberingEncoder:
    """The ``Encoder`` of one index's questions. Remembered are texts alone, by all that their vectors depend on."""

    def __init__(
        self, index: ImageIndex, choice: ModelChoice, load: Callable[[], Encoder], *, remember: bool = True
    ) -> None:
        """Take an open index and what loads its model, which is called with the first question that needs it.

        Without ``remember``, and with a model that the user names, nothing is looked up and nothing kept.
        """
        self._folder, self._identity, self._choice = index.folder, index.identity, choice
        self._remember = remember and choice.model is None
        self._model = functools.cache(load)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._identity.dim

    @property
    def runtime(self) -> Runtime:
        """Device and dtype of the model, which is loaded for it."""
        return self._model().runtime

    @property
    def batch_size(self) -> int:
        """How many pictures fit into memory at a time; the model is loaded for it."""
        return self._model().batch_size

    @property
    def batch_reason(self) -> str:
        """Why it is that many; the model is loaded for it."""
        return self._model().batch_reason

    def prepare(self, image: RGB) -> Patches:
        """Resize and cut a picture into patches as the model wants it, which is loaded for it."""
        return self._model().prepare(image)

    def embed(
        self, inputs: Sequence[Input], normalize: bool = True, *, batch_size: int | None = None
    ) -> Vectors:
        """Return one float32 row an input, from memory where it is a text that was asked before.

        Raises as the model's own ``embed`` does.
        """
        asked = [self._question(item) if normalize else None for item in inputs]
        rows = np.empty((len(inputs), self.dim), np.float32)
        new = []
        for place, question in enumerate(asked):
            known = questions.recall(self._folder, question) if question else None
            if known is None:
                new.append(place)
            else:
                rows[place] = known[0]
        if new:
            rows[new] = self._model().embed(
                [inputs[place] for place in new], normalize, batch_size=batch_size
            )
        for place in new:
            if (question := asked[place]) is not None:
                questions.remember(self._folder, question, rows[place])
        return rows

    def _question(self, item: Input) -> questions.Question | None:
        """Return what is remembered of an input; None for one with a picture or without words."""
        if not self._remember or item.image is not None or not item.text:
            return None
        identity, choice = self._identity, self._choice
        instruction = identity.query_prompt if item.instruction is None else item.instruction
        return questions.Question(
            identity.fingerprint, instruction, item.text, identity.dim, choice.device, choice.dtype
        )
