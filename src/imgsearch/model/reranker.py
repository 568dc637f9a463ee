"""Judges how well images answer a query with a Qwen3-VL reranker, by its published recipe."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch

from imgsearch.errors import CheckpointError, InputError, NonFiniteError
from imgsearch.model import batching
from imgsearch.model import image as pixels
from imgsearch.model.checkpoint import HEAD, MEND, Checkpoint
from imgsearch.model.conventions import check_length
from imgsearch.model.embedder import load_forward
from imgsearch.model.engine.config import LANGUAGE
from imgsearch.model.engine.forward import Engine
from imgsearch.model.engine.weights import read_rows
from imgsearch.model.prompt import Message, ModelInput, PromptEncoder, check_reranks, token_id
from imgsearch.model.runtime import choose
from imgsearch.types import RGB, Input, Notify, Patches, PixelBudget, Runtime

SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
"""The published system message, word for word: the model was trained with it."""
INSTRUCTION = "Given a search query, retrieve relevant candidates that answer the query."
"""What the published model is told of a query that comes without an instruction of its own."""
MAX_LENGTH = 10_240
"""Tokens of a prompt, at most, as published."""
BUDGET = PixelBudget(4 * 32 * 32, 1800 * 32 * 32)
"""Pixels of an image, as published: 4 to 1,800 tokens."""
_TRIALS = 3


class Qwen3VLReranker:
    """A loaded reranker: for a query and an image, the probability that the image answers the query.

    The model reads both in one prompt, and the score is how probable "yes" is as its next word, against "no".
    Follows QwenLM/Qwen3-VL-Embedding, src/models/qwen3_vl_reranker.py.
    """

    def __init__(
        self,
        folder: str | Checkpoint,
        *,
        device: str = "auto",
        dtype: str = "auto",
        budget: PixelBudget = BUDGET,
        notify: Notify | None = None,
    ) -> None:
        """Load the checkpoint in ``folder``, or the one that is open already.

        ``device`` and ``dtype`` are as ``runtime.choose`` takes them, ``budget`` is that of all images. ``notify``
        takes lines for the user; without it they are warnings.

        Raises CheckpointError, also for a model that is no reranker, UsageError for a device, dtype or budget that does
        not exist, and ModelOutOfMemory for weights that are too many.
        """
        self.runtime: Runtime = choose(device, dtype)
        self.budget = budget
        checkpoint = Checkpoint.open(folder)
        check_reranks(checkpoint)
        self._layout = pixels.read_layout(checkpoint)
        pixels.check_budget(budget, self._layout.factor)
        self._prompts = PromptEncoder(checkpoint, generation_prompt=True)
        with batching.loading(self.runtime.device):
            self._yes_over_no = _yes_over_no(checkpoint)
            side, pad = self._prompts.padding_side, self._prompts.pad_id
            # A prefix holds the query: no file may tell what somebody has searched for.
            self.forward = load_forward(checkpoint, self.runtime, side, pad, stores_prefixes=False)
        self._batching = batching.Batching(lambda: (1, ""), self.runtime.device, notify or _warn)

    def scores(self, query: Input, images: Sequence[RGB | Patches]) -> list[float]:
        """Return for each image the probability from 0 to 1 that it answers the query.

        An image is (height, width, 3) uint8, or its patches.

        The query is a text, an image, or both, with an instruction or without. Images are judged one at a time: the
        query is computed once, and of each image only itself.

        Raises InputError for a query that is empty or too long, PictureError for an aspect ratio over 200,
        NonFiniteError with the numbers of images that have no score even in float32, and ModelOutOfMemory.
        """
        logits = [self._logit(self.encode(query, image)) for image in images]
        if bad := [number for number, logit in enumerate(logits) if not math.isfinite(logit)]:
            raise NonFiniteError(bad)
        return [float(1 / (1 + np.exp(-logit))) for logit in logits]

    def encode(self, query: Input, image: RGB | Patches) -> ModelInput:
        """Return the prompt of a query and an image, with the patches of all images in it."""
        check_length(query.text or "")
        text = self._prompts.checked(query.text) if query.text and query.text.strip() else ""
        if not text and query.image is None:
            raise InputError("the query is empty; describe what is in the image")
        instruction = self._prompts.checked(query.instruction or INSTRUCTION)
        pictures = [] if query.image is None else [self._prepared(query.image)]
        pictures.append(self._prepared(image))
        asked: list[dict[str, str]] = [{"type": "image"}] if query.image is not None else []
        asked += [{"type": "text", "text": text}] if text else []
        messages: list[Message] = [
            {"role": "system", "content": [{"type": "text", "text": SYSTEM}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": f"<Instruct>: {instruction}"},
                    {"type": "text", "text": "<Query>:"},
                    *asked,
                    {"type": "text", "text": "\n<Document>:"},
                    {"type": "image"},
                ],
            },
        ]
        tokens = self._prompts.encode_messages(
            messages, [self._layout.tokens(patches.grid) for patches in pictures]
        )
        if len(tokens.ids) > MAX_LENGTH:
            raise InputError(
                f"the query has {len(tokens.ids)} tokens with its prompt and an image, but the reranker's limit is "
                f"{MAX_LENGTH}: shorten it"
            )
        return tokens, tuple(pictures)

    def seconds_per_image(self) -> float:
        """Return about how long one image of the whole pixel budget takes, by a product measured on this machine.

        That takes a moment. Rough, a third more or less; 0 where it can't be told, as on accelerators.
        """
        if self.runtime.device != "cpu" or not isinstance(self.forward, Engine):
            return 0.0
        tokens = self.budget.max_pixels // self._layout.factor**2
        return min(self.forward.seconds_for(tokens, self._layout.merge**2) for _ in range(_TRIALS))

    def _prepared(self, image: RGB | Patches) -> Patches:
        return image if isinstance(image, Patches) else pixels.prepare(image, self.budget, self._layout)

    def _logit(self, prompt: ModelInput) -> float:
        """Return by how much "yes" is likelier than "no", as a logit; once more in float32 if that is not finite."""
        (row,) = self._batching.run(self.forward, [prompt])
        if not torch.isfinite(row).all() and self.runtime.dtype != "float32":
            (row,) = self._batching.run(self.forward.in_float32, [prompt])
        return float(row[0].double() @ self._yes_over_no)


def _yes_over_no(checkpoint: Checkpoint) -> torch.Tensor:
    """Return what a hidden state is multiplied by for the logit of "yes" less that of "no": (hidden,) float64.

    It is the difference of two rows of the language-modelling head, or of the token embeddings where these are the head
    (tie_word_embeddings). Nothing else of the head is read.
    """
    stored = {tensor.name: tensor for tensor in checkpoint.tensors}
    embeddings = next((stored[name] for name in _EMBEDDINGS if name in stored), None)
    head = stored.get(HEAD)
    if head is None and checkpoint.config.get("tie_word_embeddings"):
        head = embeddings
    if head is None:
        raise CheckpointError(
            f"{checkpoint.folder}: a reranker needs {HEAD}, which its weights don't have; ", MEND
        )
    ids = [token_id(checkpoint, word) for word in ("yes", "no")]
    if len(head.shape) != 2 or max(ids) >= head.shape[0]:
        raise CheckpointError(f"{head.path}: {head.name} has the shape {head.shape}; ", MEND)
    rows = read_rows(head, ids).double()
    return rows[0].sub(rows[1])


_EMBEDDINGS = (
    f"{LANGUAGE}.embed_tokens.weight",
    f"{LANGUAGE}.embed_tokens.weight".removeprefix("model."),
)


def _warn(line: str) -> None:
    """Show a line as a warning where no one else takes it."""
    warnings.warn(line, stacklevel=2)
