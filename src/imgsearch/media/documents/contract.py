"""What a document's reader offers to whoever asks: places, options, and the calls that cross to its process."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol, TypeAlias, runtime_checkable

from imgsearch.errors import UsageError
from imgsearch.text import Option
from imgsearch.types import MAX_MEGAPIXELS, Metadata, Picture, PixelBudget


class Place(NamedTuple):
    """Where in a document a picture is.

    ``page`` counts from 0; of a film it is the milliseconds since the start, so that a file's hash and ``page`` name
    any picture. ``time`` is in seconds, of films only; ``name`` is that of an archive's member, to be shown.
    """

    page: int
    time: float | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class DocumentOptions:
    """What whoever opens a document wants of it.

    ``pages`` is "first", "all" or "N-M", from 1, as ``chosen`` reads it; ``frames`` is how many pictures of a film, 0
    for a number by its length, -1 for none: who knows a moment need not wait for a choice. ``passwords`` are tried in
    turn on what is encrypted. ``max_megapixels`` is the largest picture that is decoded, in millions of pixels.
    """

    pages: str = "all"
    frames: int = 0
    passwords: tuple[str, ...] = ()
    max_megapixels: float = MAX_MEGAPIXELS


AS_USUAL = DocumentOptions()


class Reader(Protocol):
    """An open document in the process that reads it, made by ``Opener``.

    Its calls raise PictureError, or whatever the library under it raises.

    ``places`` is what can be asked for, in order; whatever takes a look at each page is too slow for it. ``note`` is
    what the owner should know of the whole file, "" if nothing. ``cost`` is about how many bytes a picture takes.
    """

    places: Sequence[Place]
    note: str
    cost: int

    def picture(self, place: Place, budget: PixelBudget) -> Picture:
        """Return a picture: upright, sRGB, with the budget's pixels or somewhat more, but no more than there are.

        ``Picture.page`` is the place's; width and height are those of the original, in pixels.
        """

    def metadata(self) -> Metadata:
        """Return what the file tells of itself; an error tells nothing."""

    def text(self, place: Place) -> str:
        """Return the text that the file itself has for a page; "" if there is none."""

    def close(self) -> None:
        """Let go of the file."""


Corners: TypeAlias = tuple[float, float, float, float, float, float, float, float]
"""x and y of four corners, clockwise from the top left; fractions of the upright page's width and height."""


@runtime_checkable
class ReaderOfLines(Reader, Protocol):
    """A reader that knows where on a page its text stands."""

    def lines(self, place: Place) -> Sequence[tuple[str, Corners | None]]:
        """Return the lines of ``text``, each with the corners of what it takes; None where nobody knows."""


class Opener(Protocol):
    """``open_reader`` of a reader's module; ``stream`` is seekable, has no descriptor, and is closed after it."""

    def __call__(self, stream: BinaryIO, name: str, options: DocumentOptions) -> Reader:
        """Return the reader, or raise PictureError or whatever the library under it raises."""


class Document(Protocol):
    """An open document on the side of whoever asks, for one thread at a time; fields and calls as of ``Reader``.

    ``places`` are those that the options chose. All calls raise PictureError; besides the reasons of
    ``formats.load_pictures``: "crashed the reader", "takes too long", "out of memory". What goes wrong at one place
    leaves the others as they are.
    """

    places: Sequence[Place]
    note: str
    metadata: Metadata

    def picture(self, place: Place, budget: PixelBudget) -> Picture:
        """Return the picture at a place."""

    def text(self, place: Place) -> str:
        """Return the file's own text of a page; "" if there is none."""

    def lines(self, place: Place) -> Sequence[tuple[str, Corners | None]]:
        """Return the lines of that text, each with the corners of what it takes; None where nobody knows."""


_RANGE = re.compile(r"([1-9]\d*)(?:-([1-9]\d*)?)?", re.ASCII)


def chosen(pages: str) -> slice:
    """Return which of a document's pages are meant by "first", "all", "7", "3-9" or "3-", from 1.

    Raises UsageError for anything else.
    """
    if pages in ("first", "all"):
        return slice(0, 1 if pages == "first" else None)
    found = _RANGE.fullmatch(pages)
    if not found or len(pages) > 20:
        raise UsageError(
            Option("pages", pages), ": not understood; it can be first, all, or numbers such as 3-9"
        )
    first, last = int(found[1]), found[2]
    until = int(last) if last else first if "-" not in pages else None
    if until is not None and until < first:
        raise UsageError(Option("pages", pages), ": its last page comes before its first")
    return slice(first - 1, until)


def choose(places: Sequence[Place], pages: str) -> Sequence[Place]:
    """Return the places that ``pages`` means; a film's moments are no pages, so all of those."""
    if places and places[0].time is not None:
        return places
    return places[chosen(pages)]


def said(place: Place) -> str:
    """Return how a person is told of a place: "page 8", counted from 1, "83.2 s", or a member's name."""
    if place.time is not None:
        return f"{place.time:.1f} s"
    return place.name or f"page {place.page + 1}"
