"""How what is asked becomes vectors: by the query cache, by the model that is loaded on first use, or for ``embed``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from imgsearch import deep
from imgsearch.client import load_encoder
from imgsearch.errors import InputError
from imgsearch.index import side_db
from imgsearch.index.reader import ImageIndex
from imgsearch.model.conventions import choose_instruction
from imgsearch.search.examples import read_picture
from imgsearch.spec import choose_spec
from imgsearch.text import display_path
from imgsearch.types import Input, ModelOptions, QueryEncoder, Reporter, Silent, Vectors


class CachedEncoder:
    """The encoder of one index's queries: the query cache first, the model, loaded on first use, for all others.

    Cached are texts alone, by all that their vectors depend on.
    """

    def __init__(
        self,
        index: ImageIndex,
        choice: ModelOptions,
        load: Callable[[], QueryEncoder],
        *,
        cache: bool = True,
        keep: bool = True,
    ) -> None:
        """Take an open index and what loads its model, which is called with the first query that needs it.

        Without ``cache``, and with a model that the user names, nothing is looked up and nothing kept; without ``keep``
        nothing is kept.
        """
        self._folder, self._spec, self._choice = index.folder, index.spec, choice
        self._cache = cache and choice.model is None
        self._keep = keep
        self._model = functools.cache(load)

    def embed(self, inputs: Sequence[Input]) -> Vectors:
        """Return one float32 row an input, from the cache where it is a text that was asked before.

        Raises as loading the model and its own ``embed`` do.
        """
        keys = [self._cache_key(item) for item in inputs]
        rows = np.empty((len(inputs), self._spec.dim), np.float32)
        misses = []
        for number, key in enumerate(keys):
            cached = side_db.cached_vector(self._folder, key) if key else None
            if cached is None:
                misses.append(number)
            else:
                rows[number] = cached[0]
        if misses:
            rows[misses] = self._model().embed([inputs[number] for number in misses])
        for number in misses if self._keep else ():
            if (key := keys[number]) is not None:
                side_db.cache_vector(self._folder, key, rows[number])
        return rows

    def _cache_key(self, item: Input) -> side_db.CachedQuery | None:
        """Return what an input is cached by; None for one with an image or without words."""
        if not self._cache or item.image is not None or not item.text:
            return None
        spec, choice = self._spec, self._choice
        instruction = choose_instruction(item.instruction, default=spec.query_prompt)
        return side_db.CachedQuery(
            spec.fingerprint, instruction, item.text, spec.dim, choice.device, choice.dtype
        )


_BATCH = 8


def embed_inputs(
    inputs: Sequence[str],
    *,
    texts: bool = False,
    choice: ModelOptions | None = None,
    reporter: Reporter | None = None,
) -> Vectors:
    """Embed picture files, or with ``texts`` the inputs themselves: (n, dim) float32, unit rows, in order.

    Texts get the prompt of questions, pictures that of documents, as an index and its queries do.
    Raises InputError (naming the input), CheckpointError, DownloadError, UsageError; never fewer rows.
    """
    choice, reporter = choice or ModelOptions(), reporter or Silent()
    for path in () if texts else inputs:
        if not deep.exists(path):  # better said before a model is loaded than after
            raise InputError(f"{display_path(path)}: no such file")
    checkpoint, spec = choose_spec(choice, reporter)
    encoder = load_encoder(checkpoint, spec, choice, reporter)
    if texts:
        return encoder.embed([Input(text=text, instruction=spec.query_prompt) for text in inputs])
    rows = np.empty((len(inputs), spec.dim), np.float32)
    # A batch at a time, so that memory does not grow with the inputs.
    for start in range(0, len(inputs), _BATCH):
        paths = inputs[start : start + _BATCH]
        pictures = [encoder.prepare(read_picture(path, spec.pixels)) for path in paths]
        rows[start : start + _BATCH] = encoder.embed(
            [Input(image=picture, instruction=spec.document_prompt) for picture in pictures]
        )
    return rows
