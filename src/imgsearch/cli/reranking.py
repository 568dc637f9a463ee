"""The options of query for reranking, and the reranker as the command line uses it: with its time said beforehand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from imgsearch.cli import completion, output
from imgsearch.cli.help import ADVANCED
from imgsearch.model.checkpoint import RERANKER
from imgsearch.text import format_duration, plural
from imgsearch.types import RGB, Input, ModelOptions, PixelBudget

if TYPE_CHECKING:
    from imgsearch.client.reranker import LoadedReranker

Count = Annotated[
    int,
    typer.Option(
        "--rerank",
        metavar="N",
        help="Let a second model judge the N best (at most 20): helps with pages (79.2 to 83.2), not with photos "
        "(74.8 to 74.0); takes seconds per image on a CPU",
        show_default=False,
        rich_help_panel=ADVANCED,
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--rerank-model",
        metavar="NAME|DIR",
        autocompletion=completion.models,
        help="The model for --rerank",
        show_default=RERANKER,
        rich_help_panel=ADVANCED,
    ),
]
_WORTH_SAYING = 2.0
"""Seconds: what takes less is not announced."""


class Reranking:
    """The reranker of one run, a ``search.ranking.rerank.Reranker``: found or downloaded, and loaded, on first use.

    ``began`` is whether judging has begun: what is found without it can then be shown if the user stops it.
    """

    def __init__(
        self,
        model: str | None,
        choice: ModelOptions,
        folder: str,
        budget: PixelBudget,
        reporter: output.ProgressReporter,
    ) -> None:
        """Take which model and where to compute; ``folder`` is the index that keeps how long it takes."""
        self._model, self._choice, self._folder = model, choice, folder
        self._budget, self._reporter = budget, reporter
        self._loaded: LoadedReranker | None = None
        self._name = ""
        self.began = False

    def scores(self, query: Input, images: Sequence[RGB]) -> list[float]:
        """Judge images one by one, on a terminal with a bar. Raises as finding, loading and judging do."""
        reranker = self._reranker()
        seconds = len(images) * self._seconds_per_image(reranker)
        if seconds >= _WORTH_SAYING and output.draws():
            images_said = plural(len(images), "image", "images")
            self._reporter.say(f"reranking {images_said}: about {_rounded(seconds)}; Ctrl-C skips it")
        self.began = True
        found: list[float] = []
        self._reporter.start(len(images), "images")
        started = time.monotonic()
        try:
            for image in images:
                found += reranker.scores(query, [image])
                self._reporter.advance()
        finally:
            self._reporter.stop()
        self._keep((time.monotonic() - started) / len(images))
        return found

    def _reranker(self) -> LoadedReranker:
        if self._loaded is None:
            from imgsearch.client.remote_reranker import remote_reranker
            from imgsearch.client.reranker import load_reranker
            from imgsearch.model.locate import fetch_reranker

            # A search downloads no gigabytes unless somebody says so.
            download = self._model is not None or output.settings.yes or output.can_ask()
            checkpoint = fetch_reranker(self._model, self._reporter, download=download)
            self._reporter.wait("Loading the reranker")
            self._name = checkpoint.name
            device, dtype = self._choice.device, self._choice.dtype
            load = partial(load_reranker, checkpoint, device, dtype, self._budget, self._reporter.say)
            by_server = remote_reranker(checkpoint, device, dtype, self._budget, load, self._reporter.say)
            self._loaded = by_server or load()
            runtime = self._loaded.runtime
            self._reporter.detail(
                f"{checkpoint.name} ({checkpoint.reason}) on {runtime.device} in {runtime.dtype}: {runtime.reason}"
            )
        return self._loaded

    def _seconds_per_image(self, reranker: LoadedReranker) -> float:
        """Return how long an image took the last time, else about how long it will; 0 where nobody can tell."""
        from imgsearch.index import side_db

        kept = side_db.cached_bytes(self._folder, _KEPT, self._key(reranker))
        try:
            return float(kept) if kept else reranker.seconds_per_image()
        except ValueError:  # of another version
            return 0.0

    def _keep(self, seconds: float) -> None:
        from imgsearch.index import side_db

        assert self._loaded is not None
        side_db.cache_bytes(self._folder, _KEPT, self._key(self._loaded), f"{seconds:.4g}".encode())

    def _key(self, reranker: LoadedReranker) -> str:
        runtime = reranker.runtime
        return f"{self._name} {runtime.device} {runtime.dtype} {self._budget.max_pixels}"


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else format_duration(seconds)


_KEPT = "seconds to rerank an image"


def told(unjudged: Sequence[str], reporter: output.ProgressReporter) -> None:
    """Say which results could not be reranked, and why."""
    if unjudged:
        many = plural(len(unjudged), "result was", "results were")
        stand = "stands" if len(unjudged) == 1 else "stand"
        reporter.say(f"{many} not reranked and {stand} after those that were: {unjudged[0]}")
