"""Images as a client of the protocol names them, and as it is told of them: only those of the index.

A name that leads to no image of the index gets one and the same answer, whatever there is on the disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, NotRequired, TypedDict

from imgsearch import deep
from imgsearch.addresses import SCHEME, is_remote
from imgsearch.errors import InputError, UsageError
from imgsearch.index import metadata
from imgsearch.index.reader import ImageIndex
from imgsearch.names import known_as
from imgsearch.place import parted
from imgsearch.search.examples import nearest_page
from imgsearch.search.language.question import STDIN, Part
from imgsearch.search.ranking.feedback import Page
from imgsearch.search.show import iso
from imgsearch.text import display_path, printable
from imgsearch.tools.web.keys import NoImage, key_of, record_of
from imgsearch.types import Hit, Metadata, Record, is_utf8, path_json, place_json

_ID = re.compile(r"\d{1,18}-[0-9a-f]{16}")
_NUMBER = re.compile(r"\d{1,6}")
_MOST_TEXT, _MOST_NAME, _MOST_WORDS = 2_000, 200, 50
"""So much is told of what files tell of themselves: characters of a description and of a name, and keywords."""


def names_image(text: str) -> bool:
    """Whether words of a query are the name of an image: an id, or what is written as an absolute path."""
    text = text.strip()
    return bool(_ID.fullmatch(text)) or text.startswith(("/", "~/", SCHEME))


class ImagePath(TypedDict):
    """By which path an image is shown."""

    path: Annotated[str, "Absolute path of the file; bytes that are not UTF-8 are escaped"]
    path_b64: NotRequired[Annotated[str, "The path's bytes in base64, if they are not UTF-8"]]


class Place(TypedDict):
    """Where in a document an image is."""

    kind: NotRequired[
        Annotated[
            str,
            "What it is in its file: page of a document, frame of a video, raw, member of an archive",
        ]
    ]
    time: NotRequired[Annotated[float, "Of a video's frame: the seconds from the start"]]
    member: NotRequired[Annotated[str, "Of an archive's image: its name in there"]]


class ImageResult(ImagePath, Place):
    """An image that was found."""

    number: Annotated[int, "Its number in this answer: other tools take it until the next search or list"]
    id: Annotated[str, "What other tools take for this image, as long as it is indexed"]
    score: Annotated[float, "Cosine similarity, from -1 to 1; compare it only within one answer"]
    stands_out: Annotated[bool | None, "Whether it is closer than chance; null: nobody can tell"]
    page: Annotated[int, "Its page in a file of several, from 0; of a video, the frame's milliseconds"]
    width: Annotated[int, "In pixels"]
    height: Annotated[int, "In pixels"]
    taken: Annotated[str | None, "When it was taken, by the clock there; null: unknown"]
    copies: Annotated[int, "How many other files have the same bytes"]
    missing: Annotated[bool, "Whether the file is not there now"]
    quote: NotRequired[Annotated[str, "If the text in the image matched: the line of it"]]


class Images:
    """What a client may name: ids, numbers of its last answer, and paths of images of an index and its part."""

    def __init__(self, indexes: Sequence[ImageIndex], last: Sequence[str]) -> None:
        """Take an open index and its part, and the ids of the last answer."""
        self._indexes, self._last = indexes, last

    def record(self, name: str) -> Record:
        """Return the image that a client names. Raises InputError."""
        return self.find(name)[1]

    def find(self, name: str) -> tuple[ImageIndex, Record]:
        """Return the image that a client names, and the index that has it. Raises InputError."""
        short = name.strip()
        if _ID.fullmatch(short):
            for index in self._indexes:
                with suppress(NoImage):
                    return index, record_of(index, short)
            raise InputError(f"{short}: this image is not in the index now; search again")
        if _NUMBER.fullmatch(short):
            if not 1 <= int(short) <= len(self._last):
                raise InputError(f"{short}: the last answer has no image of this number")
            return self.find(self._last[int(short) - 1])
        if found := self._at(name):
            return found
        raise self._unknown(name)

    def _at(self, name: str) -> tuple[ImageIndex, Record] | None:
        """Return the image of a path that a client gives, with a page or a moment behind it or without."""
        path, page = parted(name)
        if path != name:
            try:
                found = self._row(self.known(path), page)
            except InputError:
                found = None  # a file may have this very name
            if found:
                return found
        return self._row(self.known(name))

    def _row(self, path: str, page: int | None = None) -> tuple[ImageIndex, Record] | None:
        """Return an image of a file, by the path that the index has: the first, or of a film that nearest to a time."""
        for index in self._indexes:
            catalog = index.catalog
            for root in catalog.roots():
                if path.startswith(os.path.join(root.path, "")):
                    row = catalog.file(root.id, os.path.relpath(path, root.path))
                    if row is not None and row.content and (pages := catalog.pages(row.content)):
                        wanted = pages[0].page if page is None else nearest_page(index, row.content, page)
                        found = next((one for one in pages if one.page == wanted), None)
                        return (index, found) if found else None
        return None

    def listed(self, path: str) -> Record:
        """Return the image of a path that a list has. Raises InputError if it was removed since."""
        if found := self._row(path):
            return found[1]
        raise self._unknown(path)

    def pages(self, names: Sequence[str]) -> tuple[Page, ...]:
        """Return the images that a client names by their contents. Raises InputError."""
        return tuple((found.sha256, found.page) for found in map(self.record, names))

    def parts(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        """Return the parts of a query with the images that some of them name. Raises InputError."""
        if any(part.image == STDIN for part in parts):
            raise InputError("-: a query reads no image from stdin; give an image's id or path")
        return tuple(self._part(part) for part in parts)

    def _part(self, part: Part) -> Part:
        if not names_image(part.text):
            return part
        found = self.record(part.text)
        return replace(part, text="", content=found.sha256, page=found.page)

    def path(self, record: Record, name: str) -> str:
        """Return by which of an image's paths to show it: the one that a client has named, else one that is there."""
        known = ""
        if name.startswith(("/", "~/")):
            path = parted(name)[0]
            known = self.known(path if path != name and self._at(path) else name)
        if known in record.paths:
            return known
        return next((path for path in record.paths if deep.exists(path)), record.paths[0])

    def known(self, path: str) -> str:
        """Return what the index calls a file or folder. Raises InputError, also for one that is on the disk alone."""
        whole = os.path.expanduser(path) if path.startswith("~/") else path
        try:
            encoded = os.fsencode(whole)
        except UnicodeEncodeError:
            encoded = b"\0"
        if not (os.path.isabs(whole) or is_remote(whole)) or b"\0" in encoded:
            raise InputError(
                f"{display_path(path)}: give an image's id or number, or an absolute path in an indexed folder"
            )
        for index in self._indexes:
            found = known_as(whole, index.catalog.roots(), index.catalog)
            if found.known:
                return found.path
        raise self._unknown(path)

    @staticmethod
    def id(record: Record) -> str:
        """Return what a client may call an image."""
        return key_of(record.id, record.sha256)

    @staticmethod
    def _unknown(path: str) -> InputError:
        return InputError(f"{display_path(path)} is not in the index")

    def result(self, number: int, hit: Hit) -> ImageResult:
        """Return a hit as a client is told of it."""
        told: ImageResult = {
            "number": number,
            "id": key_of(hit.content, hit.sha256),
            **shown_path(hit.path),  # a path has no quote
            **place_of(hit),  # type: ignore[typeddict-item]
            "score": round(hit.score, 4),
            "stands_out": hit.why.stands_out if hit.why else None,
            "page": hit.page,
            "width": hit.width,
            "height": hit.height,
            "taken": self.taken(hit.sha256),
            "copies": len(hit.copies),
            "missing": hit.missing,
        }
        if hit.quote:
            told["quote"] = _cut(printable(hit.quote.text), _MOST_NAME)
        return told

    def taken(self, content: bytes) -> str | None:
        """Return when an image was taken, if it is known."""
        each = (metadata.get(index.catalog.database, content) for index in self._indexes)
        known = next(filter(None, each), None)
        return iso(known) if known else None


def place_of(image: Hit | Record) -> Place:
    """Return where in a document an image is."""
    told: Place = place_json(image.kind, image.page, _cut(printable(image.name), _MOST_NAME))  # type: ignore[assignment]
    return told


def shown_path(path: str) -> ImagePath:
    """Return a path for JSON that has to be UTF-8."""
    if is_utf8(path):
        return {"path": path}
    return {"path": printable(path), "path_b64": path_json(path)["path_b64"]}


def shortened(known: Metadata) -> Metadata:
    """Return what a file tells of its image, with what is too long cut, and as text that is valid."""
    texts: dict[str, Any] = {
        name: _cut(getattr(known, name), _MOST_TEXT if name == "description" else _MOST_NAME)
        for name in ("make", "model", "lens", "title", "description", "software", "burst")
    }
    keywords = tuple(_cut(word, _MOST_NAME) for word in known.keywords[:_MOST_WORDS])
    return replace(known, **texts, keywords=keywords)


def _cut(text: str, most: int) -> str:
    text = text if is_utf8(text) else printable(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def check_count(name: str, value: int, most: int, least: int = 1) -> int:
    """Return a number that is given. Raises UsageError for one that is too small or too large."""
    if not least <= value <= most:
        raise UsageError(f"{name}: must be from {least} to {most:,}")
    return value
