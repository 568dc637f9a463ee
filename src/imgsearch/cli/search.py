"""The commands that ask: query and similar."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from imgsearch.cli import options as common
from imgsearch.cli import output
from imgsearch.cli.spelling import index_flag
from imgsearch.errors import InputError, UsageError
from imgsearch.index.layout import find_index
from imgsearch.spec import checkpoint_for
from imgsearch.text import Message
from imgsearch.types import ImageEncoder, Input, ModelOptions

if TYPE_CHECKING:
    # The others import it on use: it loads NumPy.
    from imgsearch.index.reader import ImageIndex

Count = Annotated[int, typer.Option("-n", metavar="N", help="At most this many.")]
MinScore = Annotated[
    float | None, typer.Option("--min-score", metavar="S", help="Only hits with at least this cosine.")
]
Within = Annotated[
    float | None,
    typer.Option("--within", metavar="PERCENT", help="Only hits that score within so much of the best."),
]
Exact = Annotated[bool, typer.Option("--exact", help="Compare with every vector.")]
Below = Annotated[
    list[str] | None,
    typer.Option("--in", metavar="PATH", help="Only pictures in this folder, or this file; may be repeated."),
]
Paths = Annotated[bool, typer.Option("--paths", help="Only the paths.")]
Nul = Annotated[bool, typer.Option("-0", help="Only the paths, each ended by a NUL byte, as for xargs -0.")]
NoRemember = Annotated[
    bool,
    typer.Option(
        "--no-remember",
        help="Neither look up nor keep the vectors of questions, which are kept beside the index, so that a "
        "repeated question loads no model.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(common.handled(query))
    app.command()(common.handled(similar))


def _style(json: bool, paths: bool, nul: bool) -> str:
    if json and (paths or nul):
        raise UsageError("--json and --paths are two forms of the same answer; give one of them")
    return "json" if json else "nul" if nul else "paths" if paths else "text"


def _absolute(paths: list[str] | None) -> tuple[str, ...]:
    """Return the paths as the index knows them, links resolved. Raises UsageError for an empty one."""
    if paths and "" in paths:
        raise UsageError("--in: the path is empty")
    return tuple(os.path.realpath(os.path.expanduser(path)) for path in paths or ())


def query(
    text: Annotated[str, typer.Argument(metavar="TEXT|-", help="The question. -: one a line from stdin.")],
    image: Annotated[
        str | None, typer.Option("--image", metavar="FILE", help="A picture that belongs to the question.")
    ] = None,
    n: Count = 10,
    min_score: MinScore = None,
    within: Within = None,
    dim: common.Dim = None,
    exact: Exact = False,
    below: Below = None,
    json: common.Json = False,
    paths: Paths = False,
    nul: Nul = False,
    index: common.IndexFolder = None,
    model: common.ModelFolder = None,
    device: common.Device = "auto",
    dtype: common.Dtype = "auto",
    no_remember: NoRemember = False,
) -> int:
    """Find pictures by words, or by words and a picture together."""
    from imgsearch import search
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search import CachedEncoder

    style = _style(json, paths, nul)
    options = search.SearchOptions(n, min_score, within, dim, exact, _absolute(below))
    reporter = output.ProgressReporter()
    if text != "-" and not text.strip() and image is None:
        raise InputError("the question is empty; say in words what is in the picture")
    with ImageIndex(find_index(index)) as opened:
        opened.check_dim(dim)
        search.check_below(opened, options.below)
        picture = search.read_picture(image, opened.spec.pixels) if image else None
        choice = common.model_choice(model, device=device, dtype=dtype)
        encoder = CachedEncoder(
            opened, choice, lambda: _encoder(opened, "query", choice, reporter), cache=not no_remember
        )

        def answer(question: str, shown: str | None) -> bool:
            (hits,) = search.query(opened, encoder, [Input(text=question or None, image=picture)], options)
            output.hits(hits, style, shown)
            return bool(hits)

        if text != "-":
            found, failed = answer(text, None), False
        else:
            found = failed = False
            for number, question in _lines():
                try:
                    found = answer(question, question) or found
                except InputError as error:
                    # One bad question must not cost the others their answers.
                    output.error(Message(f"line {number}: ", error.message))
                    failed = True
        _advise(opened, reporter)
    if not found and not failed:
        reporter.say("nothing found")
    return 2 if failed else 0 if found else 1


def _lines() -> Iterator[tuple[int, str]]:
    """Yield the questions on stdin with their line numbers as they come; blank lines are none."""
    asked = False
    for number, data in enumerate(sys.stdin.buffer, 1):
        line = data.decode(errors="replace")
        if line.strip():
            asked = True
            yield number, line.strip()
    if not asked:
        raise InputError("no question came on stdin; write one a line")


def similar(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A picture file, indexed or not.")],
    n: Count = 10,
    min_score: MinScore = None,
    within: Within = None,
    dim: common.Dim = None,
    exact: Exact = False,
    below: Below = None,
    json: common.Json = False,
    paths: Paths = False,
    nul: Nul = False,
    index: common.IndexFolder = None,
    model: common.ModelFolder = None,
    device: common.Device = "auto",
    dtype: common.Dtype = "auto",
) -> int:
    """Find pictures that look like one. An indexed photo answers at once, without the model."""
    from imgsearch import search
    from imgsearch.index.reader import ImageIndex

    style = _style(json, paths, nul)
    options = search.SearchOptions(n, min_score, within, dim, exact, _absolute(below))
    reporter = output.ProgressReporter()
    with ImageIndex(find_index(index)) as opened:
        opened.check_dim(dim)
        search.check_below(opened, options.below)

        choice = common.model_choice(model, device=device, dtype=dtype)
        hits = search.similar(opened, image, lambda: _encoder(opened, "similar", choice, reporter), options)
        output.hits(hits, style)
        _advise(opened, reporter)
    if not hits:
        reporter.say("nothing found")
    return 0 if hits else 1


def _advise(opened: ImageIndex, reporter: output.ProgressReporter) -> None:
    if opened.advice:
        reporter.say(f"{opened.advice}; make them with: imgsearch compact{index_flag(opened.folder)}")


def _encoder(
    opened: ImageIndex, command: str, choice: ModelOptions, reporter: output.ProgressReporter
) -> ImageEncoder:
    from imgsearch import client
    from imgsearch.index import side_db

    checkpoint = checkpoint_for(opened.folder, opened.spec, choice, reporter)
    encoder = client.load_encoder(checkpoint, opened.spec, choice, reporter)
    side_db.record_run(opened.folder, command, encoder.runtime)
    return encoder
