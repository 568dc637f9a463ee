"""A store answers a query, or lists its images, without the index that it was filled from."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from imgsearch.addresses import is_remote
from imgsearch.errors import InputError, UsageError
from imgsearch.index.metadata import milliseconds
from imgsearch.index.metadata.columns import UNKNOWN
from imgsearch.index.rows import IndexedFile
from imgsearch.model.conventions import choose_instruction
from imgsearch.search import Answer, SearchRequest
from imgsearch.search.examples import ReadImage, read_image
from imgsearch.search.hits import SearchOptions, hits_of
from imgsearch.search.language.question import Part
from imgsearch.search.listing import ListOptions, sorted_by
from imgsearch.search.ranking.compose import SAMPLE, combined
from imgsearch.search.ranking.cut import SAMPLE as CHANCE
from imgsearch.search.ranking.cut import TAIL, background_in, find_cut
from imgsearch.search.ranking.end import MOST, ended, told_date
from imgsearch.search.ranking.feedback import Feedback, moved
from imgsearch.text import Option
from imgsearch.tools.stores import EVERYTHING, MOST_HITS, SHARDS, Key, StoredImage, VectorStore, Wanted
from imgsearch.tools.stores.judging import judged
from imgsearch.types import Hit, Input, QueryEncoder, Vectors

OFFERS = frozenset({"more", "less", "cut", "explain"})
"""What a store does beyond a plain search, by the names of options; it refuses the rest of them."""
_KEPT = max(SAMPLE, CHANCE)
_SAMPLES: WeakKeyDictionary[VectorStore, tuple[int, Vectors]] = WeakKeyDictionary()


def ask(store: VectorStore, request: SearchRequest, encoder: QueryEncoder) -> Answer:
    """Answer a request by a store, as ``search.ask`` does by an index.

    Raises UsageError for what only an index can do, InputError, FolderError (no such file), StoreError.
    """
    options = _checked(store, request)
    feedback, examples = _feedback(store, request, encoder)
    vectors, left_out = feedback.query, {(sha256, -1) for sha256 in examples}
    if feedback.more or feedback.less:
        vectors = moved(feedback, lambda *key: _stored(store, key), _sample(store, SAMPLE))
        left_out |= set(feedback.less)
    judges = options.cut != "off" or options.explain
    deep = max(options.n + options.offset, TAIL if judges else 0)
    found, scores = _found(store, vectors, options, set() if options.include_examples else left_out, deep)
    own = request.image.path if isinstance(request.image, ReadImage) else request.image
    shown = hits_of(
        [(image.record, score) for image, score in found],
        options,
        os.path.abspath(own) if request.kind == "similar" and isinstance(own, str) else None,
    )[options.offset :][: options.n]
    known = {image.id: image for image, _ in found}
    hits = _arranged(shown, known, options.sort, options.offset + 1)
    if not judges:
        return Answer(hits, feedback)
    wanted = Wanted(options.filters, options.below)
    background = background_in(_sample(store, CHANCE), store.count(), vectors)
    searched = store.count(wanted) if wanted else None
    cut = find_cut(scores[:MOST], background, searched, of_image=feedback.of_image)
    dates = {
        id: told_date(image.metadata.taken)
        for id, image in known.items()
        if image.metadata.taken is not None and image.metadata.taken_from != "file"
    }
    left = ended(hits, options, cut, background, {}, dates)
    return Answer(left.hits, feedback, left.cut, left.nearest, left.background)


def _feedback(
    store: VectorStore, request: SearchRequest, encoder: QueryEncoder
) -> tuple[Feedback, Sequence[bytes]]:
    """Return the query, with the images that count with it and against it, and the contents that are its examples."""
    if request.refines:
        return request.refines.adding(request.more, request.less), ()
    vectors, of_image, examples = _asked(store, request, encoder)
    return Feedback(vectors, of_image).adding(request.more, request.less), examples


def _stored(store: VectorStore, key: tuple[bytes, int]) -> Vectors | None:
    found = store.vectors([key])
    return found if found.any() else None


def _checked(store: VectorStore, request: SearchRequest) -> SearchOptions:
    """Return the options, with absolute folders. Raises UsageError for what a store can't do."""
    options = request.options
    for name, asked in (
        ("stacks", options.stacks),
        ("names", options.names > 0),
        ("image_text", options.image_text == "only"),
        ("rerank", options.rerank > 0),
        ("dim", options.dim not in (None, store.spec.dim)),
        ("exact", options.exact),
    ):
        if asked:
            raise UsageError(
                Option(name), ": a store can't do that; search the index without ", Option("store")
            )
    return replace(options, below=known_paths(options.below))


def known_paths(paths: Sequence[str]) -> tuple[str, ...]:
    """Return the paths as an index may have them that was made of somebody's words: as they are, and without links."""
    found: dict[str, None] = {}
    for path in paths:
        if is_remote(path):
            found[path.rstrip("/")] = None
            continue
        given = os.path.abspath(os.path.expanduser(path))
        found |= {given: None, os.path.realpath(given): None}
    return tuple(found)


def _asked(
    store: VectorStore, request: SearchRequest, encoder: QueryEncoder
) -> tuple[Vectors, bool, Sequence[bytes]]:
    """Return the query's vector (1, dim), whether it is of images alone, and the contents that are its examples."""
    spec, image = store.spec, request.image
    instruction = request.options.instruction
    if request.parts:
        return _sum(store, request.parts, encoder, instruction)
    if request.kind == "similar":
        read = image if isinstance(image, ReadImage) else read_image(str(image), spec.budgets)
        return _example(store, read, encoder), True, ()
    pixels, budget = None, request.budget
    if isinstance(image, str | ReadImage):
        read = read_image(image, spec.budgets) if isinstance(image, str) else image
        pixels, budget = read.pixels, read.budget
    elif image is not None:
        pixels = image
    prompt = choose_instruction(instruction, default=spec.query_prompt)
    asked = Input(request.text or None, pixels, instruction=prompt, budget=budget)
    return encoder.embed([asked]), not request.text, ()


def _example(store: VectorStore, read: ReadImage, encoder: QueryEncoder) -> Vectors:
    """Return the vector (1, dim) of an image file: the stored one if there is one."""
    stored = store.vectors([(read.sha256, read.page)])
    if stored.any():
        return stored
    prompt = store.spec.document_prompt
    return encoder.embed([Input(image=read.pixels, instruction=prompt, budget=read.budget)])


def _sum(
    store: VectorStore, parts: Sequence[Part], encoder: QueryEncoder, instruction: str | None
) -> tuple[Vectors, bool, Sequence[bytes]]:
    rows: list[Vectors] = []
    examples: list[bytes] = []
    for part in parts:
        if part.image:
            read = part.read or read_image(part.image, store.spec.budgets, page=part.page or None)
            rows.append(_example(store, read, encoder))
            examples.append(read.sha256)
        else:
            prompt = choose_instruction(instruction, default=store.spec.query_prompt)
            rows.append(encoder.embed([Input(part.text, instruction=prompt)]))
    of_images = [part.is_image for part in parts]
    mixed = len(set(of_images)) > 1
    sample = _sample(store, SAMPLE) if mixed else np.zeros((0, store.spec.dim), np.float32)
    vectors = combined(np.concatenate(rows), [part.weight for part in parts], of_images, sample)
    return vectors, all(of_images), examples


def _sample(store: VectorStore, most: int) -> Vectors:
    """Return some stored vectors, (n, dim): hashes are as good as dice. Kept until the store has grown by a tenth."""
    count = store.count()
    kept = _SAMPLES.get(store)
    if kept is None or abs(count - kept[0]) > 0.1 * kept[0]:
        keys: list[Key] = []
        for shard in range(SHARDS):
            keys += [key for key, _ in islice(store.digests(shard), _KEPT - len(keys))]
        kept = _SAMPLES[store] = count, store.vectors(keys)
    return kept[1][:most]


def _found(
    store: VectorStore, vectors: Vectors, options: SearchOptions, left_out: set[Key], most: int
) -> tuple[list[tuple[StoredImage, float]], NDArray[np.float64]]:
    """Return what is nearest, of a film or a page of several parts the best one, and the scores of all that was near.

    What is ``left_out`` is in the latter alone: an image by its page, or for the page -1 all of its file. ``most`` is
    how many are wanted.
    """
    wanted, k = Wanted(options.filters, options.below), most + 4 * len(left_out)
    whole = {sha256 for sha256, page in left_out if page < 0}

    def is_left_out(image: StoredImage) -> bool:
        if image.kind in ("page", "member"):
            return image.key in left_out or image.sha256 in whole
        return any(image.sha256 == sha256 for sha256, _ in left_out)

    while True:
        (hits,) = store.search(vectors, k, wanted)
        best: dict[tuple[bytes, object], tuple[StoredImage, float]] = {}
        for image, score in hits:
            if not is_left_out(image):
                one = image.kind if image.kind in ("frame", "tile") else image.page
                best.setdefault((image.sha256, one), (image, score))
        if len(best) >= most or len(hits) < k or k >= MOST_HITS:
            return list(best.values())[:most], np.array([score for _, score in hits], np.float64)
        k = min(4 * k, MOST_HITS)


def _arranged(hits: list[Hit], known: dict[int, StoredImage], sort: str, first: int) -> list[Hit]:
    """Return the hits in the order that was asked for, numbered from ``first``."""
    if sort == "path":
        hits = sorted(hits, key=lambda hit: os.fsencode(hit.path))
    elif sort != "score":
        ids = np.array([hit.content for hit in hits], np.int64)
        hits = [hits[number] for number in sorted_by(sort, ids, _taken([known[hit.content] for hit in hits]))]
    return [replace(hit, rank=number) for number, hit in enumerate(hits, first)]


def _taken(images: Sequence[StoredImage]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    dates = [image.metadata.taken for image in images]
    return np.array([UNKNOWN if date is None else milliseconds(date) for date in dates], np.int64)


def list_images(store: VectorStore, options: ListOptions) -> list[IndexedFile]:
    """Return the files that the options ask for, as ``search.listing.list_images`` does of an index.

    Those of the same time stand in the order of their images. All images that pass are fetched. Raises StoreError.
    """
    wanted = Wanted(options.filters, options.below) if options.filters or options.below else EVERYTHING
    files: dict[str, tuple[IndexedFile, StoredImage]] = {}
    for image in store.iterate(wanted):
        for file in image.files:
            alone = replace(image, files=(file,))
            if len(image.files) == 1 or _passes(alone, wanted):
                files.setdefault(file.path, (file, image))
    found = list(files.values())
    last = None if options.n is None else options.offset + options.n
    if options.sort == "path":
        found.sort(key=lambda one: os.fsencode(one[0].path))
    else:
        ids = np.array([image.id for _, image in found], np.int64)
        order = sorted_by(options.sort, ids, _taken([image for _, image in found]), options.seed)
        found = [found[number] for number in order]
    return [file for file, _ in found[options.offset : last]]


def _passes(image: StoredImage, wanted: Wanted) -> bool:
    return bool(judged([image], wanted)[0])


class LazyEncoder:
    """A model that is loaded with the first query that needs it: an indexed image needs none."""

    def __init__(self, load: Callable[[], QueryEncoder]) -> None:
        """Take what loads it."""
        self._load = functools.cache(load)

    def embed(self, inputs: Sequence[Input]) -> Vectors:
        """Load the model, and embed."""
        if not inputs:
            raise InputError("there is nothing to embed")
        return self._load().embed(inputs)
