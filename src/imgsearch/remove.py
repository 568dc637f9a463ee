"""Use case: take files and folders out of an index. The files themselves are never touched."""

from __future__ import annotations

import os
from collections.abc import Sequence

from imgsearch.index.image_index import IndexWriter
from imgsearch.types import Reporter, Silent


def remove_paths(paths: Sequence[str], folder: str, reporter: Reporter | None = None) -> int:
    """Forget everything at or below ``paths`` in the index in ``folder``; return how many files that were.

    A root that lies in a path is forgotten too; a part of a root comes back with its next refresh, which is
    said. Paths need not exist. Raises IndexMissing, IndexLocked, IndexDamaged, StorageError.
    """
    reporter = reporter or Silent()
    removed = 0
    with IndexWriter(folder) as writer:
        for path in paths:
            real = os.path.realpath(path)
            for root in writer.catalog.roots():
                if root.path == real or root.path.startswith(real.rstrip(os.sep) + os.sep):
                    removed += _drop(writer, root.id, "")
                    writer.catalog.drop_root(root.id)
                    reporter.say(f"{root.path} is no longer kept indexed")
                elif real.startswith(root.path.rstrip(os.sep) + os.sep):
                    below = os.path.relpath(real, root.path)
                    dropped = _drop(writer, root.id, below)
                    removed += dropped
                    if dropped and os.path.lexists(real):
                        reporter.say(
                            f"{real} comes back when {root.path} is indexed again, unless an --exclude or a "
                            ".imgsearchignore file names it"
                        )
    return removed


def _drop(writer: IndexWriter, root: int, below: str) -> int:
    ids = [row.id for row in writer.catalog.files(root, below)]
    writer.catalog.drop_files(ids, contents=True)
    return len(ids)
