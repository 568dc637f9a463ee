"""Decides how a checkpoint wants to be used: prompts, length of the vectors, pixel budget, each with its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from imgsearch.errors import CheckpointError
from imgsearch.model import checkpoint as checkpoints
from imgsearch.model.checkpoint import preprocessor, read_object, source
from imgsearch.model.pipeline import Pipeline, edges, read_pipeline
from imgsearch.types import PixelBudget

DEFAULT_INSTRUCTION = "Represent the user's input."
OWN_FILE = "imgsearch.json"  # written by `imgsearch train` beside the weights
_ADAPTER = "adapter_config.json"  # transformers would load what it names on top of the weights
# Checkpoints that were trained at a budget which none of their files says.
_TRAINED_AT = {"tomaarsen/Qwen3-VL-Embedding-2B-vdr": 360_000}


@dataclass(frozen=True, slots=True)
class Conventions:
    """How a checkpoint wants to be used where the user says nothing else.

    ``dim`` is the length of its vectors, ``full_dim`` the most it has, ``matryoshka_dims`` those it was trained
    for, longest first, empty if it does not say. The prompts are used as they stand if ``verbatim``, an empty one
    as no message at all; else they are instructions that end in punctuation. ``max_length`` is the most tokens
    of a prompt, None for the usual. ``dim_reason`` and ``pixels_reason`` say why the checkpoint itself chose
    these; empty if it did not.
    """

    dim: int
    full_dim: int
    matryoshka_dims: tuple[int, ...]
    query_prompt: str
    document_prompt: str
    verbatim: bool
    generation_prompt: bool
    max_length: int | None
    pixels: PixelBudget
    dim_reason: str = ""
    pixels_reason: str = ""

    def notes(self, dim: bool = True, pixels: bool = True) -> list[str]:
        """Say in a few words each what the checkpoint chose itself; without ``dim`` or ``pixels``, not of these."""
        found = []
        if dim and self.dim_reason:
            found.append(f"{self.dim:,} of {self.full_dim:,} dimensions ({self.dim_reason})")
        if pixels and self.pixels_reason:
            found.append(f"at most {self.pixels.max_pixels:,} pixels a picture ({self.pixels_reason})")
        return found


def read_conventions(folder: str, name: str = "") -> Conventions:
    """Read how the checkpoint in ``folder`` wants to be used; ``name`` is the hub's, if it came from there.

    A plain checkpoint (no modules.json): the published instruction on both sides, all dimensions, the fastest
    budget. A sentence-transformers checkpoint: its own prompts and truncate_dim.
    Raises CheckpointError that names what is not supported or makes no sense.
    """
    if os.path.exists(os.path.join(folder, _ADAPTER)):
        raise CheckpointError(
            f"{folder} holds an adapter ({_ADAPTER}), which is not applied here; merge it into the weights first"
        )
    full, pipeline, own = checkpoints.describe(folder).dim, read_pipeline(folder), _own(folder)
    truncated = pipeline.truncate_dim if pipeline else None
    pixels, pixels_reason = _pixels(folder, name, pipeline, own)
    return Conventions(
        dim=min(truncated or full, full),
        full_dim=full,
        matryoshka_dims=_dims(folder, own, full),
        query_prompt=pipeline.query_prompt if pipeline else DEFAULT_INSTRUCTION,
        document_prompt=pipeline.document_prompt if pipeline else DEFAULT_INSTRUCTION,
        verbatim=pipeline is not None,
        generation_prompt=pipeline.generation_prompt if pipeline else True,
        max_length=pipeline.max_length if pipeline else None,
        pixels=pixels,
        dim_reason="its truncate_dim" if truncated else "",
        pixels_reason=pixels_reason,
    )


def processor_budget(folder: str) -> PixelBudget:
    """Return the budget of the checkpoint's image processor, which its other users see pictures with.

    Raises CheckpointError if it says nothing, or nothing sensible.
    """
    return _budget(f"{folder}: the image processor", edges(preprocessor(folder)))


def _pixels(
    folder: str, name: str, pipeline: Pipeline | None, own: dict[str, Any]
) -> tuple[PixelBudget, str]:
    """Return the default budget, and the reason if it is the checkpoint's own choice."""
    from imgsearch.model.pixels import MAX_PIXELS, MIN_PIXELS  # on use: it loads Pillow

    if "pixels" in own:
        pixels = own["pixels"] if isinstance(own["pixels"], dict) else {}
        return _budget(f"{folder}/{OWN_FILE}", edges(pixels)), "its training budget"
    if pipeline is not None and pipeline.edges:
        found = edges(preprocessor(folder)) | pipeline.edges
        return _budget(f"{folder}: the Transformer module", found), "as its modules ask for"
    for repo in (name, source(folder).get("repo")):
        if repo in _TRAINED_AT:
            return PixelBudget(MIN_PIXELS, _TRAINED_AT[repo]), "what it was trained at"
    return PixelBudget(MIN_PIXELS, MAX_PIXELS), ""


def _budget(where: str, found: dict[str, Any]) -> PixelBudget:
    least, most = found.get("shortest_edge"), found.get("longest_edge")
    if type(least) is not int or type(most) is not int or not 1 <= least <= most:
        raise CheckpointError(
            f"{where} gives no pixel budget (from {least} to {most} pixels); choose one with --max-pixels N"
        )
    return PixelBudget(least, most)


def _dims(folder: str, own: dict[str, Any], full: int) -> tuple[int, ...]:
    dims = own.get("matryoshka_dims", [])
    if not isinstance(dims, list) or not all(type(dim) is int and 1 <= dim <= full for dim in dims):
        raise CheckpointError(
            f"{folder}/{OWN_FILE}: matryoshka_dims must be numbers from 1 to {full}, not {dims!r}"
        )
    return tuple(sorted(set(dims), reverse=True))


def _own(folder: str) -> dict[str, Any]:
    return read_object(folder, OWN_FILE) if os.path.exists(os.path.join(folder, OWN_FILE)) else {}
