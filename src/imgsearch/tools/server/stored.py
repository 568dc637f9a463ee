"""A server that asks a store in place of an index: nothing of it is kept here, so that there may be several."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from imgsearch.addresses import absolute
from imgsearch.errors import ImgsearchError, InputError, StoreError, UsageError
from imgsearch.place import split
from imgsearch.search import SearchKind, SearchRequest
from imgsearch.search.examples import ReadImage
from imgsearch.search.language.filtering import filters_of
from imgsearch.search.language.question import Part
from imgsearch.search.listing import ListOptions
from imgsearch.search.ranking.feedback import Page
from imgsearch.spec import checkpoint_for
from imgsearch.text import Message, Option, display_path
from imgsearch.tools.server import api, shapes
from imgsearch.tools.server.handlers import Handlers, ToRead, found_json
from imgsearch.tools.server.pools import ModelPool
from imgsearch.tools.server.resources import Resources
from imgsearch.tools.server.saved import NO_SAVED, SavedQueries
from imgsearch.tools.stores import StoredImage, VectorStore, Wanted
from imgsearch.tools.stores.answers import ask, list_images
from imgsearch.types import (
    MAX_MEGAPIXELS,
    Input,
    ModelOptions,
    ModelSpec,
    QueryEncoder,
    Silent,
    Vectors,
)

T = TypeVar("T")

_AT_ONCE = 8  # searches, each by a connection of its own
_REMEMBERED = 1_000  # vectors of words that were asked
_LOOK_AGAIN = 1.0  # seconds for which an answer about the store is good
_NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


class Words:
    """The vectors of words that were asked before, in memory, by the model and the instruction."""

    def __init__(self) -> None:
        """Begin with none."""
        self._kept: OrderedDict[tuple[ModelSpec, str | None, str | None], Vectors] = OrderedDict()

    def get(self, spec: ModelSpec, inputs: Sequence[Input]) -> Vectors | None:
        """Return the vector (1, dim) of the words that are all there is to embed; None if it is not known."""
        return self._kept.get((spec, inputs[0].text, inputs[0].instruction)) if _are_words(inputs) else None

    def put(self, spec: ModelSpec, inputs: Sequence[Input], vectors: Vectors) -> None:
        """Keep it, if it is of words alone; the one that has been kept for longest goes for it."""
        if _are_words(inputs):
            self._kept[spec, inputs[0].text, inputs[0].instruction] = vectors
            if len(self._kept) > _REMEMBERED:
                self._kept.popitem(last=False)


def _are_words(inputs: Sequence[Input]) -> bool:
    return len(inputs) == 1 and inputs[0].text is not None and inputs[0].image is None


class HeldStore:
    """A store that is opened when it is first needed: once for each of the threads that use it at the same time.

    A search mostly waits: for the network, and for the server's clock, so that it sees all that was acknowledged.
    """

    def __init__(
        self, address: str, open_store: Callable[[], VectorStore], probe: Callable[[], Callable[[], str]]
    ) -> None:
        """Open nothing yet. ``probe`` makes what asks, in a few seconds, what the store is known by (StoreError)."""
        self.address, self.words = address, Words()
        self._open, self._make_probe = open_store, probe
        self._idle: list[VectorStore] = []
        self._probe: Callable[[], str] | None = None
        self._identity = ""
        self._turn, self._probing = threading.Lock(), threading.Lock()
        self._trouble, self._looked = "", -1e9

    def use(self, work: Callable[[VectorStore], T]) -> T:
        """Return what ``work`` makes of the store. Raises what opening it raises, and what ``work`` does.

        After an error of the store it is asked first whether it answers: a client tries again for a minute, and
        whoever comes meanwhile is to be told at once.
        """
        if self._trouble and (why := self.trouble()):
            raise StoreError(why)
        with self._turn:
            store, identity = self._idle.pop() if self._idle else None, self._identity
        try:
            store = store or self._open()
            return work(store)
        except StoreError as error:
            self._trouble, self._looked = str(error), -1e9
            raise
        finally:
            with self._turn:
                if store is not None and identity == self._identity:
                    self._idle.append(store)

    def trouble(self) -> str:
        """Return why the store can't be asked now, "" if it can; it may take some seconds to find out."""
        if self._probing.acquire(blocking=False):  # else what was found last is as good
            try:
                if time.monotonic() - self._looked > _LOOK_AGAIN:
                    self._trouble = self._look()
                    self._looked = time.monotonic()
            finally:
                self._probing.release()
        return self._trouble

    def _look(self) -> str:
        try:
            if self._probe is None:
                self._probe = self._make_probe()
            identity = self._probe()
        except StoreError as error:
            return str(error)
        if identity != self._identity:
            # A collection that was made again may be another model's: what was opened knows the one before.
            with self._turn:
                known, self._idle = self._idle, []
                self._identity = identity
            for store in known:
                store.close()
        return ""


def held_store(address: str) -> HeldStore:
    """Return the store of an address. Raises UsageError (no address)."""
    from imgsearch.tools.stores.address import parse  # on use: servers without a store have no need of it
    from imgsearch.tools.stores.milvus import MilvusStore, identity
    from imgsearch.tools.stores.server import TO_PING, Server

    parsed = parse(address)

    def probe() -> Callable[[], str]:
        server = Server.at(parsed)
        return lambda: identity(server, parsed.collection, TO_PING)

    return HeldStore(parsed.shown, lambda: MilvusStore.at(parsed), probe)


class StoreHandlers(Handlers):
    """Answers searches by a store; what only an index can do is refused."""

    def __init__(self, resources: Resources, store: HeldStore, saved: SavedQueries = NO_SAVED) -> None:
        """Take the models that are shared with the server's other handlers, and the store."""
        super().__init__(resources, saved)
        self._held = store
        self.questions = ThreadPoolExecutor(1, "questions")
        self.searches = ThreadPoolExecutor(_AT_ONCE, "searches")
        self._cold = False  # the model was to be loaded, and the store was not there to say which
        self._said = ""

    def trouble(self) -> str:
        """Return why the store can't be asked now; "" if it can."""
        return self._held.trouble()

    def warm_up(self) -> str:
        """Load the store's model and let it embed once; return what keeps it from being so, "" for nothing."""

        def work(store: VectorStore) -> None:
            # In this thread: it may be that of questions.
            encoder = _Encoder(self.resources.models, self._held.address, store, ModelOptions(), Words())
            encoder.embed([Input(text="a photograph", instruction=store.spec.query_prompt)])
            if runtime := self.resources.models.runtime:
                self.say(
                    f"{store.spec.model} is loaded ({runtime.device}, {runtime.dtype}): {runtime.reason}"
                )

        try:
            self._held.use(work)
        except ImgsearchError as error:
            self._cold = isinstance(error, StoreError)
            if self._said != str(error):
                self._said = str(error)
                self.say(Message("no model is loaded yet: ", error.as_message))
            return str(error)
        self._cold = False
        return ""

    def release_idle(self) -> None:
        """Unload what nobody has asked for in a while, and load what could not be loaded at the start."""
        super().release_idle()
        if not self.trouble() and self._cold:
            self.warm_up()

    def images_to_read(self, kind: SearchKind, data: Any) -> list[ToRead]:
        """Return the arguments of ``read_image`` for each file that the store does not hold."""
        asked, request = self.asked(kind, data)
        _check(asked)
        named = _named(request)
        if not named:
            return []

        def work(store: VectorStore) -> list[ToRead]:
            whole = kind == "query" and isinstance(request.image, str)
            unknown = named if whole else [one for one in named if _at(store, *one) is None]
            return [(path, store.spec.budgets, MAX_MEGAPIXELS, page or None) for path, page in unknown]

        return self._held.use(work)

    def listed(self, data: Any) -> dict[str, Any]:
        """Answer ``api.List`` with ``api.Listed``."""
        asked = shapes.read(api.List, data)
        _check(asked)
        options = ListOptions(
            filters_of(**asked.given()), tuple(map(absolute, asked.in_)), asked.sort, None, 0, asked.seed
        )
        files = self._held.use(lambda store: list_images(store, options))
        shown = files[asked.offset :][: asked.n]
        return {"images": [file.as_json() for file in shown], "total": len(files)}

    def counted(self, data: Any) -> dict[str, Any]:
        """Raise UsageError: counts by year, camera and folder are of an index."""
        raise _needs_index("counts")

    def shown(self, data: Any) -> dict[str, Any]:
        """Raise UsageError: what is known of an image is in an index."""
        raise _needs_index("what is known of an image")

    def _answer(
        self, asked: api.Search, request: SearchRequest, read: Sequence[ReadImage], *, cache: bool = True
    ) -> dict[str, Any]:
        _check(asked)

        def work(store: VectorStore) -> dict[str, Any]:
            refined = _with_stored(store, request, read)
            if isinstance(asked, api.Query):
                more, less = ([_page(store, one) for one in some] for some in (asked.more, asked.less))
                refined = replace(refined, more=tuple(more), less=tuple(less))
                if asked.rerank:
                    raise _needs_index(Option("rerank"))
            return found_json(ask(store, refined, self._encoder(store, asked.model_options(), cache=cache)))

        with self.resources.collect_notices() as notices:
            found = self._held.use(work)
        return found | ({"notices": notices} if notices else {})

    def _encoder(self, store: VectorStore, options: ModelOptions, *, cache: bool) -> QueryEncoder:
        words = self._held.words if cache else Words()
        return _Encoder(self.resources.models, self._held.address, store, options, words, self.questions)


class _Encoder:
    """The encoder of a store's model, which is loaded with the first query that needs it; it remembers words."""

    def __init__(
        self,
        pool: ModelPool,
        address: str,
        store: VectorStore,
        options: ModelOptions,
        words: Words,
        questions: ThreadPoolExecutor | None = None,
    ) -> None:
        """Take the one thread to embed in, None for whichever asks: torch keeps a team of threads for each."""
        self._pool, self._address, self._store, self._options = pool, address, store, options
        self._words, self._questions = words, questions

    def embed(self, inputs: Sequence[Input]) -> Vectors:
        """Return one float32 row an input. Raises as loading the model and its own ``embed`` do."""
        # Nobody watches here while gigabytes are fetched: the command line does that.
        checkpoint = checkpoint_for(self._address, self._store.spec, self._options, Silent(), download=False)
        spec = self._store.spec.model_spec(checkpoint.folder, self._options)
        if (known := self._words.get(spec, inputs)) is not None:
            return known

        def compute() -> Vectors:
            with self._pool.use(spec) as encoder:
                return encoder.embed(inputs)

        # With the context, in which notices of the model are collected.
        computed = self._questions and self._questions.submit(copy_context().run, compute)
        vectors = computed.result() if computed else compute()
        self._words.put(spec, inputs, vectors)
        return vectors


def _check(asked: api.Search | api.List) -> None:
    if asked.index is not None:
        raise UsageError(Option("index"), ": this server asks a store; leave it out")


def _needs_index(what: str | Option) -> UsageError:
    return UsageError(what, ": this server asks a store, which has no such thing; ask a server of the index")


def _named(request: SearchRequest) -> list[tuple[str, int]]:
    """Return the images that a request names, each with its page."""
    named = [(part.image, part.page) for part in request.parts if part.image]
    if isinstance(request.image, str):
        named.append(split(request.image))
    return list(dict.fromkeys(named))


def _at(store: VectorStore, path: str, page: int) -> StoredImage | None:
    """Return the image that the store holds for a file."""
    found = [
        one for one in store.iterate(Wanted(below=(path,))) if any(file.path == path for file in one.files)
    ]
    exact = [one for one in found if one.page == page]
    return min(exact or ([] if page else found), key=lambda one: one.page, default=None)


def _page(store: VectorStore, place: api.Example) -> Page:
    path, page = split(place.path)
    found = _at(store, path, place.page or page)
    if found is None:
        raise InputError(f"{display_path(place.path)} is not in the store")
    return found.key


def _with_stored(store: VectorStore, request: SearchRequest, read: Sequence[ReadImage]) -> SearchRequest:
    """Return a request with its images as they were read; those that the store holds are known by their hashes."""
    by_place = {(image.path, image.page): image for image in read}

    def image_at(path: str, page: int) -> ReadImage | None:
        if (path, page) in by_place:
            return by_place[path, page]
        stored = _at(store, path, page)
        return ReadImage(path, stored.sha256, _NO_PIXELS, stored.page) if stored else None

    def filled(part: Part) -> Part:
        return replace(part, read=image_at(part.image, part.page)) if part.image else part

    image = request.image
    if isinstance(image, str):
        image = image_at(*split(image)) or image
    return replace(request, image=image, parts=tuple(filled(part) for part in request.parts))
