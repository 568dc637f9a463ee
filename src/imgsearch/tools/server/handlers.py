"""What a server does for each request, whichever way it came: status, load, embed, query, similar."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from imgsearch.client import protocol
from imgsearch.client.connection import ServerState
from imgsearch.client.protocol import model_spec_from_json
from imgsearch.errors import UsageError
from imgsearch.index.metadata.filters import SHAPES
from imgsearch.index.reader import ImageIndex
from imgsearch.search import SearchKind, SearchRequest, image_to_read
from imgsearch.search.examples import ReadImage
from imgsearch.search.hits import SearchOptions
from imgsearch.search.language.filtering import NAMES, filters_of
from imgsearch.search.language.question import is_address
from imgsearch.tools.server.resources import Resources
from imgsearch.types import ModelOptions, PixelBudget

_OPTIONS = (
    *(
        "n",
        "min_score",
        "within",
        "dim",
        "exact",
        "in",
        "stacks",
        "sort",
        "offset",
        "explain",
        "cut",
        "names",
        "instruction",
    ),
)
_LISTS = ("keyword", "has")
_MODEL = ("model", "device", "dtype")
_KINDS: dict[str, tuple[type, ...]] = {
    "n": (int,),
    "offset": (int,),
    "min_score": (int, float),
    "within": (int, float),
    "within_km": (int, float),
    "names": (int, float),
    "dim": (int,),
    "exact": (bool,),
    "remember": (bool,),
    "stacks": (bool,),
    "explain": (bool,),
    "rating": (int,),
    **dict.fromkeys(("screenshots", *SHAPES), (bool,)),
}


class Handlers:
    """Answers requests with the models and indexes of some resources."""

    def __init__(self, resources: Resources) -> None:
        """Take what is shared with the other handlers of the server."""
        self.resources = resources
        self._since, self.requests = time.time(), 0
        self.http: str | None = None

    def warm_up(self) -> None:
        """Have the model of the default index in memory."""
        self.resources.warm_up()

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
            vectors = encoder.embed(inputs, batch_size=batch_size)
        return protocol.pack({"notices": notices}, {"vectors": vectors})

    def query(self, data: Any, image: ReadImage | None = None) -> dict[str, Any]:
        """Answer a question: ``text``, ``image`` (a path) or both, of the index in ``index``.

        The other fields, all optional, are: n, min_score, within, dim, exact, in (a list of paths), stacks, sort,
        offset, explain, cut ("auto"), after, before, on, camera, lens, rating, keyword and has (lists), shape, type,
        name, min_size, near, within_km, screenshots, landscape, portrait, square and panorama (true or false), names,
        instruction, model, device, dtype, remember. The file of ``image`` is read here, unless it comes along.
        """
        return self._answer("query", data, image)

    def similar(self, data: Any, image: ReadImage | None = None) -> dict[str, Any]:
        """Answer with the pictures nearest to the one in ``image`` (a path); otherwise as ``query``, without
        ``remember``.
        """
        return self._answer("similar", data, image)

    def image_to_read(self, kind: SearchKind, data: Any) -> tuple[str, PixelBudget] | None:
        """Return the arguments of ``read_image`` where the answer to a request needs that; raises as answering does."""
        fields, request = _request(kind, data)

        def work(index: ImageIndex) -> tuple[str, PixelBudget] | None:
            path = image_to_read(index, request)
            return None if path is None else (path, index.spec.pixels)

        return self.resources.use_index(_path(fields, "index"), work)

    def _answer(self, kind: SearchKind, data: Any, image: ReadImage | None) -> dict[str, Any]:
        fields, request = _request(kind, data)
        if image is not None:
            request = replace(request, image=image)
        options, cache = _model_options(fields), fields.get("remember", True)

        with self.resources.collect_notices() as notices:
            answered = self.resources.ask(_path(fields, "index"), request, options, cache=cache)
        found: dict[str, Any] = {"hits": [hit.as_json() for hit in answered.hits]}
        if answered.cut is not None:
            found["cut"] = answered.cut.as_json()
            found["nearest"] = [hit.as_json() for hit in answered.nearest]
        return found | ({"notices": notices} if notices else {})


def _request(kind: SearchKind, data: Any) -> tuple[dict[str, Any], SearchRequest]:
    """Return the fields of a request, and what it asks for."""
    own = ("text", "remember") if kind == "query" else ()
    fields = _fields(data, "image", *_OPTIONS, *NAMES, *_MODEL, "index", *own)
    text, image = _text(fields, "text"), _path(fields, "image")
    return fields, SearchRequest(kind, text, image, _search_options(fields))


def _fields(data: Any, *names: str) -> dict[str, Any]:
    """Return the fields of a request that are not null; UsageError for one that is unknown or of a wrong type."""
    if not isinstance(data, dict):
        raise UsageError("a request is a JSON object")
    if unknown := sorted(set(data) - set(names)):
        raise UsageError(f"unknown fields: {', '.join(unknown)}; known: {', '.join(sorted(names))}")
    fields = {name: value for name, value in data.items() if value is not None}
    for name, kinds in _KINDS.items():
        value = fields.get(name)
        if value is not None and (
            not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
        ):
            raise UsageError(f"{name}: {value!r} is not {'true or false' if bool in kinds else 'a number'}")
        if isinstance(value, int | float) and abs(value) > 1e12:
            raise UsageError(f"{name}: the number is out of range")
    return fields


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{name}: {value!r} is not text")
    return value


def _path(fields: Mapping[str, Any], name: str) -> str | None:
    value = _text(fields, name)
    if value is not None and is_address(value):
        raise UsageError(f"{name}: the server fetches no addresses; download the image and give its path")
    return None if value is None else _absolute(name, value)


def _absolute(name: str, path: Any) -> str:
    if not isinstance(path, str) or not os.path.isabs(whole := os.path.expanduser(path)):
        raise UsageError(f"{name}: give an absolute path (the server runs in another folder)")
    try:
        if b"\0" in os.fsencode(whole):
            raise ValueError
    except ValueError as error:  # UnicodeEncodeError is one
        raise UsageError(f"{name}: a path can't have such characters") from error
    return whole


def _search_options(fields: Mapping[str, Any]) -> SearchOptions:
    below = fields.get("in", [])
    if not isinstance(below, list):
        raise UsageError("in: give a list of paths")
    _text(fields, "sort")
    _text(fields, "cut")
    _text(fields, "instruction")
    given = {name: fields[name] for name in _OPTIONS if name in fields and name != "in"}
    chosen: dict[str, Any] = {
        name: fields[name] if name in _KINDS else _text(fields, name)
        for name in NAMES
        if name in fields and name not in _LISTS
    }
    for name in _LISTS:
        words = fields.get(name, [])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UsageError(f"{name}: give a list of texts")
        chosen[name] = words
    filters = filters_of(**chosen)
    return SearchOptions(**given, below=tuple(_absolute("in", path) for path in below), filters=filters)


def _model_options(fields: Mapping[str, Any]) -> ModelOptions:
    return ModelOptions(
        model=_text(fields, "model"),
        device=_text(fields, "device") or "auto",
        dtype=_text(fields, "dtype") or "auto",
    )
