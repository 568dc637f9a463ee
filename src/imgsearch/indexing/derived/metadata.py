"""Metadata of images that were indexed before imgsearch kept any: read from their headers, nothing is embedded."""

from __future__ import annotations

import os
from collections.abc import Mapping

from imgsearch.files import source_file
from imgsearch.files.open import open_regular
from imgsearch.index import metadata
from imgsearch.index.metadata import fulltext
from imgsearch.index.rows import FileRow, FileState
from imgsearch.index.writer import IndexWriter
from imgsearch.indexing.decode import read_metadata
from imgsearch.media.lookahead import look_ahead
from imgsearch.types import Reporter

_AT_ONCE = 1000
"""Files of one transaction; what a kill loses is read again."""
_AHEAD = 64


def read_missing(writer: IndexWriter, roots: Mapping[str, int], reporter: Reporter) -> None:
    """Read the metadata of the files of some roots, ids by paths, that the index has none of.

    A file that is not there, or is not the one that was indexed, waits for a later run.
    """
    catalog = writer.catalog
    if metadata.is_complete(catalog.database):
        return
    total = metadata.count_missing(catalog.database)
    if total:
        reporter.start(total, "images' dates and places read")
    try:
        for path, root in roots.items():
            after = 0
            while rows := metadata.missing(catalog.database, root, after, _AT_ONCE):
                after = rows[-1].id
                states = look_ahead(lambda row, path=path, root=root: _state(path, root, row), rows, _AHEAD)  # type: ignore[misc]
                found = [state for state in states if state is not None]
                with catalog.transaction() as db:
                    metadata.put(db, found)
                reporter.advance(len(rows), path)
    finally:
        if total:
            reporter.stop()
    if not metadata.count_missing(catalog.database):
        with catalog.transaction() as db:
            metadata.set_complete(db)


def make_words(writer: IndexWriter, reporter: Reporter) -> None:
    """Make the full text of the images that an older imgsearch has indexed, or that a killed run has left."""
    total = fulltext.count_due(writer.catalog.database)
    if total > fulltext.AT_ONCE:  # else it is done in a moment
        reporter.start(total, "images' names read")
    try:
        writer.make_words(reporter.advance)
    finally:
        if total > fulltext.AT_ONCE:
            reporter.stop()


def _state(root: str, id: int, row: FileRow) -> FileState | None:
    """Return what a file's header tells; None if the file is not the one that was indexed."""
    path = os.path.join(root, row.path)
    try:
        with open_regular(path) as file:
            source = source_file(root, row.path, os.fstat(file.fileno()), row.device)
            if (source.size, source.mtime_ns) != (row.size, row.mtime_ns):
                return None
            return FileState(id, source, row.content, metadata=read_metadata(source, file))
    except OSError:
        return None
