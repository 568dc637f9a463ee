"""The tools that a client of the protocol gets: what each takes and gives, and its work on the index. All only read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

from imgsearch.client import KeptModel
from imgsearch.errors import UsageError
from imgsearch.index import side_db
from imgsearch.index.layout import find_index
from imgsearch.index.parts import searched
from imgsearch.index.reader import ImageIndex
from imgsearch.search import SearchRequest
from imgsearch.search.encoding import CachedEncoder
from imgsearch.search.hits import SearchOptions
from imgsearch.search.language.filtering import filters_of
from imgsearch.search.language.question import Part, is_combined, spelled
from imgsearch.search.language.read import Reading, read_query
from imgsearch.search.listing import ListOptions, count_parts, list_parts
from imgsearch.search.several import ask_parts
from imgsearch.search.show import show
from imgsearch.search.thumbnails import thumbnail
from imgsearch.spec import checkpoint_for
from imgsearch.text import printable
from imgsearch.tools.mcp.images import (
    ImagePath,
    ImageResult,
    Images,
    check_count,
    names_image,
    shortened,
    shown_path,
)
from imgsearch.tools.server import shapes
from imgsearch.tools.server.api import (
    CameraCount,
    Filters,
    KindCount,
    RatingCount,
    ShownImage,
    TypeCount,
    YearCount,
)
from imgsearch.tools.server.pools import IndexPool, device_of, fits
from imgsearch.tools.server.saved import NO_SAVED, SavedQueries
from imgsearch.types import ImageEncoder, ModelOptions, Reporter

MOST = 100
"""So many images are listed at a time; there is ``offset`` for more."""
_MOST_OFFSET = 100_000
_MOST_FACETS = 100
_OPTIONS = ModelOptions()
_IDLE_SECONDS = 900.0


# What is asked.


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowed(Filters):
    """The filters, with folders as texts: they are looked for in the index, not on the disk."""

    in_: Annotated[list[str], "Only in one of these folders: absolute paths"] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search(Narrowed):
    """Images that words describe."""

    text: Annotated[
        str,
        "What to look for, as in 'red car at night'. Parts may be added and taken away, each with a weight: "
        "'horse + stripes - saddle', '2:beach + sunset'. A part may be the id or path of an indexed image. A date or "
        "place at the end becomes a filter: 'beach July 2023'. '@name' is a query that the user has saved.",
    ]
    literal: Annotated[bool, "Take all words as they are"] = False
    text_only: Annotated[
        bool,
        "Find only images in which all of the words are written, as in 'invoice 4711'; 'a phrase' in quotes",
    ] = False
    n: Annotated[int, f"At most so many images, up to {MOST}"] = 10
    offset: Annotated[int, "Leave out so many of the best images"] = 0
    sort: Annotated[Literal["score", "newest", "oldest", "path"], "The order of the n best images"] = "score"
    min_score: Annotated[float | None, "Leave out images that score below this"] = None
    stacks: Annotated[bool, "Bursts and near-duplicates as one image"] = True
    more: Annotated[list[str], "More like these images: ids or numbers"] = field(default_factory=list)
    less: Annotated[list[str], "Away from these images: ids or numbers"] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Similar(Narrowed):
    """Images that look like examples."""

    images: Annotated[
        list[str],
        "The examples: ids, numbers of the last answer, or absolute paths of indexed images; a page or moment: "
        "'report.pdf#page=7', 'clip.mov#t=83.2'",
    ]
    n: Annotated[int, f"At most so many images, up to {MOST}"] = 10
    offset: Annotated[int, "Leave out so many of the best images"] = 0
    min_score: Annotated[float | None, "Leave out images that score below this"] = None
    stacks: Annotated[bool, "Bursts and near-duplicates as one image"] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Narrowed):
    """Images without a query."""

    n: Annotated[int, f"At most so many files, up to {MOST}"] = 20
    offset: Annotated[int, "Leave out so many of the first files"] = 0
    sort: Annotated[Literal["newest", "oldest", "path", "added", "random"], "The order"] = "newest"


@dataclass(frozen=True, slots=True, kw_only=True)
class OneImage:
    """One image."""

    image: Annotated[
        str,
        "Its id, its number in the last answer, or its absolute path; a page or moment: 'report.pdf#page=7', "
        "'clip.mov#t=83.2'",
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview(OneImage):
    """One image, to look at."""

    size: Annotated[Literal["small", "large"], "The long side: 320 or 1,600 pixels"] = "small"


# What is answered.


class Read(TypedDict):
    """What was read out of the words."""

    kind: Annotated[str, "date, place, saved"]
    label: Annotated[str, "What it means"]


class Results(TypedDict):
    """Images, best first."""

    images: Annotated[list[ImageResult], "The images"]
    searched_for: Annotated[str, "The words that were searched for"]
    read: Annotated[list[Read], "What was read out of the words; 'literal' takes them as they are"]


class ListedImage(ImagePath):
    """An indexed file."""

    number: Annotated[int, "Its number in this answer"]
    id: Annotated[str, "What other tools take for this image"]
    taken: Annotated[str | None, "When it was taken, by the clock there; null: unknown"]
    bytes: Annotated[int, "The file's size when it was indexed"]


class Listed(TypedDict):
    """The files, in order."""

    images: Annotated[list[ListedImage], "The files"]
    more: Annotated[bool, "Whether there are more of them"]


class FolderCount(ImagePath):
    """How many files are in a folder at the top of an indexed folder."""

    images: Annotated[int, "Its files"]


class Counted(TypedDict):
    """How many files pass the filters, by year, camera, folder, type and rating."""

    images: Annotated[int, "All of them"]
    year: Annotated[list[YearCount], "By year"]
    camera: Annotated[list[CameraCount], "By camera"]
    folder: Annotated[list[FolderCount], "By folder at the top of an indexed folder"]
    type: Annotated[list[TypeCount], "By type"]
    rating: Annotated[list[RatingCount], "By rating"]
    kind: Annotated[list[KindCount], "Documents by kind"]
    text: Annotated[int, "Files in which text was found"]


class Shown(ImagePath):
    """What the index knows of an image; the texts are what its file tells of itself."""

    id: Annotated[str, "What other tools take for this image"]
    copies: Annotated[list[str], "Other files with the same bytes"]
    missing: Annotated[bool, "Whether the file is not there now"]
    bytes: Annotated[int, "The file's size when it was indexed"]
    width: Annotated[int, "In pixels"]
    height: Annotated[int, "In pixels"]
    pages: Annotated[int, "How many images the file holds"]
    taken: Annotated[str | None, "When, by the clock there"]
    make: Annotated[str, "The camera's make"]
    model: Annotated[str, "The camera's model"]
    lens: Annotated[str, "The lens"]
    latitude: Annotated[float | None, "Where, in degrees"]
    longitude: Annotated[float | None, "Where, in degrees"]
    rating: Annotated[int | None, "0 to 5 stars; -1: rejected"]
    title: Annotated[str, "Its title"]
    description: Annotated[str, "Its description"]
    keywords: Annotated[list[str], "Its keywords"]
    text: NotRequired[Annotated[list[str], "The lines of text in it, if any have been read"]]
    images: NotRequired[Annotated[list[ShownImage], f"Of a document: its images, up to {MOST}"]]


class Thumbnail(TypedDict):
    """An image as it can be looked at, upright; WebP comes as image content beside this."""

    id: Annotated[str, "The image's id"]
    bytes: Annotated[int, "The thumbnail's size"]


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tool(Generic[T]):
    """A tool: its ``name`` and ``title``, what it is for, the types of what it takes and gives, and its work.

    The work returns the answer as JSON, and an image as WebP or None.
    """

    name: str
    title: str
    purpose: str
    takes: type[T]
    gives: type[Any]
    work: Callable[[Tools, T], tuple[Any, bytes | None]]


class Tools:
    """The tools' work on an index and its part. To be used by one thread at a time."""

    def __init__(self, index: str | None, reporter: Reporter, saved: SavedQueries = NO_SAVED) -> None:
        """Open and load nothing yet. ``reporter`` takes lines for whoever started the program."""
        self._folder = find_index(index)
        self._reporter, self._saved = reporter, saved
        self._indexes = IndexPool(_IDLE_SECONDS)
        self._models: dict[str, KeptModel] = {}
        self._last: list[str] = []

    def release_idle(self) -> None:
        """Unload the model and close the index if nobody has asked for long enough."""
        self._indexes.close_idle()
        self._unload(_IDLE_SECONDS)

    def call(self, tool: Tool[Any], arguments: Mapping[str, Any]) -> tuple[Any, bytes | None]:
        """Return what a tool answers. Raises UsageError for arguments not of its type, and as its work does."""
        saved: list[str] = []
        if tool.takes is Search:
            arguments, saved = self._saved.fill_in(arguments, _SEARCH_FIELDS)
        answer, image = tool.work(self, shapes.read(tool.takes, arguments))
        if saved:
            answer["read"] += [{"kind": "saved", "label": name} for name in saved]
        return answer, image

    def search(self, asked: Search) -> tuple[Results, None]:
        """Search by words."""

        def work(indexes: Sequence[ImageIndex]) -> tuple[Results, None]:
            images, given = Images(indexes, self._last), asked.given()
            if asked.text_only:
                reading = Reading(asked.text)
            elif names_image(asked.text) and not asked.literal and not is_combined([asked.text], files=False):
                reading = Reading("", (Part(asked.text),))
            else:
                reading = read_query([asked.text], given, literal=asked.literal, files=False)
            request = SearchRequest(
                "query",
                None if reading.parts else reading.text,
                options=replace(
                    self._options(images, asked, {**given, **reading.filters}, asked.sort),
                    image_text="only" if asked.text_only else "auto",
                ),
                parts=images.parts(reading.parts),
                more=images.pages(asked.more),
                less=images.pages(asked.less),
            )
            return {
                "images": self._ask(indexes, images, request),
                "searched_for": spelled(reading.parts) if reading.parts else reading.text,
                "read": [{"kind": one.kind, "label": one.label} for one in reading.read],
            }, None

        return self._indexes.use_all(searched(self._folder), work)

    def similar(self, asked: Similar) -> tuple[Results, None]:
        """Search by examples of the index: without the model."""
        if not asked.images:
            raise UsageError("images: give at least one")

        def work(indexes: Sequence[ImageIndex]) -> tuple[Results, None]:
            images = Images(indexes, self._last)
            parts = tuple(Part(content=content, page=page) for content, page in images.pages(asked.images))
            options = self._options(images, asked, asked.given(), "score")
            request = SearchRequest("similar", options=options, parts=parts)
            return {"images": self._ask(indexes, images, request), "searched_for": "", "read": []}, None

        return self._indexes.use_all(searched(self._folder), work)

    def listing(self, asked: Listing) -> tuple[Listed, None]:
        """List files."""
        n = check_count("n", asked.n, MOST)

        def work(indexes: Sequence[ImageIndex]) -> tuple[Listed, None]:
            images = Images(indexes, ())
            below = tuple(map(images.known, asked.in_))
            options = ListOptions(
                filters_of(**asked.given()),
                below,
                asked.sort,
                n + 1,
                check_count("offset", asked.offset, _MOST_OFFSET, 0),
            )
            files = list(list_parts(indexes, options))
            listed: list[ListedImage] = []
            for number, file in enumerate(islice(files, n), 1):
                record = images.listed(file.path)
                listed.append(
                    {
                        "number": number,
                        "id": images.id(record),
                        **shown_path(file.path),
                        "taken": images.taken(record.sha256),
                        "bytes": file.size,
                    }
                )
            self._last = [one["id"] for one in listed]
            return {"images": listed, "more": len(files) > n}, None

        return self._indexes.use_all(searched(self._folder), work)

    def facets(self, asked: Narrowed) -> tuple[Counted, None]:
        """Count files."""

        def work(indexes: Sequence[ImageIndex]) -> tuple[Counted, None]:
            below = tuple(map(Images(indexes, ()).known, asked.in_))
            found = count_parts(indexes, filters_of(**asked.given()), below)
            told = found.as_json()
            folders: list[FolderCount] = [
                {**shown_path(row["path"]), "images": row["images"]} for row in told["folder"][:_MOST_FACETS]
            ]
            return {
                "images": told["images"],
                "year": told["year"][:_MOST_FACETS],
                "camera": told["camera"][:_MOST_FACETS],
                "folder": folders,
                "type": told["type"][:_MOST_FACETS],
                "rating": told["rating"],
                "kind": told["kind"],
                "text": told["text"],
            }, None

        return self._indexes.use_all(searched(self._folder), work)

    def show(self, asked: OneImage) -> tuple[Shown, None]:
        """Tell what is known of an image."""

        def work(indexes: Sequence[ImageIndex]) -> tuple[Shown, None]:
            images = Images(indexes, self._last)
            index, record = images.find(asked.image)
            found = show(index, images.path(record, asked.image))
            known = shortened(found.metadata)
            width, height = found.sizes[0] if found.sizes else (0, 0)
            told: Shown = {
                "id": images.id(record),
                **shown_path(found.path),  # type: ignore[typeddict-item]  # a path has no text
                "copies": [shown_path(path)["path"] for path in found.copies[:MOST]],
                "missing": found.missing,
                "bytes": found.bytes,
                "width": width,
                "height": height,
                "pages": len(found.sizes),
                "taken": images.taken(record.sha256),
                "make": known.make,
                "model": known.model,
                "lens": known.lens,
                "latitude": known.latitude,
                "longitude": known.longitude,
                "rating": known.rating,
                "title": known.title,
                "description": known.description,
                "keywords": list(known.keywords),
            }
            if found.images:
                told["images"] = [image.as_json() for image in found.images[:MOST]]  # type: ignore[misc]
            if found.text:
                told["text"] = [printable(line)[:_MOST_LINE] for line in found.text[:MOST]]
            return told, None

        return self._indexes.use_all(searched(self._folder), work)

    def thumbnail(self, asked: Preview) -> tuple[Thumbnail, bytes]:
        """Give an image to look at; only of a file that still has the bytes that were indexed."""

        def work(indexes: Sequence[ImageIndex]) -> tuple[Thumbnail, bytes]:
            images = Images(indexes, self._last)
            index, record = images.find(asked.image)
            made = thumbnail(index.folder, record, "l" if asked.size == "large" else "s")
            return {"id": images.id(record), "bytes": len(made)}, made

        return self._indexes.use_all(searched(self._folder), work)

    def _options(
        self, images: Images, asked: Search | Similar, given: dict[str, Any], sort: str
    ) -> SearchOptions:
        return SearchOptions(
            n=check_count("n", asked.n, MOST),
            min_score=asked.min_score,
            below=tuple(map(images.known, asked.in_)),
            filters=filters_of(**given),
            stacks=asked.stacks,
            sort=sort,
            offset=check_count("offset", asked.offset, _MOST_OFFSET, 0),
            explain=True,
        )

    def _ask(
        self, indexes: Sequence[ImageIndex], images: Images, request: SearchRequest
    ) -> list[ImageResult]:
        encoders = [
            CachedEncoder(index, _OPTIONS, functools.partial(self._load, index, request.kind))
            for index in indexes
        ]
        answered = ask_parts(indexes, request, encoders)
        results = [images.result(number, hit) for number, hit in enumerate(answered.hits, 1)]
        self._last = [one["id"] for one in results]
        return results

    def _load(self, index: ImageIndex, kind: str) -> ImageEncoder:
        """Return an index's model, beside that of its part only where there is room for both."""
        checkpoint = checkpoint_for(index.folder, index.spec, _OPTIONS, self._reporter, download=False)
        model = self._models.setdefault(index.spec.fingerprint, KeptModel())
        beside = not model.is_loaded and any(other.is_loaded for other in self._models.values())
        if beside and not fits(checkpoint.folder, device_of(_OPTIONS)):
            self._unload(0.0)
        encoder = model.load(checkpoint, index.spec, _OPTIONS, self._reporter)
        side_db.record_run(index.folder, kind, encoder.runtime)
        return encoder

    def _unload(self, idle_seconds: float) -> None:
        for model in self._models.values():
            model.unload(idle_seconds)


_MOST_LINE = 500
"""So many characters of a line that stands in an image are told."""
_SEARCH_FIELDS = frozenset(field.name for field in shapes.fields(Search))
TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "search",
        "Search images",
        "Search the user's own images by describing what is in them. Returns paths, ids and scores, best first.",
        Search,
        Results,
        Tools.search,
    ),
    Tool(
        "similar",
        "Find similar images",
        "Find images that look like one or several indexed images.",
        Similar,
        Results,
        Tools.similar,
    ),
    Tool(
        "list",
        "List images",
        "List indexed image files that pass filters, the newest first. Needs no query.",
        Listing,
        Listed,
        Tools.listing,
    ),
    Tool(
        "facets",
        "Count images",
        "Count the indexed image files by year, camera, folder, type and rating: what there is to filter by.",
        Narrowed,
        Counted,
        Tools.facets,
    ),
    Tool(
        "show",
        "Show what is known of an image",
        "Return what the index knows of one image: date, place, camera, size, title, keywords, copies.",
        OneImage,
        Shown,
        Tools.show,
    ),
    Tool(
        "thumbnail",
        "Look at an image",
        "Return one image, scaled down, to look at.",
        Preview,
        Thumbnail,
        Tools.thumbnail,
    ),
)
