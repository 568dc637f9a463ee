"""The command that measures retrieval quality."""

from __future__ import annotations

from itertools import product
from typing import Annotated

import typer

from imgsearch import output
from imgsearch.cli import common
from imgsearch.errors import UsageError
from imgsearch.identity import PixelChoice
from imgsearch.types import PixelBudget

_DTYPES = ("auto", "float32", "bfloat16", "float16", "int8")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("eval")(common.handled(evaluate))


def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="A folder in the BEIR layout, or parquet or Arrow files with query, image, negative_0 …",
        ),
    ],
    split: Annotated[
        str | None, typer.Option("--split", metavar="S", help="Which split. Default: test, or the only one.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="NAME|DIR", help="A checkpoint to measure; give several to compare them."
        ),
    ] = None,
    revision: common.Revision = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            metavar="NAME|DIR",
            help="Any model that sentence-transformers loads, with its own prompts, pixels and dtype; beside "
            "--model, or alone.",
        ),
    ] = None,
    dims: Annotated[
        str | None,
        typer.Option(
            "--dims", metavar="N,N", help="Matryoshka dimensions. Default: the model's, or its halves."
        ),
    ] = None,
    detail: common.DetailOption = None,
    max_pixels: Annotated[
        str | None,
        typer.Option("--max-pixels", metavar="N,N", help="Pixels a picture; one row of results for each."),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype", metavar="X,Y", help="auto, float32, bfloat16, float16, int8; one row for each."
        ),
    ] = "auto",
    instruction: Annotated[
        list[str] | None,
        typer.Option(
            "--instruction",
            metavar="TEXT",
            help="An instruction for the queries, '' for the model's own; pictures keep theirs. One row for each.",
        ),
    ] = None,
    device: common.Device = "auto",
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", metavar="N", help="Inputs computed at a time. Default: 8.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", help="Only the first N queries and their own pictures: a try."),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Where results.json and ndcg-by-dim.png are written.")
    ] = "imgsearch-eval",
    json: common.Json = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Embed everything anew, and keep no vectors.")
    ] = False,
) -> int:
    """Measure retrieval quality on a dataset: accuracy, precision, recall, NDCG, MRR, MAP, by dimension."""
    from imgsearch import report
    from imgsearch.dataset import read_dataset
    from imgsearch.evaluate import evaluate as run
    from imgsearch.evaluation.contenders import BATCH_SIZE, Contender, OwnModel, PeerModel
    from imgsearch.evaluation.vector_cache import default_folder

    talker = output.Talker()
    cuts = _numbers("--dims", dims)
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: it takes at least one input at a time")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: it takes at least one query")
    budgets, dtypes, size = _budgets(detail, max_pixels), _dtypes(dtype), batch_size or BATCH_SIZE
    if peer and not model and (revision or detail or max_pixels or dtype != "auto" or instruction):
        raise UsageError(
            "--revision, --detail, --max-pixels, --dtype and --instruction are for --model; a --peer keeps its own"
        )
    report.check_ready(out)
    data = read_dataset(dataset, split=split)
    if limit is not None:
        data = data.first(limit)
    instructions = [text or None for text in instruction or [""]]
    models: list[str | None] = list(model or ())
    if not models and not peer:
        models = [None]  # the one that every command takes by itself
    contenders: list[Contender] = []
    for name, pixels, precision in product(models, budgets, dtypes):
        choice = common.model_choice(name, revision, pixels=pixels, device=device, dtype=precision)
        contenders.append(OwnModel(choice, instructions=instructions, batch_size=size, reporter=talker))
    contenders += [PeerModel(name, device=device, batch_size=size, reporter=talker) for name in peer or []]
    rows = run(data, contenders, dims=cuts, cache=None if no_cache else default_folder(), reporter=talker)
    results, plot = report.write(out, data, rows)
    if json:
        output.json_line(report.as_json(data, rows))
    else:
        for line in report.tables(data, rows):
            output.line(line)
    talker.say(f"written: {results} and {plot}")
    return 0


def _numbers(option: str, said: str | None) -> list[int] | None:
    """Read a list such as 2048,1024; a comma within a number can't be meant."""
    if said is None:
        return None
    try:
        numbers = [int(part) for part in said.split(",")]
    except ValueError:
        raise UsageError(f"{option} {said}: whole numbers, separated by commas") from None
    return list(dict.fromkeys(numbers))


def _budgets(detail: common.Detail | None, max_pixels: str | None) -> list[PixelChoice | None]:
    numbers = _numbers("--max-pixels", max_pixels)
    if numbers is None:
        return [common.pixel_choice(detail, None)]
    found: list[PixelBudget | None] = [common.pixel_budget(detail, number) for number in numbers]
    return list(found)


def _dtypes(said: str) -> list[str]:
    names = list(dict.fromkeys(part.strip() for part in said.split(",")))
    for name in names:
        if name not in _DTYPES:
            raise UsageError(f"--dtype {name}: choose among {', '.join(_DTYPES)}")
    return names
