"""How another family's model wants to be used: its prompts, its dimensions, and how many pixels it can make use of."""

from __future__ import annotations

import math
import os
from typing import Any, TypeGuard

from imgsearch.errors import CheckpointError
from imgsearch.model.conventions import Conventions
from imgsearch.model.library.files import OWN_SETTINGS, TOWERS, LibraryCheckpoint
from imgsearch.types import DETAIL, PixelBudget

_MEMO = "library conventions"  # its key in a checkpoint's memo
_CLIP_SIDE, _MOST = 224, DETAIL["max"]
# Models that were trained for shorter embeddings, which none of their files says, by their model_type.
_MATRYOSHKA = {"embedding_gemma2": (768, 512, 256, 128)}
_ENDS = ("text_projection.weight", "text_model.head.weight")
_LISTS = ("matryoshka_dims", "matryoshka_dimensions")
# Settings by which an image processor cuts a large image into parts, each seen in full.
_IN_PARTS = ("do_image_splitting", "do_pan_and_scan", "crop_to_patches", "image_grid_pinpoints")


def library_conventions(checkpoint: LibraryCheckpoint) -> Conventions:
    """Return how a model wants to be used; it is read once.

    The prompts are those of encode_query and encode_document, as they stand. Raises CheckpointError for settings that
    are not supported, or broken.
    """
    if _MEMO not in checkpoint.memo:
        checkpoint.memo[_MEMO] = _read(checkpoint)
    conventions: Conventions = checkpoint.memo[_MEMO]
    return conventions


def _read(checkpoint: LibraryCheckpoint) -> Conventions:
    settings, path = checkpoint.own_settings, f"{checkpoint.folder}/{OWN_SETTINGS}"
    full, cut = _full_dim(checkpoint), settings.get("truncate_dim")
    if cut is not None and (type(cut) is not int or cut < 1):
        raise CheckpointError(f"{path}: truncate_dim {cut!r} is not supported")
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(
        isinstance(prompt, str | None) for prompt in prompts.values()
    ):
        raise CheckpointError(f"{path}: the prompts are not texts")
    similarity = settings.get("similarity_fn_name") or "cosine"
    normalized = checkpoint.parts[-1].kind == "Normalize"
    # A dot product of vectors of length one is the cosine; of cut ones it is not.
    if similarity != "cosine" and (similarity != "dot" or not normalized or cut is not None):
        raise CheckpointError(
            f"{path}: the similarity {similarity!r} is not supported; imgsearch compares by the cosine"
        )
    dims = _dims(checkpoint, full, cut)
    return Conventions(
        dim=min(cut or full, full),
        full_dim=full,
        matryoshka_dims=dims,
        query_prompt=prompts.get("query") or "",
        document_prompt=prompts.get("document") or "",
        verbatim=True,
        generation_prompt=True,
        max_length=None,
        pixels=PixelBudget(0, _useful_pixels(checkpoint)),
        dim_reason="its truncate_dim" if cut else "",
        own_pixels=True,
        can_shorten=bool(dims),
    )


def _full_dim(checkpoint: LibraryCheckpoint) -> int:
    """Return the length of a whole vector: as the settings or the weights have it, else by loading the model once."""
    for part in reversed(checkpoint.parts):
        name = os.path.join(part.path, "config.json")
        settings = checkpoint.read_object(name) if checkpoint.has(name) else {}
        if part.kind == "Dense" and _is_count(found := settings.get("out_features")):
            return int(found)
        if part.kind == "Pooling":
            size = settings.get("embedding_dimension", settings.get("word_embedding_dimension"))
            mode = settings.get("pooling_mode")
            modes = [key for key, on in settings.items() if key.startswith("pooling_mode_") and on is True]
            if _is_count(size) and (isinstance(mode, str) or (mode is None and len(modes) <= 1)):
                return int(size)
        if part.kind in TOWERS:
            # A model of two towers ends each in a layer to the space that they share.
            ends = {
                tensor.name: tensor.shape[0] for tensor in checkpoint.tensors if tensor.name.endswith(_ENDS)
            }
            if len(set(ends.values())) == 1 and (checkpoint.modules is None or part.kind == "CLIPModel"):
                return next(iter(ends.values()))
        if part.kind not in ("Normalize", "Dropout"):
            break
    from imgsearch.model.library.loading import measured_dim  # on use: it loads the model

    return measured_dim(checkpoint)


def _dims(checkpoint: LibraryCheckpoint, full: int, cut: int | None) -> tuple[int, ...]:
    """Return the lengths that the model was trained for, longest first; nothing if it does not say."""
    config = checkpoint.tower_config
    for source in (checkpoint.own_settings, config, config.get("text_config") or {}):
        for name in _LISTS:
            if isinstance(dims := source.get(name) if isinstance(source, dict) else None, list):
                return tuple(sorted({dim for dim in dims if _is_count(dim) and dim <= full}, reverse=True))
    known = _MATRYOSHKA.get(str(config.get("model_type")), ())
    return tuple(dim for dim in known if dim <= full) or ((full, cut) if cut and cut < full else ())


def _useful_pixels(checkpoint: LibraryCheckpoint) -> int:
    """Return how many pixels of an image the model can make use of, at most; decoders leave four times that.

    Where its image processor keeps the short side, of an image four times as long as high.
    """
    settings: dict[str, Any] = checkpoint.image_settings
    size, side = settings.get("size"), settings.get("patch_size")
    if any(settings.get(name) for name in _IN_PARTS):
        return _MOST
    if _is_count(size):
        size = {"shortest_edge": size}
    size = size if isinstance(size, dict) else {}
    high, wide = size.get("height"), size.get("width")
    short, long = size.get("shortest_edge"), size.get("longest_edge")
    if _is_count(settings.get("max_pixels")):
        found = int(settings["max_pixels"])
    elif _is_count(high) and _is_count(wide):
        found = int(high * wide)
    elif (
        _is_count(short) and _is_count(long) and long > 8192
    ):  # both are numbers of pixels, in Qwen's processors
        found = int(long)
    elif _is_count(short) and not _is_count(long):
        found = 4 * int(short) ** 2
    elif _is_count(settings.get("max_num_patches")) and _is_count(side):
        found = max(int(settings["max_num_patches"]), 256) * int(side) ** 2
    else:
        found = _MOST
    return min(_MOST, max(found, _CLIP_SIDE**2))


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def patches_of(budget: PixelBudget, config: Any) -> int:
    """Return how many patches the largest image is cut into, as far as its tower's config tells; else 4,096."""
    vision = getattr(config, "vision_config", None) or config
    side, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
    patch = patch if _is_count(patch) else 14
    if _is_count(side):
        return math.ceil(side / patch) ** 2
    return max(256, math.ceil(budget.max_pixels / patch**2))
