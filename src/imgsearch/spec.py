"""Which model a run uses, and whether that fits the index: its spec is chosen once and checked from then on."""

from __future__ import annotations

import os
from dataclasses import replace

from imgsearch.errors import CheckpointError, IndexMismatch, UsageError, rebuild_call
from imgsearch.index import manifest
from imgsearch.index.manifest import IMPORTED
from imgsearch.model import locate
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.conventions import DEFAULT_INSTRUCTION, processor_budget, punctuated
from imgsearch.model.families import conventions_of, family_of
from imgsearch.model.locate import fetch_checkpoint
from imgsearch.text import Call, Option, display_path
from imgsearch.types import (
    DEFAULT_BUDGET,
    PAGE_BUDGET,
    IndexSpec,
    ModelOptions,
    PixelBudget,
    PixelChoice,
    Profile,
    Reporter,
)

_PAGE_TOKENS = 512
"""What a page and its prompt need of a checkpoint; the published ones take thousands."""


def choose_spec(options: ModelOptions, reporter: Reporter) -> tuple[Checkpoint, IndexSpec]:
    """Return the checkpoint and the spec of a new index, and tell what the checkpoint itself chose.

    Raises UsageError for a dim the model lacks, CheckpointError for a checkpoint that can't be used as it wants, or
    that is not an embedding model.
    """
    checkpoint = fetch_checkpoint(options.model, options.revision, reporter, force_model=options.force_model)
    return checkpoint, spec_of(checkpoint, options, reporter)


def spec_of(checkpoint: Checkpoint, options: ModelOptions, reporter: Reporter) -> IndexSpec:
    """Return the spec of a new index with a checkpoint, as ``choose_spec`` does."""
    conventions = conventions_of(checkpoint)
    if options.dim is not None and not 1 <= options.dim <= conventions.full_dim:
        raise UsageError(
            Option("dim", options.dim),
            f": the embeddings of {checkpoint.name} have {conventions.full_dim} dimensions",
        )
    if options.dim not in (None, conventions.full_dim) and not conventions.can_shorten:
        raise UsageError(
            Option("dim", options.dim),
            f": {checkpoint.name} was not trained for shorter embeddings; omit it, for all {conventions.full_dim}",
        )
    query_prompt, document_prompt = options.prompts or conventions.prompts(options.instruction)
    if conventions.own_pixels:
        _refuse_pixels(options, checkpoint.name)
    pixels = conventions.pixels if conventions.own_pixels else chosen_pixels(options, checkpoint)
    chosen = options.pixels is not None or bool(conventions.pixels_reason)
    chosen |= (conventions.max_length or _PAGE_TOKENS) < _PAGE_TOKENS
    profile = options.profile or ("photos" if chosen else "auto")
    if notes := conventions.notes(dim=options.dim is None, pixels=options.pixels is None):
        reporter.detail(f"{checkpoint.name} is used with {'; '.join(notes)}")
    return IndexSpec(
        model=checkpoint.name,
        fingerprint=checkpoint.fingerprint,
        dim=options.dim or conventions.dim,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        pixels=pixels,
        page_pixels=None if conventions.own_pixels else _page_pixels(profile, pixels),
        own_pixels=conventions.own_pixels,
    )


def _refuse_pixels(options: ModelOptions, name: str) -> None:
    """Raise UsageError for a number of pixels that is asked of a model which scales images itself."""
    if isinstance(options.pixels, PixelBudget):
        raise UsageError(
            Option("pixels", options.pixels), f": {name} scales every image to a size of its own; omit it"
        )


def _page_pixels(profile: Profile, pixels: PixelBudget) -> PixelBudget | None:
    """Return the budget of pages beside that of photos; None where photos are seen with as many pixels."""
    more = profile == "auto" and pixels.max_pixels < PAGE_BUDGET.max_pixels
    return PAGE_BUDGET if more else None


def chosen_pixels(options: ModelOptions, checkpoint: Checkpoint) -> PixelBudget:
    """Return the pixel budget of a new index: the user's, or the checkpoint's default. Raises CheckpointError."""
    if options.pixels == "checkpoint":
        return processor_budget(checkpoint)
    return options.pixels or conventions_of(checkpoint).pixels


def keep_settings(options: ModelOptions, old: IndexSpec) -> ModelOptions:
    """Return the options for an index that replaces one made as ``old``: what the user does not change stays.

    With the same model everything does. Another model comes with its own conventions; only what the user of the
    old index had chosen against those of the old model is carried over. Raises CheckpointError if the old index's model
    is to be taken and is not on this machine.
    """
    if old.model == IMPORTED:
        return options  # there was no model, so nothing was chosen against its conventions
    prompts = None if options.instruction is not None else (old.query_prompt, old.document_prompt)
    pixels: PixelChoice | None = options.pixels or (None if old.own_pixels else old.pixels)
    profile: Profile = options.profile or ("auto" if old.page_pixels else "photos")
    options = replace(options, profile=profile)
    if options.model is None:
        if old.model != locate.DEFAULT_MODEL:
            locate.find_checkpoint(
                old.model, download=False
            )  # named by the index alone, it is not downloaded
        return replace(
            options,
            model=old.model,
            dim=options.dim or old.dim,
            pixels=pixels,
            prompts=prompts,
            force_model=True,  # decided when the old index was made
        )
    usual_prompts, usual_pixels = (DEFAULT_INSTRUCTION,) * 2, DEFAULT_BUDGET
    try:
        before = locate.find_checkpoint(old.model, download=False)
        conventions = conventions_of(before)
        usual_prompts, usual_pixels = conventions.prompts(), conventions.pixels
    except CheckpointError:
        pass  # the old model is gone: it is taken for a plain one
    return replace(
        options,
        pixels=options.pixels if old.pixels == usual_pixels or _scales_itself(options) else pixels,
        prompts=None if prompts == usual_prompts else prompts,
    )


def _scales_itself(options: ModelOptions) -> bool:
    """Tell whether the model that is asked for is here, and scales images itself: then no old budget is kept for it."""
    try:
        found = locate.find_checkpoint(options.model, revision=options.revision, download=False)
    except CheckpointError:
        return False
    return family_of(found).by_library


def checkpoint_for(
    folder: str, spec: IndexSpec, choice: ModelOptions, reporter: Reporter, *, download: bool = True
) -> Checkpoint:
    """Find the checkpoint that the index in ``folder`` was made with, there or where the user says it is now.

    Without ``download`` it is looked for on this machine only; so is a model, other than the default one, that only the
    index names. Raises CheckpointError if it is not found, IndexMismatch if what is found is another one.
    """
    if spec.model == IMPORTED:
        raise CheckpointError(
            f"the index in {folder} holds imported embeddings without a model. '",
            Call("similar"),
            "' works for the images in it; for words and other images, import the embeddings into a new index with '",
            Call("import_vectors"),
            "' and ",
            Option("model", metavar="NAME|DIR"),
        )
    model = choice.model
    if model is None and spec.model != locate.DEFAULT_MODEL and not _variable_names(spec):
        # The index may be somebody else's: what is downloaded is the user's choice.
        model, download = spec.model, False
        if os.path.isabs(model) and not os.path.isdir(model):
            if not os.environ.get("IMGSEARCH_MODEL_DIR"):
                raise CheckpointError(
                    f"the index was made with the model in {display_path(model)}, which is not there now; "
                    "give its folder with ",
                    Option("model", metavar="DIR"),
                )
            model = None
    # Whether it is an embedding model was decided when the index was made.
    checkpoint = fetch_checkpoint(model, choice.revision, reporter, download=download, force_model=True)
    found = checkpoint.fingerprint
    if found != spec.fingerprint:
        raise IndexMismatch(
            f"the index was made with {display_path(spec.model)} ({spec.fingerprint[:8]}); the model in "
            f"{checkpoint.folder} is another one ({found[:8]}). Give the right one with ",
            Option("model", metavar="DIR"),
            ", or rebuild the index with: ",
            rebuild_call(folder, model=checkpoint.name),
        )
    return checkpoint


def _variable_names(spec: IndexSpec) -> bool:
    """Tell whether the folder in IMGSEARCH_MODEL_DIR has the checkpoint of an index; then it is used from there."""
    if not os.environ.get("IMGSEARCH_MODEL_DIR"):
        return False
    try:
        return locate.find_checkpoint(download=False).fingerprint == spec.fingerprint
    except CheckpointError:
        return False


def check_options(
    folder: str,
    have: IndexSpec,
    options: ModelOptions,
    go_on: Call,
    anew: Call,
) -> str:
    """Refuse options that the index in ``folder`` was not made with, with the calls that fix it: IndexMismatch.

    ``go_on`` is the call without the user's ``options``, ``anew`` the one that makes the index anew with them.
    Return the name of the index's model: a checkpoint that was given and is the same one may lie elsewhere now.
    """
    model, fingerprint, checkpoint = have.model, have.fingerprint, None
    if options.model is not None:
        try:
            # Nothing is downloaded only to be refused.
            checkpoint = locate.find_checkpoint(options.model, revision=options.revision, download=False)
            model, fingerprint = checkpoint.name, checkpoint.fingerprint
        except CheckpointError:
            if options.model == have.model or os.path.exists(options.model):
                raise
            model, fingerprint = options.model, "not downloaded"
        if fingerprint != have.fingerprint and model == have.model:
            raise IndexMismatch(
                f"{model} is no longer the model that the index in {folder} was made with; give that one with ",
                Option("model", metavar="DIR"),
                ", or rebuild the index with: ",
                rebuild_call(folder, model=model),
            )
    if have.own_pixels and fingerprint == have.fingerprint:
        _refuse_pixels(options, have.model)
    pixels = options.pixels or have.pixels
    if pixels == "checkpoint" and have.own_pixels:
        pixels = have.pixels
    elif pixels == "checkpoint":
        checkpoint = checkpoint or locate.find_checkpoint(have.model, download=False)
        pixels = processor_budget(checkpoint)
    page_pixels = have.page_pixels
    if options.profile and not have.own_pixels:
        page_pixels = _page_pixels(options.profile, pixels)
    prompts = _prompts_with(options.instruction, have)
    want = IndexSpec(
        model, fingerprint, options.dim or have.dim, *prompts, pixels, page_pixels, have.own_pixels
    )
    if found := manifest.differences(have, want):
        raise IndexMismatch(
            f"the index in {folder} was made with {'; '.join(found)}. To keep these settings: ",
            go_on,
            "   To rebuild it: ",
            anew,
        )
    return model


def _prompts_with(instruction: str | None, have: IndexSpec) -> tuple[str, str]:
    """Return the prompts that an index like this one would have with the instruction; its own without one."""
    prompts = have.query_prompt, have.document_prompt
    if instruction is None or prompts == (instruction, instruction):
        return prompts
    return punctuated(instruction), punctuated(instruction)
