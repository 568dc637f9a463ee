"""The commands around the model itself: embed, download, demo."""

from __future__ import annotations

from typing import Annotated

import typer

from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.parsing import Command
from imgsearch.errors import StorageError, UsageError
from imgsearch.model.locate import DEMO_MODEL
from imgsearch.text import error_line, plural


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(cls=Command)(common.handled(embed))
    app.command(cls=Command)(common.handled(download, asks=True))
    app.command(cls=Command)(common.handled(demo))


def embed(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Picture files; with --text, texts.")
    ],
    text: Annotated[bool, typer.Option("--text", help="The inputs are texts.")] = False,
    npy: Annotated[
        str | None, typer.Option("--npy", metavar="FILE", help="Write a float32 array (inputs, dim).")
    ] = None,
    json: common.Json = False,
    model: common.Model = None,
    revision: common.Revision = None,
    dim: common.Dim = None,
    detail: common.DetailOption = None,
    max_pixels: common.MaxPixels = None,
    instruction: common.Instruction = None,
    device: common.Device = "auto",
    dtype: common.Dtype = "auto",
) -> int:
    """Give the vectors themselves: JSON Lines on stdout, or a .npy file."""
    reporter = output.ProgressReporter()
    reporter.wait("Loading the model")
    from imgsearch.search import embed_inputs

    if npy and json:
        raise UsageError("--npy and --json: give one of them")
    options = common.model_choice(
        model, revision, dim, common.pixel_choice(detail, max_pixels), instruction, device, dtype
    )
    vectors = embed_inputs(inputs, texts=text, choice=options, reporter=reporter)
    if npy:
        import numpy as np

        try:
            with open(npy, "wb") as file:
                np.save(file, vectors, allow_pickle=False)
        except OSError as error:
            raise StorageError(f"{npy} could not be written: {error_line(error)}") from error
        reporter.say(f"{plural(len(vectors), 'vector')} of {plural(vectors.shape[1], 'dimension')} in {npy}")
        return 0
    for given, vector in zip(inputs, vectors, strict=True):
        output.json_line({"input": given, "dim": len(vector), "embedding": [float(x) for x in vector]})
    return 0


def download(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Name on the hub. Default: Qwen/Qwen3-VL-Embedding-2B."),
    ] = None,
    revision: common.Revision = None,
) -> int:
    """Fetch a model's weights ahead of time, or check those that are here; an interrupted download resumes."""
    reporter = output.ProgressReporter()
    reporter.wait("Looking for the model")
    from imgsearch.model.locate import download as run

    folder = run(name, revision, reporter)
    if name == DEMO_MODEL:
        reporter.say(f"{name} ships with the program, there is nothing to fetch: {folder}")
    else:
        reporter.say(f"complete, and as the hub has it: {folder}")
    return 0


def demo(
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Where the gallery is drawn.")
    ] = "demo-gallery",
) -> int:
    """Draw 300 pictures, index them, ask for some, and say which hits are right: the whole way in a minute."""
    reporter = output.ProgressReporter()
    reporter.wait("Drawing images")
    from imgsearch.tools.demo import run_demo

    code = run_demo(out, reporter)
    reporter.say("The demo's model is a miniature that knows drawn shapes only. On your own photographs:")
    reporter.say("  imgsearch index ~/Pictures")
    reporter.say("  imgsearch query 'red car at night'")
    return code
