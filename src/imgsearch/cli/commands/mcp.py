"""The command that other programs start to use the index by the Model Context Protocol: mcp."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from typing import NoReturn

import typer

from imgsearch import startup
from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import UPKEEP
from imgsearch.cli.parsing import Command
from imgsearch.cli.saved import for_programs
from imgsearch.cli.spelling import spelled
from imgsearch.errors import MissingExtra


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(cls=Command, rich_help_panel=UPKEEP)(common.handled(mcp))


def mcp(ctx: typer.Context, index: common.IndexFolder = None) -> NoReturn:
    """Let an AI assistant search your images (MCP).

    Examples:
      imgsearch mcp
      imgsearch mcp --index ~/Pictures/.imgsearch

    The assistant's program starts it, and speaks the Model Context Protocol with it: set it up there with the command
    imgsearch and the argument mcp. It can only read, and only what is indexed.
    """
    with startup.StopSignals() as signals:
        # Nothing is written that could be left half done, and nobody waits for a call after that.
        signals.hand_to(_end)
        if importlib.util.find_spec("mcp") is None:
            raise MissingExtra("imgsearch mcp", "mcp")
        from imgsearch.tools.mcp.server import serve
        from imgsearch.tools.mcp.tools import Tools

        program = ctx.parent.command if ctx.parent else None
        serve(Tools(index, output.ProgressReporter(), for_programs(program)), spelled)
        # A call that is still in work is nobody's any more; Python would wait for its thread.
        sys.stderr.flush()
        os._exit(0)


def _end(number: int) -> None:
    os._exit(startup.INTERRUPTED if number == signal.SIGINT else 0)
