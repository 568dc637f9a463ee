"""Thumbnails made while indexing: from the pixels that are decoded anyway, and for images that have none yet."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import closing, suppress

from imgsearch.errors import PictureError
from imgsearch.files import open_source
from imgsearch.index.thumbs import ThumbStore
from imgsearch.index.writer import IndexWriter
from imgsearch.indexing.documents.opened import may_be_document
from imgsearch.media import formats
from imgsearch.media.lookahead import look_ahead
from imgsearch.media.thumbnail import budget_of, enough_for, make_thumbnail
from imgsearch.text import format_bytes, plural
from imgsearch.types import Picture, Reporter

_AHEAD = 8
_SIZE = "s"
_BYTES = 20_000
"""About what a small thumbnail takes; where there is no room for that, none is made."""


class ThumbMaker:
    """Makes the small thumbnails of one run; ``made`` counts them. Many threads may call ``keep``.

    What can't be made or kept is left out: no run fails for a thumbnail. And none has to go for another: else a run
    over more images than there is room for would make them all again and again.
    """

    def __init__(self, writer: IndexWriter, max_megapixels: float) -> None:
        """Take the index, and the largest image to decode, in millions of pixels."""
        self._writer, self._limit = writer, max_megapixels
        self._store = ThumbStore(writer.folder)
        self._enough = enough_for(_SIZE, writer.spec.pixels)
        self._lock = threading.Lock()
        self.made = self._left_out = 0

    def keep(self, sha256: bytes, picture: Picture) -> None:
        """Make the thumbnail of a picture decoded for the model, unless that left too little detail: no error."""
        if self._enough:
            self._keep(sha256, picture)

    def _keep(self, sha256: bytes, picture: Picture) -> bool:
        """Make a thumbnail unless it is there; return whether it is there now."""
        if self._store.has(sha256, picture.page, _SIZE):
            return True
        kept = False
        with suppress(OSError, ValueError, MemoryError):
            kept = self._store.has_room(sha256, _BYTES) and self._store.put(
                sha256, picture.page, _SIZE, make_thumbnail(picture.pixels, _SIZE), displace=False
            )
        with self._lock:
            self.made += kept
        return kept

    def make_missing(self, roots: Mapping[str, int], reporter: Reporter) -> None:
        """Decode the indexed files of some roots, ids by paths, that have no thumbnail, and make it.

        A file that is not there, or is not the one that was indexed, is left out.
        """
        wanted: dict[bytes, str] = {}
        for root, id in roots.items():
            for row in self._writer.catalog.files(id):
                if may_be_document(row.path):
                    continue  # made while it is indexed, else when they are first shown: it may have thousands
                if row.content and row.content not in wanted and not self._store.has(row.content, 0, _SIZE):
                    wanted[row.content] = os.path.join(root, row.path)
        if wanted:
            reporter.start(len(wanted), "thumbnails")
            try:
                # To take all of the results would keep a thousand images in memory: they have none.
                with closing(look_ahead(lambda one: self._make(*one), wanted.items(), _AHEAD)) as done:
                    for path in done:
                        reporter.advance(1, os.path.dirname(path))
            finally:
                reporter.stop()
        if self._left_out:
            left = plural(self._left_out, "image has no thumbnail", "images have no thumbnail")
            reporter.say(
                f"{left} yet: all together take {format_bytes(self._store.limit)} at most, or the disk is full; "
                "they are made when first shown"
            )

    def _make(self, sha256: bytes, path: str) -> str:
        there = self._store.has_room(sha256, _BYTES)
        if there:
            with (
                suppress(PictureError),
                open_source(path, lambda stream: formats.recognise(stream, path)) as opened,
            ):
                if opened.sha256 == sha256:
                    for picture in formats.load_pictures(
                        opened.stream, path, budget_of(_SIZE), max_megapixels=self._limit
                    ):
                        there = self._keep(sha256, picture) and there
        with self._lock:
            self._left_out += not there
        return path
