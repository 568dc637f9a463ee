"""Keeping an index current without being asked to: the option --refresh of searches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from imgsearch.cli import output
from imgsearch.cli.help import ADVANCED
from imgsearch.errors import (
    CheckpointError,
    DownloadError,
    FolderError,
    IndexLocked,
    NothingToIndex,
    StorageError,
)
from imgsearch.index.layout import find_index
from imgsearch.text import Message
from imgsearch.types import ModelOptions

if TYPE_CHECKING:
    from imgsearch.client import KeptModel

Refresh = Annotated[
    bool,
    typer.Option("--refresh", help="First update the index: all indexed folders", rich_help_panel=ADVANCED),
]

_SEARCHABLE = (IndexLocked, FolderError, NothingToIndex, StorageError, DownloadError, CheckpointError)
"""What keeps an index from being updated, but not from being searched."""


def refresh(
    index: str | None, choice: ModelOptions, model: KeptModel, reporter: output.ProgressReporter
) -> None:
    """Bring an index up to date before it is searched, with a model that stays loaded for the search.

    Where that is not possible now, that is said, and the index stays as it is. Raises what opening the index raises.
    """
    from imgsearch.index import manifest
    from imgsearch.indexing.options import IndexOptions
    from imgsearch.indexing.run import index_pictures

    folder = find_index(index)
    if not manifest.exists(folder):
        return  # the search says what is missing
    reporter.wait("Updating the index")
    options = IndexOptions(model=choice, advise=False)
    try:
        result = index_pictures([], folder, options, reporter, load_model=model.load)
    except _SEARCHABLE as error:
        reporter.say(Message("the index could not be updated; searching it as it is: ", error.as_message))
        return
    for reason, count in result.kept.items():
        reporter.say(Message(f"{count:,} not found but kept in the index: ", reason))
    reporter.say(result.summary(folder))
