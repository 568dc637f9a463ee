"""The commands that ask: query and similar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from imgsearch.addresses import absolute
from imgsearch.cli import completion, door, ending, filters, output, reranking, several
from imgsearch.cli import options as common
from imgsearch.cli import parts as parts_of_index
from imgsearch.cli.commands import current, stores
from imgsearch.cli.examples import AllowPrivate, image_files
from imgsearch.cli.help import ADVANCED, OUTPUT, SEARCH
from imgsearch.cli.numbers import last_answer_of, picked, places
from imgsearch.cli.parsing import Command, is_typed
from imgsearch.cli.queries import answer_lines
from imgsearch.cli.saved import QueryCommand
from imgsearch.cli.spelling import index_flag
from imgsearch.cli.terminal.hits import NOTHING, Beside, beside
from imgsearch.errors import InputError, UsageError
from imgsearch.index.layout import find_index
from imgsearch.spec import checkpoint_for
from imgsearch.types import Hit, ImageEncoder, ModelOptions

if TYPE_CHECKING:
    # The others import it on use: it loads NumPy.
    from imgsearch.client import KeptModel
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search import Answer, SearchRequest
    from imgsearch.search.encoding import CachedEncoder
    from imgsearch.search.language.read import Reading
    from imgsearch.search.ranking.feedback import Feedback
    from imgsearch.search.remembered import LastAnswer

Count = Annotated[
    int,
    typer.Option(
        *("-k", "-n", "--limit", "--top"),
        metavar="N",
        help="Number of results, or all",
        parser=common.count,
        rich_help_panel=SEARCH,
    ),
]
Sort = Annotated[
    Literal["score", "newest", "oldest", "path"],
    typer.Option(
        "--sort",
        metavar="BY",
        help="Order of the -k best results: score, newest, oldest or path",
        rich_help_panel=ADVANCED,
    ),
]
MinScore = Annotated[
    float | None,
    typer.Option(
        "--min-score", metavar="S", help="Drop results that score below this", rich_help_panel=ADVANCED
    ),
]
Within = Annotated[
    str | None,
    typer.Option(
        "--within",
        metavar="PERCENT",
        help="Drop results that score more than PERCENT below the best",
        rich_help_panel=ADVANCED,
    ),
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact", help="Compare with every image: slower, but misses nothing", rich_help_panel=ADVANCED
    ),
]
Below = Annotated[
    list[str] | None,
    typer.Option(
        "--in",
        metavar="FOLDER",
        help="Search only in this folder",
        autocompletion=completion.folders,
        rich_help_panel=SEARCH,
    ),
]
Paths = Annotated[
    bool, typer.Option("--paths", help="Print only paths, one per line", rich_help_panel=OUTPUT)
]
TakenLiterally = Annotated[
    bool,
    typer.Option("--literal", help="Take all words as they are, also + and -", rich_help_panel=ADVANCED),
]
Names = Annotated[
    float,
    typer.Option(
        "--names",
        metavar="W",
        help="Also look for the words in names, titles and keywords, and let these count so much, as in 1; 0: not",
        show_default=False,
        rich_help_panel=ADVANCED,
    ),
]
ByText = Annotated[
    bool | None,
    typer.Option(
        "--text/--no-text",
        help="Find only images in which all of the words stand",
        show_default=False,
        rich_help_panel=SEARCH,
    ),
]
IncludeExamples = Annotated[
    bool,
    typer.Option(
        "--include-examples",
        help="Also list the example images themselves",
        rich_help_panel=ADVANCED,
    ),
]
Stacks = Annotated[
    bool | None,
    typer.Option(
        "--stacks/--no-stacks",
        help="Show bursts and near-duplicates as one result; on a terminal this is the default",
        show_default=False,
        rich_help_panel=ADVANCED,
    ),
]
NoRemember = Annotated[
    bool,
    typer.Option(
        "--no-remember",
        help="Don't use or update the query cache, and don't remember the results' numbers",
        rich_help_panel=ADVANCED,
    ),
]
Steering = Annotated[
    str | None,
    typer.Option(
        "--instruction",
        metavar="TEXT",
        show_default="the index's",
        help="Instruction to the model, for the words of this query alone",
        rich_help_panel=ADVANCED,
    ),
]
More = Annotated[
    list[str] | None,
    typer.Option(
        "--more",
        metavar="NUMBERS",
        help="Search again for more like these results: 1,4",
        rich_help_panel=ADVANCED,
    ),
]
Less = Annotated[
    list[str] | None,
    typer.Option(
        "--less", metavar="NUMBERS", help="Search again, away from these results", rich_help_panel=ADVANCED
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(cls=QueryCommand, rich_help_panel=SEARCH)(
        common.handled(filters.filtered(query), shows=True, opens=True, computes=True)
    )
    app.command(cls=Command, rich_help_panel=SEARCH)(
        common.handled(filters.filtered(similar), shows=True, opens=True, computes=True)
    )


def _percent(text: str | None) -> float | None:
    """Read the value of --within, with a percent sign or without. Raises UsageError."""
    try:
        return None if text is None else float(text.strip().removesuffix("%"))
    except ValueError:
        raise UsageError(f"--within {text}: not a number of percent") from None


def _style(json: bool, paths: bool, nul: bool) -> str:
    if json and (paths or nul):
        raise UsageError("--json and --paths are two forms of the same answer; give one of them")
    return "json" if json else "nul" if nul else "paths" if paths else "text"


def query(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORDS",
            help="What to look for; - reads queries from stdin, one per line",
            autocompletion=completion.words,
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            "--together",
            metavar="FILE",
            help="Give the model the words and an example image together",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    n: Count = 10,
    min_score: MinScore = None,
    within: Within = None,
    dim: common.Dim = None,
    exact: Exact = False,
    below: Below = None,
    given: filters.Given = filters.NONE,
    json: common.Json = False,
    paths: Paths = False,
    nul: common.Nul = False,
    index: common.IndexFolders = None,
    model: common.ModelFolder = None,
    device: common.SearchDevice = "auto",
    dtype: common.SearchDtype = "auto",
    image_text: ByText = None,
    literal: TakenLiterally = False,
    include_examples: IncludeExamples = False,
    names: Names = 0.0,
    instruction: Steering = None,
    more: More = None,
    less: Less = None,
    stacks: Stacks = None,
    sort: Sort = "score",
    offset: common.Offset = 0,
    cut: ending.CutName = None,
    everything: ending.All = False,
    explain: ending.Explain = False,
    allow_private: AllowPrivate = False,
    no_remember: NoRemember = False,
    refresh: current.Refresh = False,
    rerank: reranking.Count = 0,
    rerank_model: reranking.ModelName = None,
    only: parts_of_index.Only = None,
    store: stores.Store = None,
) -> int:
    """Search your images by describing them.

    Examples:
      imgsearch query red car at night
      imgsearch query horse + stripes - saddle     # added and taken away
      imgsearch query receipts --in ~/Pictures/2024 -k 50 --paths > receipts.txt
    """
    from imgsearch.search.language.question import is_combined

    reporter = output.ProgressReporter()
    words = words or []
    named = several.distinct(index)
    if not (more or less):
        named = parts_of_index.searched(named, only)
    given = parts_of_index.narrowed(given, named, only)
    if len(named) > 1 and (more or less):
        raise UsageError("--more and --less refine the search of one index; give one --index")
    where = named[0] if named else None
    if image_text and (image is not None or more or less):
        raise UsageError("--text looks for words alone; leave out --image, --more and --less")
    literal = literal or bool(image_text)
    last = _last(words, image, where) if more or less else None
    if last is not None:
        where = where or last.index
        below, given = below or list(last.below), {**last.filters, **given}
    combined = image is None and not literal and is_combined(words)
    if not (combined or literal):
        door.check_words(words)
    if not words and image is None and last is None:
        raise InputError("the words to search for are missing, as in: imgsearch query red car at night")
    if image is None and not literal and len(words) == 1 and door.is_image(words[0]):
        if rerank and is_typed("rerank"):
            raise UsageError("--rerank: a reranker reads a description; describe what you look for")
        if not door.is_address(words[0]):
            reporter.say(f"{words[0]} is an image file: searching for images that look like it")
        return similar(
            words,
            n,
            min_score,
            within,
            dim,
            exact,
            below,
            given,
            *(json, paths, nul, index, model, device, dtype),
            stacks=stacks,
            sort=sort,
            offset=offset,
            cut=cut,
            everything=everything,
            explain=explain,
            refresh=refresh,
            no_remember=no_remember,
            allow_private=allow_private,
            only=only,
            store=store,
        )
    text = common.as_text(" ".join(words), "the query", "write it on stdin: imgsearch query -")
    if text == image == "-":
        raise InputError("-: stdin gives either the queries or the image; give the image as a file")
    if text != "-":  # there the first query may take its time
        reporter.wait("Searching")
    from imgsearch.client import KeptModel
    from imgsearch.search import SearchRequest, ask, check_request
    from imgsearch.search.hits import SearchOptions
    from imgsearch.search.language.read import read_query
    from imgsearch.search.remembered import remembered

    style = _style(json, paths, nul)
    folders = tuple(below or ())
    as_it_is = literal or text == "-" or last is not None
    reading = read_query(words if combined else [text], given, literal=as_it_is, whole=not combined)
    _tell(reading, words, reporter)
    text, parts, read = reading.text, reading.parts, reading.filters
    given = {**given, **read}
    if (parts or last) and not is_typed("rerank"):
        rerank = 0  # set in the config file, for the queries that can be reranked
    chosen = filters.chosen(given, reporter)
    options = SearchOptions(n, min_score, _percent(within), dim, exact, folders, include_examples, chosen)
    options = replace(
        options,
        stacks=output.for_person(style) if stacks is None else stacks,
        sort=sort,
        offset=offset,
        names=names,
        image_text={None: "auto", True: "only", False: "off"}[image_text],
        instruction=instruction and common.as_text(instruction, "--instruction", "leave it out"),
        rerank=rerank,
    )
    end = ending.cut_for(cut, everything, style, options, several=text == "-" or len(named) > 1)
    options = replace(options, cut=end, explain=explain)
    if store:  # the defaults of a terminal are of an index
        options = replace(options, stacks=bool(stacks), cut=cut or "off")
    images = [part.image for part in parts] if parts else [image] if image else []
    choice = common.model_choice(model, device=device, dtype=dtype)
    kept = KeptModel()
    if refresh:
        for one in named or (where,):
            current.refresh(one, choice, kept, reporter)

    def request_of(files: Sequence[str], refines: Feedback | None = None) -> SearchRequest:
        # For "-" this is what all lines have in common.
        with_files = zip(parts, files, strict=True) if parts else ()
        asked = tuple(replace(part, image=file) for part, file in with_files)
        return SearchRequest("query", text, files[0] if image else image, options, asked, refines)

    def encoder_of(opened: ImageIndex, request: SearchRequest) -> CachedEncoder:
        return _encoder(opened, request, choice, kept, reporter, cache=not no_remember)

    def reranking_of(opened: Sequence[ImageIndex]) -> reranking.Reranking | None:
        budget = max((one.spec.pixels for one in opened), key=lambda pixels: pixels.max_pixels)
        judging = (rerank_model, choice, opened[0].folder, budget, reporter)
        return reranking.Reranking(*judging) if rerank else None

    if store:
        if last is not None:
            raise UsageError("--more and --less refine a search of an index; leave out --store")
        asks = (images, request_of, style, choice, kept, reporter)
        return stores.search(store, *asks, index=index, allow_private=allow_private)
    if len(named) > 1:
        search = (images, request_of, encoder_of, style, reporter)
        lines, remembers = text == "-", not no_remember
        return several.search(
            named,
            *search,
            reranking_of=reranking_of,
            lines=lines,
            allow_private=allow_private,
            remembers=remembers,
        )
    with (
        _opened(where) as opened,
        image_files(images, reporter, allow_private=allow_private) as files,
    ):
        refines = _judged(opened, last, more or (), less or ()) if last else None
        request = request_of(files, refines)
        encoder = encoder_of(opened, request)
        judge = reranking_of([opened])
        stopped = False
        if text != "-":
            try:
                answered = ask(opened, request, encoder, judge)
            except KeyboardInterrupt:
                if not (judge and judge.began and output.for_person(style)):
                    raise
                stopped = True
                answered = ask(opened, request, encoder)
            told = {"text": text, **read} if read else None
            code = 0 if _show(opened, answered, request, encoder, style, stacks, reporter, told) else 1
            reranking.told(answered.unjudged, reporter)
            if not no_remember:
                _remember(opened, answered, folders, given)
            if stopped:
                raise KeyboardInterrupt("interrupted; these results are not reranked")
        else:
            request = check_request(opened, request)

            def find(line: str) -> tuple[list[Hit], Beside]:
                answered = ask(opened, replace(request, text=line), encoder, judge)
                reranking.told(answered.unjudged, reporter)
                return answered.hits, _beside(opened, answered, style)

            keep = None if no_remember else partial(remembered, folder=opened.folder)
            code = answer_lines(find, style, "nothing found", reporter, keep)
        _advise(opened, reporter)
    return code


def similar(
    image: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE", help="Image file or address; 3: number 3 of the last search; -: stdin"
        ),
    ],
    n: Count = 10,
    min_score: MinScore = None,
    within: Within = None,
    dim: common.Dim = None,
    exact: Exact = False,
    below: Below = None,
    given: filters.Given = filters.NONE,
    json: common.Json = False,
    paths: Paths = False,
    nul: common.Nul = False,
    index: common.IndexFolders = None,
    model: common.ModelFolder = None,
    device: common.SearchDevice = "auto",
    dtype: common.SearchDtype = "auto",
    include_examples: IncludeExamples = False,
    no_remember: NoRemember = False,
    stacks: Stacks = None,
    sort: Sort = "score",
    offset: common.Offset = 0,
    cut: ending.CutName = None,
    everything: ending.All = False,
    explain: ending.Explain = False,
    refresh: current.Refresh = False,
    allow_private: AllowPrivate = False,
    only: parts_of_index.Only = None,
    store: stores.Store = None,
) -> int:
    """Find images that look like an example, or like several.

    Examples:
      imgsearch similar ~/Pictures/lake.jpg
      imgsearch similar ~/Pictures/lake.jpg --in ~/Pictures/2024 -k 20
      imgsearch similar ~/Pictures/cat.jpg ~/Pictures/lake.jpg
      imgsearch similar 3                        # number 3 of the last search

    An indexed image is answered at once, without loading the model.
    """
    for name in image:
        door.check_image(name)
    reporter = output.ProgressReporter()
    named = parts_of_index.searched(several.distinct(index), only)
    given = parts_of_index.narrowed(given, named, only)
    examples, where = picked(image, named[0] if named else None, reporter)
    reporter.wait("Searching")
    from imgsearch.client import KeptModel
    from imgsearch.search import SearchRequest, ask
    from imgsearch.search.hits import SearchOptions
    from imgsearch.search.language.question import Part

    style = _style(json, paths, nul)
    folders = tuple(below or ())
    chosen = filters.chosen(given, reporter)
    options = SearchOptions(n, min_score, _percent(within), dim, exact, folders, include_examples, chosen)
    options = replace(
        options, stacks=output.for_person(style) if stacks is None else stacks, sort=sort, offset=offset
    )
    end = ending.cut_for(cut, everything, style, options, several=len(named) > 1)
    options = replace(options, cut=end, explain=explain)
    if store:  # the defaults of a terminal are of an index
        options = replace(options, stacks=bool(stacks), cut=cut or "off")
    choice = common.model_choice(model, device=device, dtype=dtype)
    kept = KeptModel()
    if refresh:
        for one in named or (where,):
            current.refresh(one, choice, kept, reporter)
    images = [path for path, _ in examples]

    def request_of(files: Sequence[str]) -> SearchRequest:
        (_, page), *others = examples
        parts = tuple(Part(image=file, page=page) for file, (_, page) in zip(files, examples, strict=True))
        if others:
            return SearchRequest("similar", options=options, parts=parts)
        if page:
            own = replace(options, include_examples=True)  # as a single file is in its own answer
            return SearchRequest("similar", options=own, parts=parts)
        return SearchRequest("similar", image=files[0], options=options)

    def encoder_of(opened: ImageIndex, request: SearchRequest) -> CachedEncoder:
        return _encoder(opened, request, choice, kept, reporter)

    if store:
        asks = (images, request_of, style, choice, kept, reporter)
        return stores.search(store, *asks, index=index, allow_private=allow_private)
    if len(named) > 1:
        search = (images, request_of, encoder_of, style, reporter)
        return several.search(named, *search, allow_private=allow_private, remembers=not no_remember)
    with _opened(where) as opened, image_files(images, reporter, allow_private=allow_private) as files:
        request = request_of(files)
        encoder = encoder_of(opened, request)
        answered = ask(opened, request, encoder)
        found = _show(opened, answered, request, encoder, style, stacks, reporter)
        if not no_remember:
            _remember(opened, answered, folders, given)
        _advise(opened, reporter)
    return 0 if found else 1


def _show(
    opened: ImageIndex,
    answered: Answer,
    request: SearchRequest,
    encoder: CachedEncoder,
    style: str,
    stacks: bool | None,
    reporter: output.ProgressReporter,
    read: Mapping[str, object] | None = None,
) -> bool:
    """Write an answer, and what is to be said of it; return whether anything was found.

    ``read`` is what was read out of the query, and the text that is left.
    """
    ending.show(answered, style, request.options, reporter, read, _beside(opened, answered, style))
    _tell_of_stacks(answered.hits, stacks, reporter)
    if not (answered.hits or answered.nearest):
        reporter.say(_nothing(opened, request, encoder))
    return bool(answered.hits)


def _beside(opened: ImageIndex, answered: Answer, style: str) -> Beside:
    """Return what a person is shown beside the hits of an answer."""
    if not output.for_person(style):
        return NOTHING
    hits = [*answered.hits, *answered.nearest]
    also = beside({"": opened}, hits, answered.background, answered.cut)
    return replace(also, scored=answered.asked is not None)


def _remember(opened: ImageIndex, answered: Answer, folders: Sequence[str], given: filters.Given) -> None:
    """Keep an answer for the commands that name its images by number."""
    from imgsearch.search.remembered import LastAnswer, remember

    below = tuple(map(absolute, folders))
    # Without a hit, or with none but the example, the nearest images were shown too.
    more = answered.nearest if not answered.hits or ending.only_the_example(answered) else ()
    shown = replace(answered, hits=[*answered.hits, *more])
    remember(LastAnswer.of(opened, shown, below, given))


def _last(words: Sequence[str], image: str | None, index: str | None) -> LastAnswer:
    """Return the answer that --more and --less refine.

    Raises UsageError where something else is searched for too, InputError where the last answer was to no single query.
    """
    if words or image is not None:
        raise UsageError(
            "--more and --less refine the last search; leave out the words, as in: imgsearch query --more 1,4"
        )
    last = last_answer_of(index)
    if last.asked is None:
        raise InputError(
            "--more and --less refine the last search, and the last numbers are not those of one query in one index; "
            "search first: imgsearch query red car at night"
        )
    return last


def _judged(opened: ImageIndex, last: LastAnswer, more: Sequence[str], less: Sequence[str]) -> Feedback:
    """Return the last query with the images that --more and --less name. Raises UsageError and InputError."""
    from imgsearch.search.examples import content_of

    assert last.asked is not None  # _last has seen to that
    made_with = (last.fingerprint, last.asked.query.shape[1])
    if made_with != (opened.spec.fingerprint, opened.spec.dim):
        raise InputError("the index was made again with other settings since the last search; search again")
    liked, disliked = ([place for text in texts for place in places(text, last)] for texts in (more, less))
    if both := {*liked} & {*disliked}:
        raise UsageError(f"{min(both) + 1}: give it to --more or to --less, not to both")
    wanted, unwanted = (
        tuple((content_of(opened, hit.path), hit.page) for hit in (last.hits[place] for place in chosen))
        for chosen in (liked, disliked)
    )
    return last.asked.adding(wanted, unwanted)


def _tell_of_stacks(hits: Sequence[Hit], asked: bool | None, reporter: output.ProgressReporter) -> None:
    """Say how to see the images behind hits, to somebody who has not asked for stacks."""
    if asked is None and any(one.reason != "film" for hit in hits for one in hit.stack or ()):
        reporter.say("bursts and near-duplicates are shown as one result; to list all of them: --no-stacks")


def _nothing(opened: ImageIndex, request: SearchRequest, encoder: CachedEncoder) -> str:
    """Return why a search found nothing."""
    from imgsearch.search import answer
    from imgsearch.search.language.filtering import below_of
    from imgsearch.search.listing import why_empty
    from imgsearch.search.written import why_nothing

    options = request.options
    if options.image_text == "only" and not options.offset:
        return f"nothing found: {why_nothing(opened, request.text or '')}{_unread(opened)}"
    best = replace(options, n=1, min_score=None, within=None, offset=0, sort="score", stacks=False, cut="off")
    best = replace(best, rerank=0)
    for hit in answer(opened, replace(request, options=best), encoder):
        if options.min_score is None or hit.score >= options.min_score:
            return f"no more results: there are {options.offset} at most"
        score = f"the best score is {hit.score:.4f} ({hit.path}), below --min-score {options.min_score:g}"
        return f"nothing found: {score}"
    below = [below_of(opened, path) for path in options.below]
    reason = why_empty(opened, options.filters, below)
    return (
        f"nothing found: {reason}{_undated(opened) if options.filters else ''}" if reason else "nothing found"
    )


def _unread(opened: ImageIndex) -> str:
    """Say how to have the text in images read, where it is not, or not all of it."""
    from imgsearch.index import image_text

    if image_text.is_wanted(opened.catalog.database):
        return ""
    return f"; to read the text in images: imgsearch index --ocr{index_flag(opened.folder)}"


def _undated(opened: ImageIndex) -> str:
    """Say how to have dates in an index that an older imgsearch has made."""
    from imgsearch.index import metadata

    if metadata.is_complete(opened.catalog.database):
        return ""
    return f"; not all images have been read for that: imgsearch index{index_flag(opened.folder)}"


def _tell(reading: Reading, words: Sequence[str], reporter: output.ProgressReporter) -> None:
    """Say how a query was understood, and how to undo it."""
    from imgsearch.search.language.question import spelled

    if reading.parts:
        # A single argument may be a sentence with a dash.
        undo = "; to search for the words as they are: --literal" if len(words) == 1 else ""
        reporter.say(f"searching for {spelled(reading.parts)}{undo}")
    if reading.read:
        told = ", ".join(one.label for one in reading.read)
        reporter.say(f'searching for "{reading.text}", {told}; to search for all words: --literal')


def _advise(opened: ImageIndex, reporter: output.ProgressReporter) -> None:
    if opened.advice:
        reporter.say(f"{opened.advice}; make them with: imgsearch compact{index_flag(opened.folder)}")


def _opened(index: str | None) -> ImageIndex:
    from imgsearch.index.reader import ImageIndex

    return ImageIndex(find_index(index))


def _encoder(
    opened: ImageIndex,
    request: SearchRequest,
    choice: ModelOptions,
    model: KeptModel,
    reporter: output.ProgressReporter,
    *,
    cache: bool = True,
) -> CachedEncoder:
    """Return the index's encoder; a request that loads its model is noted in the run log."""
    from imgsearch.index import side_db
    from imgsearch.search.encoding import CachedEncoder

    def load() -> ImageEncoder:
        # A search downloads no gigabytes unless somebody says so.
        download = choice.model is not None or output.settings.yes or output.can_ask()
        checkpoint = checkpoint_for(opened.folder, opened.spec, choice, reporter, download=download)
        encoder = model.load(checkpoint, opened.spec, choice, reporter)
        if moved := side_db.moved(opened.folder, request.kind, encoder.runtime):
            reporter.say(moved)
        side_db.record_run(opened.folder, request.kind, encoder.runtime)
        return encoder

    return CachedEncoder(opened, choice, load, cache=cache)
