"""Use case: reclaim the disk space of what an index no longer needs."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from imgsearch.errors import StorageError
from imgsearch.index import generations
from imgsearch.index.ann.builder import AnnBuilder
from imgsearch.index.thumbs import ThumbStore
from imgsearch.index.writer import DELETED_SHARE, Compaction, IndexWriter
from imgsearch.indexing.ingest import tidy
from imgsearch.text import Message, format_bytes
from imgsearch.types import Reporter, Silent

# Share of the catalogue's pages that must be free for writing it anew to be worth it.
_FREE_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What was given up: ``vectors`` of segments, an unfinished ``rebuild``, free pages of the ``catalogue``.

    ``thumbnails`` counts those that were deleted. ``given_back`` is in bytes, ``left`` counts vectors of pictures that
    are gone and too few to be worth it.
    """

    vectors: Compaction
    rebuild: bool = False
    catalogue: bool = False
    given_back: int = 0
    left: int = 0
    thumbnails: int = 0

    def __bool__(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.vectors.segments or self.rebuild or self.catalogue or self.thumbnails)


def compact_index(
    folder: str, everything: bool = False, reporter: Reporter | None = None
) -> CompactionReport:
    """Reclaim the disk space of the embeddings of deleted images, also of those that are retained; and thumbnails'.

    Embeddings in segments of which a quarter is deleted; with ``everything``, in all segments, and an unfinished
    rebuild is deleted. It may be interrupted at any time; what was done stays done. Raises IndexMissing,
    IndexLocked, IndexDamaged, StorageError (no disk space for the embeddings that are written again).
    """
    reporter = reporter or Silent()
    with IndexWriter(folder) as writer:
        before = writer.index.bytes_on_disk()
        rebuild = everything and generations.drop_unfinished(writer.folder, writer.data)
        builder = AnnBuilder(writer.data, writer.spec, reporter)
        try:
            done = tidy(writer, builder, reporter, 0.0 if everything else DELETED_SHARE)
        finally:
            builder.stop()
        vacuumed = _vacuum(writer, reporter)
        thumbnails = ThumbStore(writer.folder).tidy(writer.catalog.contents_from).files
        left = sum(writer.catalog.deleted_counts().values())
    # Once more when all is closed, and the catalogue's log with it.
    given_back = before - writer.index.bytes_on_disk()
    return CompactionReport(done, rebuild, vacuumed, max(0, given_back), left, thumbnails)


def _vacuum(writer: IndexWriter, reporter: Reporter) -> bool:
    """Write the catalogue anew if much of it is free and there is room for that."""
    catalog = writer.catalog
    if catalog.database.free_share() < _FREE_SHARE:
        return False
    needed = 2 * os.path.getsize(catalog.path)
    if shutil.disk_usage(writer.data).free < needed:
        reporter.say(
            f"the catalogue could be smaller, but shrinking it needs {format_bytes(needed)} of free disk space"
        )
        return False
    try:
        catalog.database.vacuum()
    except StorageError as error:
        reporter.say(Message("could not shrink the catalogue: ", error.as_message))
        return False
    return True
