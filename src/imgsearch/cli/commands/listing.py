"""The commands that list and count indexed images without a query: list and facets."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from imgsearch.addresses import absolute
from imgsearch.cli import filters, output
from imgsearch.cli import options as common
from imgsearch.cli.commands import stores
from imgsearch.cli.help import LIBRARY, OUTPUT, SEARCH
from imgsearch.cli.parsing import Command
from imgsearch.cli.terminal.hits import rows_of_files
from imgsearch.errors import UsageError
from imgsearch.index.layout import find_index
from imgsearch.index.parts import searched
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
_KINDS = {"page": "PDF", "frame": "videos", "raw": "RAW", "member": "archives"}
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
    store: stores.Store = None,
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
    if store:
        return _list_stored(path, n, sort, seed or 0, offset, given, style, index, store)
    if given or n is not None or sort or offset:
        seed = random.randrange(1 << 32) if seed is None else seed
        return _list_chosen(path, n, sort, seed, offset, given, style, index)
    from imgsearch.tools.maintenance.status import indexed_files

    folders = searched(find_index(index))
    found = chain.from_iterable(indexed_files(folder, path) for folder in folders)
    if not _print(found, style, folders):
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
    from imgsearch.search.listing import ListOptions, list_parts

    chosen = filters.chosen(given, output.ProgressReporter())
    options = ListOptions(chosen, (), sort or "newest", n, offset, seed)
    with _opened(index) as opened:
        options = replace(options, below=_below(opened, path))
        if not _print(list_parts(opened, options), style, [one.folder for one in opened]):
            output.ProgressReporter().say(_nothing(opened[0], options.filters, options.below, offset))
            return 1
    return 0


def _list_stored(
    path: str | None,
    n: int | None,
    sort: str | None,
    seed: int,
    offset: int,
    given: filters.Given,
    style: str,
    index: str | None,
    store: str,
) -> int:
    """Print what a store knows; it has no numbers that other commands understand."""
    from imgsearch.search.listing import ListOptions

    chosen = filters.chosen(given, output.ProgressReporter())
    below = (absolute(path),) if path else ()
    by = sort or ("newest" if given or n is not None or offset else "path")
    options = ListOptions(chosen, below, by, n, offset, seed)
    found = iter(stores.listed(store, options, index))
    if not _print(found, "paths" if style == "text" else style, ()):
        output.ProgressReporter().say("the store holds no such images")
        return 1
    return 0


@contextmanager
def _opened(index: str | None) -> Iterator[list[ImageIndex]]:
    """Open an index and its part."""
    from imgsearch.index.reader import ImageIndex

    with ExitStack() as stack:
        yield [stack.enter_context(ImageIndex(folder)) for folder in searched(find_index(index))]


def _print(found: Iterator[IndexedFile], style: str, folders: Sequence[str]) -> bool:
    """Print the files of the indexes in ``folders`` as they come; return whether there were any."""
    first = next(found, None)
    if first is None:
        return False
    files = _noted(chain([first], found))
    if output.for_person(style):
        _show(files, folders)
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


def _show(files: Iterator[IndexedFile], folders: Sequence[str]) -> None:
    """Show files to a person, who may name them by their numbers afterwards."""
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search.remembered import MAX_HITS, LastAnswer, Remembered, remember

    shown, numbered, real = 0, list[Remembered](), {one: os.path.realpath(one) for one in folders}
    try:
        with ExitStack() as stack:
            opened = [stack.enter_context(ImageIndex(folder)) for folder in folders]
            real |= {one.folder: os.path.realpath(one.folder) for one in opened}
            while some := list(islice(files, _AT_ONCE)):
                # Of each file that row which knows its image, if there is one.
                each = zip(*(rows_of_files(one, some) for one in opened), strict=True)
                rows = [next((row for row in known if row.image), known[0]) for known in each]
                output.rows(rows, shown + 1)
                shown += len(some)
                room = MAX_HITS - len(numbered)
                numbered += [
                    Remembered(row.path, 0, None, real.get(row.index, row.index)) for row in rows[:room]
                ]
    finally:  # also of what Ctrl-C ends
        whole = real[folders[0]] if len(folders) == 1 else ""
        remember(LastAnswer(tuple(numbered), shown, whole))


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
    from imgsearch.search.listing import best_first, count_parts, ordered

    chosen = filters.chosen(given, output.ProgressReporter())
    _check(path)
    with _opened(index) as opened:
        below = _below(opened, path)
        found = count_parts(opened, chosen, below)
        if not found.images:
            output.ProgressReporter().say(_nothing(opened[0], chosen, below))
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
        ("kind", [(_KINDS.get(kind, kind), count) for kind, count in ordered(found.kinds)]),
        ("text", [("with text in them", found.text)] if found.text else []),
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


def _below(opened: Sequence[ImageIndex], path: str | None) -> tuple[str, ...]:
    """Return the paths by which an index and its part know a file or folder; nothing without one."""
    from imgsearch.names import known_as

    if path is None:
        return ()
    return tuple(dict.fromkeys(known_as(path, one.catalog.roots(), one.catalog).path for one in opened))


def _nothing(opened: ImageIndex, chosen: Sequence[Filter], below: Sequence[str], offset: int = 0) -> str:
    """Return why there is nothing to list."""
    from imgsearch.search.listing import why_empty

    return why_empty(opened, chosen, below) or f"no more images: there are {offset:,} at most"
