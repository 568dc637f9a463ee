"""Use case: fine-tune a checkpoint on queries and the pictures that answer them, by the published recipe."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from imgsearch.errors import (
    DatasetError,
    MissingExtra,
    StorageError,
    TrainingError,
    TrainingStopped,
    UsageError,
)
from imgsearch.model.batching import is_out_of_memory
from imgsearch.text import Call, Message, Option, error_line, format_duration, plural
from imgsearch.tools.dataset import read_dataset
from imgsearch.tools.training import run_dir
from imgsearch.tools.training.options import TrainOptions, resolve_options
from imgsearch.types import PixelBudget, Reporter, Silent

if TYPE_CHECKING:
    from imgsearch.tools.training.trainer import Trainer

_NEEDED = ("sentence_transformers", "accelerate", "datasets", "pyarrow")
# How torch and safetensors say that a file could not be written.
_DISK = ("pytorchstreamwriter failed", "no space left", "unexpected pos", "quota exceeded", "i/o error")


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
    log: tuple[dict[str, Any], ...]

    def as_json(self) -> dict[str, Any]:
        """Return the run as the command line prints it as JSON."""
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
    is trained; TrainingError when memory runs out or the loss is not finite; TrainingStopped after
    Ctrl-C.
    """
    reporter = reporter or Silent()
    began = time.monotonic()
    if not all(importlib.util.find_spec(name) for name in _NEEDED):
        raise MissingExtra(Call("train"), "train")
    out = os.path.abspath(os.path.expanduser(options.out))
    run_dir.check_out(out, options.resume)
    with run_dir.claimed(out):
        try:
            result = _run(datasets, options, out, began, reporter)
        except KeyboardInterrupt:
            raise TrainingStopped(run_dir.how_to_go_on(out)) from None
        except DatasetError as error:
            saved = Message("; ", run_dir.how_to_go_on(out)) if run_dir.last_checkpoint(out) else ""
            raise DatasetError(_last_line(error), saved) from None
        except OSError as error:
            raise StorageError(f"{out} could not be written: {error_line(error)}") from error
        except Exception as error:
            if is_out_of_memory(error):
                raise TrainingError(_memory_advice(options)) from error
            if _is_of_the_disk(error):
                raise StorageError(f"{out} could not be written; ", run_dir.how_to_go_on(out)) from error
            raise
    reporter.say(
        f"{plural(result.steps, 'step')} in {format_duration(result.seconds)}; the model is in {out}"
    )
    return result


def _is_of_the_disk(error: Exception) -> bool:
    """Tell whether an exception of torch or safetensors means that a checkpoint could not be written."""
    from safetensors import SafetensorError

    text = str(error).lower()
    return isinstance(error, RuntimeError | SafetensorError) and any(word in text for word in _DISK)


def _memory_advice(options: TrainOptions) -> Message:
    """Say which settings to lower, in the order of what they cost."""
    pixels = (
        f"now {options.pixels.max_pixels:,}"
        if isinstance(options.pixels, PixelBudget)
        else "now the model's own"
    )
    return Message(
        "out of memory: lower ",
        Option("mini_batch"),
        f" (now {min(options.mini_batch, options.batch_size)}), then ",
        Option("pixels"),
        f" ({pixels}), or add ",
        Option("gradient_checkpointing", True),
    )


def _run(
    datasets: Sequence[str], options: TrainOptions, out: str, began: float, reporter: Reporter
) -> TrainResult:
    """Prepare, train and write; as ``train``, but what the libraries raise is not yet in the user's words."""
    trainer, write = _prepare(datasets, options, out, reporter)
    last = run_dir.last_checkpoint(out) if options.resume else None
    first_step = run_dir.step_of(last) if last else 0
    if last:
        reporter.say(f"resuming from step {first_step:,}")
    done = trainer.train(resume_from_checkpoint=last)
    _check_steps(trainer, options, reporter)
    write()
    if not options.keep_checkpoints:
        run_dir.remove_checkpoints(out)
    log, steps = tuple(trainer.state.log_history), trainer.state.global_step
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


def _last_line(error: DatasetError) -> str:
    """Return what an error says; from a process that reads pictures it comes at the end of a whole traceback."""
    *trace, last = str(error).strip().splitlines()
    return last.partition(": ")[2] if trace else error.as_message


def _check_steps(trainer: Trainer, options: TrainOptions, reporter: Reporter) -> None:
    """Say so if batches ran out; TrainingError if there was not a single one."""
    done, wanted = trainer.state.global_step, trainer.state.max_steps
    why = Message(
        f"too many examples share a query or image to fill batches of {options.batch_size}; lower ",
        Option("batch_size"),
    )
    if not done:
        raise TrainingError("no training step was possible: ", why)
    if done < wanted:
        reporter.say(Message(f"only {done:,} of {plural(wanted, 'step')} were possible: ", why))


def _prepare(
    datasets: Sequence[str], options: TrainOptions, out: str, reporter: Reporter
) -> tuple[Trainer, Callable[[], None]]:
    """Check and read everything; return the trainer, and what writes the result once it has trained."""
    # What the end of the run needs is imported before it begins: by then the program may have been updated.
    from imgsearch.tools.training import trainer as failures  # noqa: F401
    from imgsearch.tools.training.data import Pictures, read_examples
    from imgsearch.tools.training.result import write_result
    from imgsearch.tools.training.trainer import build_trainer

    examples = read_examples(datasets, options.split, options.negatives)
    if len(examples.examples) < options.batch_size:
        raise UsageError(
            f"{examples.name} has {plural(len(examples.examples), 'example')}, fewer than one batch of "
            f"{options.batch_size}; lower ",
            Option("batch_size"),
        )
    measured = None
    if options.evaluate_on:
        measured = read_dataset(options.evaluate_on, split=options.evaluation_split)
    resolved = resolve_options(options, out, reporter)
    plan = options.hyperparameters() | {"dataset": examples.name, "examples": len(examples.examples)}
    defaults = TrainOptions(out).hyperparameters()
    run_dir.keep_plan(out, plan | {"model": resolved.checkpoint.name}, options.resume, defaults)
    refs = [ref for one in examples.examples for ref in (one.positive, *one.negatives[: examples.negatives])]
    refs += measured.corpus.values() if measured else ()
    pictures = Pictures(refs, resolved.budget, resolved.layout, reporter)
    for line in (
        *examples.notes,
        f"{plural(len(examples.examples), 'example')} of {examples.name} "
        f"with {plural(examples.negatives, 'hard negative')} each, "
        f"{plural(len(pictures), 'image')} {'in memory' if pictures.in_memory else 'read on demand'}",
        *resolved.reasons,
    ):
        reporter.say(line)
    trainer = build_trainer(examples, measured, pictures, resolved, options, out, reporter)
    measured_on = measured.name if measured else None
    return trainer, partial(write_result, trainer, examples, measured_on, resolved, options, out)
