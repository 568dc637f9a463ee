"""argv → calls: the commands, their exit codes, and the one place where an error becomes a line."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from imgsearch import __version__, startup
from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.commands import (
    answer,
    current,
    duplicates,
    index,
    learn,
    listing,
    maintain,
    mcp,
    measure,
    models,
    overview,
    search,
    settings,
    status,
    stores,
    transfer,
    web,
)
from imgsearch.cli.parsing import Commands, Group

HELP = """Search your images by describing what is in them.

Examples:
  imgsearch index ~/Pictures           # run it again to update
  imgsearch query red car at night     # or only: imgsearch red car at night
  imgsearch similar ~/Pictures/lake.jpg

Everything runs on this computer; your images never leave it.
"""

app = typer.Typer(
    cls=Group,
    name="imgsearch",
    help=HELP,
    epilog="Details: imgsearch help COMMAND. Rarely used options: imgsearch help advanced.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for register in (
    index.register,
    status.register,
    index.register_remove,
    listing.register,
    current.register,
    search.register,
    answer.register,
    duplicates.register,
    overview.register,
    web.register,
    maintain.register,
    transfer.register,
    stores.register,
    models.register,
    maintain.register_serve,
    mcp.register,
    settings.register,
    measure.register,
    learn.register,
):
    register(app)
Group.known = Commands(app)


def _version(wanted: bool) -> None:
    if wanted:
        output.line(f"imgsearch {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version")
    ] = False,
    help_all: common.HelpAll = False,
) -> None:
    pass


def run() -> None:
    """Run the command line."""
    if sys.platform == "win32":
        sys.exit("imgsearch: Windows is not supported; Linux and macOS are (WSL counts as Linux)")
    startup.quieten()
    app(prog_name="imgsearch")
