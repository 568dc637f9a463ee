"""The command that opens images, those of the last answer by number: open."""

from __future__ import annotations

import os
import shlex
from typing import Annotated

import typer

from imgsearch import deep
from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import SEARCH
from imgsearch.cli.numbers import is_number, picked
from imgsearch.cli.parsing import Command
from imgsearch.errors import InputError, UsageError
from imgsearch.text import display_path


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("open", cls=Command, rich_help_panel=SEARCH)(common.handled(open_images))


def open_images(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE", help="Numbers of the last search, as in 3, 1,4 or 3-5; or image files"
        ),
    ],
    reveal: Annotated[bool, typer.Option("--reveal", help="Show them in your file manager instead")] = False,
) -> int:
    """Open results, or any images, on your desktop.

    Examples:
      imgsearch open 3
      imgsearch open 1 3-5
      imgsearch open 2 --reveal
      imgsearch open ~/Pictures/lake.jpg
    """
    if "" in images:
        raise UsageError("the path is empty; give a number or an image file: imgsearch open 3")
    chosen, _ = picked(images, None, output.ProgressReporter())
    for given in images:
        if not is_number(given) and not deep.exists(os.path.expanduser(given)):
            words = f"to search for words: imgsearch query {shlex.join(['open', *images])}"
            raise InputError(f"{display_path(given)}: no such file; {words}")
    from imgsearch.tools import desktop

    paths = [os.path.expanduser(path) for path, _ in chosen]
    if reveal:
        desktop.reveal(*paths)
    else:
        desktop.open_files(paths)
    return 0
