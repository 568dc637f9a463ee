"""The query story: a text or a picture becomes a vector, and the vector the nearest pictures of an index."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from imgsearch import deep
from imgsearch.errors import InputError
from imgsearch.index.metadata.fulltext import words_of
from imgsearch.index.reader import ImageIndex
from imgsearch.model.conventions import check_length, choose_instruction
from imgsearch.names import known_as
from imgsearch.place import split
from imgsearch.search.examples import (
    ReadImage,
    content_by_path,
    content_of,
    read_image,
    stored_vector,
)
from imgsearch.search.hits import SearchOptions, hits_of
from imgsearch.search.language.filtering import below_of
from imgsearch.search.language.question import Part, is_address
from imgsearch.search.ranking.compose import SAMPLE, combined
from imgsearch.search.ranking.cut import TAIL, Background, Cut
from imgsearch.search.ranking.end import end
from imgsearch.search.ranking.feedback import Feedback, Page, refined
from imgsearch.search.ranking.fusion import DEPTH, fused
from imgsearch.search.ranking.order import arranged
from imgsearch.search.ranking.rerank import Reranker, candidates, check_rerankable, reranked
from imgsearch.search.ranking.stacks import MOST, Find, find_stacked, one_hit_a_film
from imgsearch.search.ranking.tiled import one_hit_a_page
from imgsearch.search.written import Written, find_beside, find_written, quoted
from imgsearch.text import display_path, is_blank
from imgsearch.types import (
    RGB,
    Hit,
    Input,
    PixelBudget,
    QueryEncoder,
    Record,
    Vectors,
    is_utf8,
)

_EVERY = SearchOptions()
SearchKind = Literal["query", "similar"]


_ONLY_WORDS = "only words can be looked for in the text of images; leave out the images"


@dataclass(frozen=True, slots=True, eq=False)
class SearchRequest:
    """What somebody wants to find, as the command line and the server hand it on to ``answer``.

    A "query" has a ``text``, an ``image``, or both, and finds what they describe; "similar" has an ``image`` alone
    and finds what looks like it. ``image`` is the path of a picture file, or that file as it has been
    read; for a query it may be only the pixels. A query of several ``parts``, as ``question.parse_question`` returns
    them, has neither; nor has one that ``refines`` an earlier one. ``more`` and ``less`` are indexed images that count
    with the query and against it, and are no hits themselves if they count against it. ``budget`` is the one that the
    model is to see the image with; None is the model's own.
    """

    kind: SearchKind
    text: str | None = None
    image: str | ReadImage | RGB | None = None
    options: SearchOptions = _EVERY
    parts: tuple[Part, ...] = ()
    refines: Feedback | None = None
    more: tuple[Page, ...] = ()
    less: tuple[Page, ...] = ()
    budget: PixelBudget | None = None

    def __post_init__(self) -> None:
        """Leave out a byte order mark before the text.

        Raises InputError for a request that asks nothing, and for the address of an image: ``fetching.fetch`` is for
        those that a user has typed, never for a client's.
        """
        for image in (self.image, *(part.image for part in self.parts)):
            if isinstance(image, str) and is_address(image):
                shown = display_path(image)
                raise InputError(
                    f"{shown}: addresses are not fetched here; download the image and give the file"
                )
        if self.options.image_text == "only" and (self.parts or self.refines or self.image is not None):
            raise InputError(_ONLY_WORDS)
        if self.parts or self.refines:
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


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The hits for a request, best first, and what they were compared with, by which a later request can refine it.

    ``asked`` is None where nothing was compared, but words looked for in the text of images.
    ``cut`` is where the answer ends, if that was asked for; then ``nearest`` are the best three behind that.
    ``background`` is what chance scores, if a cut or an explanation was asked for. ``unjudged`` says of the hits that a
    reranker should have judged, and could not, why not.
    """

    hits: list[Hit]
    asked: Feedback | None
    cut: Cut | None = None
    nearest: tuple[Hit, ...] = ()
    background: Background | None = None
    unjudged: tuple[str, ...] = ()


def answer(index: ImageIndex, request: SearchRequest, encoder: QueryEncoder) -> list[Hit]:
    """Return the hits for a request, best first. Raises as ``ask`` does."""
    return ask(index, request, encoder).hits


def ask(
    index: ImageIndex, request: SearchRequest, encoder: QueryEncoder, reranker: Reranker | None = None
) -> Answer:
    """Answer a request. Whoever asks, and by whichever door, is answered here.

    The ``reranker`` judges the best hits if the options ask for it; without one they stay in their order.
    Raises UsageError, InputError, FolderError (no such file), IndexDamaged, and what ``encoder`` and ``reranker`` do.
    """
    request = check_request(index, request)
    wanted, text = request.options, _words_of(request)
    if wanted.rerank:
        check_rerankable_request(request)
        request = replace(request, options=candidates(wanted))
    options = request.options
    if options.image_text == "only":
        answered = Answer(_by_text(index, text, options), None)
        return _reranked(index, request, answered, wanted, reranker) if wanted.rerank else answered
    if request.parts:
        options = replace(options, image_text="off")  # what is added up is no text that could stand anywhere
    asked, examples = _asked(index, request, encoder)
    if request.more or request.less:
        asked = asked.adding(request.more, request.less)
    if asked.more or asked.less:
        vectors = refined(index, asked)
        hits = _without(index, vectors, examples | set(asked.less), options, text)
    elif isinstance(request.image, str | ReadImage):
        vectors = asked.query
        hits = _like(index, request.image, vectors, options)
    else:
        vectors = asked.query
        hits = _without(index, vectors, examples, options, text)
    ended = end(index, vectors, hits, options, text, of_image=asked.of_image)
    answered = Answer(ended.hits, asked, ended.cut, ended.nearest, ended.background)
    return _reranked(index, request, answered, wanted, reranker) if wanted.rerank else answered


def check_rerankable_request(request: SearchRequest) -> None:
    """Raise UsageError for a request that no reranker can judge."""
    refined = bool(request.refines or request.more or request.less)
    words = request.kind == "query" and (bool(request.text) or request.image is not None)
    check_rerankable(words=words, parts=bool(request.parts), refined=refined)


def query_of(request: SearchRequest) -> Input:
    """Return what a reranker is told of a checked request."""
    image = request.image.pixels if isinstance(request.image, ReadImage) else request.image
    assert not isinstance(image, str)  # a checked request has its image decoded
    return Input(request.text or None, image)


def _reranked(
    index: ImageIndex,
    request: SearchRequest,
    answered: Answer,
    wanted: SearchOptions,
    reranker: Reranker | None,
) -> Answer:
    """Return an answer of candidates as it was asked for: judged, cut to its length, and sorted."""
    hits, unjudged = answered.hits, answered.unjudged
    if reranker is not None:
        here = [replace(hit, index=index.folder) for hit in hits]
        judged = reranked(here, query_of(request), wanted.rerank, reranker, {index.folder: index.spec.pixels})
        hits, unjudged = [replace(hit, index="") for hit in judged.hits], judged.unjudged
    shown = hits[wanted.offset :][: wanted.n]
    return replace(answered, hits=arranged(index, shown, wanted.sort), unjudged=unjudged)


def _by_text(index: ImageIndex, text: str, options: SearchOptions) -> list[Hit]:
    """Return the images in which all words of a text are written, best first; no model is needed."""

    def find(n: int, spare: int) -> list[Hit]:
        return hits_of(find_written(index, text, replace(options, n=n)), options)

    return quoted(index, _listed(index, find, options), text)


def _words_of(request: SearchRequest) -> str:
    """Return the words that a request looks for."""
    if request.parts:
        return " ".join(part.text for part in request.parts if part.weight > 0)
    return request.text or ""


def _asked(index: ImageIndex, request: SearchRequest, encoder: QueryEncoder) -> tuple[Feedback, set[Page]]:
    """Return what a request asks for, and which indexed images are its examples."""
    if request.refines:
        return request.refines, set()
    if request.parts:
        vectors, examples = _sum(index, request.parts, encoder, request.options.instruction)
        of_image = all(part.is_image for part in request.parts)
        return Feedback(vectors, of_image), examples
    if isinstance(request.image, str | ReadImage):
        return Feedback(_example(index, request.image, encoder), of_image=True), set()
    inputs = [Input(request.text or None, request.image, budget=request.budget)]
    vectors = _embedded(index, encoder, inputs, request.options.instruction)
    return Feedback(vectors, not request.text), set()


def check_request(index: ImageIndex, request: SearchRequest) -> SearchRequest:
    """Return a request that this index can answer: its paths resolved, and the picture of a query decoded.

    Raises UsageError and InputError for all that can be known before the model is loaded.
    """
    request = _check_options(index, request)
    image = request.image
    if request.kind != "query" or not isinstance(image, str | ReadImage):
        return request
    if isinstance(image, str):
        path, page = split(image)
        image = read_image(path, index.spec.budgets, page=page or None)
    return replace(request, image=image.pixels, budget=image.budget)


def images_to_read(index: ImageIndex, request: SearchRequest) -> list[tuple[str, int]]:
    """Return the images that ``read_image`` has to read before a request can be answered: each file and its page.

    Reads none itself. Raises as ``check_request`` does.
    """
    image = _check_options(index, request).image
    wanted = [(part.image, part.page) for part in request.parts if part.image]
    if isinstance(image, str) and request.kind == "query":
        return [split(image)]  # the model gets it together with the words
    if isinstance(image, str):
        wanted.append((image, 0))

    def is_stored(path: str, page: int) -> bool:
        content = content_by_path(index, path)
        return bool(content and (not page or index.vector(content, page) is not None))

    return [one for one in dict.fromkeys(wanted) if not is_stored(*one)]


def _check_options(index: ImageIndex, request: SearchRequest) -> SearchRequest:
    options = request.options
    index.check_dim(options.dim)
    options = replace(options, below=tuple(below_of(index, path) for path in options.below))
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
    options = options or SearchOptions()
    if options.image_text == "only":
        if any(asked.image is not None for asked in questions):
            raise InputError(_ONLY_WORDS)
        return [_by_text(index, asked.text or "", options) for asked in questions]
    vectors = _embedded(index, encoder, questions, options.instruction)
    answers = []
    for asked, vector in zip(questions, vectors[:, None], strict=True):
        hits = _nearest(index, vector, options, asked.text or "")
        answers.append(end(index, vector, hits, options, asked.text or "", of_image=not asked.text).hits)
    return answers


def _embedded(
    index: ImageIndex, encoder: QueryEncoder, questions: Sequence[Input], instruction: str | None
) -> Vectors:
    prompt = index.spec.query_prompt
    inputs = [
        replace(asked, instruction=choose_instruction(asked.instruction, instruction, default=prompt))
        for asked in questions
    ]
    return encoder.embed(inputs)


def _nearest(index: ImageIndex, vectors: Vectors, options: SearchOptions, text: str) -> list[Hit]:
    written = find_beside(index, vectors, text, options)

    def find(n: int, spare: int) -> list[Hit]:
        return hits_of(_fused(index, vectors, replace(options, n=n), text, written, spare), options)

    return written.quoted(index, _listed(index, find, options))


def _fused(
    index: ImageIndex, vectors: Vectors, options: SearchOptions, text: str, written: Written, spare: int
) -> list[tuple[Record, float]]:
    """Return what is nearest to a vector (1, dim), mixed with where a text's words are ``written``.

    If the options ask for it, also with what has these words in its names.
    """
    words = words_of(text) if options.names else ()
    if not (words or written.found):
        return _search(index, vectors, options, spare)[0]
    depth = max(options.n, DEPTH)
    near = _search(index, vectors, replace(options, n=depth))[0]
    rankings = [(1.0, near), (written.weight, written.found)]
    if words:
        vector = np.asarray(vectors[0], np.float32)
        named = index.search_words(
            vector, words, depth, options.dim, below=options.below, filters=options.filters
        )
        rankings.append((options.names, named))
    known = {record.id: (record, score) for _, found in reversed(rankings) for record, score in found}
    ids = [(weight, [record.id for record, _ in found]) for weight, found in rankings]
    return [known[id] for id in fused(ids)[: options.n]]


def _listed(index: ImageIndex, find: Find, options: SearchOptions) -> list[Hit]:
    """Return the hits that the options ask for."""
    wanted = options.n + options.offset
    stacks = options.stacks and wanted <= MOST
    find = one_hit_a_page(index, find)
    hits = find_stacked(index, find, wanted) if stacks else one_hit_a_film(find, wanted)
    return arranged(index, hits[options.offset :], options.sort)


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
    options = options or SearchOptions()
    vectors = _example(index, path, encoder)
    hits = _like(index, path, vectors, options)
    return end(index, vectors, hits, options, of_image=True).hits


def _example(
    index: ImageIndex, path: str | ReadImage, encoder: QueryEncoder | Callable[[], QueryEncoder]
) -> Vectors:
    """Return the vector (1, dim) of an example: the stored one if there is one."""
    vectors = index.vector(path.sha256) if isinstance(path, ReadImage) else stored_vector(index, path)
    if vectors is None:
        read = path if isinstance(path, ReadImage) else read_image(path, index.spec.budgets)
        encoder = encoder if isinstance(encoder, QueryEncoder) else encoder()
        prompt = index.spec.document_prompt
        vectors = encoder.embed([Input(image=read.pixels, instruction=prompt, budget=read.budget)])
    return vectors


def _like(index: ImageIndex, path: str | ReadImage, vectors: Vectors, options: SearchOptions) -> list[Hit]:
    """Return the pictures nearest to an example by its vector, itself first if it is indexed."""
    name = path.path if isinstance(path, ReadImage) else path
    own = known_as(name, index.catalog.roots(), index.catalog).path

    def find(n: int, spare: int) -> list[Hit]:
        return hits_of(_found_with(index, vectors, own, replace(options, n=n), spare), options, own)[:n]

    return _listed(index, find, options)


def _found_with(
    index: ImageIndex, vectors: Vectors, own: str, wider: SearchOptions, spare: int
) -> list[tuple[Record, float]]:
    """Return what is nearest to the image ``own``, that one among it if it is indexed."""
    found = _search(index, vectors, wider, spare)[0]
    while (
        len(found) == wider.n
        and found[0][1] == found[-1][1]
        and not any(own in hit.paths for hit, _ in found)
    ):
        # So many pictures look the very same that the asked one may stand behind the last place.
        wider = replace(wider, n=4 * wider.n)
        found = _search(index, vectors, wider)[0]
    return found


def combine(
    index: ImageIndex, parts: Sequence[Part], encoder: QueryEncoder, options: SearchOptions | None = None
) -> list[Hit]:
    """Return the pictures nearest to the sum of some parts by their weights; without the examples among the parts.

    Scores are cosines with that sum. Raises as ``similar`` does, and InputError for parts that cancel each other out.
    """
    options = options or SearchOptions()
    vectors, examples = _sum(index, parts, encoder, options.instruction)
    hits = _without(index, vectors, examples, options)
    return end(index, vectors, hits, options, of_image=all(part.is_image for part in parts)).hits


def _sum(
    index: ImageIndex, parts: Sequence[Part], encoder: QueryEncoder, instruction: str | None
) -> tuple[Vectors, set[Page]]:
    """Return the vector (1, dim) of a query's parts, and which images are among them."""
    contents = [_content_of(index, part) for part in parts]
    found = [
        index.vector(content, part.page) if content else part.vector
        for content, part in zip(contents, parts, strict=True)
    ]
    for vector, part in zip(found, parts, strict=True):
        if vector is None and part.content:
            raise InputError("one of the images is no longer indexed; search again")
    new = [number for number, vector in enumerate(found) if vector is None]
    for number, vector in zip(
        new,
        encoder.embed([_input(index, parts[number], instruction) for number in new]) if new else (),
        strict=True,
    ):
        found[number] = vector[None]
    vectors = np.concatenate([vector for vector in found if vector is not None], dtype=np.float32)
    of_images = [part.is_image for part in parts]
    sample = index.sample(SAMPLE) if len(set(of_images)) > 1 else vectors[:0]
    examples = {(content, part.page) for content, part in zip(contents, parts, strict=True) if content}
    return combined(vectors, [part.weight for part in parts], of_images, sample), examples


def _without(
    index: ImageIndex, vectors: Vectors, examples: Collection[Page], options: SearchOptions, text: str = ""
) -> list[Hit]:
    """Return the pictures nearest to a vector, without some ``examples`` unless the options include them.

    Other pages of a document stay, other frames of a film and other images of an image file do not.
    """
    left_out: Collection[Page] = () if options.include_examples else examples
    contents = {content for content, _ in left_out}
    pages = sum(len(index.catalog.pages(content)) for content in contents)

    def is_left_out(record: Record) -> bool:
        if record.kind in ("page", "member"):
            return (record.sha256, record.page) in left_out
        return record.sha256 in contents

    written = find_beside(index, vectors, text, options)

    def find(n: int, spare: int) -> list[Hit]:
        hits = _fused(index, vectors, replace(options, n=n + pages), text, written, spare)
        return hits_of([hit for hit in hits if not is_left_out(hit[0])], options)[:n]

    return written.quoted(index, _listed(index, find, options))


def _content_of(index: ImageIndex, part: Part) -> bytes | None:
    if part.content or not part.image:
        return part.content or None
    return part.read.sha256 if part.read else content_of(index, part.image)


def _input(index: ImageIndex, part: Part, instruction: str | None) -> Input:
    if part.image:
        read = part.read or read_image(part.image, index.spec.budgets, page=part.page or None)
        return Input(image=read.pixels, instruction=index.spec.document_prompt, budget=read.budget)
    return Input(part.text, instruction=choose_instruction(instruction, default=index.spec.query_prompt))


def _search(
    index: ImageIndex, vectors: Vectors, options: SearchOptions, spare: int = 0
) -> list[list[tuple[Record, float]]]:
    return index.search(
        np.asarray(vectors, np.float32),
        options.n,
        options.dim,
        exact=options.exact,
        below=options.below,
        filters=options.filters,
        tail=TAIL if options.explain or options.cut != "off" else 0,
        spare=spare,
    )
