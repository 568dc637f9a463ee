"""The commands around the model itself: models, embed, download, demo."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import EXPERTS, OUTPUT, SEARCH, UPKEEP
from imgsearch.cli.parsing import Command
from imgsearch.errors import StorageError, UsageError
from imgsearch.model.locate import DEFAULT_MODEL, DEMO_MODEL
from imgsearch.text import error_line, format_bytes, format_rate, plural, short_count
from imgsearch.types import path_json

if TYPE_CHECKING:
    from imgsearch.tools.models import ListedModel  # imported on use: it loads NumPy

PAGES_MEASURE = "NDCG@10 on English document pages (300 queries)"


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(cls=Command, rich_help_panel=UPKEEP)(common.handled(models))
    app.command(cls=Command, rich_help_panel=EXPERTS)(common.handled(embed))
    app.command(cls=Command, rich_help_panel=UPKEEP)(common.handled(download, asks=True))
    app.command(cls=Command, rich_help_panel=SEARCH)(common.handled(demo, asks=True))


_ROADS = {
    "imgsearch": "Computed by imgsearch itself",
    "library": "Computed by sentence-transformers (extra 'models')",
    "code": "Need their authors' own code, so imgsearch can only score them (eval --vectors)",
}


def models(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Only models whose names contain this; one: its details"),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Try how fast each model is on this computer: half a minute"),
    ] = False,
    json: common.Json = False,
) -> int:
    """List models that work, and what they are good at.

    Examples:
      imgsearch models
      imgsearch models siglip --measure
      imgsearch models Qwen/Qwen3-VL-Embedding-2B    # all that is known of it

    Nothing is downloaded. To use a model: imgsearch index FOLDER --model NAME
    """
    reporter = output.ProgressReporter()
    from imgsearch.tools.models import choose_rows, list_models

    rows = choose_rows(name)
    if not rows:
        reporter.say(f"no known model has {name!r} in its name; see all: imgsearch models")
        return 1
    listed = list(list_models(rows, measure=measure, reporter=reporter))
    if json:
        for one in listed:
            output.json_line(one.as_json())
    elif len(listed) == 1 and name is not None:
        for line in _details(listed[0]):
            output.line(line)
    else:
        for line in _table(listed, measure=measure):
            output.line(line)
    return 0


def _table(listed: Sequence[ListedModel], *, measure: bool) -> Iterator[str]:
    """Yield two lines a model, in groups by who computes it, and what the columns are."""
    rate = f"{'Images/s':>10}" if measure else ""
    head = f"{'Model':40}{'Parameters':>12}{'Download':>10}{'Pages':>7}{rate}"
    for road, title in _ROADS.items():
        group = [one for one in listed if one.row.road == road]
        if not group:
            continue
        yield f"{title}:"
        yield head
        for one in sorted(group, key=lambda one: one.row.parameters or 0):
            row = one.row
            size = "–" if row.parameters is None else short_count(row.parameters)
            download = "–" if row.download is None else format_bytes(row.download, 0)
            pages = next((figure.value for figure in row.figures if figure.measure == PAGES_MEASURE), "–")
            shown = ""
            if measure:
                shown = f"{'–' if one.rate is None else format_rate(one.rate):>10}"
            yield f"  {row.name:38}{size:>12}{download:>10}{pages:>7}{shown}"
            yield f"    {'; '.join(_notes(one, measure=measure))}"
        yield ""
    yield "Pages: NDCG@10 on English document pages, a published comparison of 20 models. Sources and more"
    yield "figures: imgsearch models NAME. The demo model, which ships with imgsearch, only knows drawings."
    if measure:
        yield "Images/s: estimated from a few layers with random weights; reading and decoding files comes on top."


def _notes(one: ListedModel, *, measure: bool) -> Iterator[str]:
    """Yield what there is to say of a model beside its numbers."""
    yield one.row.good_at
    yield f"languages: {one.row.languages}"
    yield f"license: {one.row.license}"
    if one.row.name == DEFAULT_MODEL:
        yield "the default"
    if one.folder is not None:
        yield "on this computer"
    if measure and one.rate is None and one.row.road != "code":
        yield one.why_not


def _details(one: ListedModel) -> Iterator[str]:
    """Yield all that is known of a model, a line each."""
    row = one.row
    by = {
        "imgsearch": "imgsearch itself",
        "library": "sentence-transformers (extra 'models')" + (f" with {row.needs}" if row.needs else ""),
        "code": f"not possible here: it needs {row.needs}",
    }[row.road]
    yield row.name
    facts = {
        "Good at": row.good_at,
        "Languages": row.languages,
        "License": row.license,
        "Parameters": None if row.parameters is None else f"{row.parameters:,}",
        "Download": None if row.download is None else format_bytes(row.download),
        "Dimensions": f"{row.dim:,}",
        "Architecture": row.architecture,
        "Computed by": by,
        "Operations": None if row.operations is None else f"{row.operations / 1e12:.2g} teraflop per photo",
        "On this computer": one.folder or "no",
        "Speed here": _speed(one),
        "Source": row.source,
        "Not verified": ", ".join(row.unverified) or None,
    }
    for name, fact in facts.items():
        if fact is not None:
            yield f"  {name + ':':18}{fact}"
    if row.figures:
        yield "Published figures:"
        for figure in row.figures:
            yield f"  {figure.measure}: {figure.value}"
            yield f"    {figure.source}"


def _speed(one: ListedModel) -> str | None:
    if one.rate is None:
        return f"not measured: {one.why_not}" if one.why_not else None
    how = "measured" if one.measured else "estimated from a few layers with random weights"
    return f"{format_rate(one.rate)} images/s ({how}; without reading and decoding files)"


def embed(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="Image file; with --text, a text")],
    text: Annotated[bool, typer.Option("--text", help="The inputs are texts, not files")] = False,
    npy: Annotated[
        str | None,
        typer.Option(
            "--npy",
            metavar="FILE",
            help="Save a NumPy array instead: float32, one row per input",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    json: common.Json = False,
    model: common.Model = None,
    revision: common.Revision = None,
    force_model: common.ForceModel = False,
    dim: common.Dim = None,
    detail: common.DetailOption = None,
    max_pixels: common.MaxPixels = None,
    instruction: common.Instruction = None,
    device: common.Device = "auto",
    dtype: common.Dtype = "auto",
) -> int:
    """Print embeddings, or save them as a NumPy file.

    Examples:
      imgsearch embed ~/Pictures/lake.jpg
      imgsearch embed --text "red car at night" --npy car.npy
    """
    reporter = output.ProgressReporter()
    reporter.wait("Loading the model")
    from imgsearch.search.encoding import embed_inputs

    if npy and json:
        raise UsageError("--npy and --json: give one of them")
    options = common.model_choice(
        model,
        revision,
        dim,
        common.pixel_choice(detail, max_pixels),
        instruction,
        device,
        dtype,
        force_model=force_model,
    )
    if text:
        inputs = [common.as_text(given, "the text", "write it in ASCII") for given in inputs]
    vectors = embed_inputs(inputs, texts=text, choice=options, reporter=reporter)
    if npy:
        import numpy as np

        try:
            with open(npy, "wb") as file:
                np.save(file, vectors, allow_pickle=False)
        except OSError as error:
            raise StorageError(f"{npy} could not be written: {error_line(error)}") from error
        reporter.say(
            f"{plural(len(vectors), 'embedding')} of {plural(vectors.shape[1], 'dimension')} in {npy}"
        )
        return 0
    for given, vector in zip(inputs, vectors, strict=True):
        output.json_line(
            {**path_json(given, "input"), "dim": len(vector), "embedding": [float(x) for x in vector]}
        )
    return 0


def download(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", show_default=DEFAULT_MODEL, help="Name of the model on Hugging Face"),
    ] = None,
    revision: common.Revision = None,
    force_model: common.ForceModel = False,
) -> int:
    """Download a model in advance, or check the one you have.

    Examples:
      imgsearch download                   # the usual model, 4.3 GB
      imgsearch download Qwen/Qwen3-VL-Embedding-8B

    An interrupted download resumes. With the model on disk, imgsearch needs no network.
    """
    reporter = output.ProgressReporter()
    reporter.wait("Looking for the model")
    from imgsearch.model.locate import download as run

    folder = run(name, revision, reporter, force_model=force_model)
    if name == DEMO_MODEL:
        reporter.say(f"{name} ships with imgsearch, so there is nothing to download: {folder}")
    else:
        reporter.say(f"complete and up to date: {folder}")
    return 0


_WHAT_NEXT = """
Search these images yourself:
  cd FOLDER
  imgsearch query bicycle

The model of this demo is tiny and only knows drawings of everyday things. For your own photos:
  imgsearch index ~/Pictures
  imgsearch query red car at night
The first index downloads the full model: 4.3 GB, about 12 minutes at 50 Mbit/s.
Indexing then takes 0.5 to 2 seconds per photo on two CPU cores. You can interrupt it at any time."""


def demo(
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Folder for the images and the contact sheets")
    ] = "demo-gallery",
) -> int:
    """Try imgsearch on 300 generated images, no download.

    Examples:
      imgsearch demo

    It unpacks the images, indexes them, runs searches and checks the results, in less than a minute.
    """
    reporter = output.ProgressReporter()
    reporter.wait("Unpacking images")
    from imgsearch.tools.demo import run_demo

    result = run_demo(out, reporter)
    page = os.path.relpath(result.page)
    reporter.say("")
    reporter.say(
        f"{result.correct} of {result.shown} results are correct, "
        f"and {result.first_correct} of {result.searches} first results."
    )
    reporter.say(f"See them in {page}")
    if _has_display() and reporter.approve("Open it in your browser?"):
        import webbrowser

        webbrowser.open("file://" + quote(os.path.abspath(page)))
    for line in _WHAT_NEXT.splitlines():
        reporter.say(line.replace("FOLDER", shlex.quote(os.path.dirname(page) or ".")))
    return 0 if result.first_correct == result.searches else 1


def _has_display() -> bool:
    """Tell whether there is a person to ask who can see a browser's window: not in a pipe, over SSH or on a console."""
    if output.settings.level == output.QUIET or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    if "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
