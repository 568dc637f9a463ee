"""Use case: keep an index up to date with folders of pictures. Walk, diff, decode, batch, embed, commit, prune."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace

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
from imgsearch.indexing.roots import Target, choose_targets, present_roots
from imgsearch.media import formats
from imgsearch.model import checkpoint as checkpoints
from imgsearch.model import hub
from imgsearch.model.conventions import read_conventions
from imgsearch.spec import as_before, check_choice, checkpoint_for, choose_spec, chosen_pixels
from imgsearch.text import Call, Message, Option, display_path
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

    Raises FolderError, NothingToIndex (no picture below the paths), IndexMismatch (with the command that fixes
    it), IndexLocked, IndexDamaged, CheckpointError, DownloadError, StorageError, UsageError. What was committed
    before an error or a KeyboardInterrupt stays.
    """
    options, reporter = options or IndexOptions(), reporter or Silent()
    started = time.monotonic()
    if options.rebuild or not manifest.exists(folder):
        result = _index_anew(paths, folder, options, reporter)
    elif options.dry_run:
        with ImageIndex(folder) as reader:
            _check(reader, options, paths)
            result = _dry_run(_plan(paths, reader, options, reporter), options, reporter, folder, reader.spec)
    else:
        if generations.unfinished(folder):
            begun = "an index that is to take this one's place was begun and is not complete; "
            reporter.say(Message(begun, generations.go_on_or_drop(folder)))
        with IndexWriter(folder) as writer:
            writer.move_model(_check(writer.index, options, paths))
            plan = _plan(paths, writer.index, options, reporter)
            _say_plan(plan, options, reporter, folder, writer.spec)
            result = Ingest(writer, plan, options, reporter).carry_out(
                lambda: _load(writer.index, options.model, reporter)
            )
    result.seconds = time.monotonic() - started
    return result


def _check(index: ImageIndex, options: IndexOptions, paths: Sequence[str]) -> str:
    def call(**changes: object) -> Call:
        changed = replace(options, dry_run=False, **changes)  # type: ignore[arg-type]
        return Call("index_pictures", {"paths": paths, "folder": index.folder, "options": Call.of(changed)})

    runtime = ModelOptions(device=options.model.device, dtype=options.model.dtype)
    go_on, anew = call(model=runtime), call(rebuild=True)
    return check_choice(index.folder, index.spec, options.model, go_on, anew)


def _load(index: ImageIndex, choice: ModelOptions, reporter: Reporter) -> ImageEncoder:
    checkpoint = checkpoint_for(index.folder, index.spec, choice, reporter)
    return load_encoder(checkpoint, index.spec, choice, reporter)


def _replaced(folder: str, options: IndexOptions) -> tuple[list[Root], IndexOptions]:
    """Return the roots of the index that a rebuild replaces, and options that keep what its user did not change.

    A damaged index gives what can still be read of it.
    """
    roots: list[Root] = []
    choice = options.model
    try:
        begun = generations.unfinished(folder)
        # What was begun is gone on with, unless something else is asked for.
        same = choice == ModelOptions(device=choice.device, dtype=choice.dtype)
        old = begun[0] if begun and same else manifest.read(folder)
        choice = as_before(choice, old)
    except (IndexMissing, IndexDamaged, IndexMismatch):
        pass
    try:
        # The catalogue alone: the vectors may be what is damaged.
        with closing(Catalog(generations.in_use(folder) or folder)) as catalog:
            roots = catalog.roots()
    except (IndexDamaged, IndexMismatch, StorageError):
        pass
    return roots, replace(options, model=choice)


def _index_anew(paths: Sequence[str], folder: str, options: IndexOptions, reporter: Reporter) -> IndexResult:
    """Walk first, then find the model, then make the index: nothing is written for a folder without pictures."""
    old_roots: list[Root] = []
    if options.rebuild:
        old_roots, options = _replaced(folder, options)
    targets = choose_targets(paths, old_roots, options.walk, reporter, rebuild=options.rebuild)
    if old_roots:
        # The new index replaces the old one for all of every root, not only for the paths that were given.
        targets = [replace(target, below=target.only or ("",)) for target in targets]
        chosen = {target.path for target in targets}
        others = [root for root in old_roots if root.path not in chosen]
        targets += present_roots(others, reporter, rebuild=True)
    begun = generations.unfinished(folder) if options.rebuild else None
    plan = _plan_anew(targets, old_roots, begun[1] if begun else None, paths, reporter)
    _refuse_nothing(plan, reporter)
    if options.dry_run:
        return _dry_run(plan, options, reporter, folder, None)
    checkpoint, spec = choose_spec(options.model, reporter)
    if begun and manifest.differences(begun[0], spec):
        reporter.say("an index that was begun with other settings is given up")
        plan = _plan_anew(targets, old_roots, None, paths, reporter)
    _say_plan(plan, options, reporter, folder, spec)
    encoder = load_encoder(checkpoint, spec, options.model, reporter)
    own = read_conventions(checkpoint.folder, checkpoint.name)
    if encoder.runtime.device != "cpu" and options.model.pixels is None and not own.pixels_reason:
        reporter.say(
            Message(
                "an accelerator has time for more than the fastest setting: ",
                Option("pixels", PixelBudget(MIN_PIXELS, DETAIL["standard"])),
                " sees small text and small things too; it is chosen once, when an index is made",
            )
        )
    if not manifest.exists(folder) and (warning := layout.advice(folder)):
        reporter.say(warning)
    # Only now, with pictures and a model at hand, does an old index give way to a new one.
    plan.targets = [replace(target, known=None, split_from=None) for target in plan.targets]
    if old_roots:
        reporter.say("searches find the old index until the new one is complete and takes its place")
    with IndexWriter(folder, spec, rebuild=options.rebuild) as writer:
        for root in old_roots:
            # A root on a drive that is not mounted now is indexed when it is back.
            writer.catalog.put_root(root.path, root.options, root.mount)
        try:
            result = Ingest(writer, plan, options, reporter).carry_out(lambda: encoder)
        except BaseException:
            if writer.unpublished:
                left = (
                    "the new index is not complete and the old one stays in use; to go on where this ended: "
                )
                reporter.say(Message(left, rebuild_call(folder)))
            raise
        writer.publish()
        return result


def _plan_anew(
    targets: Sequence[Target],
    old_roots: Sequence[Root],
    begun: str | None,
    paths: Sequence[str],
    reporter: Reporter,
) -> Plan:
    """Plan an index that is made anew; what a generation that was ``begun`` before has already is left out."""
    with ExitStack() as stack:
        catalog = stack.enter_context(closing(Catalog(begun))) if begun else None
        known = {root.path: root for root in catalog.roots()} if catalog else {}
        anew = [replace(target, known=known.get(target.path), split_from=None) for target in targets]
        return make_plan(anew, old_roots, catalog, formats.EXTENSIONS, given=paths, reporter=reporter)


def _plan(paths: Sequence[str], index: ImageIndex, options: IndexOptions, reporter: Reporter) -> Plan:
    roots = index.catalog.roots()
    retry = TRANSIENT | ({"too many pixels"} if options.max_megapixels else set())
    plan = make_plan(
        choose_targets(paths, roots, options.walk, reporter),
        roots,
        index.catalog,
        formats.EXTENSIONS,
        given=paths,
        prune=options.prune,
        prune_empty=options.prune_empty,
        retry=retry,
        reporter=reporter,
    )
    _refuse_nothing(plan, reporter)
    return plan


def _refuse_nothing(plan: Plan, reporter: Reporter) -> None:
    if plan.found or plan.gone or plan.kept:
        for path in plan.empty:
            reporter.say(f"no picture in {display_path(path)}")
        return
    where = ", ".join(map(display_path, plan.empty or [target.path for target in plan.targets]))
    if plan.unlisted:
        folder, reason = next(iter(plan.unlisted.items()))
        raise FolderError(f"{folder} can't be listed ({reason}); nothing was indexed")
    raise NothingToIndex(
        f"no picture in {where}: {plan.others} other files; hidden, cache and excluded ones are not looked at"
    )


def _say_plan(
    plan: Plan, options: IndexOptions, reporter: Reporter, folder: str, spec: IndexSpec | None
) -> None:
    """Say how many pictures there are, how many of them need work, and about how long that takes."""
    pictures = "1 picture" if plan.found == 1 else f"{plan.found:,} pictures"
    parts = [f"{pictures}: {len(plan.todo):,} new or changed"]
    if plan.unchanged:
        parts.append(f"{plan.unchanged:,} unchanged")
    if plan.unchanged_errors:
        parts.append(f"{plan.unchanged_errors:,} skipped before and unchanged")
    if plan.gone:
        parts.append(f"{len(plan.gone):,} gone")
    line = ", ".join(parts)
    if plan.todo:
        line += _about(len(plan.todo), options.model, folder, spec)
    reporter.say(line)
    for where, reason in list(plan.unlisted.items())[:5]:
        reporter.say(f"{where} can't be listed ({reason}); what is indexed of it stays")


def _about(pictures: int, choice: ModelOptions, folder: str, spec: IndexSpec | None) -> str:
    """Say about how long the pictures take, if anything is known to guess it from."""
    run = side_db.last_run(folder, "index")
    parameters, budget = 0, spec.pixels if spec else PixelBudget(0, 0)
    if spec is None or run is None or not run.rate:
        try:
            model = choice.model or (spec.model if spec else None)
            checkpoint = hub.find_checkpoint(model, revision=choice.revision, download=False)
            parameters = checkpoints.describe(checkpoint.folder).parameters
            budget = spec.pixels if spec else chosen_pixels(choice, checkpoint)
        except ImgsearchError:
            return "; how long is known when the model is here"
    device = run.runtime.device if run else "cpu" if choice.device == "auto" else choice.device
    seconds, reason = estimate_seconds(pictures, parameters, budget, device, run.rate if run else 0.0)
    return f"; about {text.format_duration(seconds)} ({reason})"


def _dry_run(
    plan: Plan, options: IndexOptions, reporter: Reporter, folder: str, spec: IndexSpec | None
) -> IndexResult:
    _say_plan(plan, options, reporter, folder, spec)
    return IndexResult(
        unchanged=plan.unchanged,
        unchanged_errors=plan.unchanged_errors,
        to_do=len(plan.todo),
        to_prune=len(plan.gone),
        kept=plan.kept,
    )
