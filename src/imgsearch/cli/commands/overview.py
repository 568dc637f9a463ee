"""The command that shows what a collection is of: overview."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from imgsearch import deep
from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import LIBRARY
from imgsearch.cli.parsing import Command
from imgsearch.client import KeptModel
from imgsearch.index.layout import find_index
from imgsearch.spec import checkpoint_for
from imgsearch.text import plural, printable
from imgsearch.types import ImageEncoder, Record

if TYPE_CHECKING:
    # The other imports it on use: it loads NumPy.
    from imgsearch.search.overview import Overview


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(cls=Command, rich_help_panel=LIBRARY)(common.handled(overview, shows=True))


def overview(
    count: Annotated[
        int | None,
        typer.Option(
            "--count", metavar="N", help="Number of groups, at most", show_default="by the number of images"
        ),
    ] = None,
    json: common.Json = False,
    index: common.IndexFolder = None,
    model: common.ModelFolder = None,
    device: common.SearchDevice = "auto",
    dtype: common.SearchDtype = "auto",
) -> int:
    """Show what your images are of, in groups.

    Examples:
      imgsearch overview
      imgsearch open 7-12                  # the images shown for the second group
      imgsearch overview --count 20

    The groups are saved, and made again when a tenth of the images has changed. The first time the model is loaded to
    name them; if it is not on this computer, they are named by folder and date.
    """
    reporter = output.ProgressReporter()
    reporter.wait("Opening the index")
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search.overview import overview_of

    choice, kept = common.model_choice(model, device=device, dtype=dtype), KeptModel()
    with ImageIndex(find_index(index)) as opened:

        def load() -> ImageEncoder:
            # Named by the model or not, the groups are worth no download of gigabytes.
            checkpoint = checkpoint_for(opened.folder, opened.spec, choice, reporter, download=False)
            return kept.load(checkpoint, opened.spec, choice, reporter)

        found = overview_of(opened, load, reporter, count)
        if not found.clusters:
            reporter.say("the index holds no images")
            return 1
        if json:
            for cluster in found.clusters:
                output.json_line(cluster.as_json())
        else:
            _show(found, opened.folder)
    if not found.named:
        reporter.say("the model is not on this computer: groups are named by folder and date")
    groups = plural(len(found.clusters), "group")
    reporter.say(f"{groups} of {plural(found.images, 'image')}; to see some: imgsearch open 1-6")
    return 0


def _show(found: Overview, folder: str) -> None:
    """Print a line for each group, with the numbers by which the next command can name its images."""
    from imgsearch.cli.terminal.cells import width
    from imgsearch.cli.terminal.rows import Row
    from imgsearch.search.remembered import LastAnswer, Remembered, remember

    real = os.path.realpath(folder)
    names = [printable(cluster.name) for cluster in found.clusters]
    widest = min(40, max(map(width, names)))
    images: list[Remembered] = []
    for name, cluster in zip(names, found.clusters, strict=True):
        rows = [Row(_file(one), image=one, index=folder) for one in cluster.images if one.paths]
        first, last = len(images) + 1, len(images) + len(rows)
        images += [Remembered(row.path, row.image.page if row.image else 0, None, real) for row in rows]
        numbers = f"{first}-{last}" if last > first else f"{first}" if last == first else ""
        gap = " " * max(0, widest - width(name))
        output.line(f"{name}{gap}  {cluster.count:>9,}  {numbers}".rstrip())
        if output.settings.preview is not None:
            output.rows(rows, first)
            output.line("")
    remember(LastAnswer(tuple(images), len(images), real))


def _file(image: Record) -> str:
    """Return a file of an image, one that is there if there is one."""
    return next((path for path in image.paths if deep.exists(path)), image.paths[0])
