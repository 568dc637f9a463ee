"""Use case: keep an index up to date with folders of pictures. Walk, diff, decode, batch, embed, commit, prune.

A new index, a refresh and a rebuild are one pipeline: they differ in which catalogue is asked what is done already
(none, the index's own, that of an interrupted rebuild) and in which writer is opened.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial

from imgsearch import text
from imgsearch.client import load_encoder
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
from imgsearch.index import generations, layout, manifest, side_db
from imgsearch.index.catalog import Catalog
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import TRANSIENT, Root
from imgsearch.index.writer import IndexWriter
from imgsearch.indexing.ingest import Ingest
from imgsearch.indexing.options import IndexOptions, IndexResult
from imgsearch.indexing.plan import Plan, estimate_seconds, make_plan
from imgsearch.indexing.roots import Scope, resolve_scope
from imgsearch.media import formats
from imgsearch.model import locate
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.conventions import conventions_of
from imgsearch.spec import check_options, checkpoint_for, choose_spec, chosen_pixels, keep_settings
from imgsearch.text import Call, Message, Option, display_path, plural
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


def index_pictures(
    paths: Sequence[str], folder: str, options: IndexOptions | None = None, reporter: Reporter | None = None
) -> IndexResult:
    """Bring the index in ``folder`` up to date with ``paths``, or with every root it knows if there are none.

    Raises FolderError, NothingToIndex (no picture below the paths), IndexMismatch (with the call that fixes
    it), IndexLocked, IndexDamaged, CheckpointError, DownloadError, StorageError, UsageError. What was committed
    before an error or a KeyboardInterrupt stays.
    """
    options, reporter = options or IndexOptions(), reporter or Silent()
    started = time.monotonic()
    with ExitStack() as stack:
        base = _open_baseline(paths, folder, options, reporter, stack)
        options = replace(options, model=base.model)
        scope = resolve_scope(paths, base.roots, options.walk, reporter, rebuild=options.rebuild)
        plan = _plan(scope, base, options, reporter)
        _require_pictures(plan, reporter)
        if options.dry_run:
            _say_plan(plan, options.model, folder, base.spec, reporter)
            return _dry_run_result(plan, seconds=time.monotonic() - started)
        checkpoint, spec = None, base.spec
        if spec is None:
            # Only now, with pictures at hand, is a model looked for: nothing is downloaded only to be refused.
            checkpoint, spec = choose_spec(options.model, reporter)
            if base.unfinished and manifest.differences(base.unfinished[0], spec):
                reporter.say("an index that was begun with other settings is given up")
                plan = _plan(scope, replace(base, unfinished=None), options, reporter)
        _say_plan(plan, options.model, folder, spec, reporter)
        load = cache(partial(_load, checkpoint, folder, spec, options.model, reporter))
        if checkpoint is not None:
            # Only with a model in memory is an index made, or does an old one give way.
            encoder = load()
            _advise(encoder, checkpoint, folder, base, options, reporter)
        with _open_writer(base, folder, spec, options.rebuild, reporter) as writer:
            result = Ingest(writer, plan, options, reporter).carry_out(load)
    result.seconds = time.monotonic() - started
    return result


@dataclass(frozen=True, slots=True)
class _Baseline:
    """What a run starts from.

    ``model`` says which model is wanted and how, ``roots`` are the known ones. For a refresh there are the index's
    ``spec`` and ``catalog`` and, unless it is a dry run, a ``writer``, which holds the lock. For a new index there is
    none of these; ``unfinished`` is the spec and data folder of a rebuild that was interrupted.
    """

    model: ModelOptions
    roots: Sequence[Root] = ()
    spec: IndexSpec | None = None
    catalog: Catalog | None = None
    writer: IndexWriter | None = None
    unfinished: tuple[IndexSpec, str] | None = None


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
            begun = "an index that is to take this one's place was begun and is not complete; "
            reporter.say(Message(begun, generations.go_on_or_drop(folder)))
        writer = stack.enter_context(IndexWriter(folder))
        index = writer.index
    as_it_is = ModelOptions(device=options.model.device, dtype=options.model.dtype)
    go_on = _call(paths, index.folder, replace(options, model=as_it_is))
    anew = _call(paths, index.folder, replace(options, rebuild=True))
    model = check_options(index.folder, index.spec, options.model, go_on, anew)
    if writer is not None:
        writer.move_model(model)
    return _Baseline(options.model, index.catalog.roots(), index.spec, index.catalog, writer)


def _call(paths: Sequence[str], folder: str, options: IndexOptions) -> Call:
    """Return the call of ``index_pictures`` with these arguments, as a message names it."""
    given = Call.of(replace(options, dry_run=False))
    return Call("index_pictures", {"paths": list(paths), "folder": folder, "options": given})


def _replaced(folder: str, model: ModelOptions) -> _Baseline:
    """Return what a rebuild takes over from the index that it replaces: its roots, and settings not changed now.

    A damaged index gives what can still be read of it.
    """
    roots: list[Root] = []
    unfinished = generations.unfinished(folder)
    # An interrupted rebuild is resumed with its own settings, unless others are asked for.
    unchanged = model == ModelOptions(device=model.device, dtype=model.dtype)
    with suppress(IndexMissing, IndexDamaged, IndexMismatch):
        model = keep_settings(model, unfinished[0] if unfinished and unchanged else manifest.read(folder))
    try:
        # The catalogue alone: the vectors may be what is damaged.
        with closing(Catalog(generations.in_use(folder) or folder)) as catalog:
            roots = catalog.roots()
    except (IndexDamaged, IndexMismatch, StorageError):
        pass  # the paths that were asked for are all there is to go by
    return _Baseline(model, roots, unfinished=unfinished)


def _plan(scope: Scope, base: _Baseline, options: IndexOptions, reporter: Reporter) -> Plan:
    """Walk, and ask the catalogue of the index, or of an interrupted rebuild, what is done already."""
    with ExitStack() as stack:
        catalog = base.catalog
        if base.unfinished:
            catalog = stack.enter_context(closing(Catalog(base.unfinished[1])))
        return make_plan(
            scope,
            catalog,
            formats.EXTENSIONS,
            prune=options.prune or options.rebuild,  # an index made anew holds what is there
            prune_empty=options.prune_empty,
            retry=TRANSIENT | ({"too many pixels"} if options.max_megapixels else set()),
            reporter=reporter,
        )


def _load(
    checkpoint: Checkpoint | None, folder: str, spec: IndexSpec, model: ModelOptions, reporter: Reporter
) -> ImageEncoder:
    """Load the model of an index, from its checkpoint where that has been found already."""
    checkpoint = checkpoint or checkpoint_for(os.path.abspath(folder), spec, model, reporter)
    return load_encoder(checkpoint, spec, model, reporter)


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
                "an accelerator has time for more than the fastest setting: ",
                Option("pixels", PixelBudget(MIN_PIXELS, DETAIL["standard"])),
                " sees small text and small things too; it is chosen once, when an index is made",
            )
        )
    if not manifest.exists(folder) and (warning := layout.advice(folder)):
        reporter.say(warning)
    if base.roots:
        reporter.say("searches find the old index until the new one is complete and takes its place")


@contextmanager
def _open_writer(
    base: _Baseline, folder: str, spec: IndexSpec, rebuild: bool, reporter: Reporter
) -> Iterator[IndexWriter]:
    """Give the writer of a refresh, or open that of a new index, which replaces the one that was there in the end."""
    if base.writer:
        yield base.writer
        return
    with IndexWriter(folder, spec, rebuild=rebuild) as writer:
        for root in base.roots:
            # A root on a drive that is not mounted now is indexed when it is back.
            writer.catalog.put_root(root.path, root.options, root.mount)
        try:
            yield writer
        except BaseException:
            if writer.unpublished:
                left = (
                    "the new index is not complete and the old one stays in use; to go on where this ended: "
                )
                reporter.say(Message(left, rebuild_call(folder)))
            raise
        writer.publish()


def _require_pictures(plan: Plan, reporter: Reporter) -> None:
    """Raise where there is nothing to index and nothing to forget, else say which paths hold no picture."""
    if plan.pictures or plan.to_prune or plan.kept:
        for path in plan.empty_paths:
            reporter.say(f"no picture in {display_path(path)}")
        return
    if plan.unlisted:
        folder, reason = next(iter(plan.unlisted.items()))
        raise FolderError(f"{folder} can't be listed ({reason}); nothing was indexed")
    where = ", ".join(map(display_path, plan.empty_paths or [root.path for root in plan.roots]))
    raise NothingToIndex(
        f"no picture in {where}: {plan.other_files} other files; hidden, cache and excluded ones are not looked at"
    )


def _say_plan(
    plan: Plan, model: ModelOptions, folder: str, spec: IndexSpec | None, reporter: Reporter
) -> None:
    """Say how many pictures there are, how many of them need work, and about how long that takes."""
    parts = [f"{plural(plan.pictures, 'picture')}: {len(plan.to_do):,} new or changed"]
    if plan.unchanged:
        parts.append(f"{plan.unchanged:,} unchanged")
    if plan.unchanged_errors:
        parts.append(f"{plan.unchanged_errors:,} skipped before and unchanged")
    if plan.to_prune:
        parts.append(f"{len(plan.to_prune):,} gone")
    line = ", ".join(parts)
    if plan.to_do:
        line += _about(len(plan.to_do), model, folder, spec)
    reporter.say(line)
    for where, reason in list(plan.unlisted.items())[:5]:
        reporter.say(f"{where} can't be listed ({reason}); what is indexed of it stays")


def _about(pictures: int, model: ModelOptions, folder: str, spec: IndexSpec | None) -> str:
    """Say about how long the pictures take, if anything is known to guess it from."""
    run = side_db.last_run(folder, "index")
    parameters, budget = 0, spec.pixels if spec else PixelBudget(0, 0)
    if spec is None or run is None or not run.rate:
        try:
            name = model.model or (spec.model if spec else None)
            checkpoint = locate.find_checkpoint(name, revision=model.revision, download=False)
            parameters = checkpoint.info.parameters
            budget = spec.pixels if spec else chosen_pixels(model, checkpoint)
        except ImgsearchError:
            return "; how long is known when the model is here"
    device = run.runtime.device if run else "cpu" if model.device == "auto" else model.device
    seconds, reason = estimate_seconds(pictures, parameters, budget, device, run.rate if run else 0.0)
    return f"; about {text.format_duration(seconds)} ({reason})"


def _dry_run_result(plan: Plan, seconds: float) -> IndexResult:
    """Return what a dry run reports: what there is to do."""
    return IndexResult(
        unchanged=plan.unchanged,
        unchanged_errors=plan.unchanged_errors,
        to_do=len(plan.to_do),
        to_prune=len(plan.to_prune),
        kept=plan.kept,
        seconds=seconds,
    )
