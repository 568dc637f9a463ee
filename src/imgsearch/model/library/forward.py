"""The pass of a model that sentence-transformers computes: texts by its encode_query, images by its encode_document."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from PIL import Image

from imgsearch.errors import CheckpointError, InputError
from imgsearch.model.batching import LayerSizes, is_out_of_memory
from imgsearch.model.library.files import LibraryCheckpoint
from imgsearch.model.library.loading import load_model
from imgsearch.text import error_line
from imgsearch.types import RGB, Runtime

_LIKELY = LayerSizes(pixels=768, vision=1152, vision_mlp=4304, text=2048, text_mlp=8192, stacks=0)
"""What a config that does not tell its sizes is taken to have."""


@dataclass(frozen=True, slots=True, eq=False)
class LibraryInput:
    """What is embedded: a text, an image or both, with the prompt of its side."""

    text: str | None
    image: RGB | None
    prompt: str


class LibraryForward:
    """A loaded model. ``hidden`` is the length of a whole vector, ``max_tokens`` of a text, None for any.

    Safe to use from many threads: they take turns.
    """

    def __init__(self, checkpoint: LibraryCheckpoint, runtime: Runtime) -> None:
        """Load a model on ``runtime``'s device, in its dtype. Raises as ``loading.load_model`` does."""
        self._name = checkpoint.name or checkpoint.folder
        self.model = load_model(checkpoint, runtime.device, runtime.dtype)
        self._dtype: torch.dtype = getattr(torch, runtime.dtype)
        self._lock = threading.RLock()  # in_float32 changes the weights that a pass computes with
        self._takes_both = self.model.supports(("image", "text"))
        self.max_tokens = _limit(self.model.max_seq_length)
        self._how: dict[str, Any] = {}
        if (fixed := _fixed_length(self.model)) is not None:
            self.max_tokens = min(fixed, self.max_tokens or fixed)
            self._how = {"processing_kwargs": {"text": {"padding": "max_length", "max_length": fixed}}}
        try:
            self.hidden = int(self([LibraryInput("a", None, "")]).shape[1])
        except InputError as error:
            raise CheckpointError(f"{self._name} can't embed a text: ", error.as_message) from error

    def __call__(self, inputs: Sequence[LibraryInput], /) -> torch.Tensor:
        """Return one row an input, (inputs, hidden) float32 on the CPU; a text with an image is a query.

        Where the model can't take both at once, the row is the sum of both rows, each of unit length. Raises InputError
        for what the model does not take.
        """
        with self._lock:
            rows = []
            for (query, prompt, apart), group in groupby(inputs, self._way):
                batch = list(group)
                if apart:
                    texts = self._encode(True, prompt, [_value(item.text, None) for item in batch])
                    images = self._encode(False, prompt, [_value(None, item.image) for item in batch])
                    rows.append(_unit(texts) + _unit(images))
                else:
                    rows.append(
                        self._encode(query, prompt, [_value(item.text, item.image) for item in batch])
                    )
            return torch.cat(rows)

    def in_float32(self, inputs: Sequence[LibraryInput], /) -> torch.Tensor:
        """Compute the same in float32; the model is left as it was."""
        # Half precision to float32 and back changes no bit of the weights; buffers are not touched.
        with self._lock:
            try:
                self._cast(torch.float32)
                return self(inputs)
            finally:
                self._cast(self._dtype)

    def tokens_of(self, text: str) -> int:
        """Return how many tokens a text has, without its prompt; 0 where that can't be told."""
        tokenizer: Any = self.model.tokenizer
        try:
            with self._lock:
                return len(tokenizer(text, truncation=False, verbose=False)["input_ids"])
        except (TypeError, KeyError, ValueError):
            return 0

    def layer_sizes(self) -> LayerSizes:
        """Return what the memory of a pass is estimated by, as far as the config tells."""
        config: Any = self.model.config
        vision, text = (getattr(config, f"{side}_config", None) or config for side in ("vision", "text"))
        patch = _number(vision, ("patch_size",), 16)
        return LayerSizes(
            pixels=3 * patch * patch,
            vision=_number(vision, ("hidden_size", "embed_dim"), _LIKELY.vision),
            vision_mlp=_number(vision, ("intermediate_size",), _LIKELY.vision_mlp),
            text=_number(text, ("hidden_size",), _LIKELY.text),
            text_mlp=_number(text, ("intermediate_size",), _LIKELY.text_mlp),
            stacks=0,
        )

    def _way(self, item: LibraryInput) -> tuple[bool, str, bool]:
        """Return by which method and prompt an input goes, and whether its text and image go apart."""
        both = item.text is not None and item.image is not None
        return item.text is not None, item.prompt, both and not self._takes_both

    def _encode(self, query: bool, prompt: str, values: list[Any]) -> torch.Tensor:
        encode = self.model.encode_query if query else self.model.encode_document
        try:
            rows = encode(
                values,
                prompt=prompt,
                batch_size=len(values),
                show_progress_bar=False,
                convert_to_tensor=True,
                **(self._how if query else {}),
            )
        except (
            Exception
        ) as error:  # the processors of hundreds of families: whatever they raise, it is this input
            if is_out_of_memory(error):
                raise
            raise InputError(f"{self._name} can't embed this: {error_line(error, first=True)}") from error
        found: torch.Tensor = rows.float().cpu()
        return found.clone()  # an ordinary tensor, where the library gives one of inference mode

    def _cast(self, dtype: torch.dtype) -> None:
        for parameter in self.model.parameters():
            parameter.data = parameter.data.to(dtype)


def _value(text: str | None, image: RGB | None) -> Any:
    """Return an input in the library's words."""
    if image is None:
        return {
            "text": text
        }  # a text that looks like an address is one to the library, which then fetches it
    shown = Image.fromarray(image)
    return shown if text is None else {"text": text, "image": shown}


def _unit(rows: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = rows / rows.norm(dim=1, keepdim=True)
    return found


def _fixed_length(model: Any) -> int | None:
    """Return how many tokens every text of a SigLIP is filled up to; None for other families, and where it says itself.

    It reads the state of the last token, padding or not, and was trained at one length (transformers' page on SigLIP);
    sentence-transformers fills up to the longest text of a batch, on which a vector would then depend.
    """
    config = model.config
    own = getattr(model[0], "processing_kwargs", None) or {}
    if getattr(config, "model_type", "") not in ("siglip", "siglip2") or "padding" in own.get("text", {}):
        return None
    return _limit(getattr(config.text_config, "max_position_embeddings", None))


def _limit(length: Any) -> int | None:
    return length if isinstance(length, int) and 0 < length < 10**9 else None


def _number(config: Any, names: tuple[str, ...], default: int) -> int:
    found = next((value for name in names if isinstance(value := getattr(config, name, None), int)), default)
    return max(1, found)
