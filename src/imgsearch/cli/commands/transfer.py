"""The commands that move things: vectors in and out of an index, and folders from one place to another."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import EXPERTS, LIBRARY
from imgsearch.cli.parsing import Command
from imgsearch.cli.spelling import index_flag
from imgsearch.index.layout import find_index
from imgsearch.types import StoredDtype, paths_json


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("import", cls=Command, rich_help_panel=EXPERTS)(common.handled(import_vectors))
    app.command(cls=Command, rich_help_panel=EXPERTS)(common.handled(export))
    app.command(cls=Command, rich_help_panel=LIBRARY)(common.handled(relocate))


def import_vectors(
    vectors: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A .npy file with one row per image, or a .parquet file with path and embedding",
        ),
    ],
    paths: Annotated[
        str | None,
        typer.Option(
            "--paths",
            metavar="FILE",
            help="List of the images of a .npy file, one path per line; in a .nul file, separated by NUL",
        ),
    ] = None,
    index: common.IndexFolder = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME|DIR",
            show_default="the one named in the file, else the index's",
            help="The model that computed the embeddings: a folder or a name on Hugging Face",
        ),
    ] = None,
    revision: common.Revision = None,
    force_model: common.ForceModel = False,
    root: Annotated[
        str | None,
        typer.Option(
            "--root",
            metavar="DIR",
            show_default="as exported, else the deepest common folder",
            help="Folder of the images; relative paths start here",
        ),
    ] = None,
    no_files: Annotated[
        bool,
        typer.Option(
            "--no-files",
            help="Don't open the images: faster, and works without them; copies are not recognised",
        ),
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip rows without a valid embedding or path")
    ] = False,
    json: common.Json = False,
) -> int:
    """Import embeddings that were computed elsewhere.

    Examples:
      imgsearch import photos.parquet
      imgsearch import photos.npy --paths photos.txt --model my-model
    """
    reporter = output.ProgressReporter()
    reporter.wait("Reading the embeddings")
    from imgsearch.tools.transfer.importer import ImportOptions, import_vectors

    folder = find_index(index)
    options = ImportOptions(
        common.model_choice(model, revision, force_model=force_model), root, not no_files, skip_bad
    )
    done = import_vectors(vectors, paths, folder, options, reporter)
    if json:
        output.json_line(done.as_json())
    reporter.say(f"{done.summary()}. Try: imgsearch similar PHOTO{index_flag(folder)}")
    return 0 if done.imported or done.reused or done.unchanged else 1


def export(
    out: Annotated[
        str, typer.Argument(metavar="FILE", help="File to write: .parquet, or .npy with a list of paths")
    ],
    index: common.IndexFolder = None,
    paths: Annotated[
        str | None,
        typer.Option(
            "--paths",
            metavar="FILE",
            show_default="FILE with .paths.txt",
            help="List for a .npy file, one path per line; in a .nul file, separated by NUL",
        ),
    ] = None,
    dtype: Annotated[
        StoredDtype,
        typer.Option("--dtype", metavar="TYPE", help="Number format: float16 (as stored) or float32"),
    ] = "float16",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip embeddings that are damaged on disk")
    ] = False,
    json: common.Json = False,
) -> int:
    """Export all embeddings with the paths of their images.

    Examples:
      imgsearch export photos.parquet
      imgsearch export photos.npy          # and photos.paths.txt
    """
    reporter = output.ProgressReporter()
    reporter.wait("Reading the index")
    from imgsearch.tools.transfer.exporter import export as run

    done = run(out, find_index(index), paths=paths, dtype=dtype, skip_bad=skip_bad, reporter=reporter)
    if json:
        files = paths_json(done.files, "files")
        output.json_line({**asdict(done), **files, "seconds": round(done.seconds, 3)})
    reporter.say(done.summary())
    return 0


def relocate(
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="Old path of the folder, or of a folder above it")
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its path now")],
    index: common.IndexFolder = None,
    force: Annotated[
        bool, typer.Option("--force", help="Do it even if none of the indexed images is found there")
    ] = False,
    json: common.Json = False,
) -> int:
    """Tell the index that a folder or a drive has moved.

    Examples:
      imgsearch relocate ~/Pictures /media/usb/Photos

    Nothing is indexed again; only the paths change. With the same path twice, the drive that is mounted there now takes
    the place of the one before; with --force, even if it has none of its images.
    """
    from imgsearch.indexing.edit import relocate as run

    done = run(old, new, find_index(index), force=force, reporter=output.ProgressReporter())
    if json:
        output.json_line(asdict(done))
    return 0
