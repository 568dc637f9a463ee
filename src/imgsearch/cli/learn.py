"""The command that trains."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from imgsearch import output
from imgsearch.cli import common
from imgsearch.errors import UsageError
from imgsearch.identity import PixelChoice
from imgsearch.types import PixelBudget


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(common.handled(train))


def train(
    dataset: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET",
            help="Parquet or Arrow files with query, image, negative_0 …; or BEIR folders.",
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Where the trained checkpoint is written.")
    ],
    model: common.Model = None,
    revision: common.Revision = None,
    split: Annotated[
        str, typer.Option("--split", metavar="NAME", help="Which part of DATASET to train on.")
    ] = "train",
    evaluate_on: Annotated[
        str | None,
        typer.Option("--eval", metavar="DATASET", help="Measure NDCG@10 on it before, during and after."),
    ] = None,
    eval_split: Annotated[
        str | None, typer.Option("--eval-split", metavar="NAME", help="Which part of --eval's dataset.")
    ] = None,
    epochs: Annotated[
        float, typer.Option("--epochs", metavar="N", help="How often to see every example.")
    ] = 1.0,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="Train so many steps, whatever --epochs says.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", metavar="N", help="Examples a step; also what each is told from.")
    ] = 64,
    mini_batch: Annotated[
        int,
        typer.Option(
            "--mini-batch", metavar="N", help="Inputs in memory at a time; from a batch up: faster."
        ),
    ] = 16,
    lr: Annotated[float, typer.Option("--lr", metavar="X", help="The learning rate's peak.")] = 2e-5,
    warmup: Annotated[
        float, typer.Option("--warmup", metavar="SHARE", help="Share of the steps in which the rate rises.")
    ] = 0.1,
    schedule: Annotated[
        Literal["linear", "cosine", "constant"], typer.Option("--schedule", help="How the rate falls after.")
    ] = "linear",
    weight_decay: Annotated[
        float, typer.Option("--weight-decay", metavar="X", help="AdamW's decay of the weights.")
    ] = 0.0,
    scale: Annotated[
        float, typer.Option("--scale", metavar="X", help="What cosines are multiplied by: 1 / temperature.")
    ] = 20.0,
    dims: Annotated[
        str | None,
        typer.Option(
            "--dims", metavar="N,N", help="Matryoshka dimensions. Default: the recipe's, or halves."
        ),
    ] = None,
    negatives: Annotated[
        int | None, typer.Option("--negatives", metavar="N", help="Hard negatives an example. Default: all.")
    ] = None,
    detail: common.DetailOption = None,
    max_pixels: common.MaxPixels = None,
    min_pixels: Annotated[
        int | None, typer.Option("--min-pixels", metavar="N", help="Enlarge pictures that have fewer.")
    ] = None,
    instruction: common.Instruction = None,
    query_prompt: Annotated[
        str | None, typer.Option("--query-prompt", metavar="TEXT", help="Instruction for queries only.")
    ] = None,
    document_prompt: Annotated[
        str | None, typer.Option("--document-prompt", metavar="TEXT", help="Instruction for pictures only.")
    ] = None,
    eval_steps: Annotated[
        int | None, typer.Option("--eval-steps", metavar="N", help="Measure so often. Default: ten times.")
    ] = None,
    save_steps: Annotated[
        int | None, typer.Option("--save-steps", metavar="N", help="Save so often. Default: ten times.")
    ] = None,
    log_steps: Annotated[
        int, typer.Option("--log-steps", metavar="N", help="Say how it goes every N steps.")
    ] = 10,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Decides the order of the examples.")] = 42,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last save of an interrupted run.")
    ] = False,
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Keep what --resume would need.")
    ] = False,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, more time.")
    ] = False,
    save_dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option("--save-dtype", help="Precision of the weights on disk. Default: the model's."),
    ] = None,
    device: common.Device = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option("--dtype", help="Precision of the products. auto: bfloat16 where the device has it."),
    ] = "auto",
    json: common.Json = False,
) -> int:
    """Fine-tune a model on queries and the pictures that answer them; needs the extra 'train'."""
    from imgsearch.train import train as run
    from imgsearch.training.options import TrainOptions

    options = TrainOptions(
        out=out,
        model=model,
        revision=revision,
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
        dims=_numbers(dims),
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
    result = run(dataset, options, output.Talker())
    if json:
        output.json_line(result.as_json())
    return 0


def _numbers(text: str | None) -> tuple[int, ...] | None:
    """Read whole numbers separated by commas; UsageError for anything else."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--dims {text}: whole numbers separated by commas, like 1024,512,256") from None


def _budget(detail: common.Detail | None, most: int | None, least: int | None) -> PixelChoice | None:
    """Turn the flags about pixels into a budget; None leaves it to the checkpoint. Raises UsageError."""
    if least is None:
        return common.pixel_choice(detail, most)
    if detail is not None or most is None:
        raise UsageError("--min-pixels goes with --max-pixels")
    if not 1 <= least <= most:
        raise UsageError(f"--min-pixels {least}: it takes a number from 1 to --max-pixels ({most})")
    return PixelBudget(least, most)
