"""The commands that tell what an index knows: status of all of it, show of an image."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import timedelta, timezone
from itertools import chain
from typing import TYPE_CHECKING, Annotated, cast

import typer

from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import LIBRARY
from imgsearch.cli.numbers import picked
from imgsearch.cli.parsing import Command
from imgsearch.cli.spelling import index_flag
from imgsearch.cli.terminal.hits import row_of_known
from imgsearch.errors import UsageError
from imgsearch.index.layout import find_index
from imgsearch.index.parts import DOCUMENTS, searched
from imgsearch.index.rows import LOST
from imgsearch.text import format_bytes, plural
from imgsearch.types import path_json, paths_json

if TYPE_CHECKING:
    from imgsearch.client.connection import ServerState
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search.show import Shown, ShownImage
    from imgsearch.tools.maintenance.status import Status

_NAMED = 3  # images of a document


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(cls=Command, rich_help_panel=LIBRARY)(common.handled(status))
    app.command(cls=Command, rich_help_panel=LIBRARY)(common.handled(show, shows=True))


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
                    **({"by_model": True} if spec.own_pixels else {}),
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
    output.line(f"images     {_counts(state)}")
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
        what = f"documents: {_counts(other)}; {other.spec.model}"
        skipped = f"; {sum(other.errors.values()):,} skipped" if other.errors else ""
        output.line(f"part       {what}{skipped}")
        output.line(f"           (for more: imgsearch status{index_flag(other.folder)})")
    output.line(f"model      {spec.model} ({spec.fingerprint[:8]}), {spec.dim} dimensions")
    pages = f", {page.max_pixels:,} per page or screenshot" if page else ""
    own = "as the model scales images itself"
    output.line(f"pixels     {own if spec.own_pixels else _pixels(spec.pixels.max_pixels)}{pages}")
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


def _counts(state: Status) -> str:
    """Say how many images an index has: fewer than files where some are copies, more where some are documents."""
    return f"{state.contents:,} distinct, in {plural(state.files, 'file')}"


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
