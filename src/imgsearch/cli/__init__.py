"""argv → calls: the commands, their exit codes, and the one place where an error becomes a line."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import sys
import warnings
from typing import Annotated

import typer

from imgsearch.cli import index, learn, maintain, models, search, transfer

app = typer.Typer(
    name="imgsearch",
    help="Find a picture on your own machine by what is in it. Nothing leaves the machine.",
    epilog="Start with:  imgsearch index ~/Photos   then:  imgsearch query 'red car at night'",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for register in (
    index.register,
    search.register,
    maintain.register,
    transfer.register,
    models.register,
    maintain.register_serve,
    learn.register_eval,
    learn.register_train,
):
    register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"imgsearch {importlib.metadata.version('imgsearch')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _quieten() -> None:
    """Keep other libraries' warnings and bars away from the user; a developer's own settings win."""
    for name, value in (
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
    ):
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())


def run() -> None:
    """Run the command line."""
    if sys.platform == "win32":
        sys.exit("imgsearch: Windows is not supported; Linux and macOS are (WSL counts as Linux)")
    _quieten()
    app(prog_name="imgsearch")
