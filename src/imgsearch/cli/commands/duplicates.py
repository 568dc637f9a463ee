"""The command that finds files which show the same image: duplicates."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import LIBRARY
from imgsearch.cli.parsing import Command
from imgsearch.cli.spelling import index_flag
from imgsearch.cli.terminal.hits import pixels
from imgsearch.cli.terminal.rows import Row
from imgsearch.index.layout import find_index
from imgsearch.text import format_bytes, plural

if TYPE_CHECKING:
    from imgsearch.tools.maintenance.duplicates import Group, Member


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(cls=Command, rich_help_panel=LIBRARY)(common.handled(duplicates, shows=True))


def duplicates(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="FOLDER", help="Only compare images in these folders", show_default=False),
    ] = None,
    references: Annotated[
        list[str] | None,
        typer.Option(
            "--reference",
            metavar="DIR",
            help="Compare the images in this folder too, but never propose to delete them",
        ),
    ] = None,
    script: Annotated[
        str | None,
        typer.Option(
            "--script", metavar="FILE", help="Also write a shell script to review, with commented rm lines"
        ),
    ] = None,
    json: common.Json = False,
    index: common.IndexFolder = None,
) -> int:
    """Find duplicates and bursts, and suggest what to keep.

    Examples:
      imgsearch duplicates
      imgsearch duplicates ~/Downloads --reference ~/Pictures
      imgsearch duplicates --script review.sh

    It deletes nothing. Exit code 0: there are some; 1: there are none.
    """
    reporter = output.ProgressReporter()
    reporter.wait("Comparing the images")
    from imgsearch.tools.maintenance.duplicates import find_duplicates
    from imgsearch.tools.maintenance.removal_script import check_script, write_script

    folder = find_index(index)
    if script is not None:
        check_script(script)
    found = find_duplicates(folder, paths or (), references or (), reporter)
    if output.for_person("json" if json else "text"):
        _show(found.groups, folder)
    else:
        for number, group in enumerate(found.groups):
            if json:
                output.json_line(group.as_json())
            else:
                _print(group, first=number == 0)
    spare = [file for group in found.groups for file in group.removable]
    if script is not None and spare:
        write_script(script, found.groups)
    if spare:
        size = format_bytes(sum(file.bytes for file in spare))
        groups = plural(len(found.groups), "group")
        reporter.say(f"{groups}; {plural(len(spare), 'file')} ({size}) could be deleted. Nothing was deleted")
    else:
        reporter.say("no duplicates found")
    if found.left_out:
        files = plural(found.left_out, "file is", "files are")
        reporter.say(
            f"{files} not there now or changed since: left out; to update: imgsearch index{index_flag(folder)}"
        )
    if found.without_hash:
        images = plural(found.without_hash, "image was", "images were")
        reporter.say(
            f"{images} indexed by an older imgsearch and compared by bytes only; to compare the pixels too, first run: "
            f"imgsearch index --reread FOLDER{index_flag(folder)}"
        )
    if script is not None and spare:
        reporter.say(f"written: {script}; read it before you run it")
    return 0 if spare else 1


def _show(groups: Sequence[Group], folder: str) -> None:
    """Show groups to a person, who may name their images by number afterwards."""
    from imgsearch.search.remembered import MAX_HITS, LastAnswer, Remembered, remember

    files = [file for group in groups for file in (group.keep, *group.others)]
    output.groups([[_row(group, file) for file in (group.keep, *group.others)] for group in groups])
    real = os.path.realpath(folder)
    numbered = tuple(Remembered(file.path, 0, None, real) for file in files[:MAX_HITS])
    if files:
        remember(LastAnswer(numbered, len(files), real))


def _row(group: Group, file: Member) -> Row:
    from imgsearch.tools.maintenance.duplicates import REASONS, RELATIONS

    kept = file is group.keep
    what = REASONS[group.reason] if kept else RELATIONS[file.relation]
    where = ", in a reference folder" if file.reference and not kept else ""
    details = (what + where, pixels(file.width, file.height), format_bytes(file.bytes))
    return Row(file.path, label="keep" if kept else "", details=details)


def _print(group: Group, *, first: bool) -> None:
    from imgsearch.tools.maintenance.duplicates import REASONS, RELATIONS

    if not first:
        output.line("")
    output.line(f"keep  {_described(group.keep, REASONS[group.reason])}")
    for other in group.others:
        where = ", in a reference folder" if other.reference else ""
        output.line(f"      {_described(other, RELATIONS[other.relation] + where)}")


def _described(file: Member, what: str) -> str:
    return f"{file.path}  ({file.width}×{file.height}, {format_bytes(file.bytes)}; {what})"
