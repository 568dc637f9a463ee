"""Use case: does the model compute on a device what it computes on the CPU? Known images and texts are compared."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from imgsearch.client import load_embedder
from imgsearch.errors import NonFiniteError
from imgsearch.index import manifest
from imgsearch.index.layout import find_index
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.device_check import DeviceCheck, forget, remember, torch_version
from imgsearch.model.runtime import choose
from imgsearch.spec import checkpoint_for
from imgsearch.startup import collect
from imgsearch.types import RGB, Input, ModelOptions, ModelSpec, Reporter, Silent, Vectors

TEXTS = ("a red car at night", "ein Hund am Strand", "山の写真", "handwritten notes on a receipt")
_SIZES = ((240, 320), (320, 240), (256, 256), (96, 480))


def check_model(
    folder: str | None = None, options: ModelOptions | None = None, reporter: Reporter | None = None
) -> DeviceCheck:
    """Embed known images and texts on the device of ``options`` and on the CPU in float32; keep what comes of it.

    A device that does not agree is refused from then on, with the same version of torch, until it agrees. ``folder`` is
    that of the index whose model is used. Raises IndexMissing, and what loading the model raises.
    """
    folder, options, reporter = find_index(folder), options or ModelOptions(), reporter or Silent()
    spec = manifest.load(folder)[0]
    checkpoint = checkpoint_for(os.path.abspath(folder), spec, options, reporter)
    asked = choose(options.device, options.dtype, check=False)
    forget(asked)
    wanted = spec.model_spec(checkpoint.folder, replace(options, device=asked.device, dtype=asked.dtype))
    reporter.wait(f"Embedding on {asked.device} in {asked.dtype}")
    found = _embed(wanted, checkpoint, reporter)
    collect()  # two models side by side may be more than there is memory
    reporter.wait("Embedding on the CPU in float32")
    exact = _embed(replace(wanted, device="cpu", dtype="float32"), checkpoint, reporter)
    cosines = (found * exact).sum(axis=1)
    check = DeviceCheck(
        asked.device, asked.dtype, torch_version(), round(float(cosines.min()), 6), len(cosines)
    )
    remember(check)
    return check


def _embed(model_spec: ModelSpec, checkpoint: Checkpoint, reporter: Reporter) -> Vectors:
    """Return the embeddings of what is known, (n, dim) float32; of a row that is not finite, zeros."""
    encoder = load_embedder(model_spec, checkpoint, reporter.say)
    inputs = [*(Input(text=text) for text in TEXTS), *(Input(image=image) for image in images())]
    rows = np.zeros((len(inputs), encoder.dim), np.float32)
    for place, item in enumerate(inputs):
        try:
            rows[place] = encoder.embed([item])[0]
        except NonFiniteError:
            continue
    if np.abs(rows).sum(axis=1).all():
        # As when indexing: what is right alone may be wrong in a batch.
        batched = encoder.embed(inputs, batch_size=len(inputs))
        worse = (batched * rows).sum(axis=1) < 1 - 1e-3
        rows[worse] = batched[worse]
    return rows


def images() -> list[RGB]:
    """Draw the known images: gradients, edges, noise, and a wide one, each (height, width, 3) uint8."""
    drawn, noise = [], np.random.default_rng(7)
    for number, (height, width) in enumerate(_SIZES):
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        planes = [x / width, y / height, ((x // 16 + y // 16) % 2) * (number + 1) / len(_SIZES)]
        image = 255 * np.stack(planes[number % 3 :] + planes[: number % 3], axis=2)
        if number == 2:
            image = image / 2 + noise.integers(0, 128, image.shape)
        drawn.append(image.clip(0, 255).astype(np.uint8))
    return drawn
