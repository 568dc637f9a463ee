"""The HTTP interface as types: what each address takes and gives. docs/http.md is made of them (docs/http.py).

Fields are only added. ``API`` counts the changes by which a client that was written for the number before could fail.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from imgsearch.client import protocol
from imgsearch.search.language.filtering import NAMES
from imgsearch.tools.server.shapes import AbsolutePath
from imgsearch.types import ModelOptions

API = 1


def versioned(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer with the versions that each has."""
    return {**data, "version": protocol.version(), "api": API}


# What is asked.


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which images count: those that pass all of these."""

    after: Annotated[str | None, "Taken from then on: `2024`, `2024-07`, `last month`"] = None
    before: Annotated[str | None, "Taken before then"] = None
    on: Annotated[str | None, "Taken then"] = None
    camera: Annotated[str | None, "Part of the camera's name"] = None
    lens: Annotated[str | None, "Part of the lens's name"] = None
    rating: Annotated[int | None, "At least so many stars"] = None
    keyword: Annotated[list[str], "With all of these keywords"] = field(default_factory=list)
    type: Annotated[str | None, "Of these types: `jpg,heic`"] = None
    name: Annotated[str | None, "With such a file name: `IMG_*`"] = None
    min_size: Annotated[str | None, "At least so large: `12mp`, `2000x1000`"] = None
    near: Annotated[str | None, "Taken near there: `Lisbon`, `48.85,2.35`"] = None
    within_km: Annotated[float | None, "How far from `near`; 25 if not given"] = None
    has: Annotated[list[str], "With `date`, `gps`, `camera`, `rating`, `title` or `keywords`"] = field(
        default_factory=list
    )
    shape: Annotated[str | None, "`landscape`, `portrait`, `square` or `panorama`"] = None
    landscape: Annotated[bool, "Wider than high"] = False
    portrait: Annotated[bool, "Higher than wide"] = False
    square: Annotated[bool, "As wide as high"] = False
    panorama: Annotated[bool, "At least twice as long as wide"] = False
    screenshots: Annotated[bool | None, "`true`: only screenshots; `false`: none"] = None

    def given(self) -> dict[str, Any]:
        """Return what ``filters_of`` takes, without what was not given."""
        found = {name: getattr(self, name) for name in NAMES}
        off = {name for name, value in found.items() if value is False and name != "screenshots"}
        return {
            name: value
            for name, value in found.items()
            if value is not None and value != [] and name not in off
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Confined(Filters):
    """Which images count: those that pass all of these, in some folders."""

    in_: Annotated[list[AbsolutePath], "In one of these folders, or one of these files"] = field(
        default_factory=list
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An image of the index, as an example."""

    path: Annotated[AbsolutePath, "Its path, or a place in a document: `/home/me/report.pdf#page=7`"]
    page: Annotated[int, "Its page, from 0; of a video, the frame's milliseconds"] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Search(Confined):
    """What all searches take, besides the filters."""

    index: Annotated[AbsolutePath | None, "The index's folder; not given: the server's own"] = None
    n: Annotated[int, "At most so many results"] = 10
    offset: Annotated[int, "Leave out so many of the first results"] = 0
    sort: Annotated[Literal["score", "newest", "oldest", "path"], "The order of the `n` best results"] = (
        "score"
    )
    min_score: Annotated[float | None, "Leave out results that score below this (from -1 to 1)"] = None
    within: Annotated[float | None, "Leave out results that score so many percent below the best"] = None
    cut: Annotated[
        Literal["auto", "mark", "off"],
        "`auto`: end where results are no closer than chance; `mark`: only tell where that is; neither where the index "
        "has a part for documents, whose scores can't be compared",
    ] = "off"
    stacks: Annotated[bool, "Bursts and near-duplicates as one result"] = False
    explain: Annotated[bool, "Tell for each result what carried it (`why`)"] = False
    include_examples: Annotated[bool, "Also find the images that the query is made of"] = False
    exact: Annotated[bool, "Compare with every image: slower, but misses nothing"] = False
    dim: Annotated[int | None, "Compare only so many of the first dimensions"] = None
    names: Annotated[
        float, "Also look for the words in names, titles and keywords, and let these count so much; 0: not"
    ] = 0.0
    image_text: Annotated[
        Literal["auto", "only", "off"],
        "The text in images: `auto` counts where it matches well; `only` finds by all of the words in it, "
        "without the model, and `score` is BM25 then",
    ] = "auto"
    instruction: Annotated[
        str | None, "What the model is told about the words, in place of the index's own"
    ] = None
    model: Annotated[str | None, "The model's name or folder; not given: that of the index"] = None
    device: Annotated[str, "Where to compute: `auto`, `cpu`, `cuda`, `mps`"] = "auto"
    dtype: Annotated[str, "What to compute in: `auto`, `float32`, `bfloat16`, `float16`, `int8`"] = "auto"

    def model_options(self) -> ModelOptions:
        """Return which model is asked for."""
        return ModelOptions(model=self.model, device=self.device, dtype=self.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Search):
    """Images that words describe, an example image, or both."""

    text: Annotated[str | None, "The words, in the language of `imgsearch query`"] = None
    image: Annotated[
        AbsolutePath | None,
        "An image, or a page of a document, that the model is given together with the words",
    ] = None
    literal: Annotated[bool, "Take all words as they are"] = False
    more: Annotated[list[Example], "More like these images"] = field(default_factory=list)
    less: Annotated[list[Example], "Away from these images"] = field(default_factory=list)
    remember: Annotated[bool, "Use the query cache"] = True
    rerank: Annotated[int, "So many of the best results (at most 20) are judged by a reranker; 0: none"] = 0
    rerank_model: Annotated[
        str | None, "The reranker's name or folder; it has to be on this computer already"
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Similar(Search):
    """Images that look like an example."""

    image: Annotated[
        AbsolutePath | None,
        "The example; it need not be indexed; a page or moment as `report.pdf#page=7`, `clip.mov#t=83.2`",
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class List(Confined):
    """The indexed files that pass the filters."""

    index: Annotated[AbsolutePath | None, "The index's folder; not given: the server's own"] = None
    n: Annotated[int, "At most so many files"] = 100
    offset: Annotated[int, "Leave out so many of the first files"] = 0
    sort: Annotated[
        Literal["newest", "oldest", "path", "added", "random"],
        "The order; `added`: from the one that was indexed last",
    ] = "newest"
    seed: Annotated[int, "Of a random order: the same number gives the same order"] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Count(Confined):
    """How many indexed files pass the filters."""

    index: Annotated[AbsolutePath | None, "The index's folder; not given: the server's own"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """All that the index knows of one image."""

    image: Annotated[AbsolutePath, "Its path"]
    index: Annotated[AbsolutePath | None, "The index's folder; not given: the server's own"] = None


# What is answered.


class Versioned(TypedDict):
    """What every answer has."""

    version: Annotated[str, "imgsearch's version"]
    api: Annotated[int, "This interface's: raised only by a change that existing programs must follow"]


class Place(TypedDict):
    """Where in a document an image is."""

    kind: NotRequired[
        Annotated[
            str,
            "What it is in its file: `page` of a document, `frame` of a video, `raw` photo, `member` of an archive",
        ]
    ]
    time: NotRequired[Annotated[float, "Of a video's frame: the seconds from the start"]]
    member: NotRequired[Annotated[str, "Of an archive's image: its name in there"]]


class StackedImage(Place):
    """An image that stands behind a result."""

    path: Annotated[str, "Its absolute path"]
    path_b64: NotRequired[Annotated[str, "The path's bytes in base64, if they are not UTF-8"]]
    page: Annotated[int, "Its page, from 0; of a video, the frame's milliseconds"]
    score: Annotated[float, "Its score"]
    reason: Annotated[
        str, "`burst`, `version` (the same shot in another file), `alike`, or `film` (another frame of it)"
    ]


class Why(TypedDict):
    """What carried a result."""

    floor: Annotated[float, "What an image of the index scores on average"]
    spread: Annotated[float, "The standard deviation of that"]
    spreads: Annotated[float, "So many of them the result is above the average"]
    stands_out: Annotated[bool | None, "Whether it is closer than chance; null: nobody can tell"]
    matched: Annotated[list[str], "What else of the request matched"]


class FoundImage(Place):
    """A result."""

    rank: Annotated[int, "Its place by score, from 1"]
    score: Annotated[float, "Cosine similarity, from -1 to 1"]
    path: Annotated[str, "Its absolute path"]
    path_b64: NotRequired[Annotated[str, "The path's bytes in base64, if they are not UTF-8"]]
    page: Annotated[int, "Its page in a file of several, from 0; of a video, the frame's milliseconds"]
    copies: Annotated[list[str], "Other files with the same bytes"]
    copies_b64: NotRequired[Annotated[list[str], "Their bytes in base64, if one of them is not UTF-8"]]
    index: NotRequired[
        Annotated[str, "Where the index has a part for documents: the folder of the one it is of"]
    ]
    index_b64: NotRequired[Annotated[str, "That folder's bytes in base64, if they are not UTF-8"]]
    missing: Annotated[bool, "Whether no such file is there now"]
    width: Annotated[int, "In pixels, upright"]
    height: Annotated[int, "In pixels, upright"]
    stack: NotRequired[Annotated[list[StackedImage], "With `stacks`: the images behind it"]]
    rerank: NotRequired[
        Annotated[float, "With `rerank`, if it was judged: the probability that it answers the query"]
    ]
    tile: NotRequired[
        Annotated[
            list[float],
            "Of a page that is indexed in tiles: left, top, right, bottom of the part that was found, as fractions of "
            "width and height",
        ]
    ]
    quote: NotRequired[
        Annotated[str, "If the text in the image matched: the line, with … for what is left out"]
    ]
    boxes: NotRequired[
        Annotated[
            list[list[float]],
            "With `quote`: left, top, right, bottom of the words, as fractions of width and height",
        ]
    ]
    why: NotRequired[Annotated[Why, "With `explain`"]]


class Cut(TypedDict):
    """Where an answer ends."""

    count: Annotated[int, "So many results are closer than chance"]
    more: Annotated[bool, "Whether there may be more of them than `n`"]
    score: Annotated[float | None, "The lowest score that is"]
    expected: Annotated[float, "So many images as close are expected by chance"]
    judged: Annotated[bool, "Whether there are images enough to tell"]


class ReadPart(TypedDict):
    """A part of a query."""

    text: NotRequired[Annotated[str, "Its words"]]
    image: NotRequired[Annotated[str, "The path of its image"]]
    page: NotRequired[Annotated[int, "The page of that, if it is not the first"]]
    weight: Annotated[float, "How much it counts; below 0: it is taken away"]


class Read(TypedDict):
    """What was read out of the words."""

    text: Annotated[str, "The words that are searched for"]
    after: NotRequired[Annotated[str, "Taken from then on"]]
    before: NotRequired[Annotated[str, "Taken before then"]]
    near: NotRequired[Annotated[str, "Taken near there"]]
    parts: NotRequired[Annotated[list[ReadPart], "The parts of a query of several"]]
    saved: NotRequired[Annotated[list[str], "The saved queries that were named"]]


class Found(Versioned):
    """The images that were found, best first."""

    hits: Annotated[list[FoundImage], "The results"]
    cut: NotRequired[Annotated[Cut, "With `cut`"]]
    nearest: NotRequired[Annotated[list[FoundImage], "With `cut`: the best three behind the end"]]
    notices: NotRequired[
        Annotated[list[str], "What the user should know, as of a model that was slow to load"]
    ]


class FoundByWords(Found):
    """The same, with what was read out of the words."""

    read: NotRequired[Annotated[Read, "If anything was read out of the words; not with `literal`"]]


class ListedFile(TypedDict):
    """An indexed file."""

    path: Annotated[str, "Its absolute path"]
    path_b64: NotRequired[Annotated[str, "The path's bytes in base64, if they are not UTF-8"]]
    bytes: Annotated[int, "Its size when it was indexed"]
    modified: Annotated[float, "Its time then, in seconds since 1970"]


class Listed(Versioned):
    """The files, in order."""

    images: Annotated[list[ListedFile], "The files"]
    total: Annotated[int, "How many there are, whatever `n` and `offset`"]


class YearCount(TypedDict):
    """How many files are of a year."""

    year: Annotated[int | None, "The year; null: unknown"]
    images: Annotated[int, "Its files"]


class CameraCount(TypedDict):
    """How many files are by a camera."""

    camera: Annotated[str | None, "Make and model; null: unknown"]
    images: Annotated[int, "Its files"]


class FolderCount(TypedDict):
    """How many files are in a folder at the top of an indexed folder."""

    path: Annotated[str, "Its absolute path"]
    path_b64: NotRequired[Annotated[str, "The path's bytes in base64, if they are not UTF-8"]]
    images: Annotated[int, "Its files"]


class TypeCount(TypedDict):
    """How many files are of a type."""

    type: Annotated[str | None, "The usual extension; null: unknown"]
    images: Annotated[int, "Its files"]


class RatingCount(TypedDict):
    """How many files have a rating."""

    rating: Annotated[int | None, "0 to 5 stars; -1: rejected; null: unknown"]
    images: Annotated[int, "Its files"]


class KindCount(TypedDict):
    """How many files are documents of a kind."""

    kind: Annotated[str, "What their images are: `page`, `frame` (videos), `raw` or `member` (archives)"]
    images: Annotated[int, "Its files"]


class Counted(Versioned):
    """How many files there are, and how many of them by year, camera, folder, type, rating and kind."""

    images: Annotated[int, "All files that pass the filters"]
    year: Annotated[list[YearCount], "By year, the newest first"]
    camera: Annotated[list[CameraCount], "By camera, the most frequent first"]
    folder: Annotated[list[FolderCount], "By folder, the most frequent first"]
    type: Annotated[list[TypeCount], "By type, the most frequent first"]
    rating: Annotated[list[RatingCount], "By rating, the best first"]
    kind: Annotated[list[KindCount], "Documents by kind, the most frequent first"]
    text: Annotated[int, "Files in which text was found"]


class ShownImage(Place):
    """An image of a document."""

    page: Annotated[int, "Its page, from 0; of a video, the frame's milliseconds"]
    width: Annotated[int, "In pixels, upright"]
    height: Annotated[int, "In pixels, upright"]
    text: Annotated[bool, "Whether text was found in it"]


class Shown(Versioned):
    """What the index knows of a file; what is unknown is null or empty."""

    path: Annotated[str, "The path by which the index knows it"]
    path_b64: NotRequired[Annotated[str, "The path's bytes in base64, if they are not UTF-8"]]
    copies: Annotated[list[str], "Other files with the same bytes"]
    copies_b64: NotRequired[Annotated[list[str], "Their bytes in base64, if one of them is not UTF-8"]]
    missing: Annotated[bool, "Whether the file is not there now"]
    bytes: Annotated[int, "Its size when it was indexed"]
    modified: Annotated[float, "Its time then, in seconds since 1970"]
    sha256: Annotated[str, "Of its bytes, in hexadecimal digits"]
    width: Annotated[int, "In pixels, upright"]
    height: Annotated[int, "In pixels, upright"]
    pages: Annotated[int, "How many images the file holds"]
    error: Annotated[str | None, "Why it was skipped"]
    detail: Annotated[str, "More about that, or about the image"]
    taken: Annotated[str | None, "When, by the clock there: `2023-07-01T12:00:00`"]
    taken_from: Annotated[str, "Who tells it: `image`, `sidecar`, `takeout` or `file`"]
    offset: Annotated[int | None, "That clock's minutes ahead of UTC"]
    make: Annotated[str, "The camera's make"]
    model: Annotated[str, "The camera's model"]
    lens: Annotated[str, "The lens"]
    latitude: Annotated[float | None, "Where, in degrees"]
    longitude: Annotated[float | None, "Where, in degrees"]
    rating: Annotated[int | None, "0 to 5 stars; -1: rejected"]
    title: Annotated[str, "Its title"]
    description: Annotated[str, "Its description"]
    keywords: Annotated[list[str], "Its keywords"]
    software: Annotated[str, "The program that wrote it"]
    burst: Annotated[str, "The id that the images of a burst share"]
    text: NotRequired[Annotated[list[str], "The lines of text in it, if any have been read"]]
    images: NotRequired[Annotated[list[ShownImage], "Of a document, or a file of several: its images"]]


class State(Versioned):
    """The running server."""

    pid: Annotated[int, "Its process"]
    since: Annotated[float, "When it started, in seconds since 1970"]
    requests: Annotated[int, "What it was asked since then"]
    http: Annotated[str | None, "Its address on this machine, with `--http`"]
    model: Annotated[str | None, "The folder of the model in memory; null: none now"]
    device: Annotated[str | None, "Where that model computes"]
    dtype: Annotated[str | None, "What it computes in"]


class Alive(Versioned):
    """That the server answers."""

    alive: Annotated[bool, "Always true"]


class Ready(Versioned):
    """Whether requests should be sent to the server."""

    ready: Annotated[bool, "Whether they should"]
    reason: Annotated[str, "Why not"]


class Problem(TypedDict):
    """What went wrong."""

    kind: Annotated[str, "Its class: `UsageError`, `InputError`, `IndexMissing`, `busy`, `version`, `bug`, …"]
    message: Annotated[str, "One line for the user"]
    parts: NotRequired[Annotated[list[Any], "The line with the options and calls that it names as data"]]
    rows: NotRequired[
        Annotated[list[int], "Of `/embed`: the inputs that the model gave no finite answer for"]
    ]


class Failed(Versioned):
    """An error; the status is not 200."""

    error: Annotated[Problem, "What went wrong"]


@dataclass(frozen=True, slots=True)
class Address:
    """An address: how it is asked, for what, and an example of what is sent."""

    method: Literal["GET", "POST"]
    path: str
    summary: str
    answer: type[Any]
    request: type[Any] | None = None
    example: str = ""


ADDRESSES = (
    Address("POST", "/query", "Search by words.", FoundByWords, Query, '{"text": "red car - night", "n": 3}'),
    Address(
        "POST",
        "/similar",
        "Find images that look like an example. An indexed one is answered without the model.",
        Found,
        Similar,
        '{"image": "/home/me/Pictures/cat.jpg"}',
    ),
    Address("POST", "/list", "List the indexed files.", Listed, List, '{"on": "2024-07", "n": 50}'),
    Address("POST", "/facets", "Count the indexed files.", Counted, Count, '{"camera": "X-T5"}'),
    Address(
        "POST",
        "/show",
        "Show all that the index knows of one image. No file is opened.",
        Shown,
        Show,
        '{"image": "/home/me/Pictures/cat.jpg"}',
    ),
    Address("GET", "/status", "Show what the server is and has in memory.", State),
    Address("GET", "/health", "Tell that the server is alive. No token needed.", Alive),
    Address(
        "GET",
        "/ready",
        "Tell whether requests should be sent to the server: 503 while it loads its model or stops. No token needed.",
        Ready,
    ),
)
"""What is there for other programs."""
OWN = ("/load", "/embed", "/rerank")
"""What imgsearch's own commands use besides: it changes with any version, and both sides must be of the same."""


def own_fields(shape: type[Any]) -> set[str]:
    """Return the attributes of a request without those that it shares with others of its base."""
    base = next((one for one in shape.__mro__[1:] if dataclasses.is_dataclass(one)), None)
    shared = {one.name for one in dataclasses.fields(base)} if base else set()
    return {one.name for one in dataclasses.fields(shape)} - shared
