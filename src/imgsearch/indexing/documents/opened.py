"""A document that is being indexed: opened and hashed once, its images asked for by several threads, then closed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import BinaryIO

from imgsearch.errors import PictureError, UsageError
from imgsearch.files import LINK, OTHER, WalkOptions, described, kind_of, open_source, source_file
from imgsearch.files.sidecars import read_sidecars
from imgsearch.installation import how_to_add
from imgsearch.machine import cores
from imgsearch.media import documents, formats
from imgsearch.media.documents import Document, DocumentFormat, DocumentOptions, Place
from imgsearch.media.metadata import MAX_BLOCK, with_sidecars
from imgsearch.text import Option, display_path, error_line
from imgsearch.types import MAX_MEGAPIXELS, Metadata, Picture, PixelBudget, SourceFile

_HEAD_BYTES = 64  # of a file, as far as its format shows
_ADD = "add them with: "
_MOST_PASSWORDS = 1 << 16  # characters of the file that has them
_ENOUGH = 16
"""A document of more images than this has several readers at a time."""
_MOST_READERS = 4


def candidates() -> frozenset[str]:
    """Return the extensions of all files that can be read here: lower case, with the dot."""
    rows = [row for row in documents.DOCUMENTS if documents.is_installed(row)]
    return formats.EXTENSIONS.union(f".{ext}" for row in rows for ext in row.extensions.split())


def missing_extras(counts: Mapping[str, int]) -> dict[str, str]:
    """Return by kind of files (``files.kinds``) the extra that reads them and is not installed; others are left out."""
    missing = [row for row in documents.DOCUMENTS if not documents.is_installed(row)]
    found = {kind_of(f"a.{ext}"): row.extra for row in missing for ext in row.extensions.split()}
    return {kind: extra for kind, extra in found.items() if counts.get(kind)}


def not_read(counts: Mapping[str, int]) -> list[str]:
    """Tell how many files of which kind were not read, and what would read them: a line each, if any."""
    extras, lines = missing_extras(counts), []
    known = {kind: count for kind, count in counts.items() if kind not in (OTHER, LINK) and count}
    if readable := {kind: count for kind, count in known.items() if kind in extras}:
        one = sum(readable.values()) == 1
        how = how_to_add(",".join(sorted(set(extras.values()))))
        command = how.removeprefix(_ADD)
        to_read = f"to read {'it' if one else 'them'}: {command}" if command != how else how
        lines.append(f"{described(readable)} {'was' if one else 'were'} not read; {to_read}")
    if others := {kind: count for kind, count in known.items() if kind not in extras}:
        verb = "was" if sum(others.values()) == 1 else "were"
        lines.append(f"{described(others)} {verb} not read (not supported yet)")
    return lines


def options_of(walk: WalkOptions, max_megapixels: float | None = None) -> DocumentOptions:
    """Return how documents of a root are read. Raises UsageError for a file of passwords that can't be read."""
    passwords: tuple[str, ...] = ()
    if path := walk.pdf_password_file:
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines = file.read(_MOST_PASSWORDS).splitlines()
        except (OSError, ValueError) as error:
            raise UsageError(
                Option("pdf_password_file", path),
                f": {display_path(path)} can't be read ({error_line(error)})",
            ) from error
        passwords = tuple(filter(None, lines))
    return DocumentOptions(walk.pages, walk.frames, passwords, max_megapixels or MAX_MEGAPIXELS)


def may_be_document(path: str) -> bool:
    """Whether a candidate isn't called like an image: by its content it can be one all the same."""
    return os.path.splitext(path)[1].lower() not in formats.EXTENSIONS or bool(_by_name(path))


def _by_name(path: str) -> DocumentFormat | None:
    """Return the kind of documents that has images' names, and this one's."""
    extension = os.path.splitext(path)[1][1:].lower()
    return next(
        (row for row in documents.DOCUMENTS if row.by_name and extension in row.extensions.split()), None
    )


def format_of(stream: BinaryIO, path: str) -> DocumentFormat | None:
    """Return the kind of document that a file is; None for an image. PictureError for what is neither."""
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    format = documents.document_format(head, path) if head else None
    if format is None:
        formats.recognise(stream, path)
    return format


def kind_at(format: DocumentFormat, place: Place) -> str:
    """Return what an image is of its document: one of types.KINDS."""
    if place.time is not None:
        return "frame"
    if place.name:
        return "member"
    if format.is_image:
        return ""
    return "raw" if format.extra == "raw" else "page"


class OpenDocument:
    """A document that stays open until ``close``: its file, the sha256 of its bytes, and what can be asked for.

    ``note`` is what its owner should know of the whole of it.
    """

    def __init__(
        self, source: SourceFile, options: DocumentOptions, is_known: Callable[[bytes], bool]
    ) -> None:
        """Open and hash a file, and unless that is known, begin to read it. Raises PictureError.

        ``format`` is then None for what is an image, and ``places`` is empty where the content is known.
        """
        self.places: tuple[Place, ...] = ()
        self.note, self.known = "", False
        self._options, self._turn = options, threading.Condition()
        self._free: list[Document] = []
        self._readers = 0
        self._left = threading.Event()
        self._stack = ExitStack()
        path = os.path.join(source.root, source.path)
        with ExitStack() as stack:
            found: list[DocumentFormat | None] = []
            opened = stack.enter_context(
                open_source(path, lambda stream: found.append(format_of(stream, path)))
            )
            self.format = found[0] if found else None
            beside = source.sidecars, source.sidecar_state
            self.source = source_file(
                source.root, source.path, opened.status, source.device, *beside, reading=source.reading
            )
            self.sha256, self._stream = opened.sha256, opened.stream
            own = Metadata()
            if self.format is not None and not is_known(self.sha256):
                self._stack = stack
                first = self._reader()
                self.places, self.note, own = tuple(first.places), first.note, first.metadata
                self._free.append(first)
            else:
                self.known = self.format is not None
            beside_it = read_sidecars(path, source.sidecars, MAX_BLOCK)
            self.metadata = with_sidecars(own, beside_it, self.source.mtime_ns)
            self._stack = stack.pop_all()

    def _reader(self) -> Document:
        name = os.path.basename(self.source.path)
        # The first has chosen a film's frames, which takes long.
        options = replace(self._options, frames=-1) if self._readers else self._options
        reader = self._stack.enter_context(documents.open_document(self._stream, name, options))
        self._readers += 1
        return reader

    def kind(self, place: Place) -> str:
        """Return what the image at a place is: one of types.KINDS."""
        assert self.format is not None
        return kind_at(self.format, place)

    def picture(self, place: Place, budget: PixelBudget) -> Picture:
        """Return the image at a place; several threads may ask. Raises PictureError."""
        with self._one() as reader:
            return reader.picture(place, budget)

    @contextmanager
    def _one(self) -> Iterator[Document]:
        """Give a reader that nobody else has; wait for one, or open another where there is much to read."""
        readers = max(1, min(_MOST_READERS, cores.usable().count // 2))
        most = readers if len(self.places) > _ENOUGH else 1
        with self._turn:
            while not self._free and self._readers >= most and not self._left.is_set():
                self._turn.wait()
            if self._left.is_set():
                raise PictureError("vanished", "nobody asks for it any more")
            # To open one reads the stream, which is shared.
            reader = self._free.pop() if self._free else self._reader()
        try:
            yield reader
        finally:
            with self._turn:
                self._free.append(reader)
                self._turn.notify()
                if self._left.is_set() and len(self._free) == self._readers:
                    self._stack.close()

    def close(self) -> None:
        """Close it. Raises PictureError where the file has changed while it was read."""
        self._stack.close()

    def leave(self) -> None:
        """Close it as soon as nobody reads any more: whoever is in the middle of a page is not waited for."""
        with self._turn:
            self._left.set()
            self._turn.notify_all()
            if len(self._free) == self._readers:
                with suppress(PictureError):
                    self._stack.close()
