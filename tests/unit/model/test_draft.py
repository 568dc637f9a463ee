"""Decoding a large JPEG at reduced scale does not move its embedding."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.media import formats
from imgsearch.types import RGB, Input, PixelBudget
from support.pictures import scene

if TYPE_CHECKING:
    from imgsearch.model.embedder import Qwen3VLEmbedder

BUDGET = PixelBudget(4096, 57_600)
NO_DRAFT = PixelBudget(4096, 10**9)
SIZE = (2400, 1800)


def jpeg(seed: int) -> bytes:
    """Return a picture of 4.3 megapixels with fine grain, as a camera writes it."""
    grain = np.random.default_rng(seed).normal(0, 12, (SIZE[1], SIZE[0], 1))
    pixels = np.clip(np.asarray(scene(seed, SIZE), np.float32) + grain, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    from PIL import Image

    Image.fromarray(pixels).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def decoded(data: bytes, budget: PixelBudget) -> RGB:
    """Return the pixels as the decoder gives them under a budget."""
    (picture,) = formats.load_pictures(io.BytesIO(data), "photo.jpg", budget)
    assert (picture.width, picture.height) == SIZE
    return picture.pixels


@pytest.mark.slow("decodes and embeds pictures of 4 megapixels")
def test_a_draft_decode_does_not_move_the_embedding(tiny_embedder: Qwen3VLEmbedder) -> None:
    """At reduced scale a JPEG's vector stays within cosine 0.995, and nearer to itself than to any other."""
    files = [jpeg(seed) for seed in range(6)]
    full = [decoded(data, NO_DRAFT) for data in files]
    draft = [decoded(data, BUDGET) for data in files]
    assert all(small.size * 4 <= whole.size for small, whole in zip(draft, full, strict=True))
    whole = tiny_embedder.embed([Input(image=pixels) for pixels in full])
    reduced = tiny_embedder.embed([Input(image=pixels) for pixels in draft])
    cosines = reduced @ whole.T
    assert np.diag(cosines).min() >= 0.995
    assert (cosines.argmax(axis=1) == np.arange(len(files))).all()
