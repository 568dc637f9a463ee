"""What vectors were made with, as the JSON that travels with them in a file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from imgsearch.errors import DatasetError
from imgsearch.identity import IMPORTED
from imgsearch.types import Identity, PixelBudget

KEY = "imgsearch"
"""The key of parquet metadata, and the field of a .json file, under which it stands."""
_FORMAT = 1


def nobody(dim: int) -> Identity:
    """Return the identity of vectors of which nobody says what made them; all of one dim are taken to be alike."""
    fingerprint = hashlib.sha256(f"imported vectors of dim {dim}".encode()).hexdigest()
    return Identity(IMPORTED, fingerprint, dim, "", "", PixelBudget(0, 0))


def to_json(identity: Identity) -> dict[str, Any]:
    """Return an identity as it is written beside vectors: the fields of an index's manifest."""
    return {
        "format": _FORMAT,
        "model": identity.model,
        "fingerprint": identity.fingerprint,
        "dim": identity.dim,
        "prompts": {"query": identity.query_prompt, "document": identity.document_prompt},
        "pixels": {"image": asdict(identity.pixels)},
    }


def from_json(text: str | bytes, place: str) -> Identity:
    """Read what ``to_json`` gave; ``place`` is the file that it stands in. Raises DatasetError."""
    try:
        data = json.loads(text)
        if int(data["format"]) > _FORMAT:
            raise DatasetError(f"{place} was written by a newer imgsearch; update this one to read it")
        prompts, pixels = data["prompts"], data["pixels"]["image"]
        fingerprint = bytes.fromhex(data["fingerprint"])
        if len(fingerprint) != 32:
            raise ValueError("its fingerprint is no sha256")
        return Identity(
            model=str(data["model"]),
            fingerprint=fingerprint.hex(),
            dim=int(data["dim"]),
            query_prompt=str(prompts["query"]),
            document_prompt=str(prompts["document"]),
            pixels=PixelBudget(int(pixels["min_pixels"]), int(pixels["max_pixels"])),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DatasetError(f"{place}: what it says of the vectors' model can't be read: {error!r}") from error
