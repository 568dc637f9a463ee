"""The command that keeps the model warm: serve."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Annotated, NoReturn

import typer

from imgsearch import output
from imgsearch.cli import common
from imgsearch.errors import MissingExtra, UsageError


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(common.handled(serve))


def serve(
    index: common.IndexFolder = None,
    http: Annotated[
        bool, typer.Option("--http", help="Also listen on 127.0.0.1, for who shows the token from its file.")
    ] = False,
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", help="The port of --http. Default: 7788; 0: any.")
    ] = None,
    unload_after: Annotated[
        float,
        typer.Option("--unload-after", metavar="MINUTES", help="Let the model go when idle for so long."),
    ] = 15.0,
    no_warm: Annotated[
        bool, typer.Option("--no-warm", help="Load the model with the first question, not at once.")
    ] = False,
) -> NoReturn:
    """Keep the model in memory for this user's other commands, which find it by themselves. Ctrl-C ends it."""
    for library in ("starlette", "uvicorn"):
        if importlib.util.find_spec(library) is None:
            raise MissingExtra("imgsearch serve", "serve")
    if port is not None and not http:
        raise UsageError("--port is of --http; give both")
    from imgsearch.serve.server import ServeOptions, serve

    options = ServeOptions(
        port=(7788 if port is None else port) if http else None,
        idle_seconds=unload_after * 60,
        index=index,
        warm=not no_warm,
    )
    talker = output.Talker()
    try:
        serve(options, talker)
    except KeyboardInterrupt:
        talker.say("stopped")  # before it was listening
    # A batch that is still in work is nobody's any more; Python would wait for its thread.
    sys.stderr.flush()
    os._exit(0)
