"""The models and indexes that a server keeps, and how a request is answered with them, whoever has asked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from typing import Any, TypeVar

from imgsearch.client.reranker import KeptReranker
from imgsearch.errors import ImgsearchError
from imgsearch.index import side_db
from imgsearch.index.layout import find_index
from imgsearch.index.parts import searched
from imgsearch.index.reader import ImageIndex
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.locate import fetch_reranker
from imgsearch.search import Answer, SearchRequest, ask
from imgsearch.search.encoding import CachedEncoder
from imgsearch.search.ranking.rerank import Reranker
from imgsearch.spec import checkpoint_for
from imgsearch.text import Message
from imgsearch.tools.server.pools import IndexPool, LoadedModel, ModelPool, device_of, fits
from imgsearch.types import RGB, Input, ModelOptions, ModelSpec, Notify, PixelBudget, Silent, Vectors

T = TypeVar("T")


class Resources:
    """One model in memory and some open indexes, shared by all handlers of a server. Safe to use from many threads."""

    def __init__(self, index: str | None, idle_seconds: float, notify: Notify) -> None:
        """Take the index to ask where a request names none, and the seconds after which the model is unloaded.

        ``notify`` takes lines for whoever started the server.
        """
        self.default_index = find_index(index)
        self.notify = notify
        self._notices: ContextVar[list[str] | None] = ContextVar("notices", default=None)
        self.models = ModelPool(self._load, idle_seconds, fits=fits)
        self.rerankers = KeptReranker(self._note)
        self._idle_seconds = idle_seconds
        self._indexes = IndexPool(idle_seconds)

    def use_index(self, folder: str | None, work: Callable[[ImageIndex], T]) -> T:
        """Return what ``work`` makes of an index, the default one for None. Raises as ``IndexPool.use`` does."""
        return self._indexes.use(searched(folder or self.default_index)[0], work)

    def ask(
        self,
        folder: str | None,
        request: SearchRequest,
        options: ModelOptions,
        *,
        cache: bool = True,
    ) -> Answer:
        """Answer a request from an index, the default one for None. Raises as ``search.ask`` does."""

        def work(index: ImageIndex) -> Answer:
            return ask(index, request, self.encoder(index, options, request.kind, cache=cache))

        return self.use_index(folder, work)

    def use_parts(self, folder: str | None, work: Callable[[Sequence[ImageIndex]], T]) -> T:
        """Return what ``work`` makes of an index, the default one for None, and its part. Raises as ``use_index``."""
        return self._indexes.use_all(searched(folder or self.default_index), work)

    def encoder(
        self, index: ImageIndex, options: ModelOptions, command: str | None, *, cache: bool = True
    ) -> CachedEncoder:
        """Return an index's encoder, whose model is loaded on first use and held while it embeds.

        So several indexes can be asked in turn where there is room for one model. A run of ``command`` is logged.
        """
        load = functools.partial(_PooledEncoder, self.models, index, options, command)
        return CachedEncoder(index, options, load, cache=cache)

    def reranker(self, budget: PixelBudget, model: str | None, options: ModelOptions) -> Reranker:
        """Return what judges hits, with the reranker of a name or folder, which is loaded on first use."""
        return _KeptReranker(self, budget, model, options)

    def judge(
        self,
        model: str | None,
        options: ModelOptions,
        budget: PixelBudget,
        query: Input,
        images: Sequence[RGB],
    ) -> list[float]:
        """Return the probability that each image answers a query. Raises as finding, loading and judging do."""
        # Nobody watches here while gigabytes are fetched: the command line does that.
        checkpoint = fetch_reranker(model, Silent(), download=False)
        how = checkpoint, options.device, options.dtype, budget
        self._make_room(checkpoint, options, budget)
        return self.rerankers.scores(*how, query, images)

    def rerank(
        self, folder: str, options: ModelOptions, budget: PixelBudget, inputs: Sequence[Input]
    ) -> tuple[dict[str, Any], list[float]]:
        """Judge the images behind a query with the reranker in a folder; without any it is only loaded.

        Then return where it computes and how long an image takes. Raises as loading and judging do.
        """
        checkpoint = Checkpoint(folder)
        self._make_room(checkpoint, options, budget)
        how = checkpoint, options.device, options.dtype, budget
        if not inputs:
            runtime, seconds = self.rerankers.load(*how)
            return {**asdict(runtime), "seconds": seconds}, []
        images = [one.image for one in inputs[1:] if one.image is not None]
        return {}, self.rerankers.scores(*how, inputs[0], images)

    def _make_room(self, checkpoint: Checkpoint, options: ModelOptions, budget: PixelBudget) -> None:
        """Let the models go that nobody uses, where a reranker has no room beside them."""
        how = checkpoint, options.device, options.dtype, budget
        if not (self.rerankers.has(*how) or fits(checkpoint.folder, device_of(options))):
            self.models.unload_idle(0.0)

    def warm_up(self) -> str:
        """Load the model of the default index and let it embed once, so that the first query finds all in memory.

        Where there is no such index or model, say so, and return why: it may come. Else return "".
        """

        def work(index: ImageIndex) -> None:
            encoder = _PooledEncoder(self.models, index, ModelOptions(), None)
            encoder.embed([Input(text="a photograph", instruction=index.spec.query_prompt)])
            if runtime := self.models.runtime:
                self.notify(
                    f"{index.spec.model} is loaded ({runtime.device}, {runtime.dtype}): {runtime.reason}"
                )

        try:
            self.use_index(None, work)
        except ImgsearchError as error:
            self.notify(Message("no model is loaded yet: ", error.as_message))
            return str(error)
        return ""

    def release_idle(self) -> None:
        """Unload the model and close the indexes if nobody has asked for long enough."""
        self._indexes.close_idle()
        if self.rerankers.unload_idle(self._idle_seconds):
            self.notify("idle: the reranker was unloaded until it is asked for again")
        if self.models.unload_idle():
            self.notify("idle: the model was unloaded until the next query")

    @contextmanager
    def collect_notices(self) -> Iterator[list[str]]:
        """Collect in a list what the model has to say to whoever asks in the block."""
        notices: list[str] = []
        asked = self._notices.set(notices)
        try:
            yield notices
        finally:
            self._notices.reset(asked)

    def _load(self, spec: ModelSpec) -> LoadedModel:
        if not fits(spec.folder, device_of(spec)):
            self.rerankers.unload_idle(0.0)
        return LoadedModel(spec, self._note)

    def _note(self, line: str) -> None:
        notices = self._notices.get()
        if notices is not None:
            notices.append(line)


class _PooledEncoder:
    """An index's encoder whose model is in a pool, and held only while it embeds."""

    def __init__(
        self, pool: ModelPool, index: ImageIndex, options: ModelOptions, command: str | None
    ) -> None:
        """Find the model, and load it if it is not there; a run of ``command`` is logged. Raises as these do."""
        # Nobody watches here while gigabytes are fetched: the command line does that.
        checkpoint = checkpoint_for(index.folder, index.spec, options, Silent(), download=False)
        self._pool, self._spec = pool, index.spec.model_spec(checkpoint.folder, options)
        with pool.use(self._spec) as encoder:
            if command:
                side_db.record_run(index.folder, command, encoder.runtime)

    def embed(self, inputs: Sequence[Input]) -> Vectors:
        """Return one float32 row an input. Raises as loading the model again and its own ``embed`` do."""
        with self._pool.use(self._spec) as encoder:
            return encoder.embed(inputs)


class _KeptReranker:
    """A ``Reranker`` for one request, by the one that the server keeps."""

    def __init__(
        self, resources: Resources, budget: PixelBudget, model: str | None, options: ModelOptions
    ) -> None:
        self._resources, self._asked = resources, (model, options, budget)

    def scores(self, query: Input, images: Sequence[RGB]) -> list[float]:
        return self._resources.judge(*self._asked, query, images)
