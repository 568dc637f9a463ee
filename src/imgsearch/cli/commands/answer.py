"""The command that opens images or collects them, those of the last answer by number: open."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from imgsearch import deep
from imgsearch.addresses import absolute
from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import SEARCH
from imgsearch.cli.numbers import is_number, picked
from imgsearch.cli.parsing import Command
from imgsearch.errors import InputError, UsageError
from imgsearch.place import split
from imgsearch.text import Option, display_path, plural

if TYPE_CHECKING:
    # The others import them on use: they load NumPy.
    from imgsearch.tools.collect import Result
    from imgsearch.tools.collect.folder import Collected

COLLECT = "Collect"
_LISTED = 3


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("open", cls=Command, rich_help_panel=SEARCH)(common.handled(open_images))


def open_images(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE",
            help="Numbers of the last search, as in 3, 1,4 or 3-5; or image files; to collect: all if none is given",
        ),
    ] = None,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the images in your file manager instead")
    ] = False,
    copy_to: Annotated[
        str | None,
        typer.Option("--copy-to", metavar="DIR", help="Copy the images to a folder", rich_help_panel=COLLECT),
    ] = None,
    link_to: Annotated[
        str | None,
        typer.Option(
            "--link-to",
            metavar="DIR",
            help="Make symbolic links to them in a folder",
            rich_help_panel=COLLECT,
        ),
    ] = None,
    sheet: Annotated[
        str | None,
        typer.Option(
            "--sheet", metavar="FILE", help="Draw a contact sheet: .png or .jpg", rich_help_panel=COLLECT
        ),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write one page with thumbnails, which needs no other file: .html",
            rich_help_panel=COLLECT,
        ),
    ] = None,
) -> int:
    """Open results or images on your desktop; collect them.

    Examples:
      imgsearch open 3
      imgsearch open 1 3-5
      imgsearch open 2 --reveal
      imgsearch open --copy-to ~/Desktop/red    # all results of the last search
      imgsearch open 1-20 --sheet red.png

    No file is ever replaced: a copy whose name is taken becomes lake (2).jpg. The folder also gets a list of the
    results, imgsearch-results.csv.
    """
    collecting = {"copy_to": copy_to, "link_to": link_to, "sheet": sheet, "html": html}
    for name, value in collecting.items():
        if value == "":
            raise UsageError(Option(name), ": the name is empty")
    reporter = output.ProgressReporter()
    if images:
        found = _named(images, reporter)
    elif any(collecting.values()):
        found = _all_results()
    else:
        raise UsageError("give a number of the last search, or an image file, as in: imgsearch open 3")
    code = 0
    if copy_to is not None or link_to is not None:
        code = max(code, _to_folders(found, copy_to, link_to, reporter))
    if sheet is not None or html is not None:
        code = max(code, _to_files(found, sheet, html, reporter))
    if reveal or not any(collecting.values()):
        from imgsearch.tools import desktop

        paths = [result.path for result in found]
        if reveal:
            desktop.reveal(*paths)
        else:
            desktop.open_files(paths, [result.page for result in found])
    return code


def _named(images: Sequence[str], reporter: output.ProgressReporter) -> list[Result]:
    """Return the images that words name, with their ranks if they are of the last answer. Raises as ``picked``."""
    from imgsearch.tools.collect import Result

    if "" in images:
        raise UsageError("the path is empty; give a number or an image file: imgsearch open 3")
    chosen, _ = picked(images, None, reporter)
    for given in images:
        if not is_number(given) and not deep.exists(os.path.expanduser(split(given)[0])):
            words = f"to search for words: imgsearch query {shlex.join(['open', *images])}"
            raise InputError(f"{display_path(given)}: no such file; {words}")
    known = {(result.path, result.page): result for result in _all_results()} if _any_number(images) else {}
    wanted = ((absolute(path), page) for path, page in chosen)
    return [known.get(one) or Result(rank, *one) for rank, one in enumerate(dict.fromkeys(wanted), start=1)]


def _any_number(images: Sequence[str]) -> bool:
    return any(map(is_number, images))


def _all_results() -> list[Result]:
    """Return all that is remembered of the last answer. Raises InputError if nothing is."""
    from imgsearch.search.remembered import last_answer
    from imgsearch.tools.collect import Result

    last = last_answer()
    if last is None:
        raise InputError("no search is remembered; search first: imgsearch query red car at night")
    if not last.hits:
        raise InputError("the last search found nothing")
    return [
        Result(rank, hit.path, hit.page, hit.score, hit.index) for rank, hit in enumerate(last.hits, start=1)
    ]


def _to_folders(
    found: Sequence[Result], copy_to: str | None, link_to: str | None, reporter: output.ProgressReporter
) -> int:
    from imgsearch.tools.collect import folder

    code = 0
    for target, collect, verb in (
        (copy_to, folder.copy_to, "copied"),
        (link_to, folder.link_to, "linked"),
    ):
        if target is None:
            continue
        done = collect(os.path.expanduser(target), found, reporter)
        code = max(code, _tell(done, len({result.path for result in found}), verb, reporter))
        if verb == "copied" and done.made and (root := folder.indexed_folder(done.folder, found)):
            where = f"the copies are in an indexed folder, {display_path(root)}"
            reporter.say(f"{where}: the next 'imgsearch index' adds them too")
    return code


def _tell(done: Collected, wanted: int, verb: str, reporter: output.ProgressReporter) -> int:
    """Say what is in a folder now; return the exit code."""
    notes = [f"{done.renamed} renamed: the name was taken"] if done.renamed else []
    there = len(done.targets) - done.made
    notes += [f"{there} there already"] if there else []
    where, count = display_path(done.folder), plural(wanted, "image")
    if there == wanted:
        reporter.say(f"{count}: all in {where} already")
    else:
        told = f"{done.made:,} of {count}" if done.made < wanted else count
        reporter.say(f"{told} {verb} to {where}" + (f" ({'; '.join(notes)})" if notes else ""))
    problems = []
    if done.stopped:
        left = wanted - len(done.targets) - len(done.failed)
        problems.append(
            f"{done.stopped}: {plural(left, 'image')} not {verb}; run it again when that is resolved"
        )
    if done.failed:
        problems.append(f"{plural(len(done.failed), 'image')} not {verb}: {_listed(done.failed)}")
    if done.targets and not done.manifest:
        problems.append(f"the list of the results could not be written to {where}")
    for problem in problems:
        output.error(problem)
    return 2 if problems else 0


def _to_files(
    found: Sequence[Result], sheet: str | None, html: str | None, reporter: output.ProgressReporter
) -> int:
    from imgsearch.tools.collect.page import write_page
    from imgsearch.tools.collect.sheet import write_sheet

    code = 0
    for target, write, what in ((sheet, write_sheet, "contact sheet"), (html, write_page, "page")):
        if target is None:
            continue
        target = os.path.expanduser(target)
        missing = write(target, found, reporter)
        reporter.say(f"{what} of {plural(len(found), 'image')}: {display_path(target)}")
        if missing:
            output.error(f"{plural(len(missing), 'image')} could not be shown: {_listed(missing)}")
            code = 2
    return code


def _listed(why: Mapping[str, str]) -> str:
    """Return the first few paths with what is wrong with each, and how many more there are."""
    # What a decoder tells may name the file already.
    named = [
        reason if reason.startswith(display_path(path)) else f"{display_path(path)}: {reason}"
        for path, reason in [*why.items()][:_LISTED]
    ]
    more = [f"and {len(why) - _LISTED:,} more"] if len(why) > _LISTED else []
    return "; ".join([*named, *more])
