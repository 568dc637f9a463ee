"""The command that trains a model: train."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import ADVANCED, EXPERTS
from imgsearch.cli.parsing import Command
from imgsearch.errors import UsageError
from imgsearch.types import FloatDtype, PixelBudget, PixelChoice

DATA, TRAINING = "Data", "Training"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(cls=Command, rich_help_panel=EXPERTS)(common.handled(train))


def train(
    dataset: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET",
            help="Parquet or Arrow files with query, image and negative_0, negative_1 …; or BEIR folders",
        ),
    ],
    out: Annotated[
        str,
        typer.Option("--out", metavar="DIR", help="Folder for the trained model", rich_help_panel=TRAINING),
    ],
    model: common.Model = None,
    revision: common.Revision = None,
    force_model: common.ForceModel = False,
    split: Annotated[
        str,
        typer.Option("--split", metavar="NAME", help="Split of DATASET to train on", rich_help_panel=DATA),
    ] = "train",
    evaluate_on: Annotated[
        str | None,
        typer.Option(
            "--eval",
            metavar="DATASET",
            help="Measure NDCG@10 on this before, during and after training",
            rich_help_panel=DATA,
        ),
    ] = None,
    eval_split: Annotated[
        str | None,
        typer.Option(
            "--eval-split", metavar="NAME", help="Split of the --eval dataset", rich_help_panel=DATA
        ),
    ] = None,
    epochs: Annotated[
        float,
        typer.Option(
            "--epochs", metavar="N", help="Number of passes over the examples", rich_help_panel=TRAINING
        ),
    ] = 1.0,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", metavar="N", help="Stop after N steps, instead of --epochs", rich_help_panel=TRAINING
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            metavar="N",
            help="Examples per step; the others in the batch serve as negatives",
            rich_help_panel=TRAINING,
        ),
    ] = 64,
    mini_batch: Annotated[
        int,
        typer.Option(
            "--mini-batch",
            metavar="N",
            help="Inputs in memory at a time; a whole batch at once is faster",
            rich_help_panel=TRAINING,
        ),
    ] = 16,
    lr: Annotated[
        float, typer.Option("--lr", metavar="X", help="Peak learning rate", rich_help_panel=TRAINING)
    ] = 2e-5,
    warmup: Annotated[
        float,
        typer.Option(
            "--warmup",
            metavar="SHARE",
            help="Share of the steps during which the learning rate rises",
            rich_help_panel=ADVANCED,
        ),
    ] = 0.1,
    schedule: Annotated[
        Literal["linear", "cosine", "constant"],
        typer.Option(
            "--schedule",
            metavar="SHAPE",
            help="How the learning rate falls afterwards: linear, cosine or constant",
            rich_help_panel=ADVANCED,
        ),
    ] = "linear",
    weight_decay: Annotated[
        float,
        typer.Option("--weight-decay", metavar="X", help="Weight decay of AdamW", rich_help_panel=ADVANCED),
    ] = 0.0,
    scale: Annotated[
        float,
        typer.Option(
            "--scale", metavar="X", help="Factor on cosines: 1 / temperature", rich_help_panel=ADVANCED
        ),
    ] = 20.0,
    symmetric: Annotated[
        bool,
        typer.Option(
            "--symmetric",
            help="Also tell each image's text from the others, as CLIP does",
            rich_help_panel=ADVANCED,
        ),
    ] = False,
    dims: Annotated[
        str | None,
        typer.Option(
            "--dims",
            metavar="N,N",
            show_default="the recipe's, or halves of the full length",
            help="Embedding lengths to train (Matryoshka)",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    negatives: Annotated[
        int | None,
        typer.Option(
            "--negatives",
            metavar="N",
            show_default="all",
            help="Hard negatives per example",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    detail: common.DetailOption = None,
    max_pixels: common.MaxPixels = None,
    min_pixels: Annotated[
        int | None,
        typer.Option(
            "--min-pixels",
            metavar="N",
            help="With --max-pixels: enlarge images with fewer pixels",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    instruction: common.Instruction = None,
    query_prompt: Annotated[
        str | None,
        typer.Option(
            "--query-prompt", metavar="TEXT", help="Instruction for queries only", rich_help_panel=ADVANCED
        ),
    ] = None,
    document_prompt: Annotated[
        str | None,
        typer.Option(
            "--document-prompt", metavar="TEXT", help="Instruction for images only", rich_help_panel=ADVANCED
        ),
    ] = None,
    eval_steps: Annotated[
        int | None,
        typer.Option(
            "--eval-steps",
            metavar="N",
            show_default="ten times per run",
            help="Measure every N steps",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    save_steps: Annotated[
        int | None,
        typer.Option(
            "--save-steps",
            metavar="N",
            show_default="ten times per run",
            help="Save every N steps",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    log_steps: Annotated[
        int,
        typer.Option(
            "--log-steps", metavar="N", help="Print progress every N steps", rich_help_panel=ADVANCED
        ),
    ] = 10,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="N", help="Random seed for the order of the examples", rich_help_panel=ADVANCED
        ),
    ] = 42,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue an interrupted run from its last save", rich_help_panel=TRAINING
        ),
    ] = False,
    keep_checkpoints: Annotated[
        bool,
        typer.Option(
            "--keep-checkpoints", help="Keep the saves that --resume uses", rich_help_panel=ADVANCED
        ),
    ] = False,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing", help="Use less memory and more time", rich_help_panel=ADVANCED
        ),
    ] = False,
    save_dtype: Annotated[
        FloatDtype | None,
        typer.Option(
            "--save-dtype",
            metavar="TYPE",
            show_default="the model's",
            help="Precision of the saved model: float32, bfloat16 or float16",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    device: common.Device = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(
            "--dtype",
            metavar="TYPE",
            help="Numeric precision: auto (bfloat16 where the device supports it), float32 or bfloat16",
            rich_help_panel=common.MODEL,
        ),
    ] = "auto",
    json: common.Json = False,
) -> int:
    """Fine-tune a model on queries and matching images.

    Examples:
      imgsearch train my-dataset --out my-model
      imgsearch train my-dataset --out my-model --eval my-dataset --epochs 3
      imgsearch train my-dataset --out my-model --resume

    Needs the extra 'train'.
    """
    reporter = output.ProgressReporter()
    reporter.wait("Preparing the training")
    from imgsearch.tools.training import train as run
    from imgsearch.tools.training.options import TrainOptions

    options = TrainOptions(
        out=out,
        model=model,
        revision=revision,
        force_model=force_model,
        split=split,
        evaluate_on=evaluate_on,
        evaluation_split=eval_split,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        mini_batch=mini_batch,
        learning_rate=lr,
        warmup=warmup,
        schedule=schedule,
        weight_decay=weight_decay,
        scale=scale,
        symmetric=symmetric,
        dims=numbers("--dims", dims),
        negatives=negatives,
        pixels=_budget(detail, max_pixels, min_pixels),
        instruction=instruction,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        eval_steps=eval_steps,
        save_steps=save_steps,
        log_steps=log_steps,
        seed=seed,
        resume=resume,
        keep_checkpoints=keep_checkpoints,
        gradient_checkpointing=gradient_checkpointing,
        device=device,
        dtype=dtype,
        save_dtype=save_dtype,
    )
    result = run(dataset, options, reporter)
    if json:
        output.json_line(result.as_json())
    return 0


def _budget(detail: common.Detail | None, most: int | None, least: int | None) -> PixelChoice | None:
    """Turn the flags about pixels into a budget; None leaves it to the checkpoint. Raises UsageError."""
    if least is None:
        return common.pixel_choice(detail, most)
    if detail is not None or most is None:
        raise UsageError("--min-pixels goes with --max-pixels")
    if not 1 <= least <= most:
        raise UsageError(f"--min-pixels {least}: it takes a number from 1 to --max-pixels ({most})")
    return PixelBudget(least, most)


def numbers(flag: str, text: str | None) -> tuple[int, ...] | None:
    """Read whole numbers separated by commas, each once; UsageError for anything else."""
    if text is None:
        return None
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"{flag} {text}: whole numbers, separated by commas") from None
