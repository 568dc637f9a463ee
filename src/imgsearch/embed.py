"""Use case: the vectors themselves, of texts or of picture files, without an index."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from imgsearch.encoders import load_encoder
from imgsearch.errors import InputError
from imgsearch.identity import ModelChoice, choose_identity
from imgsearch.search import read_picture
from imgsearch.types import Input, Reporter, Silent, Vectors

_BATCH = 8


def embed_inputs(
    inputs: Sequence[str],
    *,
    texts: bool = False,
    choice: ModelChoice | None = None,
    reporter: Reporter | None = None,
) -> Vectors:
    """Embed picture files, or with ``texts`` the inputs themselves: (n, dim) float32, unit rows, in order.

    Texts get the prompt of questions, pictures that of documents, as an index and its queries do.
    Raises InputError (naming the input), CheckpointError, DownloadError, UsageError; never fewer rows.
    """
    choice, reporter = choice or ModelChoice(), reporter or Silent()
    for path in () if texts else inputs:
        if not os.path.exists(path):  # better said before a model is loaded than after
            raise InputError(f"{path}: no such file")
    checkpoint, identity = choose_identity(choice, reporter)
    encoder = load_encoder(checkpoint, identity, choice, reporter)
    if texts:
        return encoder.embed([Input(text=text, instruction=identity.query_prompt) for text in inputs])
    rows = np.empty((len(inputs), identity.dim), np.float32)
    # A batch at a time, so that memory does not grow with the inputs.
    for start in range(0, len(inputs), _BATCH):
        paths = inputs[start : start + _BATCH]
        pictures = [encoder.prepare(read_picture(path, identity.pixels)) for path in paths]
        rows[start : start + _BATCH] = encoder.embed(
            [Input(image=picture, instruction=identity.document_prompt) for picture in pictures]
        )
    return rows
