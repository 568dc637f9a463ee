"""Has sentence-transformers load a model: from its folder alone, without others' code, and in silence."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from imgsearch.errors import CheckpointError, ImgsearchError, MissingExtra
from imgsearch.model import batching
from imgsearch.model.library.files import LibraryCheckpoint
from imgsearch.text import error_line

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def check_installed(checkpoint: LibraryCheckpoint) -> None:
    """Raise MissingExtra where the library is not installed, before anything is downloaded for it."""
    if importlib.util.find_spec("sentence_transformers") is None:
        raise MissingExtra(f"the model {checkpoint.name or checkpoint.folder}", "models")


def load_model(checkpoint: LibraryCheckpoint, device: str, dtype: str) -> SentenceTransformer:
    """Load a model on a device in a dtype, at its full length.

    Raises CheckpointError, MissingExtra and ModelOutOfMemory.
    """
    check_installed(checkpoint)
    checkpoint.check_family()
    checkpoint.check_weights()
    import torch
    from sentence_transformers import SentenceTransformer

    with _quiet(), batching.loading(device), _as_ours(checkpoint):
        model = SentenceTransformer(
            checkpoint.folder,
            device=device,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"dtype": getattr(torch, dtype), "use_safetensors": True},
        )
    name = checkpoint.name or checkpoint.folder
    if not model.supports("image"):
        raise CheckpointError(f"{name} embeds {_listed(model.modalities)} only: it can't be used for images")
    if not model.supports("text"):
        raise CheckpointError(
            f"{name} embeds {_listed(model.modalities)} only: no words could be searched for"
        )
    model.truncate_dim = None
    model.eval()
    return model


def measured_dim(checkpoint: LibraryCheckpoint) -> int:
    """Return the length of a vector by loading the model on the CPU and embedding a text."""
    model = load_model(checkpoint, "cpu", "float32")
    with _as_ours(checkpoint):
        return int(model.encode_query(["a"], show_progress_bar=False).shape[1])


@contextlib.contextmanager
def _as_ours(checkpoint: LibraryCheckpoint) -> Iterator[None]:
    """Put into one line whatever others' loading code raises, on anybody's folder."""
    try:
        yield
    except ImgsearchError:
        raise
    except Exception as error:
        if batching.is_out_of_memory(error):
            raise
        name, reason = checkpoint.name or checkpoint.folder, error_line(error, first=True)
        if "torchvision" in str(error).lower():
            if importlib.util.find_spec("torchvision") is None:
                raise CheckpointError(
                    f"{name} needs torchvision in this environment: pip install torchvision"
                ) from error
            raise CheckpointError(
                f"{name} needs a torchvision that was built for this environment's torch; install both from one "
                "place"
            ) from error
        if "trust_remote_code" in str(error):
            raise CheckpointError(
                f"{name} needs code that its authors ship with it, which imgsearch does not run"
            ) from error
        raise CheckpointError(f"{name} can't be loaded by sentence-transformers: {reason}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's warnings and progress bars from the screen: they interrupt what is shown there."""
    import logging

    from transformers.utils import logging as told

    before, bars = told.get_verbosity(), told.is_progress_bar_enabled()
    own = logging.getLogger("sentence_transformers")
    level = own.level
    told.set_verbosity(logging.CRITICAL)
    told.disable_progress_bar()  # type: ignore[no-untyped-call]
    own.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        told.set_verbosity(before)
        own.setLevel(level)
        if bars:
            told.enable_progress_bar()  # type: ignore[no-untyped-call]


def _listed(modalities: list[Any]) -> str:
    return (
        ", ".join(one if isinstance(one, str) else " with ".join(one) for one in modalities)
        or "nothing known"
    )


def version() -> str:
    """Return the library's version; MissingExtra where it is not installed."""
    from importlib import metadata

    try:
        return metadata.version("sentence-transformers")
    except metadata.PackageNotFoundError as error:
        raise MissingExtra("a model of sentence-transformers", "models") from error
