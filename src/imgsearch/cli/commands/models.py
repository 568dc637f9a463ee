"""The commands around the model itself: embed, download, demo."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Annotated
from urllib.parse import quote

import typer

from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.help import EXPERTS, OUTPUT, SEARCH, UPKEEP
from imgsearch.cli.parsing import Command
from imgsearch.errors import StorageError, UsageError
from imgsearch.model.locate import DEFAULT_MODEL, DEMO_MODEL
from imgsearch.text import error_line, plural
from imgsearch.types import path_json


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(cls=Command, rich_help_panel=EXPERTS)(common.handled(embed))
    app.command(cls=Command, rich_help_panel=UPKEEP)(common.handled(download, asks=True))
    app.command(cls=Command, rich_help_panel=SEARCH)(common.handled(demo, asks=True))


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
  imgsearch query blue star

The model of this demo is tiny and only knows drawn shapes. For your own photos:
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

    It takes about a minute: it draws the images, indexes them, runs searches and checks the results.
    """
    reporter = output.ProgressReporter()
    reporter.wait("Drawing images")
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
