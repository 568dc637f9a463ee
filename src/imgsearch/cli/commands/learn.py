"""The commands that train a model and measure one: train, eval."""

from __future__ import annotations

from itertools import product
from typing import Annotated, Literal

import typer

from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import ADVANCED, EXPERTS, OUTPUT
from imgsearch.cli.parsing import Command
from imgsearch.errors import UsageError
from imgsearch.text import plural
from imgsearch.types import DTYPES, FloatDtype, PixelBudget, PixelChoice

_DTYPES = ("auto", *DTYPES)
DATA, TRAINING = "Data", "Training"


def register_train(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(cls=Command, rich_help_panel=EXPERTS)(common.handled(train))


def register_eval(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("eval", cls=Command, rich_help_panel=EXPERTS)(common.handled(evaluate))


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
        dims=_numbers("--dims", dims),
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


def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="A folder in the BEIR layout; or a Parquet or Arrow file with query, image, negative_0 …",
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="NAME",
            show_default="test, or the only one",
            help="Split of DATASET to use",
            rich_help_panel=DATA,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="NAME|DIR", help="Model to measure: a folder or a name on Hugging Face"
        ),
    ] = None,
    revision: common.Revision = None,
    force_model: common.ForceModel = False,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            metavar="NAME|DIR",
            help="Another sentence-transformers model to compare with, using its own settings",
        ),
    ] = None,
    vectors: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--vectors",
            metavar="FILE FILE",
            show_default=False,
            help="Measure embeddings computed elsewhere: .npy files of the queries and of the images, in "
            "the order of --inputs",
        ),
    ] = None,
    dims: Annotated[
        str | None,
        typer.Option(
            "--dims",
            metavar="N,N",
            show_default="the model's, or halves of the full length",
            help="Embedding lengths to measure",
        ),
    ] = None,
    detail: common.DetailOption = None,
    max_pixels: Annotated[
        str | None,
        typer.Option(
            "--max-pixels",
            metavar="N,N",
            help="Image resolutions as numbers of pixels, instead of --detail; one row of results for each",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype",
            metavar="TYPE,…",
            help="Numeric precision: auto, float32, bfloat16, float16, int8; one row of results for each",
            rich_help_panel=ADVANCED,
        ),
    ] = "auto",
    instruction: Annotated[
        list[str] | None,
        typer.Option(
            "--instruction",
            metavar="TEXT",
            help="Instruction for the queries; '' for the model's own; one row of results for each",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    device: common.SearchDevice = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            metavar="N",
            show_default="8",
            help="Inputs processed at once",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            help="Use only the first N queries and their images, for a quick try",
            rich_help_panel=DATA,
        ),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            "--inputs",
            metavar="DIR",
            help="Only write the queries and images there, in their order, for another program to embed",
            rich_help_panel=DATA,
        ),
    ] = None,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for results.json and ndcg-by-dim.png",
            rich_help_panel=OUTPUT,
        ),
    ] = "imgsearch-eval",
    json: common.Json = False,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache", help="Compute all embeddings again, and keep none", rich_help_panel=ADVANCED
        ),
    ] = False,
) -> int:
    """Measure search quality on a dataset.

    Examples:
      imgsearch eval my-dataset
      imgsearch eval my-dataset --model Qwen/Qwen3-VL-Embedding-2B --model tuned
      imgsearch eval my-dataset --vectors queries.npy documents.npy

    Prints accuracy, precision, recall, NDCG, MRR and MAP, for each embedding length. Needs the extra 'eval'.
    """
    reporter = output.ProgressReporter()
    reporter.wait("Reading the dataset")
    from imgsearch.tools.dataset import read_dataset
    from imgsearch.tools.evaluation import evaluate as run
    from imgsearch.tools.evaluation import report
    from imgsearch.tools.evaluation.cache import default_folder
    from imgsearch.tools.evaluation.models import BATCH_SIZE, EvalModel, LibraryModel, OwnModel

    cuts = _numbers("--dims", dims)
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: it takes at least one input at a time")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: it takes at least one query")
    budgets, dtypes, size = _budgets(detail, max_pixels), _dtypes(dtype), batch_size or BATCH_SIZE
    if not model and (revision or detail or max_pixels or dtype != "auto" or instruction):
        own = "--revision, --detail, --max-pixels, --dtype and --instruction are for --model"
        if peer:
            raise UsageError(f"{own}; a --peer keeps its own")
        if vectors:
            raise UsageError(f"{own}; --vectors are as they are")
    if inputs is not None and (model or peer or vectors):
        raise UsageError("--inputs measures nothing: give it without --model, --peer and --vectors")
    if inputs is None:
        report.check_ready(out)
    whole = data = read_dataset(dataset, split=split)
    if limit is not None:
        data = data.first(limit)
    if inputs is not None:
        from imgsearch.tools.dataset.inputs import write_inputs

        write_inputs(data, inputs, reporter)
        reporter.say(
            f"written: {inputs} ({len(data.queries):,} queries, {plural(len(data.corpus), 'image')})"
        )
        return 0
    instructions = [text or None for text in instruction or [""]]
    names: list[str | None] = list(model or ())
    if not names and not peer and not vectors:
        names = [None]  # the one that every command takes by itself
    models: list[EvalModel] = []
    for name, pixels, precision in product(names, budgets, dtypes):
        options = common.model_choice(
            name, revision, pixels=pixels, device=device, dtype=precision, force_model=force_model
        )
        models.append(OwnModel(options, instructions=instructions, batch_size=size, reporter=reporter))
    models += [LibraryModel(name, device=device, batch_size=size, reporter=reporter) for name in peer or []]
    computed = []
    if vectors:
        from imgsearch.tools.evaluation.computed import doubt, score_vectors

        computed = [score_vectors(data, *vectors, dims=cuts, whole=whole)]
        if question := doubt(computed[0], data):
            reporter.say(question)
    rows = run(data, models, dims=cuts, cache=None if no_cache else default_folder(), reporter=reporter)
    rows += computed
    results, plot = report.write(out, data, rows)
    if json:
        output.json_line(report.as_json(data, rows))
    else:
        for line in report.tables(data, rows):
            output.line(line)
    reporter.say(f"written: {results} and {plot}")
    return 0


def _numbers(flag: str, text: str | None) -> tuple[int, ...] | None:
    """Read whole numbers separated by commas, each once; UsageError for anything else."""
    if text is None:
        return None
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"{flag} {text}: whole numbers, separated by commas") from None


def _budgets(detail: common.Detail | None, max_pixels: str | None) -> list[PixelChoice | None]:
    numbers = _numbers("--max-pixels", max_pixels)
    if numbers is None:
        return [common.pixel_choice(detail, None)]
    return [common.pixel_budget(detail, number) for number in numbers]


def _dtypes(text: str) -> list[str]:
    names = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in _DTYPES:
            raise UsageError(f"--dtype {name}: choose among {', '.join(_DTYPES)}")
    return names
