"""The commands that list and count indexed images without a query: list and facets."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from imgsearch.cli import filters, output
from imgsearch.cli import options as common
from imgsearch.cli.help import LIBRARY, OUTPUT, SEARCH
from imgsearch.cli.parsing import Command
from imgsearch.cli.terminal.hits import rows_of_files
from imgsearch.errors import UsageError
from imgsearch.index.layout import find_index
from imgsearch.text import display_path
from imgsearch.types import path_json

if TYPE_CHECKING:
    # The others import them on use: they load NumPy.
    from imgsearch.index.metadata.filters import Filter
    from imgsearch.index.reader import ImageIndex
    from imgsearch.index.rows import IndexedFile

Where = Annotated[
    str | None, typer.Argument(metavar="PATH", help="Only this file, or the files in this folder")
]
Count = Annotated[
    int | None,
    typer.Option(
        *("-k", "-n", "--limit", "--top"),
        metavar="N",
        help="Number of results, or all",
        show_default="all",
        parser=common.count,
        rich_help_panel=SEARCH,
    ),
]
Sort = Annotated[
    Literal["newest", "oldest", "path", "added", "random"] | None,
    typer.Option(
        "--sort",
        metavar="BY",
        help="newest, oldest, path, added (last indexed first) or random (default: path; newest if another option "
        "chooses images)",
        rich_help_panel=SEARCH,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="With --sort random: the same order again for the same N",
        show_default=False,
        rich_help_panel=SEARCH,
    ),
]
_SHOWN = 10  # lines of one kind
_AT_ONCE = 480  # whole rows of a preview, for most numbers of columns


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("list", cls=Command, rich_help_panel=LIBRARY)(
        common.handled(filters.filtered(list_images), shows=True, opens=True)
    )
    app.command(cls=Command, rich_help_panel=LIBRARY)(common.handled(filters.filtered(facets)))


def list_images(
    path: Where = None,
    n: Count = None,
    sort: Sort = None,
    seed: Seed = None,
    offset: common.Offset = 0,
    given: filters.Given = filters.NONE,
    json: common.Json = False,
    paths: Annotated[
        bool, typer.Option("--paths", help="Print only paths, as in a pipe", rich_help_panel=OUTPUT)
    ] = False,
    nul: common.Nul = False,
    index: common.IndexFolder = None,
) -> int:
    """List the indexed images.

    Examples:
      imgsearch list
      imgsearch list ~/Downloads
      imgsearch list --on 2024-07 --camera X-T5    # newest first
      imgsearch list --sort random -k 20
    """
    if json and (paths or nul):
        other = "--paths" if paths else "-0"
        raise UsageError(f"--json and {other} are two forms of the same list; give one of them")
    style = "json" if json else "nul" if nul else "paths" if paths else "text"
    _check(path)
    if seed is not None and sort != "random":
        raise UsageError("--seed is of --sort random; give both")
    if given or n is not None or sort or offset:
        seed = random.randrange(1 << 32) if seed is None else seed
        return _list_chosen(path, n, sort, seed, offset, given, style, index)
    from imgsearch.tools.maintenance.status import indexed_files

    folder = find_index(index)
    found = indexed_files(folder, path)
    if not _print(found, style, folder):
        output.ProgressReporter().say(
            f"not in the index: {display_path(path)}" if path else "the index holds no images"
        )
        return 1
    return 0


def _list_chosen(
    path: str | None,
    n: int | None,
    sort: str | None,
    seed: int,
    offset: int,
    given: filters.Given,
    style: str,
    index: str | None,
) -> int:
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search.listing import ListOptions, list_images

    chosen = filters.chosen(given, output.ProgressReporter())
    options = ListOptions(chosen, (), sort or "newest", n, offset, seed)
    with ImageIndex(find_index(index)) as opened:
        options = replace(options, below=_below(opened, path))
        if not _print(list_images(opened, options), style, opened.folder):
            output.ProgressReporter().say(_nothing(opened, options.filters, options.below, offset))
            return 1
    return 0


def _print(found: Iterator[IndexedFile], style: str, folder: str) -> bool:
    """Print the files of the index in ``folder`` as they come; return whether there were any."""
    first = next(found, None)
    if first is None:
        return False
    files = _noted(chain([first], found))
    if output.for_person(style):
        _show(files, folder)
    elif style == "json":
        for file in files:
            output.json_line({**path_json(file.path), "bytes": file.size, "modified": file.mtime_ns / 1e9})
    else:
        output.paths((file.path for file in files), nul=style == "nul")
    return True


def _noted(files: Iterable[IndexedFile]) -> Iterator[IndexedFile]:
    for file in files:
        output.printed([file.path])
        yield file


def _show(files: Iterator[IndexedFile], folder: str) -> None:
    """Show files to a person, who may name them by their numbers afterwards."""
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search.remembered import MAX_HITS, LastAnswer, Remembered, remember

    shown, numbered, real = 0, list[Remembered](), os.path.realpath(folder)
    try:
        with ImageIndex(folder) as opened:
            while some := list(islice(files, _AT_ONCE)):
                output.rows(rows_of_files(opened, some), shown + 1)
                shown += len(some)
                room = MAX_HITS - len(numbered)
                numbered += [Remembered(file.path, 0, None, real) for file in some[:room]]
    finally:  # also of what Ctrl-C ends
        remember(LastAnswer(tuple(numbered), shown, real))


def facets(
    path: Where = None,
    given: filters.Given = filters.NONE,
    json: common.Json = False,
    index: common.IndexFolder = None,
) -> int:
    """Count images by year, camera, folder, type and rating.

    Examples:
      imgsearch facets
      imgsearch facets --camera X-T5 --after 2023

    A folder is one at the top of an indexed folder.
    """
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search.listing import best_first, count_facets, ordered

    chosen = filters.chosen(given, output.ProgressReporter())
    _check(path)
    with ImageIndex(find_index(index)) as opened:
        below = _below(opened, path)
        found = count_facets(opened, chosen, below)
        if not found.images:
            output.ProgressReporter().say(_nothing(opened, chosen, below))
            return 1
    if json:
        output.json_line(found.as_json())
        return 0
    output.line(f"images   {found.images:>9,}")
    years = sorted(found.years.items(), key=lambda item: -(item[0] or 0))
    for name, counts in (
        ("year", [(str(year or "unknown"), count) for year, count in years]),
        ("camera", [(camera or "unknown", count) for camera, count in ordered(found.cameras)]),
        ("folder", ordered(found.folders)),
        ("type", [(kind or "unknown", count) for kind, count in ordered(found.types)]),
        ("rating", _stars(best_first(found.ratings))),
    ):
        for place, (value, count) in enumerate(counts[:_SHOWN]):
            output.line(f"{name if not place else '':<8} {count:>9,}  {value}")
        if len(counts) > _SHOWN:
            rest = counts[_SHOWN:]
            output.line(f"{'':<8} {sum(count for _, count in rest):>9,}  in {len(rest)} others (all: --json)")
    return 0


def _stars(counts: list[tuple[int | None, int]]) -> list[tuple[str, int]]:
    """Return counts by rating as a person reads them; nothing where no image is rated."""
    if all(stars is None for stars, _ in counts):
        return []
    names = {None: "unrated", -1: "rejected"}
    return [(names.get(stars, str(stars)), count) for stars, count in counts]


def _check(path: str | None) -> None:
    if path == "":
        raise UsageError("the path is empty; leave it out for all images")


def _below(opened: ImageIndex, path: str | None) -> tuple[str, ...]:
    """Return the path by which the index knows a file or folder; nothing without one."""
    from imgsearch.names import known_as

    return () if path is None else (known_as(path, opened.catalog.roots(), opened.catalog).path,)


def _nothing(opened: ImageIndex, chosen: Sequence[Filter], below: Sequence[str], offset: int = 0) -> str:
    """Return why there is nothing to list."""
    from imgsearch.search.listing import why_empty

    return why_empty(opened, chosen, below) or f"no more images: there are {offset:,} at most"
