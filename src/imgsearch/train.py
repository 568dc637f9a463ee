"""Use case: fine-tune a checkpoint on queries and the pictures that answer them, by the published recipe."""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from imgsearch.errors import (
    DatasetError,
    MissingExtra,
    StorageError,
    TrainingError,
    TrainingStopped,
    UsageError,
)
from imgsearch.estimate import spoken
from imgsearch.training import folder
from imgsearch.training.options import TrainOptions, choose_attention
from imgsearch.training.settled import Settled, settle
from imgsearch.types import Reporter, Runtime, Silent

if TYPE_CHECKING:
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

    from imgsearch.training.data import Examples
    from imgsearch.training.module import Qwen3VLInput
    from imgsearch.training.pictures import Pictures
    from imgsearch.training.recipe import Trainer

_NEEDED = ("sentence_transformers", "accelerate", "datasets", "pyarrow")
_Log = tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run did. ``before`` and ``after`` are NDCG@10 on the evaluation set, None without one.

    ``loss`` is the mean over the steps that this call made, None if a resumed run had none left to make; ``log``
    has an entry a logged step.
    """

    out: str
    steps: int
    loss: float | None
    before: float | None
    after: float | None
    seconds: float
    log: _Log

    def as_json(self) -> dict[str, Any]:
        """Return the run as ``train --json`` prints it."""
        return {
            "out": self.out,
            "steps": self.steps,
            "loss": self.loss,
            "ndcg@10_before": self.before,
            "ndcg@10_after": self.after,
            "seconds": round(self.seconds, 3),
        }


def train(datasets: Sequence[str], options: TrainOptions, reporter: Reporter | None = None) -> TrainResult:
    """Train on the examples of ``datasets`` and write the checkpoint into ``options.out``.

    Raises MissingExtra, DatasetError, UsageError, CheckpointError, DownloadError or StorageError before anything
    is trained; TrainingError when memory runs out or the loss is no number any more; TrainingStopped after
    Ctrl-C.
    """
    reporter = reporter or Silent()
    began = time.monotonic()
    if not all(importlib.util.find_spec(name) for name in _NEEDED):
        raise MissingExtra("imgsearch train", "train")
    out = os.path.abspath(os.path.expanduser(options.out))
    folder.check_out(out, options.resume)
    with folder.claimed(out):
        try:
            result = _run(datasets, options, out, began, reporter)
        except KeyboardInterrupt:
            raise TrainingStopped(folder.how_to_go_on(out)) from None
        except DatasetError as error:
            saved = f"; {folder.how_to_go_on(out)}" if folder.last_checkpoint(out) else ""
            raise DatasetError(f"{_last_line(error)}{saved}") from None
        except OSError as error:
            raise StorageError(f"{out} could not be written: {error.strerror or error}") from error
        except Exception as error:
            from imgsearch.training import failures

            if failures.is_out_of_memory(error):
                raise TrainingError(failures.advice(options)) from error
            if failures.is_of_the_disk(error):
                raise StorageError(f"{out} could not be written; {folder.how_to_go_on(out)}") from error
            raise
    reporter.say(f"{_steps(result.steps)} in {spoken(result.seconds)}; the checkpoint is in {out}")
    return result


def _run(
    datasets: Sequence[str], options: TrainOptions, out: str, began: float, reporter: Reporter
) -> TrainResult:
    """Prepare, train and write; as ``train``, but what the libraries raise is not yet in the user's words."""
    trainer, write = _prepare(datasets, options, out, reporter)
    last = folder.last_checkpoint(out) if options.resume else None
    first_step = folder.step_of(last) if last else 0
    if last:
        reporter.say(f"going on from step {first_step:,}")
    done = trainer.train(resume_from_checkpoint=last)
    _check_steps(trainer, options, reporter)
    log, steps = tuple(trainer.state.log_history), trainer.state.global_step
    write(log)
    if not options.keep_checkpoints:
        folder.remove_checkpoints(out)
    scores = {entry["step"]: entry["ndcg@10"] for entry in log if "ndcg@10" in entry}
    return TrainResult(
        out=out,
        steps=steps,
        loss=float(done.training_loss) if steps > first_step else None,
        before=scores.get(0),
        after=scores.get(steps),
        seconds=time.monotonic() - began,
        log=log,
    )


def _last_line(error: Exception) -> str:
    """Return what an error says; from a process that reads pictures it comes at the end of a whole traceback."""
    *trace, last = str(error).strip().splitlines()
    return last.partition(": ")[2] if trace else last


def _steps(number: int) -> str:
    return f"{number:,} step{'' if number == 1 else 's'}"


def _check_steps(trainer: Trainer, options: TrainOptions, reporter: Reporter) -> None:
    """Say so if batches ran out; TrainingError if there was not a single one."""
    done, wanted = trainer.state.global_step, trainer.state.max_steps
    why = f"too many examples share a query or picture to fill batches of {options.batch_size}; lower --batch-size"
    if not done:
        raise TrainingError(f"not a single step was made: {why}")
    if done < wanted:
        reporter.say(f"only {done:,} of {_steps(wanted)} were made: {why}")


def _prepare(
    datasets: Sequence[str], options: TrainOptions, out: str, reporter: Reporter
) -> tuple[Trainer, Callable[[_Log], None]]:
    """Check and read everything; return the trainer, and what writes the result from its log."""
    from imgsearch.model.pixels import read_layout

    # What the end of the run needs is imported before it begins: by then the program may have been updated.
    from imgsearch.training import card, failures, saving  # noqa: F401
    from imgsearch.training.data import evaluation_set, read_examples
    from imgsearch.training.pictures import Pictures

    examples = read_examples(datasets, options.split, options.negatives)
    if len(examples.examples) < options.batch_size:
        raise UsageError(
            f"{examples.name} has {len(examples.examples)} examples, fewer than one batch of "
            f"{options.batch_size}; lower --batch-size"
        )
    measured = evaluation_set(options.evaluate_on, options.evaluation_split) if options.evaluate_on else None
    settled = settle(options, out, reporter)
    plan = options.hyperparameters() | {"dataset": examples.name, "examples": len(examples.examples)}
    folder.keep_plan(out, plan | {"model": settled.checkpoint.name}, options.resume)
    layout = read_layout(settled.checkpoint.folder)
    refs = [ref for one in examples.examples for ref in (one.positive, *one.negatives[: examples.negatives])]
    refs += measured.corpus.values() if measured else ()
    pictures = Pictures(refs, settled.budget, layout, reporter)
    for line in (
        *examples.notes,
        f"{len(examples.examples):,} examples of {examples.name} with {examples.negatives} hard negatives each, "
        f"{len(pictures):,} pictures {'in memory' if pictures.in_memory else 'read as they are needed'}",
        *settled.reasons,
    ):
        reporter.say(line)

    from imgsearch.training.progress import Measure

    measure = Measure(measured, pictures, options.mini_batch) if measured else None
    trainer = _trainer(examples, pictures, settled, options, out, measure, reporter)
    texts = [one.query for one in examples.examples] + list(measured.queries.values() if measured else ())
    cast("Qwen3VLInput", trainer.model[0]).check_texts(texts)

    def write(log: _Log) -> None:
        record = {
            **options.hyperparameters(),
            "steps": trainer.state.global_step,
            "negatives": examples.negatives,
            "precision": settled.precision,
            # Of a folder only its own name: where it lies is nobody else's business.
            "base_model": settled.checkpoint.name
            if not os.path.isabs(settled.checkpoint.name)
            else os.path.basename(settled.checkpoint.name),
            "dataset": examples.name,
            "examples": len(examples.examples),
            "evaluation": measured.name if measured else None,
        }
        _write(out, trainer, settled, options, record, log)

    return trainer, write


def _trainer(
    examples: Examples,
    pictures: Pictures,
    settled: Settled,
    options: TrainOptions,
    out: str,
    measure: Any,
    reporter: Reporter,
) -> Trainer:
    """Load the model and put the recipe together around it."""
    from imgsearch.model.loading import load_model
    from imgsearch.model.pixels import check_budget, read_layout
    from imgsearch.model.prompt import Prompter
    from imgsearch.training import recipe
    from imgsearch.training.data import as_table
    from imgsearch.training.module import Qwen3VLInput
    from imgsearch.training.progress import Progress

    source = settled.checkpoint.folder
    layout = read_layout(source)
    check_budget(settled.budget, layout.factor)
    model = load_model(source, Runtime(settled.device, "float32", "master weights"))
    model.requires_grad_(True)
    if options.gradient_checkpointing:
        # transformers renamed it in the course of version 5.
        new, old = "activation_checkpointing_enable", "gradient_checkpointing_enable"
        getattr(model, new if hasattr(model, new) else old)({"use_reentrant": False})
    module = Qwen3VLInput(
        model,
        Prompter(source, verbatim=True),
        layout,
        pictures.patches,
        *settled.prompts,
        attention=choose_attention(
            settled.device, settled.precision, settled.budget.max_pixels // layout.patch**2
        ),
        precision=settled.precision,
    )
    whole = recipe.build_model(module, settled.device)
    loss, how = recipe.build_loss(whole, settled.dims, options)
    reporter.say(how)
    total = options.steps or math.ceil(options.epochs * (len(examples.examples) // options.batch_size))
    # Only a forked process shares the model's input module: elsewhere pictures are decoded between the steps.
    forked = multiprocessing.get_start_method() == "fork"
    workers = min(8, max(1, (os.cpu_count() or 2) - 1)) if forked and not pictures.in_memory else 0
    arguments = recipe.build_arguments(
        options, os.path.join(out, folder.CHECKPOINTS), settled.device, total, workers
    )
    a_step = options.batch_size * (1 + examples.negatives)
    progress = Progress(reporter, measure, options.eval_steps or max(1, total // 10), a_step)
    return recipe.Trainer(
        model=whole,
        args=arguments,
        train_dataset=as_table(examples, pictures),
        loss=loss,
        callbacks=[progress],
    )


def _write(
    out: str, trainer: Trainer, settled: Settled, options: TrainOptions, record: dict[str, Any], log: _Log
) -> None:
    """Write the checkpoint with its card and log."""
    from imgsearch.training.card import write_card
    from imgsearch.training.module import Qwen3VLInput
    from imgsearch.training.saving import Trained, versions, write_checkpoint

    module = trainer.model[0]
    assert isinstance(module, Qwen3VLInput)
    record["versions"] = versions()
    query, document = settled.prompts
    trained = Trained(
        source=settled.checkpoint.folder,
        model=module.model,
        pixels=settled.budget,
        query_prompt=query,
        document_prompt=document,
        generation_prompt=settled.generation_prompt,
        truncate_dim=settled.truncate_dim,
        dims=settled.dims,
        save_dtype=options.save_dtype,
        record=record,
    )
    settings = {
        "loss": type(cast("MatryoshkaLoss", trainer.loss).loss).__name__,
        "dims": ", ".join(map(str, settled.dims)),
        "least": settled.budget.min_pixels,
        "most": settled.budget.max_pixels,
        "query": query,
        "document": document,
    }
    write_card(out, record, settings, log)
    write_checkpoint(out, trained)
