"""The commands that keep an index: index, status, show, remove."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import timedelta, timezone
from itertools import chain
from typing import TYPE_CHECKING, Annotated, cast

import typer

from imgsearch.cli import notifying, output, parts
from imgsearch.cli import options as common
from imgsearch.cli.help import ADVANCED, LIBRARY
from imgsearch.cli.numbers import picked
from imgsearch.cli.parsing import Command
from imgsearch.cli.spelling import index_flag
from imgsearch.cli.terminal.hits import row_of_known
from imgsearch.errors import UsageError
from imgsearch.index.layout import NAME, find_index
from imgsearch.index.parts import DOCUMENTS, searched
from imgsearch.index.rows import LOST
from imgsearch.text import Call, Message, format_bytes, plural
from imgsearch.types import path_json, paths_json

if TYPE_CHECKING:
    from imgsearch.client.connection import ServerState
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search.show import Shown, ShownImage
    from imgsearch.tools.maintenance.status import Status


_NAMED = 3  # paths in a line


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(cls=Command, rich_help_panel=LIBRARY)(common.handled(index, asks=True, computes=True))
    app.command(cls=Command, rich_help_panel=LIBRARY)(common.handled(status))
    app.command(cls=Command, rich_help_panel=LIBRARY)(common.handled(show, shows=True))
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
    gentle: Annotated[
        bool,
        typer.Option(
            "--gentle",
            help="Leave the machine to others: low priority, one core free, pauses on battery, in heat and while "
            "others need the processor",
            rich_help_panel=ADVANCED,
        ),
    ] = False,
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
    with notifying.notifying(notify) as told:
        for folder, chosen in runs:
            result = index_pictures(paths or [], folder, chosen, reporter)
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


def status(
    index: common.IndexFolder = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="List the files that were skipped or read only in part, and why")
    ] = False,
    json: common.Json = False,
) -> int:
    """Show indexed folders, the model, and skipped files.

    Examples:
      imgsearch status
      imgsearch status --errors            # which files were skipped, and why
    """
    from imgsearch.indexing.documents.opened import not_read
    from imgsearch.model.conventions import DEFAULT_INSTRUCTION
    from imgsearch.tools.maintenance.status import read_status, skipped_files

    folders = searched(find_index(index))
    folder = folders[0]
    if errors:
        for path, reason, detail in chain.from_iterable(map(skipped_files, folders)):
            if json:
                output.json_line({**path_json(path), "reason": reason, "detail": detail})
            else:
                output.line(f"{reason}: {path}" + (f"  ({detail})" if detail else ""))
        return 0
    state, *others = map(read_status, folders)
    spec, run = state.spec, state.last_run
    page = spec.page_pixels
    if json:
        output.json_line(
            {
                **path_json(state.folder, "index"),
                "files": state.files,
                "contents": state.contents,
                "errors": state.errors,
                "model": spec.model,
                "fingerprint": spec.fingerprint,
                "dim": spec.dim,
                "pixels": {
                    "image": [spec.pixels.min_pixels, spec.pixels.max_pixels],
                    **({"page": [page.min_pixels, page.max_pixels]} if page else {}),
                },
                "prompts": {"query": spec.query_prompt, "document": spec.document_prompt},
                "device": run.runtime.device if run else None,
                "dtype": run.runtime.dtype if run else None,
                "reason": run.runtime.reason if run else None,
                "last_run": run.at if run else None,
                "created": state.created,
                "bytes": state.bytes_on_disk,
                **paths_json([root.path for root in state.roots], "roots"),
                "vectors": state.vectors,
                "dead": state.deleted,
                "covered": state.covered,
                "rebuilding": state.rebuilding,
                "server": asdict(state.server) if state.server else None,
                "known": state.known,
                "thumbnails": {"images": state.thumbnails.files, "bytes": state.thumbnails.bytes},
                **({"text": dict(zip(("read", "found"), state.text, strict=True))} if state.text[0] else {}),
                "not_read": state.not_read,
                **({"recomputed": state.recomputed[0]} if state.recomputed[0] else {}),
                **({"parts": [_part_json(other) for other in others]} if others else {}),
            }
        )
        return 0
    portable = ", portable" if any(root.base for root in state.roots) else ""
    size = format_bytes(state.bytes_on_disk)
    output.line(f"index      {state.folder}, {size}, made {_day(state.created)}{portable}")
    output.line(f"images     {plural(state.files, 'file')}, {state.contents:,} distinct")
    if state.contents:
        output.line(f"metadata   {_known(state)}")
    if state.text[0]:
        read, found = state.text
        have = plural(found, "image has text", "images have text")
        output.line(f"text       {have}; {read:,} of {state.contents:,} read")
    output.line(f"search     {_search(state)}")
    if state.deleted:
        output.line(
            f"deleted    {_deleted(state)}; to reclaim the space now: imgsearch compact --all{index_flag(folder)}"
        )
    if state.thumbnails.files:
        size = format_bytes(state.thumbnails.bytes)
        output.line(f"thumbnails {state.thumbnails.files:,}, {size}")
    if state.rebuilding:
        output.line(
            f"rebuild    started but not complete; to continue: imgsearch index --rebuild{index_flag(folder)}"
        )
    for root in state.roots:
        output.line(f"folder     {root.path}{_chosen(root.options)}")
    for other in others:
        what = f"documents: {plural(other.files, 'file')}, {other.contents:,} distinct; {other.spec.model}"
        skipped = f"; {sum(other.errors.values()):,} skipped" if other.errors else ""
        output.line(f"part       {what}{skipped}")
        output.line(f"           (for more: imgsearch status{index_flag(other.folder)})")
    output.line(f"model      {spec.model} ({spec.fingerprint[:8]}), {spec.dim} dimensions")
    pages = f", {page.max_pixels:,} per page or screenshot" if page else ""
    output.line(f"pixels     {_pixels(spec.pixels.max_pixels)}{pages}")
    if spec.query_prompt == spec.document_prompt:
        if spec.query_prompt != DEFAULT_INSTRUCTION:
            output.line(f"prompt     {spec.query_prompt or 'none'}")
    else:
        output.line(f"prompt     for queries: {spec.query_prompt or 'none'}")
        output.line(f"           for images: {spec.document_prompt or 'none'}")
    if run:
        reason = f": {run.runtime.reason}" if output.settings.level == output.VERBOSE else ""
        output.line(f"last run   {_day(run.at)} on {run.runtime.device} in {run.runtime.dtype}{reason}")
    if state.recomputed[0]:
        again, rows = state.recomputed
        output.line(
            f"           ({again:,} of {rows:,} embeddings computed again in float32: too large for the dtype)"
        )
    if state.server:
        output.line(f"server     {_server(state.server)}")
    for reason, count in state.errors.items():
        output.line(f"skipped    {count:,} {reason}")
    if lost := state.errors.get(LOST, 0):
        have = plural(lost, "image has", "images have")
        output.line(
            f"           ({have} no embedding since a repair; run: imgsearch index{index_flag(folder)})"
        )
    if state.errors:
        output.line(f"           (which: imgsearch status --errors{index_flag(folder)})")
    for line in not_read(state.not_read):
        output.line(f"not read   {line}")
    return 0


def _part_json(state: Status) -> dict[str, object]:
    """Return what is told of an index's part beside the index."""
    counts = {"files": state.files, "contents": state.contents, "errors": state.errors}
    return {"part": DOCUMENTS, **path_json(state.folder, "index"), **counts, "model": state.spec.model}


def show(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="An indexed image; 3: number 3 of the last search")
    ],
    json: common.Json = False,
    index: common.IndexFolder = None,
) -> int:
    """Show what is known about an image.

    Examples:
      imgsearch show ~/Pictures/lake.jpg
    """
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search.show import show_part

    if not image:
        raise UsageError("the path is empty; give an indexed image: imgsearch show photo.jpg")
    chosen, index = picked([image], index, output.ProgressReporter())
    if len(chosen) > 1:
        raise UsageError(f"{image}: give one number")
    with ExitStack() as stack:
        opened = [stack.enter_context(ImageIndex(folder)) for folder in searched(find_index(index))]
        found = show_part(opened, chosen[0][0])
        folder = next((one.folder for one in opened if _has(one, found)), opened[0].folder)
    if json:
        output.json_line(found.as_json())
        return 0
    output.image(row_of_known(found, folder))
    output.line(found.path)
    for name, text in _facts(found):
        output.line(f"  {name:<12} {text}")
    return 0


def _facts(found: Shown) -> Iterator[tuple[str, str]]:
    """Yield what is known of an image, as a name and a text each; what is unknown is left out."""
    known = found.metadata
    if found.error:
        yield "skipped", found.error + (f" ({found.detail})" if found.detail else "")
    if known.taken is not None:
        zone = "" if known.offset is None else f" ({timezone(timedelta(minutes=known.offset))})"
        by = {
            "file": ", by the date of the file",
            "sidecar": ", by its sidecar",
            "takeout": ", by Google Takeout",
        }
        yield "taken", f"{known.taken:%Y-%m-%d %H:%M:%S}{zone}{by.get(known.taken_from, '')}"
    from imgsearch.index.metadata import camera_name

    for name, text in (("camera", camera_name(known.make, known.model)), ("lens", known.lens)):
        if text:
            yield name, text
    if known.latitude is not None:
        yield "place", f"{known.latitude:.5f}, {known.longitude:.5f}"
    if known.rating is not None:
        yield "rating", "rejected" if known.rating < 0 else f"{known.rating} of 5"
    for name in ("title", "description", "software"):
        if text := getattr(known, name):
            yield name, text
    if known.keywords:
        yield "keywords", ", ".join(known.keywords)
    of_file = format_bytes(found.bytes) if found.bytes >= 100_000 else plural(found.bytes, "byte")
    if found.sizes and found.sizes[0] != (0, 0):
        width, height = found.sizes[0]
        pages = f", {len(found.sizes)} pages" if len(found.sizes) > 1 else ""
        yield "size", f"{width:,} × {height:,} pixels{pages}, {of_file}"
    else:
        yield "size", of_file
    if found.images:
        yield from _pages(found.images)
    if not found.error and found.detail:
        yield "note", found.detail
    if found.missing:
        yield "missing", "the file is not there now"
    for copy in found.copies:
        yield "copy", copy
    for number, line in enumerate(found.text or ()):
        yield "" if number else "text", line


def _has(index: ImageIndex, found: Shown) -> bool:
    return bool(found.sha256) and bool(index.catalog.page_numbers(bytes.fromhex(found.sha256)))


def _pages(images: Sequence[ShownImage]) -> Iterator[tuple[str, str]]:
    """Yield what there is in a document, and in which of its images text was found."""
    from imgsearch.place import label

    if images[0].kind == "frame":
        yield "frames", ", ".join(label("frame", image.page) for image in images)
    elif images[0].kind == "member":
        yield "images", f"{len(images):,}"
        for image in images[:_NAMED]:
            yield "", f"{image.page + 1}: {image.name}"
        if len(images) > _NAMED:
            yield "", f"and {len(images) - _NAMED:,} more"
    else:
        yield "pages", _ranges([image.page + 1 for image in images])
    if written := [image for image in images if image.has_text]:
        if images[0].kind == "frame":
            yield "with text", ", ".join(label("frame", image.page) for image in written)
        else:
            yield "with text", _ranges([image.page + 1 for image in written])


def _ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as a person writes them: 1-3, 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def _server(server: ServerState) -> str:
    """Say what this user's running server is and has in memory."""
    from imgsearch.client import protocol

    at = f" and {server.http}" if server.http else ""
    had = f"{server.model} on {server.device} in {server.dtype}" if server.model else "no model loaded now"
    other = (
        "" if server.version == protocol.version() else f", imgsearch {server.version}: restart it to use it"
    )
    return f"process {server.pid}{at}, since {_day(server.since)}{other}; {had}"


def _known(state: Status) -> str:
    """Say how many images tell when, where and with what they were taken."""
    known = state.known
    return (
        f"{known['date']:,} with a date, {known['place']:,} with a place, {known['camera']:,} with a camera"
    )


def _search(state: Status) -> str:
    """Say how searches of the index are done."""
    if not state.fast:
        return f"exact, {plural(state.vectors, 'embedding')}"
    return f"fast: {state.covered:,} of {state.vectors:,} embeddings covered"


def _deleted(state: Status) -> str:
    """Tell how many embeddings no search may show, and why they are still there."""
    from imgsearch.index.writer import GRACE_SECONDS

    days = round(GRACE_SECONDS / 86_400)
    forgotten = state.deleted - state.retained
    parts = [f"{plural(state.retained, 'embedding')} kept for {days} days"] if state.retained else []
    parts += [f"{plural(forgotten, 'embedding')} no longer needed"] if forgotten else []
    return ", ".join(parts)


def _pixels(most: int) -> str:
    """Say with how many pixels the model sees an image; that is unknown of imported embeddings."""
    return f"at most {most:,} per image" if most else "unknown: the embeddings were imported"


def _chosen(options: dict[str, object]) -> str:
    """Say what was chosen for a root: the patterns left out, and what is let in."""
    notes = [f"without {pattern}" for pattern in cast("list[str]", options.get("exclude", []))]
    notes += ["with hidden files"] if options.get("include_hidden") else []
    notes += ["with copies of other programs"] if options.get("include_copies") else []
    notes += ["following links"] if options.get("follow_symlinks") else []
    notes += [f"pages {options['pages']}"] if options.get("pages") else []
    notes += [f"{options['frames']} frames per video"] if options.get("frames") else []
    notes += ["with passwords for PDFs"] if options.get("pdf_password_file") else []
    notes += ["RAW files too"] if options.get("raw_too") else []
    notes += ["in tiles"] if options.get("tiles") else []
    notes += [f"only {name}" for name in cast("list[str]", options.get("only", []))]
    return f"  ({', '.join(notes)})" if notes else ""


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


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
