"""What a server does for each request, whichever way it came: the work behind the addresses of ``api``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import asdict, fields, replace
from typing import Any, Self

import numpy as np

from imgsearch.client import protocol
from imgsearch.client.connection import ServerState
from imgsearch.client.protocol import model_spec_from_json
from imgsearch.errors import InputError, UsageError
from imgsearch.index.reader import ImageIndex
from imgsearch.place import split
from imgsearch.search import Answer, SearchKind, SearchRequest, images_to_read
from imgsearch.search.examples import ReadImage, content_of, nearest_page
from imgsearch.search.hits import SearchOptions
from imgsearch.search.language.filtering import below_parts, filters_of
from imgsearch.search.language.question import STDIN, Part, spelled
from imgsearch.search.language.read import Reading, read_query
from imgsearch.search.listing import ListOptions, count_parts, list_parts
from imgsearch.search.ranking.feedback import Page
from imgsearch.search.several import ask_parts
from imgsearch.search.show import show_part
from imgsearch.text import display_path
from imgsearch.tools.server import api, shapes
from imgsearch.tools.server.resources import Resources
from imgsearch.tools.server.saved import NO_SAVED, SavedQueries
from imgsearch.types import MAX_MEGAPIXELS, ModelOptions, PixelBudgets

ToRead = tuple[str, PixelBudgets, float, int | None]
"""The arguments of ``read_image``."""


def may_name_images(data: Any) -> bool:
    """Whether a request may need files that are not indexed; one that does not is answered at once."""
    if not isinstance(data, dict):
        return False
    text = data.get("text")
    return data.get("image") is not None or (isinstance(text, str) and ("/" in text or "@" in text))


class Handlers:
    """Answers requests with the models and indexes of some resources."""

    questions: ThreadPoolExecutor | None = None
    """The one thread in which the model embeds queries, if it is not whoever answers them."""
    searches: ThreadPoolExecutor | None = None
    """The threads in which searches are answered, if it is not the former."""

    def __init__(self, resources: Resources, saved: SavedQueries = NO_SAVED) -> None:
        """Take what is shared with the other handlers of the server, and the user's saved queries."""
        self.resources, self.saved = resources, saved
        self._since, self.requests = time.time(), 0
        self.http: str | None = None

    def for_clients(self) -> Self:
        """Return the same for others than the owner, whose saved queries are not theirs."""
        others = copy(self)
        others.saved = NO_SAVED
        return others

    def trouble(self) -> str:
        """Return why no requests can be answered now, whatever model is loaded; "" if they can."""
        return ""

    def warm_up(self) -> str:
        """Have the model of the default index in memory; return what keeps it from being so, "" for nothing."""
        return self.resources.warm_up()

    def has_model(self) -> bool:
        """Whether a model is in memory."""
        return self.resources.models.runtime is not None

    def say(self, line: str) -> None:
        """Tell whoever runs the server."""
        self.resources.notify(line)

    def release_idle(self) -> None:
        """Unload what nobody has asked for in a while."""
        self.resources.release_idle()

    def status(self) -> dict[str, Any]:
        """Return what ``ServerState`` holds."""
        runtime = self.resources.models.runtime
        return asdict(
            ServerState(
                pid=os.getpid(),
                version=protocol.version(),
                since=self._since,
                requests=self.requests,
                http=self.http,
                model=self.resources.models.folder,
                device=runtime.device if runtime else None,
                dtype=runtime.dtype if runtime else None,
            )
        )

    def load(self, data: Any) -> dict[str, Any]:
        """Load the model of a spec; return how it computes. Raises as loading it does."""
        with self.resources.models.use(model_spec_from_json(data)) as encoder:
            batch = {"batch_size": encoder.batch_size, "batch_reason": encoder.batch_reason}
            return {**asdict(encoder.runtime), "dim": encoder.dim, **batch}

    def embed(self, message: bytes) -> bytes:
        """Embed the inputs of a message; return the message with their vectors."""
        model_spec, inputs, batch_size = protocol.unpack_inputs(message)
        with self.resources.collect_notices() as notices, self.resources.models.use(model_spec) as encoder:
            before = encoder.recomputed
            vectors = encoder.embed(inputs, batch_size=batch_size)
            # Rows of a request that was answered at the same time would be among them; the count is a hint.
            again = encoder.recomputed - before
        return protocol.pack(api.versioned({"notices": notices, "recomputed": again}), {"vectors": vectors})

    def rerank(self, message: bytes) -> bytes:
        """Judge the images of a message, behind its query; return the message with their scores."""
        spec, inputs, _ = protocol.unpack_inputs(message)
        if len(inputs) == 1 or any(one.image is None for one in inputs[1:]):
            raise UsageError("give a query and the images behind it")
        options = ModelOptions(device=spec.device, dtype=spec.dtype)
        with self.resources.collect_notices() as notices:
            told, scores = self.resources.rerank(spec.folder, options, spec.budget, inputs)
        return protocol.pack(
            api.versioned({**told, "notices": notices}), {"scores": np.array(scores, np.float64)}
        )

    def query(self, data: Any, *read: ReadImage) -> dict[str, Any]:
        """Answer ``api.Query`` with ``api.FoundByWords``; ``read`` are the images that ``images_to_read`` has named."""
        asked, saved = self._query(data)
        reading, request = self._request_of(asked)
        found = self._answer(asked, request, read, cache=asked.remember)
        if told := _told(reading, saved):
            found["read"] = told
        return found

    def similar(self, data: Any, *read: ReadImage) -> dict[str, Any]:
        """Answer ``api.Similar`` with ``api.Found``, as ``query`` does."""
        asked = shapes.read(api.Similar, data)
        return self._answer(asked, _similar_to(asked.image or "", asked), read)

    def images_to_read(self, kind: SearchKind, data: Any) -> list[ToRead]:
        """Return the arguments of ``read_image`` for each file that has to be read before a request can be answered.

        Raises as answering does.
        """
        asked, request = self.asked(kind, data)
        if request.image is None and not any(part.image for part in request.parts):
            return []

        def work(indexes: Sequence[ImageIndex]) -> list[ToRead]:
            wanted = [images_to_read(index, request) for index in indexes]
            unknown = [one for one in wanted[0] if all(one in others for others in wanted)]
            budgets = max((one.spec.budgets for one in indexes), key=lambda one: one.largest.max_pixels)
            return [(path, budgets, MAX_MEGAPIXELS, page or None) for path, page in unknown]

        return self.resources.use_parts(asked.index, work)

    def listed(self, data: Any) -> dict[str, Any]:
        """Answer ``api.List`` with ``api.Listed``."""
        asked = shapes.read(api.List, data)

        def work(indexes: Sequence[ImageIndex]) -> dict[str, Any]:
            chosen, below = filters_of(**asked.given()), below_parts(indexes, asked.in_)
            options = ListOptions(chosen, below, asked.sort, asked.n, asked.offset, asked.seed)
            found = [files for index in indexes for files in index.files(chosen, below)]
            return {
                "images": [file.as_json() for file in list_parts(indexes, options)],
                "total": sum(len(files.chosen) for files in found),
            }

        return self.resources.use_parts(asked.index, work)

    def counted(self, data: Any) -> dict[str, Any]:
        """Answer ``api.Count`` with ``api.Counted``."""
        asked = shapes.read(api.Count, data)

        def work(indexes: Sequence[ImageIndex]) -> dict[str, Any]:
            return count_parts(
                indexes, filters_of(**asked.given()), below_parts(indexes, asked.in_)
            ).as_json()

        return self.resources.use_parts(asked.index, work)

    def shown(self, data: Any) -> dict[str, Any]:
        """Answer ``api.Show`` with ``api.Shown``."""
        asked = shapes.read(api.Show, data)
        path = split(asked.image)[0]
        return self.resources.use_parts(asked.index, lambda indexes: show_part(indexes, path).as_json())

    def asked(self, kind: SearchKind, data: Any) -> tuple[api.Search, SearchRequest]:
        """Return what a request asks for, and the search that it comes down to. Raises UsageError."""
        if kind == "query":
            query = self._query(data)[0]
            return query, self._request_of(query)[1]
        similar = shapes.read(api.Similar, data)
        return similar, _similar_to(similar.image or "", similar)

    def _query(self, data: Any) -> tuple[api.Query, list[str]]:
        """Return a request with its saved queries filled in, and what these are called."""
        saved: list[str] = []
        if isinstance(data, dict):
            data, saved = self.saved.fill_in(data, _QUERY_FIELDS)
        return shapes.read(api.Query, data), saved

    def _request_of(self, asked: api.Query) -> tuple[Reading, SearchRequest]:
        text = asked.text
        if asked.image_text == "only":
            options = _options(asked, asked.given())
            return Reading(text or ""), SearchRequest("query", text or "", asked.image, options)
        if text and asked.image is None and not asked.literal and _is_image_file(text.strip()):
            return Reading(""), _similar_to(text.strip(), asked)
        whole = asked.image is not None  # the model gets both together, so that the words are one text
        given = asked.given()
        reading = read_query([text or ""], given, literal=asked.literal, whole=whole, relative=False)
        options = _options(asked, {**given, **reading.filters})
        if any(part.image == STDIN for part in reading.parts):
            raise UsageError("-: the server reads no image from stdin; give an absolute path")
        if reading.parts:
            request = SearchRequest("query", options=options, parts=reading.parts)
        else:
            request = SearchRequest("query", reading.text if text is not None else None, asked.image, options)
        return reading, request

    def _answer(
        self, asked: api.Search, request: SearchRequest, read: Sequence[ReadImage], *, cache: bool = True
    ) -> dict[str, Any]:
        def work(indexes: Sequence[ImageIndex]) -> Answer:
            refined, options, reranker = request, asked.model_options(), None
            if isinstance(asked, api.Query):
                more, less = _pages(indexes, asked.more), _pages(indexes, asked.less)
                refined = replace(request, more=more, less=less)
                if asked.rerank:
                    budget = max((one.spec.pixels for one in indexes), key=lambda pixels: pixels.max_pixels)
                    reranker = self.resources.reranker(budget, asked.rerank_model, options)
            encoders = [self.resources.encoder(one, options, request.kind, cache=cache) for one in indexes]
            return ask_parts(indexes, _with_images(refined, read), encoders, reranker)

        with self.resources.collect_notices() as notices:
            answered = self.resources.use_parts(asked.index, work)
        found = found_json(answered)
        notices += [f"not reranked: {reason}" for reason in answered.unjudged]
        return found | ({"notices": notices} if notices else {})


def found_json(answered: Answer) -> dict[str, Any]:
    """Return ``api.Found`` without its notices."""
    found: dict[str, Any] = {"hits": [hit.as_json() for hit in answered.hits]}
    if answered.cut is not None:
        found["cut"] = answered.cut.as_json()
        found["nearest"] = [hit.as_json() for hit in answered.nearest]
    return found


_QUERY_FIELDS = frozenset(field.name for field in shapes.fields(api.Query))


def _is_image_file(text: str) -> bool:
    return os.path.isabs(path := os.path.expanduser(text)) and os.path.isfile(split(path)[0])


def _similar_to(image: str, asked: api.Search) -> SearchRequest:
    path, page = split(os.path.expanduser(image))
    options = _options(asked, asked.given())
    if not page:
        return SearchRequest("similar", image=path, options=options)
    own = replace(options, include_examples=True)  # as a single file is in its own answer
    return SearchRequest("similar", options=own, parts=(Part(image=path, page=page),))


def _options(asked: api.Search, filters: Mapping[str, Any]) -> SearchOptions:
    """Return the options of a request; each has the same name there."""
    same = {field.name for field in fields(asked)} & {field.name for field in fields(SearchOptions)}
    given = {name: getattr(asked, name) for name in same}
    return SearchOptions(**given, below=tuple(asked.in_), filters=filters_of(**filters))


def _pages(indexes: Sequence[ImageIndex], places: Sequence[api.Example]) -> tuple[Page, ...]:
    """Return indexed images by their contents. Raises InputError for one that is not indexed."""
    return tuple(_page(indexes, place) for place in places)


def _page(indexes: Sequence[ImageIndex], place: api.Example) -> Page:
    path, page = split(place.path)
    for index in indexes:
        content = content_of(index, path)
        wanted = nearest_page(index, content, place.page or page)
        if index.vector(content, wanted) is not None:
            return content, wanted
    raise InputError(f"{display_path(place.path)} is not in the index")


def _with_images(request: SearchRequest, read: Sequence[ReadImage]) -> SearchRequest:
    """Return a request with its images as they were read."""
    if not read:
        return request
    if not request.parts:
        return replace(request, image=read[0])
    by_place = {(image.path, image.page): image for image in read}
    parts = [replace(part, read=by_place.get((part.image, part.page))) for part in request.parts]
    return replace(request, parts=tuple(parts))


def _part_told(part: Part) -> dict[str, Any]:
    """Return what a part is, as ``api.ReadPart`` has it."""
    if not part.image:
        return {"text": part.text}
    return {"image": part.image} | ({"page": part.page} if part.page else {})


def _told(reading: Reading, saved: Sequence[str]) -> dict[str, Any] | None:
    """Return ``api.Read``: what was read out of the words; None for nothing."""
    if not (reading.parts or reading.read or saved):
        return None
    told: dict[str, Any] = {"text": reading.text, **reading.filters}
    if reading.parts:
        told["parts"] = [{**_part_told(part), "weight": part.weight} for part in reading.parts]
        told["text"] = spelled(reading.parts)
    return told | ({"saved": list(saved)} if saved else {})
