"""The query story: a text or a picture becomes a vector, and the vector the nearest pictures of an index."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from imgsearch import deep
from imgsearch.client import load_encoder
from imgsearch.errors import FolderError, InputError, PictureError, UsageError
from imgsearch.files import open_source, source_file
from imgsearch.fs import is_at_or_below, is_below
from imgsearch.index import side_db
from imgsearch.index.metadata.filters import Filter
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import is_current
from imgsearch.media import formats
from imgsearch.media.lookahead import aside
from imgsearch.model.conventions import check_length, choose_instruction
from imgsearch.names import known_as, owner_of
from imgsearch.search.compose import combined
from imgsearch.search.question import Part
from imgsearch.spec import choose_spec
from imgsearch.text import Option, display_path, error_line, is_blank
from imgsearch.types import (
    RGB,
    Hit,
    Input,
    ModelOptions,
    PixelBudget,
    QueryEncoder,
    Record,
    Reporter,
    Silent,
    Vectors,
    is_utf8,
)

_SAMPLE = 2_000
"""Stored vectors by which the scales of words and images are compared; so many tell a spread to within 2 %."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How many hits, and which.

    ``n`` at most; ``min_score`` a cosine; ``within`` a percentage: no hit scores lower than the best one less
    that much of it. ``dim`` searches a Matryoshka prefix. ``exact`` asks for the full scan. ``below`` are absolute
    paths: only pictures with a file at or below one of them are found. ``include_examples`` also finds the images that
    a query of several parts is made of. Only pictures that pass all of ``filters`` are found.
    """

    n: int = 10
    min_score: float | None = None
    within: float | None = None
    dim: int | None = None
    exact: bool = False
    below: tuple[str, ...] = ()
    include_examples: bool = False
    filters: tuple[Filter, ...] = ()

    def __post_init__(self) -> None:
        """Raise UsageError for figures that can't be meant."""
        if self.n < 1:
            raise UsageError(Option("n", self.n), ": ask for at least one image")
        if self.min_score is not None and math.isnan(self.min_score):
            raise UsageError(
                Option("min_score", self.min_score),
                ": must be a number (scores are cosine similarities, from -1 to 1)",
            )
        if self.within is not None and not 0 <= self.within <= 100:
            raise UsageError(Option("within", self.within), ": must be a percentage from 0 to 100")
        if "" in self.below:
            raise UsageError(Option("below"), ": the path is empty")


SearchKind = Literal["query", "similar"]


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """An image file that has been read: its path, the sha256 of its bytes, its first page as (h, w, 3) uint8."""

    path: str
    sha256: bytes
    pixels: RGB


@dataclass(frozen=True, slots=True, eq=False)
class SearchRequest:
    """What somebody wants to find, as the command line and the server hand it on to ``answer``.

    A "query" has a ``text``, an ``image``, or both, and finds what they describe; "similar" has an ``image`` alone
    and finds what looks like it. ``image`` is the path of a picture file, or that file as it has been
    read; for a query it may be only the pixels. A query of several ``parts``, as ``question.parse_question`` returns
    them, has neither.
    """

    kind: SearchKind
    text: str | None = None
    image: str | ReadImage | RGB | None = None
    options: SearchOptions = SearchOptions()
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        """Leave out a byte order mark before the text. Raises InputError for a request that asks nothing."""
        if self.parts:
            return
        image = self.image
        missing = (
            not image
            if isinstance(image, str)
            else self.kind == "similar" and not isinstance(image, ReadImage)
        )
        if missing:
            raise InputError("image: the path is empty")
        if self.image is None and is_blank(self.text or ""):
            raise InputError("the query is empty; describe what is in the image")
        if self.text:
            check_length(self.text)
            if "\0" in self.text:
                raise InputError("the query contains a NUL character; write it in UTF-8")
            if not is_utf8(self.text):
                raise InputError("the query is not valid UTF-8")
            object.__setattr__(self, "text", self.text.removeprefix("\ufeff"))


def answer(index: ImageIndex, request: SearchRequest, encoder: QueryEncoder) -> list[Hit]:
    """Return the hits for a request, best first. Whoever asks, and by whichever door, is answered here.

    Raises UsageError, InputError, FolderError (no such file), IndexDamaged, and what ``encoder`` does.
    """
    request = check_request(index, request)
    if request.parts:
        return combine(index, request.parts, encoder, request.options)
    if isinstance(request.image, str | ReadImage):
        return similar(index, request.image, encoder, request.options)
    (hits,) = query(index, encoder, [Input(request.text or None, request.image)], request.options)
    return hits


def check_request(index: ImageIndex, request: SearchRequest) -> SearchRequest:
    """Return a request that this index can answer: its paths resolved, and the picture of a query decoded.

    Raises UsageError and InputError for all that can be known before the model is loaded.
    """
    request = _check_options(index, request)
    image = request.image
    if request.kind == "query" and isinstance(image, str):
        image = read_picture(image, index.spec.pixels)
    elif request.kind == "query" and isinstance(image, ReadImage):
        image = image.pixels
    return replace(request, image=image)


def image_to_read(index: ImageIndex, request: SearchRequest) -> str | None:
    """Return the path of the file that ``read_image`` has to read before a request can be answered, if there is one.

    Reads none itself. Raises as ``check_request`` does.
    """
    image = _check_options(index, request).image
    if not isinstance(image, str) or (request.kind == "similar" and _content_by_path(index, image)):
        return None
    return image


def _check_options(index: ImageIndex, request: SearchRequest) -> SearchRequest:
    options = request.options
    index.check_dim(options.dim)
    options = replace(options, below=tuple(_below(index, path) for path in options.below))
    image = request.image
    if isinstance(image, str) and deep.isdir(image):
        raise InputError(f"{display_path(image)} is a folder; give the path of an image")
    return replace(request, options=options)


def query(
    index: ImageIndex, encoder: QueryEncoder, questions: Sequence[Input], options: SearchOptions | None = None
) -> list[list[Hit]]:
    """Return the hits for each question, best first; a question is a text, a picture, or both.

    Raises InputError (empty or too long a text), IndexDamaged, UsageError.
    """
    prompt = index.spec.query_prompt
    inputs = [
        replace(asked, instruction=choose_instruction(asked.instruction, default=prompt))
        for asked in questions
    ]
    vectors = encoder.embed(inputs)
    return [_hits(found, options) for found in _search(index, vectors, options)]


def similar(
    index: ImageIndex,
    path: str | ReadImage,
    encoder: QueryEncoder | Callable[[], QueryEncoder],
    options: SearchOptions | None = None,
) -> list[Hit]:
    """Return the pictures nearest to the one in ``path``, which may have been read, itself first if it is indexed.

    An indexed photo answers from its stored vector: by its path while size and time still match, else by the
    hash of its bytes. Only any other picture is embedded. (An ``encoder`` that is a callable giving one, as the
    version before had it, is accepted for one more version.)
    Raises FolderError (no such file), InputError (no picture), IndexDamaged, UsageError.
    """
    if isinstance(path, ReadImage):
        name, vectors = path.path, index.vector(path.sha256)
    else:
        name, vectors = path, stored_vector(index, path)
    if vectors is None:
        pixels = path.pixels if isinstance(path, ReadImage) else read_picture(path, index.spec.pixels)
        encoder = encoder if isinstance(encoder, QueryEncoder) else encoder()
        vectors = encoder.embed([Input(image=pixels, instruction=index.spec.document_prompt)])
    own = known_as(name, index.catalog.roots(), index.catalog).path
    wider = options = options or SearchOptions()
    found = _search(index, vectors, wider)[0]
    while (
        len(found) == wider.n
        and found[0][1] == found[-1][1]
        and not any(own in hit.paths for hit, _ in found)
    ):
        # So many pictures look the very same that the asked one may stand behind the last place.
        wider = replace(wider, n=4 * wider.n)
        found = _search(index, vectors, wider)[0]
    return _hits(found, options, own)[: options.n]


def combine(
    index: ImageIndex, parts: Sequence[Part], encoder: QueryEncoder, options: SearchOptions | None = None
) -> list[Hit]:
    """Return the pictures nearest to the sum of some parts by their weights; without the examples among the parts.

    Scores are cosines with that sum. Raises as ``similar`` does, and InputError for parts that cancel each other out.
    """
    options = options or SearchOptions()
    contents = [content_of(index, part.image) if part.image else None for part in parts]
    found = [index.vector(content) if content else None for content in contents]
    new = [number for number, vector in enumerate(found) if vector is None]
    for number, vector in zip(
        new, encoder.embed([_input(index, parts[number]) for number in new]) if new else (), strict=True
    ):
        found[number] = vector[None]
    vectors = np.concatenate([vector for vector in found if vector is not None], dtype=np.float32)
    of_images = [bool(part.image) for part in parts]
    sample = index.sample(_SAMPLE) if len(set(of_images)) > 1 else vectors[:0]
    asked = combined(vectors, [part.weight for part in parts], of_images, sample)
    examples = set() if options.include_examples else {content for content in contents if content}
    pages = sum(len(index.catalog.pages(content)) for content in examples)
    hits = _search(index, asked, replace(options, n=options.n + pages))[0]
    return _hits([hit for hit in hits if hit[0].sha256 not in examples], options)[: options.n]


def _input(index: ImageIndex, part: Part) -> Input:
    if part.image:
        pixels = read_picture(part.image, index.spec.pixels)
        return Input(image=pixels, instruction=index.spec.document_prompt)
    return Input(part.text, instruction=choose_instruction(None, default=index.spec.query_prompt))


def stored_vector(index: ImageIndex, path: str) -> Vectors | None:
    """Return the vector (1, dim) that the index already holds for a picture file, or None.

    Raises as ``content_of`` does.
    """
    return index.vector(content_of(index, path))


def content_of(index: ImageIndex, path: str) -> bytes:
    """Return the sha256 of a picture file's bytes: from the index while the file is as it was, else by reading it.

    A file that is away, as on a drive that is not mounted, has the one that it had. Raises FolderError if there is
    no such file and the index knows none, InputError if it can't be read.
    """
    content = _content_by_path(index, path)
    if content is None:
        try:
            content = aside(lambda: _hash(path))
        except PictureError as error:
            raise InputError(f"{display_path(path)}: {_reason(error)}") from error
    return content


def _hash(path: str) -> bytes:
    with open_source(path) as opened:
        return opened.sha256


def _content_by_path(index: ImageIndex, path: str) -> bytes | None:
    """Return the sha256 of a file's bytes as far as the index knows it by path; FolderError as ``stored_vector``."""
    roots = index.catalog.roots()
    own = known_as(path, roots, index.catalog).path
    state, failure = None, None
    try:
        state = deep.stat(path)
    except OSError as error:
        failure = error
    content: bytes | None = None
    for root in roots:
        if not is_below(own, root.path):
            continue
        relative = os.path.relpath(own, root.path)
        row = index.catalog.file(root.id, relative)
        if row and (state is None or is_current(row, source_file(root.path, relative, state))[0]):
            content = row.content
    if content is None and failure is not None:
        raise FolderError(
            f"{display_path(path)}: {error_line(failure)}; give the path of an image"
        ) from failure
    return content


def read_picture(path: str, budget: PixelBudget, max_megapixels: float = 200.0) -> RGB:
    """Decode the first page of a picture file: (h, w, 3) uint8. Raises as ``read_image`` does."""
    return read_image(path, budget, max_megapixels).pixels


def read_image(path: str, budget: PixelBudget, max_megapixels: float = 200.0) -> ReadImage:
    """Read an image file and decode its first page.

    Raises InputError that names the file and says what is wrong with it.
    """

    def decode() -> ReadImage | None:
        with open_source(path) as opened:
            for picture in formats.load_pictures(opened.stream, path, budget, max_megapixels=max_megapixels):
                return ReadImage(path, opened.sha256, picture.pixels)
        return None

    try:
        read = aside(decode)
    except PictureError as error:
        raise InputError(f"{display_path(path)}: {_reason(error)}") from error
    if read is None:
        raise InputError(f"{display_path(path)}: contains no image")
    return read


def _below(index: ImageIndex, given: str) -> str:
    """Return the absolute path by which the index knows a file or folder that a search is confined to.

    One that is known need not be there: its drive may be unmounted now. Raises UsageError for what is not there and
    not known, and for what is outside of the index's folders.
    """
    path = os.path.expanduser(given)
    roots = index.catalog.roots()
    place = known_as(path, roots, index.catalog)
    if place.known:
        return place.path
    if not owner_of(place.path, roots):
        names = ", ".join(display_path(root.path) for root in roots[:10]) + (", …" if len(roots) > 10 else "")
        shown = display_path(os.path.abspath(path))
        if place.path != os.path.abspath(path):
            shown = f"{shown} leads to {display_path(place.path)}, which"
        raise UsageError(
            Option("below"), f": {shown} is not in an indexed folder; these are: {names or 'none'}"
        )
    if not deep.lexists(path):
        raise UsageError(Option("below"), f": {display_path(given)} does not exist")
    return place.path


def _reason(error: PictureError) -> str:
    # What a walk calls vanished, somebody has mistyped here.
    return "no such file" if error.reason == "vanished" else str(error)


def _search(
    index: ImageIndex, vectors: Vectors, options: SearchOptions | None
) -> list[list[tuple[Record, float]]]:
    options = options or SearchOptions()
    return index.search(
        np.asarray(vectors, np.float32),
        options.n,
        options.dim,
        exact=options.exact,
        below=options.below,
        filters=options.filters,
    )


def _hits(
    found: list[tuple[Record, float]], options: SearchOptions | None, own: str | None = None
) -> list[Hit]:
    """Apply the thresholds and name each picture by its best path.

    That is the one asked about, else one that exists; where a search is confined to folders, always one in them.
    """
    options = options or SearchOptions()
    if own is not None:
        # Pictures that tie with the asked one in score stand behind it.
        found = sorted(found, key=lambda hit: (-hit[1], own not in hit[0].paths))
    hits: list[Hit] = []
    for record, score in found:
        if options.min_score is not None and score < options.min_score:
            continue
        if options.within is not None and hits and score < _floor(hits[0].score, options.within):
            continue
        inside, outside = _split(record.paths, options.below)
        existing = [path for path in inside if deep.exists(path)]
        paths = sorted(existing or inside, key=lambda path: path != own)
        paths += [path for path in outside if deep.exists(path)]
        hits.append(
            Hit(
                rank=len(hits) + 1,
                score=score,
                path=paths[0],
                page=record.page,
                copies=tuple(paths[1:]),
                missing=not existing,
                width=record.width,
                height=record.height,
            )
        )
    return hits


def _split(paths: Sequence[str], below: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return which paths lie in the folders that a search is confined to, all of them if it is not, and the others."""
    inside = [path for path in paths if not below or any(is_at_or_below(path, folder) for folder in below)]
    return inside or list(paths), [path for path in paths if inside and path not in inside]


def _floor(best: float, within: float) -> float:
    return best - abs(best) * within / 100


class CachedEncoder:
    """The encoder of one index's queries: the query cache first, the model, loaded on first use, for all others.

    Cached are texts alone, by all that their vectors depend on.
    """

    def __init__(
        self, index: ImageIndex, choice: ModelOptions, load: Callable[[], QueryEncoder], *, cache: bool = True
    ) -> None:
        """Take an open index and what loads its model, which is called with the first query that needs it.

        Without ``cache``, and with a model that the user names, nothing is looked up and nothing kept.
        """
        self._folder, self._spec, self._choice = index.folder, index.spec, choice
        self._cache = cache and choice.model is None
        self._model = functools.cache(load)

    def embed(self, inputs: Sequence[Input]) -> Vectors:
        """Return one float32 row an input, from the cache where it is a text that was asked before.

        Raises as loading the model and its own ``embed`` do.
        """
        keys = [self._cache_key(item) for item in inputs]
        rows = np.empty((len(inputs), self._spec.dim), np.float32)
        misses = []
        for number, key in enumerate(keys):
            cached = side_db.cached_vector(self._folder, key) if key else None
            if cached is None:
                misses.append(number)
            else:
                rows[number] = cached[0]
        if misses:
            rows[misses] = self._model().embed([inputs[number] for number in misses])
        for number in misses:
            if (key := keys[number]) is not None:
                side_db.cache_vector(self._folder, key, rows[number])
        return rows

    def _cache_key(self, item: Input) -> side_db.CachedQuery | None:
        """Return what an input is cached by; None for one with an image or without words."""
        if not self._cache or item.image is not None or not item.text:
            return None
        spec, choice = self._spec, self._choice
        instruction = choose_instruction(item.instruction, default=spec.query_prompt)
        return side_db.CachedQuery(
            spec.fingerprint, instruction, item.text, spec.dim, choice.device, choice.dtype
        )


_BATCH = 8


def embed_inputs(
    inputs: Sequence[str],
    *,
    texts: bool = False,
    choice: ModelOptions | None = None,
    reporter: Reporter | None = None,
) -> Vectors:
    """Embed picture files, or with ``texts`` the inputs themselves: (n, dim) float32, unit rows, in order.

    Texts get the prompt of questions, pictures that of documents, as an index and its queries do.
    Raises InputError (naming the input), CheckpointError, DownloadError, UsageError; never fewer rows.
    """
    choice, reporter = choice or ModelOptions(), reporter or Silent()
    for path in () if texts else inputs:
        if not deep.exists(path):  # better said before a model is loaded than after
            raise InputError(f"{display_path(path)}: no such file")
    checkpoint, spec = choose_spec(choice, reporter)
    encoder = load_encoder(checkpoint, spec, choice, reporter)
    if texts:
        return encoder.embed([Input(text=text, instruction=spec.query_prompt) for text in inputs])
    rows = np.empty((len(inputs), spec.dim), np.float32)
    # A batch at a time, so that memory does not grow with the inputs.
    for start in range(0, len(inputs), _BATCH):
        paths = inputs[start : start + _BATCH]
        pictures = [encoder.prepare(read_picture(path, spec.pixels)) for path in paths]
        rows[start : start + _BATCH] = encoder.embed(
            [Input(image=picture, instruction=spec.document_prompt) for picture in pictures]
        )
    return rows
