"""Hashes of images that were embedded before imgsearch kept any: their files are decoded again, nothing is embedded."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from imgsearch.errors import PictureError
from imgsearch.files import open_source
from imgsearch.fs import is_at_or_below
from imgsearch.index import hashes
from imgsearch.index.rows import NewContent
from imgsearch.index.writer import IndexWriter
from imgsearch.media import formats
from imgsearch.media.lookahead import look_ahead
from imgsearch.media.pixelhash import pixel_hash
from imgsearch.types import MAX_MEGAPIXELS, PixelBudget, Reporter

_AT_ONCE = 200
"""Files of one transaction; what a kill loses is read again."""
_AHEAD = 8


def hash_missing(
    writer: IndexWriter,
    roots: Mapping[str, int],
    paths: Collection[str],
    max_megapixels: float | None,
    reporter: Reporter,
) -> None:
    """Decode the files of some roots, ids by paths, at or below ``paths`` that have pictures without a hash.

    A file that is not there, or is not the one that was indexed, is left out.
    """
    catalog, budget = writer.catalog, writer.spec.pixels
    limit = max_megapixels or MAX_MEGAPIXELS

    def hashed(path: str, content: bytes) -> list[NewContent]:
        return _pages(path, content, budget, limit)

    reporter.start(hashes.count_missing(catalog.database), "images hashed")
    try:
        for root, id in roots.items():
            after = 0
            while rows := hashes.missing(catalog.database, id, after, _AT_ONCE):
                after = rows[-1].id
                wanted = {
                    row.content: path
                    for row in rows
                    if row.content
                    and any(is_at_or_below(path := os.path.join(root, row.path), one) for one in paths)
                }
                found = look_ahead(lambda item: hashed(item[1], item[0]), wanted.items(), _AHEAD)
                new = [page for pages in found for page in pages]
                with catalog.transaction() as db:
                    hashes.put(db, new)
                reporter.advance(len(wanted), root)
    finally:
        reporter.stop()


def _pages(path: str, content: bytes, budget: PixelBudget, max_megapixels: float) -> list[NewContent]:
    """Return the pages of a file with their hashes; none unless it has the ``content``, a sha256."""
    try:
        with open_source(path, lambda stream: formats.recognise(stream, path)) as opened:
            if opened.sha256 != content:
                return []
            pictures = formats.load_pictures(opened.stream, path, budget, max_megapixels=max_megapixels)
            return [
                NewContent(content, one.page, one.width, one.height, 0, pixel_hash(one.pixels))
                for one in pictures
            ]
    except PictureError:
        return []
