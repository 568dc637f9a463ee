"""Keeping an index current: the command watch, and the option --refresh of searches."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from imgsearch import startup
from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import ADVANCED, LIBRARY
from imgsearch.cli.parsing import Command
from imgsearch.errors import (
    CheckpointError,
    DownloadError,
    FolderError,
    IndexLocked,
    MissingExtra,
    NothingToIndex,
    StorageError,
)
from imgsearch.index.layout import find_index
from imgsearch.text import Message
from imgsearch.types import ModelOptions

if TYPE_CHECKING:
    from imgsearch.client import KeptModel
    from imgsearch.tools.watch import Event

UnitKind = Literal["systemd", "launchd"]

Refresh = Annotated[
    bool,
    typer.Option("--refresh", help="First update the index: all indexed folders", rich_help_panel=ADVANCED),
]

_SEARCHABLE = (IndexLocked, FolderError, NothingToIndex, StorageError, DownloadError, CheckpointError)
"""What keeps an index from being updated, but not from being searched."""
_STOP_SECONDS = 1.5  # for what is in work when a watch is to stop


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


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(cls=Command, rich_help_panel=LIBRARY)(common.handled(watch))


def watch(
    index: common.IndexFolder = None,
    every: Annotated[
        float,
        typer.Option("--every", metavar="MINUTES", help="Also check all folders this often"),
    ] = 60.0,
    unload_after: Annotated[
        float,
        typer.Option("--unload-after", metavar="MINUTES", help="Unload the model when idle for this long"),
    ] = 15.0,
    gentle: common.Gentle = False,
    unit: Annotated[
        UnitKind | None,
        typer.Option("--unit", metavar="systemd|launchd", help="Print the file that starts this at login"),
    ] = None,
    model: common.ModelFolder = None,
    device: common.SearchDevice = "auto",
    dtype: common.SearchDtype = "auto",
    json: common.Json = False,
) -> int:
    """Watch the indexed folders, and index what changes.

    Examples:
      imgsearch watch
      imgsearch watch --unit systemd       # the file that starts it at login

    New and changed images are indexed a few seconds after they are complete. Ctrl-C stops it.
    """
    reporter = output.ProgressReporter()

    def tell(event: Event) -> None:
        if json:
            output.json_line(event.as_json())
        elif event.text and event.name == "error":
            output.error(event.text)
        elif event.text:
            reporter.say(event.text)

    def stopped(number: int) -> None:
        from imgsearch.tools.watch import Event

        tell(Event("stopped", "stopped", {"signal": signal.Signals(number).name}))

    # First of all: a signal that comes during the start ends it as cleanly as any later one.
    with startup.StopByInterrupt(_STOP_SECONDS, stopped) as stop:
        try:
            if importlib.util.find_spec("watchfiles") is None:
                raise MissingExtra("imgsearch watch", "watch")
            folder = find_index(index)
            if unit is not None:
                output.document(_unit(unit, folder, every, unload_after, gentle, model, device, dtype))
                return 0
            from imgsearch.tools.watch import WatchOptions
            from imgsearch.tools.watch import watch as watch_index

            reporter.wait("Opening the index")
            choice = common.model_choice(model, device=device, dtype=dtype)
            options = WatchOptions(every * 60, unload_after * 60, choice, gentle)
            watch_index(folder, options, tell, reporter)
        except KeyboardInterrupt:
            reporter.stop()
            stopped(stop.number)
        return stop.exit_code


def _unit(
    kind: UnitKind,
    folder: str,
    every: float,
    unload_after: float,
    gentle: bool,
    model: str | None,
    device: str,
    dtype: str,
) -> str:
    """Return the file that starts the same watch at login; say on stderr what to do with it."""
    from imgsearch.tools.watch import units

    given = {"--model": common.model_choice(model).model, "--device": device, "--dtype": dtype}
    words = [
        word for flag, value in given.items() if value not in (None, "auto") for word in (flag, str(value))
    ]
    argv = [sys.executable, "-m", "imgsearch", "watch", "--index", folder]
    argv += ["--every", f"{every:g}", "--unload-after", f"{unload_after:g}", *["--gentle"] * gentle, *words]
    text = units.unit(kind, argv, os.environ)
    output.ProgressReporter().say(f"save it as {units.PLACES[kind]}, then run: {units.STARTS[kind]}")
    return text
