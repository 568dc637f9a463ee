"""The commands that put images into an index and take them out: index, remove."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from imgsearch.cli import notifying, output, parts
from imgsearch.cli import options as common
from imgsearch.cli.commands import stores
from imgsearch.cli.help import ADVANCED, LIBRARY
from imgsearch.cli.parsing import Command
from imgsearch.cli.spelling import index_flag
from imgsearch.errors import UsageError
from imgsearch.index.layout import NAME, find_index
from imgsearch.text import Call, Message, plural

if TYPE_CHECKING:
    pass


_NAMED = 3  # paths in a line


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(cls=Command, rich_help_panel=LIBRARY)(common.handled(index, asks=True, computes=True))


def register_remove(app: typer.Typer) -> None:
    """Add remove to the program."""
    app.command(cls=Command, rich_help_panel=LIBRARY)(common.handled(remove, asks=True))


def index(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="FOLDER", help="Folder or image to index; none: update all indexed folders"),
    ] = None,
    index: common.IndexFolder = None,
    model: common.Model = None,
    revision: common.Revision = None,
    force_model: common.ForceModel = False,
    profile: parts.Profile = None,
    dim: common.Dim = None,
    detail: common.DetailOption = None,
    max_pixels: common.MaxPixels = None,
    instruction: common.Instruction = None,
    device: common.Device = "auto",
    dtype: common.Dtype = "auto",
    batch_size: Annotated[
        str,
        typer.Option(
            "--batch-size",
            metavar="N|auto",
            help="Images processed at once",
            rich_help_panel=ADVANCED,
        ),
    ] = "auto",
    max_megapixels: Annotated[
        float | None,
        typer.Option(
            "--max-megapixels",
            metavar="N",
            show_default="200",
            help="Skip images larger than this",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="ray|ADDRESS",
            help="Decode and embed on the Ray cluster at HOST:PORT or ray://HOST:PORT; ray: on one started here",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    store: stores.Filled = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            metavar="GLOB",
            help="Skip files and folders that match, as in .gitignore; saved per folder, '' clears the list",
        ),
    ] = None,
    include_hidden: Annotated[
        bool | None,
        typer.Option(
            "--include-hidden/--no-include-hidden",
            help="Include hidden files; saved per folder",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    include_copies: Annotated[
        bool | None,
        typer.Option(
            "--include-copies/--no-include-copies",
            help="Include thumbnails and previews that other programs keep; saved per folder",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    follow_symlinks: Annotated[
        bool | None,
        typer.Option(
            "--follow-symlinks/--no-follow-symlinks",
            help="Follow symbolic links; saved per folder",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    pages: Annotated[
        str | None,
        typer.Option(
            "--pages",
            metavar="all|first|N-M",
            help="Pages per document or TIFF to index; saved per folder",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames",
            metavar="N",
            help="Frames of each video to index, 0: by its length; saved per folder",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    pdf_password_file: Annotated[
        str | None,
        typer.Option(
            "--pdf-password-file",
            metavar="FILE",
            help="Passwords for encrypted PDFs, one per line; saved per folder, '' for none",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    raw_too: Annotated[
        bool | None,
        typer.Option(
            "--raw-too/--no-raw-too",
            help="Index RAW files that have a JPEG of the same name, too; saved per folder",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    tiles: Annotated[
        bool | None,
        typer.Option(
            "--tiles/--no-tiles",
            help="Also index parts of large pages and long screenshots; saved per folder",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    no_prune: Annotated[
        bool,
        typer.Option("--no-prune", help="Keep deleted images in the index", rich_help_panel=ADVANCED),
    ] = False,
    prune_empty: Annotated[
        bool,
        typer.Option(
            "--prune-empty",
            help="Also drop the images of folders that are now empty; otherwise they are kept",
            rich_help_panel=ADVANCED,
        ),
    ] = False,
    reread: Annotated[
        list[str] | None,
        typer.Option(
            "--reread",
            metavar="PATH",
            help="Read every image at or below PATH again, even if its size and time are unchanged",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    retry: Annotated[
        bool,
        typer.Option("--retry", help="Read skipped files again", rich_help_panel=ADVANCED),
    ] = False,
    portable: Annotated[
        bool,
        typer.Option(
            "--portable",
            help="Keep the index in FOLDER/.imgsearch; folder and index can be moved together",
            rich_help_panel=ADVANCED,
        ),
    ] = False,
    thumbs: Annotated[
        bool,
        typer.Option(
            "--thumbs",
            help="Also make the small thumbnails that previews and 'imgsearch web' show, about 12 kB and 15 ms each; "
            "otherwise they are made when first shown",
            rich_help_panel=ADVANCED,
        ),
    ] = False,
    ocr: Annotated[
        bool | None,
        typer.Option(
            "--ocr/--no-ocr",
            help="Also read the text in images; saved",
            show_default=False,
        ),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Rebuild it from scratch; the old index stays searchable",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be done, without doing it"),
    ] = False,
    gentle: common.Gentle = False,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="HH:MM",
            help="Stop at this time; the same command continues later",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    notify: notifying.Notify = False,
    stats: Annotated[
        bool, typer.Option("--stats", help="Print where the time went", rich_help_panel=ADVANCED)
    ] = False,
    json: common.Json = False,
) -> int:
    """Index folders of images, or update the index.

    Examples:
      imgsearch index ~/Pictures
      imgsearch index                      # update all indexed folders
      imgsearch index ~/Pictures --exclude "*.gif" --exclude drafts/

    Reads only new and changed images. Ctrl-C is safe: run it again to continue.
    """
    reporter = output.ProgressReporter()
    reporter.wait("Opening the index")
    from imgsearch.index import side_db
    from imgsearch.indexing.options import IndexOptions
    from imgsearch.indexing.roots import WalkOverrides
    from imgsearch.indexing.run import index_pictures

    if portable and profile == "documents":
        raise UsageError("--portable makes an index without parts; leave out --profile documents")
    whole = _portable_index(paths or []) if portable and index is None else find_index(index)
    folder = parts.folder_for(profile, whole)
    model = parts.model_for(profile, folder, model)
    # --exclude '' takes all patterns back.
    patterns = tuple(pattern for pattern in exclude if pattern) if exclude else None
    options = IndexOptions(
        model=common.model_choice(
            model,
            revision,
            dim,
            common.pixel_choice(detail, max_pixels),
            instruction,
            device,
            dtype,
            force_model=force_model,
            profile=parts.profile_for(profile, whole),
        ),
        walk=WalkOverrides(
            patterns,
            include_hidden,
            follow_symlinks,
            include_copies,
            pages=pages,
            frames=frames,
            pdf_password_file=pdf_password_file,
            raw_too=raw_too,
            tiles=tiles,
        ),
        batch_size=_batch_size(batch_size),
        suggest=output.can_ask() and not json,
        max_megapixels=max_megapixels,
        prune=not no_prune,
        prune_empty=prune_empty,
        reread=tuple(reread or ()),
        retry=retry,
        rebuild=rebuild,
        dry_run=dry_run,
        portable=portable,
        thumbs=thumbs,
        ocr=ocr,
        gentle=gentle,
        until=until,
    )
    runs = [(folder, options)]
    if not paths and profile is None and parts.has_part(whole):
        # The part keeps the model and the settings that it was made with.
        own = replace(options, model=common.model_choice(None, device=device, dtype=dtype))
        runs = [*(runs if parts.is_index(whole) else []), (parts.part_of(whole), own)]
    if store:
        if len(runs) > 1:
            raise UsageError(
                "a store holds one index; choose a part: --profile photos or --profile documents"
            )
        stores.check(store, folder)
    # A rebuild shows nothing before its end.
    followed = None if dry_run or rebuild else store
    with (
        notifying.notifying(notify) as told,
        stores.following(followed, folder, reporter) as (telling, stop),
    ):
        for folder, chosen in runs:
            if on is None or dry_run:
                result = index_pictures(paths or [], folder, chosen, telling)
            else:
                from imgsearch.tools.cluster.coordinator import index_on
                from imgsearch.tools.cluster.pipeline import RayPipeline

                result = index_on(RayPipeline(on), paths or [], folder, chosen, telling)
            if json:
                output.json_line(result.as_json())
            for reason, count in result.kept.items():
                reporter.say(Message(f"{count:,} not found but kept in the index: ", reason))
            if not dry_run:
                summary = result.summary(folder)
                told.append(str(summary))
                reporter.say(Message("documents: ", summary) if parts.is_part(folder) else summary)
                if side_db.may_advise(folder, "query", most=3):
                    reporter.say(f'Try: imgsearch query "red car at night"{index_flag(whole)}')
            if stats:
                reporter.say(result.timing())
        if store and not dry_run:
            told.append(filled := stores.fill(store, folder, reporter, stop()))
            reporter.say(filled)
    return 0


def _portable_index(paths: Sequence[str]) -> str:
    """Return the folder of the portable index of some paths. Raises UsageError unless it is one folder."""
    if len(paths) != 1 or not os.path.isdir(paths[0]):
        raise UsageError(
            "--portable takes one folder, which gets the index: imgsearch index FOLDER --portable; "
            "or give the index's folder with --index DIR"
        )
    return os.path.join(os.path.realpath(paths[0]), NAME)


def _batch_size(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal():
        raise UsageError(f"--batch-size {text}: a number, or auto")
    return int(text)


def remove(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Image or folder to remove from the index")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed, without doing it")
    ] = False,
    index: common.IndexFolder = None,
) -> int:
    """Remove images or folders from the index.

    Examples:
      imgsearch remove ~/Pictures/2024

    Your files are never touched. Indexing a path again within 30 days restores it at once. A folder that is still
    inside an indexed one returns with the next 'imgsearch index'.
    """
    from imgsearch.indexing.edit import remove_paths

    folder = find_index(index)
    reporter = output.ProgressReporter()
    removed = remove_paths(paths, folder, reporter, dry_run=dry_run)
    if not removed:
        return 1
    images = plural(removed.files, "image")
    if dry_run:
        folders = f" and {plural(removed.roots, 'folder')}" if removed.roots else ""
        reporter.say(f"{images}{folders} would be removed from the index")
    elif removed.files:
        reporter.say(Message(f"{images} removed from the index; ", _restored_by(paths, folder)))
    return 0


def _restored_by(paths: Sequence[str], folder: str) -> Message:
    """Return how what was removed can be restored."""
    from imgsearch.index.writer import GRACE_SECONDS

    days = round(GRACE_SECONDS / 86_400)
    existing = [path for path in paths if os.path.exists(path)]
    if not existing:
        return Message(f"the embeddings are kept for {days} days, in case the files return")
    again = Call("index_pictures", {"paths": existing[:_NAMED], "folder": folder})
    return Message(f"to restore within {days} days: ", again, " …" if len(existing) > _NAMED else "")
