"""The command that opens images, those of the last answer by number: open."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from typing import Annotated

import typer

from imgsearch import deep
from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import SEARCH
from imgsearch.cli.numbers import is_number, picked
from imgsearch.cli.parsing import Command
from imgsearch.errors import InputError, UsageError
from imgsearch.text import display_path, plural

_MOST = 20  # windows at a time
_PATIENCE_SECONDS = 5.0
"""A program that has not failed by then has opened the image."""


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
) -> int:
    """Open results, or any images, on your desktop.

    Examples:
      imgsearch open 3
      imgsearch open 1 3-5
      imgsearch open ~/Pictures/lake.jpg
    """
    if "" in images:
        raise UsageError("the path is empty; give a number or an image file: imgsearch open 3")
    chosen, _ = picked(images, None, output.ProgressReporter())
    paths = list(dict.fromkeys(os.path.abspath(os.path.expanduser(path)) for path, _ in chosen))
    if len(paths) > _MOST:
        raise UsageError(f"that would open {plural(len(paths), 'image')}; give at most {_MOST} at a time")
    for given in images:
        if not is_number(given) and not deep.exists(os.path.expanduser(given)):
            words = f"to search for words: imgsearch query {shlex.join(['open', *images])}"
            raise InputError(f"{display_path(given)}: no such file; {words}")
    for path in paths:
        if not deep.exists(path):
            raise InputError(f"{display_path(path)} is not there now: deleted, or on a drive not mounted")
    name, package = ("open", "macOS") if sys.platform == "darwin" else ("xdg-open", "the package xdg-utils")
    program = shutil.which(name)
    if program is None:
        raise InputError(f"{name}, which opens files on your desktop, is missing; it belongs to {package}")
    # No shell reads the paths, and being absolute none begins with a dash.
    started = [
        subprocess.Popen(
            [program, path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for path in paths
    ]
    for process, path in zip(started, paths, strict=True):
        try:
            code = process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            continue  # the viewer itself
        if code:
            raise InputError(f"{name} could not open {display_path(path)} (exit code {code})")
    return 0
