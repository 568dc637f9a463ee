"""The commands that move things: vectors in and out of an index, and folders from one place to another."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.parsing import Command
from imgsearch.cli.spelling import index_flag
from imgsearch.index.layout import find_index
from imgsearch.types import StoredDtype


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("import", cls=Command)(common.handled(import_vectors))
    app.command(cls=Command)(common.handled(export))
    app.command(cls=Command)(common.handled(relocate))


def import_vectors(
    vectors: Annotated[
        str,
        typer.Argument(
            metavar="VECTORS",
            help="A .npy file (pictures, dimensions), or a .parquet file with path, embedding.",
        ),
    ],
    paths: Annotated[
        str | None,
        typer.Option(
            "--paths",
            metavar="FILE",
            help="The pictures of a .npy file, a path a line; .nul: each ended by a NUL.",
        ),
    ] = None,
    index: common.IndexFolder = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME|DIR",
            help="The checkpoint that made the vectors. Default: what the file says, else the index's own.",
        ),
    ] = None,
    revision: common.Revision = None,
    root: Annotated[
        str | None,
        typer.Option(
            "--root",
            metavar="DIR",
            help="The folder of the pictures, also for relative paths. Default: the deepest common one.",
        ),
    ] = None,
    no_files: Annotated[
        bool,
        typer.Option(
            "--no-files",
            help="Open no picture: faster, also for pictures elsewhere; copies are not recognised.",
        ),
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out rows that are no vectors or name nothing.")
    ] = False,
    json: common.Json = False,
) -> int:
    """Take in vectors that were computed elsewhere, with the paths of their pictures."""
    reporter = output.ProgressReporter()
    reporter.wait("Reading the embeddings")
    from imgsearch.tools.transfer.importer import ImportOptions, import_vectors

    folder = find_index(index)
    options = ImportOptions(common.model_choice(model, revision), root, not no_files, skip_bad)
    done = import_vectors(vectors, paths, folder, options, reporter)
    if json:
        output.json_line(done.as_json())
    reporter.say(f"{done.summary()}. Try: imgsearch similar PHOTO{index_flag(folder)}")
    return 0 if done.imported or done.reused or done.unchanged else 1


def export(
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="The file to write: .parquet, or .npy with a list.")
    ],
    index: common.IndexFolder = None,
    paths: Annotated[
        str | None,
        typer.Option(
            "--paths",
            metavar="FILE",
            help="The list for a .npy file. Default: OUT with .paths.txt; .nul: each path ended by a NUL byte.",
        ),
    ] = None,
    dtype: Annotated[StoredDtype, typer.Option("--dtype", help="float16 is what is stored.")] = "float16",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out vectors that are damaged on the disk.")
    ] = False,
    json: common.Json = False,
) -> int:
    """Write all vectors with the paths of their pictures, for other programs or another index."""
    reporter = output.ProgressReporter()
    reporter.wait("Reading the index")
    from imgsearch.tools.transfer.exporter import export as run

    done = run(out, find_index(index), paths=paths, dtype=dtype, skip_bad=skip_bad, reporter=reporter)
    if json:
        output.json_line({**asdict(done), "seconds": round(done.seconds, 3)})
    reporter.say(done.summary())
    return 0


def relocate(
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="The folder's old path, or the one that holds all.")
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Where it is now.")],
    index: common.IndexFolder = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also if none of the known files is found there.")
    ] = False,
    json: common.Json = False,
) -> int:
    """Tell the index that a folder, or a whole drive, has another path now. No picture is read again."""
    from imgsearch.indexing.edit import relocate as run

    done = run(old, new, find_index(index), force=force, reporter=output.ProgressReporter())
    if json:
        output.json_line(asdict(done))
    return 0
