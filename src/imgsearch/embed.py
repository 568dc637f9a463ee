"""Use case: the vectors themselves, of texts or of picture files, without an index."""

from __future__ import annotations

from collections.abc import Sequence

from imgsearch.identity import ModelChoice, choose_identity, load_encoder
from imgsearch.search import read_picture
from imgsearch.types import Input, Reporter, Silent, Vectors


def embed_inputs(
    inputs: Sequence[str],
    *,
    texts: bool = False,
    choice: ModelChoice | None = None,
    reporter: Reporter | None = None,
) -> Vectors:
    """Embed picture files, or with ``texts`` the inputs themselves: (n, dim) float32, unit rows, in order.

    Raises InputError (naming the input), CheckpointError, DownloadError, UsageError; never fewer rows.
    """
    choice, reporter = choice or ModelChoice(), reporter or Silent()
    checkpoint, identity = choose_identity(choice, reporter)
    # Every picture is looked at before the model is loaded: a bad one is said at once.
    pictures = [] if texts else [read_picture(path, identity.pixels) for path in inputs]
    encoder = load_encoder(checkpoint, identity, choice, reporter)
    if texts:
        return encoder.embed([Input(text=text) for text in inputs])
    return encoder.embed([Input(image=encoder.prepare(pixels)) for pixels in pictures])
