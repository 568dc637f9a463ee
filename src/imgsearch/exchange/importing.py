"""Use case: vectors that were computed elsewhere become an index, or go into one, with the names of their pictures."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from imgsearch.errors import DatasetError, FolderError, IndexMismatch
from imgsearch.exchange import origin
from imgsearch.exchange.checking import check
from imgsearch.exchange.intake import Imported, Intake
from imgsearch.exchange.places import Places
from imgsearch.exchange.source import Source, open_source
from imgsearch.files import shown
from imgsearch.identity import IMPORTED, ModelChoice, choose_identity, find
from imgsearch.index import filesystem, manifest
from imgsearch.index.image_index import IndexWriter
from imgsearch.model import checkpoint as checkpoints
from imgsearch.types import Identity, Reporter, Silent


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to import: ``files`` says that every picture is opened and hashed, ``skip_bad`` that bad rows are left out.

    ``model`` is the checkpoint that made the vectors, ``root`` the folder that new files belong to.
    """

    model: ModelChoice = field(default_factory=ModelChoice)
    root: str | None = None
    files: bool = True
    skip_bad: bool = False


def import_vectors(
    vectors: str,
    paths: str | None,
    folder: str,
    options: ImportOptions | None = None,
    reporter: Reporter | None = None,
) -> Imported:
    """Put vectors and the names of their pictures into the index in ``folder``, which is made if there is none.

    ``vectors`` is a .npy file (n, dim) with ``paths``, a list of as many paths; or a parquet file with the columns
    path and embedding. Everything is looked at first: if a row is bad nothing is written. Relative paths are
    relative to ``options.root``, else to the current folder. What was committed before an interruption stays, and
    a second run passes over it. A picture that the index has keeps the vector that it has.

    Raises DatasetError (bad rows, with the first of them), UsageError, FolderError, IndexMismatch, IndexLocked,
    IndexDamaged, StorageError, CheckpointError, MissingExtra.
    """
    started, options, reporter = time.monotonic(), options or ImportOptions(), reporter or Silent()
    if options.root == "":
        raise FolderError("--root: the path is empty")
    source = open_source(vectors, paths)
    with ExitStack() as stack:
        writer = stack.enter_context(IndexWriter(folder)) if manifest.exists(folder) else None
        identity = _identity(source, writer.identity if writer else None, options.model, folder, reporter)
        places = Places(writer.catalog.roots() if writer else [], options.root)
        faults = check(source, places, reporter)
        if faults.rows and not options.skip_bad:
            raise DatasetError(
                f"{shown(source.path)}: {faults.text()}; nothing was imported (--skip-bad leaves these out)"
            )
        if faults.rows:
            reporter.say(faults.text())
        if writer is None and (warning := filesystem.advice(folder)):
            reporter.say(warning)
        places.settle(options.files)
        intake = Intake(
            source,
            faults.rows,
            places,
            writer or (lambda: stack.enter_context(IndexWriter(folder, identity))),
            files=options.files,
            reporter=reporter,
        )
        result = intake.carry_out()
    result.seconds = time.monotonic() - started
    return result


def _identity(
    source: Source, have: Identity | None, choice: ModelChoice, folder: str, reporter: Reporter
) -> Identity:
    """Decide what the vectors were made with, say why, and refuse what the index was not made with."""
    want, why = _told(source, have, choice, reporter)
    if have is not None and (found := manifest.differences(have, want)):
        raise IndexMismatch(
            f"the index in {folder} was made with {'; '.join(found)}, which is what the vectors in "
            f"{shown(source.path)} are; import them into an index of their own with --index DIR"
        )
    if want.model == IMPORTED:
        reporter.say(
            "nothing says which model made the vectors: their index answers for the photos in it, not for words "
            "(--model NAME|DIR if you know it)"
        )
    else:
        reporter.say(f"the vectors are taken to be those of {want.model} ({want.fingerprint[:8]}): {why}")
    return have or want


def _told(
    source: Source, have: Identity | None, choice: ModelChoice, reporter: Reporter
) -> tuple[Identity, str]:
    if source.identity is not None and choice.model is None:
        return source.identity, f"{shown(source.path)} says so"
    if choice.model is not None:
        base = source.identity or have
        if base is None:
            return choose_identity(replace(choice, dim=source.dim), reporter)[1], "--model says so"
        checkpoint = find(choice.model, choice.revision, reporter)
        found = checkpoints.fingerprint(checkpoint.folder)
        named = replace(base, model=checkpoint.name, fingerprint=found, dim=source.dim)
        if source.identity and (wrong := manifest.differences(source.identity, named)):
            raise IndexMismatch(f"the vectors in {shown(source.path)} were made with {'; '.join(wrong)}")
        return named, "--model says so"
    if have is not None:
        return replace(have, dim=source.dim), "the index's own model, since nothing says otherwise"
    return origin.nobody(source.dim), ""
