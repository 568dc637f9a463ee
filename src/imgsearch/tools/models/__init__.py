"""Use case: the models whose names are known, which of them are on this machine, and how fast each would be here."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgsearch.client import load_local_encoder
from imgsearch.errors import CheckpointError, ImgsearchError, UsageError
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.hf_cache import cached_snapshot
from imgsearch.model.known import KNOWN
from imgsearch.model.known.row import KnownModel
from imgsearch.model.locate import data_folder, look_for
from imgsearch.spec import choose_spec
from imgsearch.types import Input, ModelOptions, Reporter, Silent

_SECONDS = 10.0
_BATCH = 8
_SIZE = (1500, 2000, 3)
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt")


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A known model and what this machine has to do with it.

    ``folder`` is where it lies, None if it is not here. ``rate`` are images per second without reading and decoding
    them, ``measured`` says if by the model itself and not by a trial of its layers; ``why_not`` why there is no rate.
    """

    row: KnownModel
    folder: str | None
    rate: float | None = None
    measured: bool = False
    why_not: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as one object; fields are only ever added."""
        row = self.row
        by = {"imgsearch": "imgsearch", "library": "sentence-transformers", "code": None}[row.road]
        return {
            "name": row.name,
            "architecture": row.architecture,
            "computed_by": by,
            "needs": row.needs or None,
            "license": row.license,
            "parameters": row.parameters,
            "download_bytes": row.download,
            "dim": row.dim,
            "languages": row.languages,
            "good_at": row.good_at,
            "figures": [
                {"measure": one.measure, "value": one.value, "source": one.source} for one in row.figures
            ],
            "source": row.source,
            "unverified": list(row.unverified),
            "operations_per_image": row.operations,
            "folder": self.folder,
            "images_per_second": None if self.rate is None else float(f"{self.rate:.3g}"),
            "measured_with": None if self.rate is None else "the model" if self.measured else "random layers",
            "not_measured": self.why_not or None,
        }


def choose_rows(part: str | None) -> list[KnownModel]:
    """Return the rows whose names contain ``part``, whatever its case, or all; the one of exactly that name alone."""
    if part is None:
        return list(KNOWN)
    found = [row for row in KNOWN if part.lower() in row.name.lower()]
    return [row for row in found if row.name.lower() == part.lower()] or found


def list_models(
    rows: Sequence[KnownModel], *, measure: bool = False, reporter: Reporter | None = None
) -> Iterator[ListedModel]:
    """Yield each row with its place on this machine and, to ``measure``, its rate.

    Of a single row that is on this machine the model itself is measured, of others random layers of their shape. What
    does not fit into memory is not begun. A model that can't be measured says why. Nothing is downloaded.
    """
    reporter = reporter or Silent()
    if measure:
        reporter.start(len(rows), "models measured")
    try:
        for row in rows:
            folder = folder_of(row)
            listed = ListedModel(row, folder)
            if measure:
                listed = _measured(row, folder, itself=len(rows) == 1, reporter=reporter)
                reporter.advance()
            yield listed
    finally:
        reporter.stop()


def folder_of(row: KnownModel) -> str | None:
    """Return the folder on this machine that holds the model, ours or the Hugging Face cache's; None if none does."""
    try:
        found = look_for(row.name, None)
        if isinstance(found, Checkpoint):
            return found.folder
    except (CheckpointError, UsageError):
        pass
    if row.road == "imgsearch":
        return None
    for folder in filter(None, (data_folder(row.name), cached_snapshot(row.name, None))):
        inside = [
            path
            for pattern in _WEIGHTS
            for path in glob.glob(os.path.join(glob.escape(folder), "**", pattern), recursive=True)
        ]
        if any(os.path.exists(path) for path in inside):
            return folder
    return None


def _measured(row: KnownModel, folder: str | None, *, itself: bool, reporter: Reporter) -> ListedModel:
    from imgsearch.model.known.trial import check_memory, seconds_per_image  # on use: it loads torch
    from imgsearch.model.runtime import choose

    if row.road == "code":
        return ListedModel(row, folder, why_not=f"needs {row.needs}")
    try:
        runtime = choose()
        check_memory(row, runtime)
        if itself and folder is not None:
            return ListedModel(row, folder, _rate(folder, reporter), measured=True)
        if not row.towers:
            return ListedModel(row, folder, why_not="its shape is not known")
        return ListedModel(row, folder, 1 / seconds_per_image(row, runtime))
    except ImgsearchError as error:
        return ListedModel(row, folder, why_not=str(error))


def _rate(folder: str, reporter: Reporter) -> float:
    """Load the model in ``folder`` and return how many images it embeds a second. Raises as choose_spec does."""
    options = ModelOptions(model=folder)
    checkpoint, spec = choose_spec(options, Silent())
    encoder = load_local_encoder(checkpoint, spec, options, reporter)
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, _SIZE, dtype=np.uint8) for _ in range(_BATCH)]
    inputs = [Input(image=encoder.prepare(image), instruction=spec.document_prompt) for image in images]
    encoder.embed(inputs[:1])
    done, began = 0, time.monotonic()
    while not done or time.monotonic() - began < _SECONDS:
        encoder.embed(inputs, batch_size=_BATCH)
        done += len(inputs)
    return done / (time.monotonic() - began)
