"""The models and indexes that a server keeps, and how a request is answered with them, whoever has asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TypeVar

from imgsearch.client.reranker import KeptReranker
from imgsearch.errors import ImgsearchError
from imgsearch.index import side_db
from imgsearch.index.layout import find_index
from imgsearch.index.reader import ImageIndex
from imgsearch.model.locate import fetch_reranker
from imgsearch.search import Answer, SearchRequest, ask
from imgsearch.search.encoding import CachedEncoder
from imgsearch.search.ranking.rerank import Reranker
from imgsearch.spec import checkpoint_for
from imgsearch.text import Message
from imgsearch.tools.server.pools import IndexPool, LoadedModel, ModelPool
from imgsearch.types import RGB, ImageEncoder, Input, ModelOptions, Notify, Silent

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
        self.models = ModelPool(lambda model_spec: LoadedModel(model_spec, self._note), idle_seconds)
        self.rerankers = KeptReranker(self._note)
        self._idle_seconds = idle_seconds
        self._indexes = IndexPool(idle_seconds)

    def use_index(self, folder: str | None, work: Callable[[ImageIndex], T]) -> T:
        """Return what ``work`` makes of an index, the default one for None. Raises as ``IndexPool.use`` does."""
        return self._indexes.use(folder or self.default_index, work)

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
            with self.encoder(index, options, request.kind, cache=cache) as encoder:
                return ask(index, request, encoder)

        return self.use_index(folder, work)

    @contextmanager
    def encoder(
        self, index: ImageIndex, options: ModelOptions, command: str | None, *, cache: bool = True
    ) -> Iterator[CachedEncoder]:
        """Hold an index's encoder, whose model is loaded on first use; a run of ``command`` is logged."""
        with ExitStack() as stack:
            yield CachedEncoder(index, options, self._loader(index, options, command, stack), cache=cache)

    def reranker(self, index: ImageIndex, model: str | None, options: ModelOptions) -> Reranker:
        """Return what judges hits of an index, with the reranker of a name or folder, which is loaded on first use."""
        return _KeptReranker(self.rerankers, index, model, options)

    def warm_up(self) -> None:
        """Load the model of the default index and let it embed once, so that the first query finds all in memory.

        Where there is no such index or model, say so: it may come.
        """

        def work(index: ImageIndex) -> None:
            with ExitStack() as stack:
                encoder = self._loader(index, ModelOptions(), None, stack)()
                encoder.embed([Input(text="a photograph", instruction=index.spec.query_prompt)])
                runtime = encoder.runtime
                self.notify(
                    f"{index.spec.model} is loaded ({runtime.device}, {runtime.dtype}): {runtime.reason}"
                )

        try:
            self.use_index(None, work)
        except ImgsearchError as error:
            self.notify(Message("no model is loaded yet: ", error.as_message))

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

    def _loader(
        self, index: ImageIndex, options: ModelOptions, command: str | None, stack: ExitStack
    ) -> Callable[[], ImageEncoder]:
        """Return what gives the index's encoder, in use until ``stack`` is left."""

        def load() -> ImageEncoder:
            # Nobody watches here while gigabytes are fetched: the command line does that.
            checkpoint = checkpoint_for(index.folder, index.spec, options, Silent(), download=False)
            encoder = stack.enter_context(self.models.use(index.spec.model_spec(checkpoint.folder, options)))
            if command:
                side_db.record_run(index.folder, command, encoder.runtime)
            return encoder

        return load

    def _note(self, line: str) -> None:
        notices = self._notices.get()
        if notices is not None:
            notices.append(line)


class _KeptReranker:
    """A ``Reranker`` for one request, by the one that the server keeps."""

    def __init__(
        self, kept: KeptReranker, index: ImageIndex, model: str | None, options: ModelOptions
    ) -> None:
        self._kept, self._budget, self._model, self._options = kept, index.spec.pixels, model, options

    def scores(self, query: Input, images: Sequence[RGB]) -> list[float]:
        # Nobody watches here while gigabytes are fetched: the command line does that.
        checkpoint = fetch_reranker(self._model, Silent(), download=False)
        device, dtype = self._options.device, self._options.dtype
        return self._kept.scores(checkpoint, device, dtype, self._budget, query, images)
