"""Which family a checkpoint is of: Qwen3-VL, which imgsearch computes itself, or one for sentence-transformers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from imgsearch.errors import CheckpointError
from imgsearch.model.checkpoint import FAMILY, Checkpoint
from imgsearch.model.conventions import Conventions, own_conventions, read_pipeline
from imgsearch.model.library.files import LibraryCheckpoint
from imgsearch.types import RGB, PixelBudget, Prepared


@dataclass(frozen=True, slots=True)
class Family:
    """Who computes a checkpoint, the library or imgsearch itself, and by what that is known."""

    by_library: bool
    reason: str


def family_of(checkpoint: Checkpoint) -> Family:
    """Return who computes the checkpoint in a folder; a folder without a model is one of our own, with all missing."""
    try:
        if checkpoint.has("config.json"):
            kind = checkpoint.read_object("config.json").get("model_type")
            return Family(
                isinstance(kind, str) and kind != FAMILY, f"config.json has the model_type {kind!r}"
            )
        modules = checkpoint.modules
    except CheckpointError as error:
        return Family(False, str(error))  # broken: our own checks name the file
    if modules and modules[0].path:
        return Family(True, f"modules.json has its first module in {modules[0].path}")
    return Family(False, "there is no config.json")


def open_checkpoint(folder: str, name: str = "", reason: str = "") -> Checkpoint:
    """Return the checkpoint in a folder, by its family: a LibraryCheckpoint where sentence-transformers loads it."""
    plain = Checkpoint(folder, name, reason)
    return LibraryCheckpoint(folder, name, reason) if family_of(plain).by_library else plain


def conventions_of(checkpoint: Checkpoint) -> Conventions:
    """Return how a checkpoint of any family wants to be used. Raises CheckpointError."""
    if isinstance(checkpoint, LibraryCheckpoint):
        from imgsearch.model.library.settings import (
            library_conventions,
        )  # on use: our own model needs none of it

        return library_conventions(checkpoint)
    return own_conventions(checkpoint)


def preparation(checkpoint: Checkpoint) -> Callable[[RGB, PixelBudget], Prepared]:
    """Return what makes an image ready for a checkpoint, within a budget; the model need not be loaded for it."""
    if isinstance(checkpoint, LibraryCheckpoint):
        from imgsearch.model.library.prepare import prepare_image  # on use: it loads Pillow

        return prepare_image
    from imgsearch.model import image as pixels

    return functools.partial(_cut, pixels.read_layout(checkpoint))


def _cut(layout: object, image: RGB, budget: PixelBudget) -> Prepared:
    from imgsearch.model import image as pixels

    assert isinstance(layout, pixels.PatchLayout)
    return pixels.prepare(image, budget, layout)


def check_before_download(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError for what its small files show to be no embedding model, or one that can't be used."""
    if isinstance(checkpoint, LibraryCheckpoint):
        check_embeds(checkpoint)
        return
    read_pipeline(checkpoint)
    check_embeds(checkpoint)


def check_embeds(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError for a model that is no embedding model, and MissingExtra where its library is not here."""
    if isinstance(checkpoint, LibraryCheckpoint):
        from imgsearch.model.library.architectures import check_known  # on use: not needed for our own
        from imgsearch.model.library.loading import check_installed

        checkpoint.check_family()
        check_installed(checkpoint)
        check_known(checkpoint.name or checkpoint.folder, checkpoint.tower_config.get("model_type"))
        checkpoint.check_embeds()
    elif checkpoint.modules is None and checkpoint.has("tokenizer.json"):
        checkpoint.check_family()
        from imgsearch.model import prompt  # on use: it loads the tokenizers

        prompt.check_embeds(checkpoint)
