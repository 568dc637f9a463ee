"""How the end of a long command is told on the desktop, where --notify asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from imgsearch.cli import output
from imgsearch.cli.help import ADVANCED
from imgsearch.cli.spelling import spelled
from imgsearch.errors import ImgsearchError

Notify = Annotated[
    bool,
    typer.Option("--notify", help="Show a notification on the desktop at the end", rich_help_panel=ADVANCED),
]


@contextmanager
def notifying(wanted: bool) -> Iterator[list[str]]:
    """Tell at the end of the block the last of the lines that it puts into the list, or why it failed.

    Whoever presses Ctrl-C knows. Where no notification can be shown, a line says so, and nothing else changes.
    """
    lines: list[str] = []
    try:
        yield lines
    except ImgsearchError as error:
        lines.append(spelled(error.as_message))
        _tell(wanted, lines)
        raise
    except KeyboardInterrupt as stopped:
        if type(stopped) is not KeyboardInterrupt:  # the time to stop has come
            lines.append(str(stopped))
            _tell(wanted, lines)
        raise
    _tell(wanted, lines)


def _tell(wanted: bool, lines: list[str]) -> None:
    if not (wanted and lines):
        return
    from imgsearch.tools.notification import notify

    if failed := notify(lines[-1]):
        output.ProgressReporter().say(f"no notification: {failed}")
