"""Use case: keep an index up to date with folders of images. Walk, diff, decode, batch, embed, commit, prune.

A new index, a refresh and a rebuild are one pipeline: they differ in which catalogue is asked what is done already
(none, the index's own, that of an interrupted rebuild) and in which writer is opened.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial

from imgsearch.client import load_encoder, load_local_encoder
from imgsearch.errors import (
    FolderError,
    ImgsearchError,
    IndexDamaged,
    IndexMismatch,
    IndexMissing,
    NothingToIndex,
    StorageError,
    rebuild_call,
)
from imgsearch.files import LINK, described
from imgsearch.index import generations, layout, manifest, side_db
from imgsearch.index.catalog import Catalog
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import TRANSIENT, FileRow, Root
from imgsearch.index.writer import IndexWriter
from imgsearch.indexing.decode import is_image
from imgsearch.indexing.derived import ocr
from imgsearch.indexing.documents.opened import candidates, not_read
from imgsearch.indexing.gentle import priority
from imgsearch.indexing.gentle.pauses import Pauses
from imgsearch.indexing.ingest import Ingest
from imgsearch.indexing.options import IndexOptions, IndexResult
from imgsearch.indexing.places import samples_of
from imgsearch.indexing.plan import Plan, make_plan
from imgsearch.indexing.roots import Scope, check_portable, resolve_scope, with_reread
from imgsearch.indexing.workers import Workers, command_of
from imgsearch.machine import cores
from imgsearch.media import documents
from imgsearch.media.documents import close_readers
from imgsearch.model import locate
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.families import conventions_of
from imgsearch.mounts import Mounts
from imgsearch.spec import check_options, checkpoint_for, choose_spec, keep_settings
from imgsearch.text import Call, Message, Option, display_path, format_duration, format_rate, plural
from imgsearch.types import (
    DETAIL,
    MIN_PIXELS,
    ImageEncoder,
    IndexSpec,
    ModelOptions,
    PixelBudget,
    Reporter,
    Silent,
)

_DEMO_ONLY = Message(
    "the demo model only knows drawings of everyday things; for photos, leave out ",
    Option("model", "demo"),
)

_FOLDERS_NAMED = 5


LoadEncoder = Callable[[Checkpoint, IndexSpec, ModelOptions, Reporter], ImageEncoder]
"""Loads a model as ``client.load_encoder`` does."""


def index_pictures(
    paths: Sequence[str],
    folder: str,
    options: IndexOptions | None = None,
    reporter: Reporter | None = None,
    *,
    load_model: LoadEncoder | None = None,
    workers: Workers | None = None,
) -> IndexResult:
    """Bring the index in ``folder`` up to date with ``paths``, or with every root it knows if there are none.

    ``load_model`` takes the place of ``client.load_encoder``, for a model that is to stay in memory; ``workers`` decode
    and embed elsewhere.
    Raises FolderError, NothingToIndex (no image below the paths), IndexMismatch (with the call that fixes
    it), IndexLocked, IndexDamaged, CheckpointError, DownloadError, StorageError, UsageError. What was committed
    before an error or a KeyboardInterrupt stays.
    """
    options, reporter = options or IndexOptions(), reporter or Silent()
    started = time.monotonic()
    if options.ocr and not options.dry_run:
        ocr.check_installed()
    pauses = Pauses(reporter, gentle=options.gentle, until=options.until)
    with ExitStack() as stack:
        if options.gentle and not options.dry_run:
            priority.lower()
            stack.enter_context(cores.limited(leave_free=1))
        stack.callback(close_readers)  # the last document has been read
        base = _open_baseline(paths, folder, options, reporter, stack)
        options = replace(options, model=base.model)
        covered, reread = with_reread(paths, options.reread, base.roots, base.catalog)
        scope = resolve_scope(
            covered,
            base.roots,
            options.walk,
            reporter,
            rebuild=options.rebuild,
            catalog=base.catalog,
            mounts=base.mounts,
            samples=base.samples,
        )
        options = replace(options, reread=reread)
        if options.portable or base.portable:
            check_portable(scope, folder, base.mounts)
        plan = _plan(scope, base, options, reporter)
        _require_pictures(plan, reporter)
        _say_plan(plan, options, folder, base.spec, reporter, command_of(workers))
        if options.dry_run:
            if plan.to_do:
                _say_download(options.model, base.spec, reporter)
            _say_not_read(plan, reporter)
            return _dry_run_result(plan, seconds=time.monotonic() - started)
        checkpoint, spec = None, base.spec
        if spec is None:
            # Only now, with images to index, is a model looked for: nothing is downloaded in vain, nor before it is
            # known what for.
            checkpoint, spec = choose_spec(options.model, reporter)
            if base.unfinished and manifest.differences(base.unfinished[0], spec):
                reporter.say("the interrupted rebuild had other settings: starting again from scratch")
                plan = _plan(scope, replace(base, unfinished=None), options, reporter)
        if plan.to_do and options.advise and spec.model == locate.DEMO_MODEL:
            reporter.say(_DEMO_ONLY)
        load = cache(
            partial(_load, checkpoint, folder, spec, options.model, reporter, load_model or _loader(options))
            if workers is None
            else partial(workers.load, checkpoint, spec, options.model, reporter)
        )
        if checkpoint is not None:
            # Only with a model in memory is an index made, or does an old one give way.
            encoder = load()
            _advise(encoder, checkpoint, folder, base, options, reporter)
            if options.advise and spec.page_pixels:
                reporter.say(_budgets_said(spec, spec.page_pixels))
        with _open_writer(base, folder, spec, options, reporter) as writer:
            result = Ingest(writer, plan, options, reporter, pauses, workers).carry_out(load)
        if kinds := {kind: count for kind, count in result.as_pages.items() if count}:
            many = ", ".join(f"{count:,} as {kind}" for kind, count in kinds.items())
            reporter.detail(f"seen with the pixels of pages: {many}")
        _say_not_read(plan, reporter)
        result.cores = cores.usable()
    result.seconds, result.paused = time.monotonic() - started, pauses.total
    return result


@dataclass(frozen=True, slots=True)
class _Baseline:
    """What a run starts from.

    ``model`` says which model is wanted and how, ``roots`` are the known ones. For a refresh there are the index's
    ``spec`` and ``catalog`` and, unless it is a dry run, a ``writer``, which holds the lock. For a new index there is
    none of these; ``unfinished`` is the spec and data folder of a rebuild that was interrupted, ``named`` are the
    files, by root, that aren't called like images and are in an index that is replaced. ``replaced`` are some of its
    images by root. ``portable`` says that the index is. ``mounts`` is what is mounted.
    """

    model: ModelOptions
    roots: Sequence[Root] = ()
    spec: IndexSpec | None = None
    catalog: Catalog | None = None
    writer: IndexWriter | None = None
    unfinished: tuple[IndexSpec, str] | None = None
    named: Mapping[str, Collection[str]] = field(default_factory=dict)
    replaced: Mapping[str, Mapping[int, Sequence[FileRow]]] = field(default_factory=dict)
    portable: bool = False
    mounts: Mounts = field(default_factory=Mounts)

    def samples(self, root: Root) -> Mapping[int, Sequence[FileRow]]:
        """Return some images of a root, by the devices that they are on."""
        return samples_of(root, self.catalog) if self.catalog else self.replaced.get(root.path, {})


def _open_baseline(
    paths: Sequence[str], folder: str, options: IndexOptions, reporter: Reporter, stack: ExitStack
) -> _Baseline:
    """Open the index to be refreshed, until the end of ``stack``, or find out what a new one replaces."""
    if options.rebuild:
        return _replaced(folder, options.model)
    if not manifest.exists(folder):
        return _Baseline(options.model)
    writer = None
    if options.dry_run:
        index = stack.enter_context(ImageIndex(folder))
    else:
        if generations.unfinished(folder):
            begun = "a rebuild of this index was interrupted; "
            reporter.say(Message(begun, generations.go_on_or_drop(folder)))
        writer = stack.enter_context(IndexWriter(folder))
        index = writer.index
    as_it_is = ModelOptions(device=options.model.device, dtype=options.model.dtype)
    go_on = _call(paths, index.folder, replace(options, model=as_it_is))
    anew = _call(paths, index.folder, replace(options, rebuild=True))
    model = check_options(index.folder, index.spec, options.model, go_on, anew)
    if writer is not None:
        writer.move_model(model)
        if options.portable:
            writer.catalog.make_portable()
    portable = bool(index.catalog.base)
    return _Baseline(
        options.model, index.catalog.roots(), index.spec, index.catalog, writer, portable=portable
    )


def _call(paths: Sequence[str], folder: str, options: IndexOptions) -> Call:
    """Return the call of ``index_pictures`` with these arguments, as a message names it."""
    given = Call.of(replace(options, dry_run=False, suggest=False))
    return Call("index_pictures", {"paths": list(paths), "folder": folder, "options": given})


def _replaced(folder: str, model: ModelOptions) -> _Baseline:
    """Return what a rebuild takes over from the index that it replaces: its roots, and settings not changed now.

    A damaged index gives what can still be read of it.
    """
    roots: list[Root] = []
    named: dict[str, list[str]] = {}
    replaced: dict[str, dict[int, list[FileRow]]] = {}
    portable = False
    unfinished = generations.unfinished(folder)
    # An interrupted rebuild is resumed with its own settings, unless others are asked for.
    unchanged = model == ModelOptions(device=model.device, dtype=model.dtype, force_model=model.force_model)
    with suppress(IndexMissing, IndexDamaged, IndexMismatch):
        model = keep_settings(model, unfinished[0] if unfinished and unchanged else manifest.read(folder))
    try:
        # The catalogue alone: the vectors may be what is damaged.
        with closing(Catalog(generations.in_use(folder) or folder)) as catalog:
            roots, portable = catalog.roots(), bool(catalog.base)
            for root in roots:
                named[root.path] = catalog.named_otherwise(root.id, "", candidates())
                replaced[root.path] = samples_of(root, catalog)
    except (IndexDamaged, IndexMismatch, StorageError):
        pass  # the paths that were asked for are all there is to go by
    return _Baseline(model, roots, unfinished=unfinished, named=named, replaced=replaced, portable=portable)


def _plan(scope: Scope, base: _Baseline, options: IndexOptions, reporter: Reporter) -> Plan:
    """Walk, and ask the catalogue of the index, or of an interrupted rebuild, what is done already."""
    with ExitStack() as stack:
        catalog = base.catalog
        if base.unfinished:
            catalog = stack.enter_context(closing(Catalog(base.unfinished[1])))
        return make_plan(
            scope,
            catalog,
            candidates(),
            prune=options.prune or options.rebuild,  # an index made anew holds what is there
            prune_empty=options.prune_empty,
            is_image=is_image,
            named=base.named,
            mounts=base.mounts,
            retry=_to_retry(options, catalog),
            reread=options.reread,
            reporter=reporter,
        )


def _to_retry(options: IndexOptions, catalog: Catalog | None) -> Collection[str]:
    """Return the reasons for which skipped files are read again."""
    if options.retry and catalog:
        return set(catalog.counts()[2])
    installed = {row.extra for row in documents.DOCUMENTS if row.extra and documents.is_installed(row)}
    again = {f"needs imgsearch-vl[{extra}]" for extra in installed}
    again |= {"too many pixels"} if options.max_megapixels else set()
    again |= {"encrypted"} if options.walk and options.walk.pdf_password_file else set()
    return TRANSIENT | again


def _loader(options: IndexOptions) -> LoadEncoder:
    """Return what loads the model: a gentle run's is in this process, since a server has its own priority."""
    return load_local_encoder if options.gentle else load_encoder


def _load(
    checkpoint: Checkpoint | None,
    folder: str,
    spec: IndexSpec,
    model: ModelOptions,
    reporter: Reporter,
    load_model: LoadEncoder,
) -> ImageEncoder:
    """Load the model of an index, from its checkpoint where that has been found already."""
    checkpoint = checkpoint or checkpoint_for(os.path.abspath(folder), spec, model, reporter)
    return load_model(checkpoint, spec, model, reporter)


def _advise(
    encoder: ImageEncoder,
    checkpoint: Checkpoint,
    folder: str,
    base: _Baseline,
    options: IndexOptions,
    reporter: Reporter,
) -> None:
    """Say what is worth knowing before an index is made: what is chosen once, and where it will lie."""
    conventions = conventions_of(checkpoint)
    if encoder.runtime.device != "cpu" and options.model.pixels is None and not conventions.pixels_reason:
        reporter.say(
            Message(
                "this device is fast enough for more detail: ",
                Option("pixels", PixelBudget(MIN_PIXELS, DETAIL["standard"])),
                " also sees small text and small objects. It can only be chosen when an index is made",
            )
        )
    if not manifest.exists(folder) and (warning := layout.advice(folder)):
        reporter.say(warning)
    if base.roots:
        reporter.say("searches use the old index until the new one is complete")


def _budgets_said(spec: IndexSpec, page: PixelBudget) -> Message:
    """Tell with how many pixels images of either kind are seen, and how to change that."""
    return Message(
        f"photos are seen with up to {spec.pixels.max_pixels:,} pixels, pages and screenshots with "
        f"{page.max_pixels:,} (",
        Option("profile", "photos"),
        " for all alike)",
    )


@contextmanager
def _open_writer(
    base: _Baseline, folder: str, spec: IndexSpec, options: IndexOptions, reporter: Reporter
) -> Iterator[IndexWriter]:
    """Give the writer of a refresh, or open that of a new index, which replaces the one that was there in the end."""
    if base.writer:
        yield base.writer
        return
    with IndexWriter(folder, spec, rebuild=options.rebuild) as writer:
        if options.portable or base.portable:
            writer.catalog.make_portable()
        for root in base.roots:
            # A root on a drive that is not mounted now is indexed when it is back.
            writer.catalog.put_root(root.path, root.options, root.mount, root.drive)
        try:
            yield writer
        except BaseException:
            if writer.unpublished:
                left = "the rebuild is incomplete, so the old index stays in use; to resume: "
                reporter.say(Message(left, rebuild_call(folder)))
            raise
        writer.publish()


def _require_pictures(plan: Plan, reporter: Reporter) -> None:
    """Raise where there is nothing to index and nothing to remove, else tell which paths hold no image."""
    if plan.pictures or plan.to_prune or plan.kept:
        for path in plan.empty_paths:
            reporter.say(f"no images in {display_path(path)}")
        return
    if plan.left_alone:
        folder, reason = next(iter(plan.left_alone.items()))
        raise FolderError(f"{display_path(folder)} is left alone: {reason}; nothing was indexed")
    where = ", ".join(map(display_path, plan.empty_paths or [root.path for root in plan.roots]))
    unread = not_read(plan.other_files)
    kinds = described(plan.other_files)
    why = f"; {'; '.join(unread)}" if unread else f" ({kinds})" if kinds else ""
    raise NothingToIndex(
        f"no supported images in {where}{why}; ",
        *((*_copies(plan), "; ") if plan.copies else ()),
        *((*_links(plan), "; ") if plan.other_files[LINK] else ()),
        "hidden and excluded files are not read",
    )


def _say_plan(
    plan: Plan,
    options: IndexOptions,
    folder: str,
    spec: IndexSpec | None,
    reporter: Reporter,
    command: str,
) -> None:
    """Tell how many images there are, how many of them need work, how long that takes, and what is not read."""
    what = "new, changed or to read again" if options.reread or options.retry else "new or changed"
    parts = [f"{plural(plan.pictures, 'image')}: {len(plan.to_do):,} {what}"]
    if spec is None and plan.pictures == len(plan.to_do) > 1:
        parts = [f"{plan.pictures:,} images, all new"]
    if plan.unchanged:
        parts.append(f"{plan.unchanged:,} unchanged")
    if plan.unchanged_errors:
        parts.append(f"{plan.unchanged_errors:,} skipped earlier")
    if plan.to_prune:
        parts.append(f"{len(plan.to_prune):,} deleted")
    line = ", ".join(parts)
    if plan.to_do:
        line += _about(len(plan.to_do), options.model, folder, spec, command)
    reporter.say(line)
    if (plan.to_do or plan.to_prune) and plan.copies:
        reporter.say(Message(*_copies(plan)))
    if (plan.to_do or plan.to_prune) and plan.other_files[LINK]:
        reporter.say(Message(*_links(plan)))
    for folder, reason in list(plan.left_alone.items())[:_FOLDERS_NAMED]:
        reporter.say(f"{display_path(folder)} is left alone: {reason}; its images stay indexed")
    if (more := len(plan.left_alone) - _FOLDERS_NAMED) > 0:
        reporter.say(f"{plural(more, 'more folder is', 'more folders are')} left alone")


def _say_not_read(plan: Plan, reporter: Reporter) -> None:
    """Tell at the end of a run that has changed something what was not read, and what would read it."""
    if plan.to_do or plan.to_prune:
        for line in not_read(plan.other_files):
            reporter.say(line)


def _copies(plan: Plan) -> tuple[str | Option, ...]:
    """Tell how many folders of copies are not read, and how to read them."""
    folders, verb = plural(len(plan.copies), "folder"), "is" if len(plan.copies) == 1 else "are"
    what = f"{folders} of thumbnails and previews that other programs keep {verb} not read"
    return (f"{what} (", Option("include_copies", True), " to include them)")


def _links(plan: Plan) -> tuple[str | Option, ...]:
    """Tell how many links are not followed, and how to follow them."""
    links, verb = plural(plan.other_files[LINK], "link"), "is" if plan.other_files[LINK] == 1 else "are"
    return (f"{links} {verb} not followed (", Option("follow_symlinks", True), " to follow links)")


def _about(images: int, model: ModelOptions, folder: str, spec: IndexSpec | None, command: str) -> str:
    """Tell about how long the images take, where the last run of this index was made the same way."""
    run = side_db.last_run(folder, command)
    if spec is None or run is None or not run.rate:
        return ""
    if model.device not in ("auto", run.runtime.device) or model.dtype not in ("auto", run.runtime.dtype):
        return ""
    return f"; about {format_duration(images / run.rate)} (last time: {format_rate(run.rate)} images/s)"


def _say_download(model: ModelOptions, spec: IndexSpec | None, reporter: Reporter) -> None:
    """Tell what a run would have to download first."""
    name = model.model or (spec.model if spec else None)
    if name == manifest.IMPORTED:
        return
    try:
        missing = locate.to_download(name, model.revision, reporter)
    except ImgsearchError as error:
        reporter.say(error.as_message)
    else:
        if missing:
            reporter.say(f"{missing} must be downloaded first")


def _dry_run_result(plan: Plan, seconds: float) -> IndexResult:
    """Return what a dry run reports: what there is to do."""
    return IndexResult(
        unchanged=plan.unchanged,
        unchanged_errors=plan.unchanged_errors,
        not_read=plan.other_files,
        to_do=len(plan.to_do),
        to_prune=len(plan.to_prune),
        kept=plan.kept,
        left_alone=plan.left_alone,
        seconds=seconds,
    )
