"""The command that measures models, and embeddings computed elsewhere: eval."""

from __future__ import annotations

from itertools import product
from typing import Annotated

import typer

from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.commands.learn import DATA, numbers
from imgsearch.cli.help import ADVANCED, EXPERTS, OUTPUT
from imgsearch.cli.parsing import Command
from imgsearch.errors import UsageError
from imgsearch.text import plural
from imgsearch.types import DTYPES, PixelChoice

_DTYPES = ("auto", *DTYPES)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("eval", cls=Command, rich_help_panel=EXPERTS)(common.handled(evaluate))


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

    cuts = numbers("--dims", dims)
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
        names = [None]  # the default model
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


def _budgets(detail: common.Detail | None, max_pixels: str | None) -> list[PixelChoice | None]:
    counts = numbers("--max-pixels", max_pixels)
    if counts is None:
        return [common.pixel_choice(detail, None)]
    return [common.pixel_budget(detail, number) for number in counts]


def _dtypes(text: str) -> list[str]:
    names = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in _DTYPES:
            raise UsageError(f"--dtype {name}: choose among {', '.join(_DTYPES)}")
    return names
