"""The text in images, read after they were embedded: their files are opened once more, nothing is embedded."""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace

from imgsearch.errors import IndexDamaged, IndexMismatch, PictureError, StorageError
from imgsearch.files import open_source
from imgsearch.files.open import first_bytes
from imgsearch.index import generations, image_text
from imgsearch.index.catalog import Catalog
from imgsearch.index.image_text import ImageText, TextLine
from imgsearch.index.rows import TRANSIENT
from imgsearch.index.writer import IndexWriter
from imgsearch.indexing.derived import ocr
from imgsearch.indexing.derived.ocr import TextReader
from imgsearch.machine import cores
from imgsearch.media import documents, formats
from imgsearch.media.documents import Document, DocumentFormat, DocumentOptions, Place
from imgsearch.media.lookahead import look_ahead
from imgsearch.text import plural
from imgsearch.types import MAX_MEGAPIXELS, RGB, Reporter

COMMIT_SECONDS = 5.0
"""A kill loses at most so much work, and what is being read."""
_AT_ONCE = 200
_COPIED = 500
_THREADS = 4
"""So many images are read at a time, at most: each takes some 300 MB."""
_OWN = "the file"
"""The reader of text that a document brings along."""

Work = Callable[[], Sequence[ImageText]]


@dataclass(slots=True)
class TextsRead:
    """What a run has read: of how many images the text, in how many there was some, and how many failed."""

    read: int = 0
    found: int = 0
    failed: int = 0


class TextPass:
    """Reads the text of all images of some roots, ids by paths, that has not been read; commits as it goes."""

    def __init__(
        self,
        writer: IndexWriter,
        roots: Mapping[str, int],
        max_megapixels: float | None,
        reporter: Reporter,
        how: Mapping[str, DocumentOptions],
        check: Callable[[Callable[[], None]], None] = lambda commit: None,
    ) -> None:
        """Take the open index; ``how`` are the documents of each root opened.

        ``check`` is called after each image with what commits; it may wait, and stop the pass as Ctrl-C does.
        """
        self._check = check
        self._writer, self._roots, self._reporter = writer, roots, reporter
        self._limit, self._how = max_megapixels or MAX_MEGAPIXELS, how
        self._pending: list[ImageText] = []
        self._committed = time.monotonic()
        self.result = TextsRead()

    def carry_out(self, load: Callable[[], TextReader]) -> TextsRead:
        """Read what is to be read; ``load`` is called if that is anything. What was read before an error stays.

        An image that can't be read costs only itself, and is not tried again; a file that is not there, or is not the
        one that was indexed, waits for a later run. Raises MissingExtra as ``load`` does.
        """
        catalog = self._writer.catalog
        if self._writer.unpublished:
            self._take_over()
        total = image_text.count_missing(catalog.database)
        if not total:
            return self.result
        reader = load()
        self._reporter.start(total, "images read")
        ahead = min(cores.usable().count, _THREADS)
        try:
            with closing(self._work(reader)) as work:
                for texts in look_ahead(lambda one: one(), work, ahead):
                    self._take(texts)
        except KeyboardInterrupt as stopped:
            self._commit()
            read, why = plural(self.result.read, "image"), str(stopped) or "interrupted"
            raise type(stopped)(
                f"{why}: the text of {read} was read. Run the same command to continue"
            ) from None
        finally:
            self._reporter.stop()
        self._commit()
        if self.result.failed:
            failed = plural(self.result.failed, "image")
            self._reporter.say(f"the text of {failed} could not be read")
        return self.result

    def _take(self, texts: Sequence[ImageText]) -> None:
        self._pending += texts
        self.result.read += len(texts)
        self.result.found += sum(bool(text.lines) for text in texts)
        self._reporter.advance(len(texts))
        if time.monotonic() - self._committed >= COMMIT_SECONDS:
            self._commit()
        self._check(self._commit)

    def _commit(self) -> None:
        if self._pending:
            with self._writer.catalog.transaction() as db:
                image_text.put(db, self._pending)
            self._pending = []
        self._committed = time.monotonic()

    def _work(self, reader: TextReader) -> Generator[Work, None, None]:
        """Yield what is to be done, for threads: a file of images at a time, and a page of a document."""
        database = self._writer.catalog.database
        begun: set[bytes] = set()
        for root, id in self._roots.items():
            after = 0
            while rows := image_text.missing(database, id, after, _AT_ONCE):
                after = rows[-1].id
                for row in rows:
                    if row.content is None or row.content in begun:
                        continue
                    begun.add(row.content)
                    path, pages = (
                        os.path.join(root, row.path),
                        image_text.pages_missing(database, row.content),
                    )
                    if format := self._document_format(path):
                        # Only what is indexed is read: a film's frames stay the ones that were chosen.
                        frames = -1 if format.extra == "video" else 0
                        options = replace(self._how[root], pages="all", frames=frames)
                        yield from self._pages(reader, path, row.content, pages, options)
                    else:
                        yield functools.partial(self._read_file, reader, path, row.content, frozenset(pages))

    def _document_format(self, path: str) -> DocumentFormat | None:
        try:
            with formats.picture_errors():
                return documents.document_format(first_bytes(path, 64), path)
        except (PictureError, OSError):
            return None

    def _read_file(
        self, reader: TextReader, path: str, content: bytes, pages: frozenset[int]
    ) -> Sequence[ImageText]:
        """Return the text of some pages of a file of images; nothing unless it has the ``content``, a sha256."""
        texts: dict[int, ImageText] = {}
        try:
            with open_source(path, lambda stream: formats.recognise(stream, path)) as opened:
                if opened.sha256 != content:
                    return ()
                try:
                    for picture in formats.load_pictures(
                        opened.stream,
                        path,
                        ocr.BUDGET,
                        max_megapixels=self._limit,
                        pages=slice(min(pages), max(pages) + 1),
                    ):
                        if picture.page in pages:
                            texts[picture.page] = self._text_of(reader, content, picture.page, picture.pixels)
                except PictureError as error:
                    if error.reason not in TRANSIENT:
                        for page in pages - {*texts}:
                            texts[page] = self._failure(reader, content, page)
        except PictureError:
            return ()
        return [*texts.values()]

    def _pages(
        self,
        reader: TextReader,
        path: str,
        content: bytes,
        pages: Sequence[int],
        options: DocumentOptions,
    ) -> Iterator[Work]:
        """Yield the work on each of some pages of a document."""
        try:
            with open_source(path) as opened:
                if opened.sha256 != content:
                    return
                with documents.open_document(opened.stream, path, options) as document:
                    places = {place.page: place for place in document.places}
                    for page in pages:
                        place = places.get(page) or Place(page, page / 1000)  # a moment of a film
                        yield self._page(reader, document, content, place)
        except PictureError:
            return

    def _page(self, reader: TextReader, document: Document, content: bytes, place: Place) -> Work:
        """Return the work on a page: none if the document has its text, or if it can't be drawn."""
        try:
            lines = tuple(TextLine(*line) for line in document.lines(place))
            if any(line.text.strip() for line in lines):
                text = ImageText(content, place.page, lines, _OWN)
                return lambda: (text,)
            pixels = document.picture(place, ocr.BUDGET).pixels
        except PictureError as error:
            if error.reason in TRANSIENT:
                return lambda: ()
            failure = self._failure(reader, content, place.page)
            return lambda: (failure,)
        return lambda: (self._text_of(reader, content, place.page, pixels),)

    def _text_of(self, reader: TextReader, content: bytes, page: int, pixels: RGB) -> ImageText:
        try:
            return ImageText(content, page, tuple(reader.read(pixels)), reader.name)
        except MemoryError:
            raise PictureError("out of memory", "not enough memory to read its text") from None
        except Exception:  # whatever a picture makes libraries in C++ raise, it costs this picture alone
            return self._failure(reader, content, page)

    def _failure(self, reader: TextReader, content: bytes, page: int) -> ImageText:
        self.result.failed += 1
        return ImageText(content, page, (), f"{reader.name} failed")

    def _take_over(self) -> None:
        """Take over what was read for the index that a rebuild replaces."""
        with _replaced(self._writer) as before:
            texts = image_text.stored(before.database) if before else iter(())
            while some := list(itertools.islice(texts, _COPIED)):
                self._put(some)

    def _put(self, texts: Sequence[ImageText]) -> None:
        with self._writer.catalog.transaction() as db:
            image_text.put(db, texts)


def is_wanted(writer: IndexWriter) -> bool:
    """Whether an earlier run was asked to read the text in images, also if for the index that a rebuild replaces."""
    if image_text.is_wanted(writer.catalog.database):
        return True
    if not writer.unpublished:
        return False
    with _replaced(writer) as before:
        if before is not None:
            return image_text.is_wanted(before.database)
    return False


@contextmanager
def _replaced(writer: IndexWriter) -> Iterator[Catalog | None]:
    """Open the catalogue of the index that a rebuild replaces; None if there is none, and what is damaged ends it."""
    damage = IndexDamaged, IndexMismatch, StorageError
    before = None
    if data := generations.in_use(writer.folder):
        with suppress(*damage):
            before = Catalog(data)
    if before is None:
        yield None
        return
    with closing(before), suppress(*damage):
        yield before
