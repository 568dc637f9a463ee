"""Which model a run uses, and whether that fits the index: its spec is chosen once and checked ever after."""

from __future__ import annotations

import os
from dataclasses import replace

from imgsearch.errors import CheckpointError, IndexMismatch, UsageError, rebuild_call
from imgsearch.index import manifest
from imgsearch.index.manifest import IMPORTED
from imgsearch.model import hub
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.conventions import DEFAULT_INSTRUCTION, processor_budget, punctuated
from imgsearch.model.hub import fetch_checkpoint
from imgsearch.text import Call, Option
from imgsearch.types import DEFAULT_BUDGET, IndexSpec, ModelOptions, PixelBudget, PixelChoice, Reporter


def choose_spec(choice: ModelOptions, reporter: Reporter) -> tuple[Checkpoint, IndexSpec]:
    """Return the checkpoint and the spec of a new index, and say what the checkpoint itself chose.

    Raises UsageError for a dim the model lacks, CheckpointError for a checkpoint that can't be used as it wants.
    """
    checkpoint = fetch_checkpoint(choice.model, choice.revision, reporter)
    own = checkpoint.conventions
    if choice.dim is not None and not 1 <= choice.dim <= own.full_dim:
        raise UsageError(
            Option("dim", choice.dim), f": {checkpoint.name} gives vectors of {own.full_dim} dimensions"
        )
    query_prompt, document_prompt = choice.prompts or own.prompts(choice.instruction)
    if notes := own.notes(dim=choice.dim is None, pixels=choice.pixels is None):
        reporter.say(f"{checkpoint.name} asks for {'; '.join(notes)}")
    return checkpoint, IndexSpec(
        model=checkpoint.name,
        fingerprint=checkpoint.fingerprint,
        dim=choice.dim or own.dim,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        pixels=chosen_pixels(choice, checkpoint),
    )


def chosen_pixels(choice: ModelOptions, checkpoint: Checkpoint) -> PixelBudget:
    """Return the pixel budget of a new index: the user's, or the checkpoint's default. Raises CheckpointError."""
    if choice.pixels == "checkpoint":
        return processor_budget(checkpoint)
    return choice.pixels or checkpoint.conventions.pixels


def keep_settings(choice: ModelOptions, old: IndexSpec) -> ModelOptions:
    """Return the choice for an index that replaces one made as ``old``: what the user does not change stays.

    With the same model everything does. Another model comes with its own conventions; only what the user of the
    old index had chosen against those of the old model is carried over.
    """
    if old.model == IMPORTED:
        return choice  # there was no model, so nothing was chosen against its conventions
    prompts = None if choice.instruction is not None else (old.query_prompt, old.document_prompt)
    pixels: PixelChoice | None = choice.pixels or old.pixels
    if choice.model is None:
        return replace(choice, model=old.model, dim=choice.dim or old.dim, pixels=pixels, prompts=prompts)
    usual_prompts, usual_pixels = (DEFAULT_INSTRUCTION,) * 2, DEFAULT_BUDGET
    try:
        before = hub.find_checkpoint(old.model, download=False)
        own = before.conventions
        usual_prompts, usual_pixels = own.prompts(), own.pixels
    except CheckpointError:
        pass  # the old model is gone: it is taken for a plain one
    return replace(
        choice,
        pixels=choice.pixels if old.pixels == usual_pixels else pixels,
        prompts=None if prompts == usual_prompts else prompts,
    )


def checkpoint_for(
    folder: str, spec: IndexSpec, choice: ModelOptions, reporter: Reporter, *, download: bool = True
) -> Checkpoint:
    """Find the checkpoint that the index in ``folder`` was made with, there or where the user says it is now.

    Without ``download`` it is looked for on this machine only. Raises CheckpointError if it is not found,
    IndexMismatch if what is found is another one.
    """
    if spec.model == IMPORTED:
        raise CheckpointError(
            f"the index in {folder} holds imported vectors and no model: '",
            Call("similar"),
            "' answers for the photos that are in it, words and other pictures need the model that made them; "
            "import them with '",
            Call("import_vectors"),
            "' and ",
            Option("model", metavar="NAME|DIR"),
            " into an index of their own",
        )
    model = choice.model
    if model is None and spec.model != hub.DEFAULT_MODEL:
        model = spec.model
        if os.path.isabs(model) and not os.path.isdir(model):
            if not os.environ.get("IMGSEARCH_MODEL_DIR"):
                raise CheckpointError(
                    f"the index was made with the model in {model}, which is not there now; "
                    "say where it is with ",
                    Option("model", metavar="DIR"),
                )
            model = None
    checkpoint = fetch_checkpoint(model, choice.revision, reporter, download=download)
    found = checkpoint.fingerprint
    if found != spec.fingerprint:
        raise IndexMismatch(
            f"the index was made with {spec.model} ({spec.fingerprint[:8]}); the checkpoint in "
            f"{checkpoint.folder} is another one ({found[:8]}); give the right one with ",
            Option("model", metavar="DIR"),
            ", or rebuild the index with: ",
            rebuild_call(folder, model=checkpoint.name),
        )
    return checkpoint


def check_choice(
    folder: str,
    have: IndexSpec,
    choice: ModelOptions,
    go_on: Call,
    anew: Call,
) -> str:
    """Refuse options that the index in ``folder`` was not made with, with the calls that fix it: IndexMismatch.

    ``go_on`` is the call without the options of ``choice``, ``anew`` the one that makes the index anew with them.
    Return the name of the index's model: a checkpoint that was given and is the same one may lie elsewhere now.
    """
    model, fingerprint, checkpoint = have.model, have.fingerprint, None
    if choice.model is not None:
        try:
            # Nothing is downloaded only to be refused.
            checkpoint = hub.find_checkpoint(choice.model, revision=choice.revision, download=False)
            model, fingerprint = checkpoint.name, checkpoint.fingerprint
        except CheckpointError:
            if choice.model == have.model or os.path.exists(choice.model):
                raise
            model, fingerprint = choice.model, "not here"
        if fingerprint != have.fingerprint and model == have.model:
            raise IndexMismatch(
                f"{model} is no longer the checkpoint that the index in {folder} was made with; give that one "
                "with ",
                Option("model", metavar="DIR"),
                ", or rebuild the index with: ",
                rebuild_call(folder, model=model),
            )
    pixels = choice.pixels or have.pixels
    if pixels == "checkpoint":
        checkpoint = checkpoint or hub.find_checkpoint(have.model, download=False)
        pixels = processor_budget(checkpoint)
    want = IndexSpec(
        model, fingerprint, choice.dim or have.dim, *_prompts_with(choice.instruction, have), pixels
    )
    if found := manifest.differences(have, want):
        raise IndexMismatch(
            f"the index in {folder} was made with {'; '.join(found)}. To go on with it as it is: ",
            go_on,
            "   To rebuild it: ",
            anew,
        )
    return model


def _prompts_with(instruction: str | None, have: IndexSpec) -> tuple[str, str]:
    """Return the prompts that an index like this one would have with the instruction; its own without one."""
    own = have.query_prompt, have.document_prompt
    if instruction is None or own == (instruction, instruction):
        return own
    return punctuated(instruction), punctuated(instruction)
