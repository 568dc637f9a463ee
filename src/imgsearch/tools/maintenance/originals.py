"""Use case: compare the image files on the disk with what was indexed, by the hashes of their bytes."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from imgsearch.addresses import is_remote
from imgsearch.errors import PictureError, UsageError
from imgsearch.files.open import open_regular, open_source
from imgsearch.fs import is_below
from imgsearch.index.reader import ImageIndex
from imgsearch.media.lookahead import look_ahead
from imgsearch.names import known_as
from imgsearch.text import Call, Message, display_path, error_line, format_bytes, plural
from imgsearch.tools.maintenance.status import rows_below
from imgsearch.types import Reporter, Silent

CHANGED = "changed since it was indexed"
_SAME, _MISSING = "", "missing"
_AHEAD = 64
_NAMED = 3  # changed images in the advice; of more, the paths asked for


@dataclass(slots=True)
class OriginalsReport:
    """What a comparison found: how many files are as they were indexed, and how many ``missing`` now.

    ``changed`` are the absolute paths of files with other bytes, ``unreadable`` counts those that could not be read.
    ``paths`` are those that were asked for, ``bytes`` were read in ``seconds``.
    """

    folder: str
    paths: tuple[str, ...] = ()
    same: int = 0
    changed: list[str] = field(default_factory=list)
    unreadable: int = 0
    missing: int = 0
    bytes: int = 0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every file that is there has the bytes that were indexed."""
        return not self.changed and not self.unreadable

    def summary(self) -> Message:
        """Tell in one line what was read, and what came of it."""
        count = self.same + len(self.changed)
        parts = [f"{plural(count, 'image')} read"]
        if self.bytes >= 1e8:  # less is a matter of a moment
            parts.append(
                f"{format_bytes(self.bytes)} at {format_bytes(self.bytes / max(self.seconds, 1e-9))}/s"
            )
        if self.missing:
            parts.append(f"{self.missing:,} not there now")
        if self.unreadable:
            parts.append(f"{self.unreadable:,} can't be read")
        read = ", ".join(parts)
        if not self.changed:
            return Message(f"OK: {read}, all as they were indexed" if self.ok else read)
        again = self.changed if len(self.changed) <= _NAMED else list(self.paths)
        options = Call("IndexOptions", {"reread": again})
        update = Call("index_pictures", {"folder": self.folder, "options": options})
        return Message(f"{len(self.changed):,} {CHANGED} ({read}); to index them again: ", update)


def compare_originals(
    folder: str,
    paths: Sequence[str] = (),
    reporter: Reporter | None = None,
    show: Callable[[str, str], None] = lambda path, what: None,
) -> OriginalsReport:
    """Read every indexed file at or below ``paths``, or all, and compare its bytes with those that were indexed.

    ``show`` is told each file that differs or can't be read, and what is wrong; nothing is changed. Raises UsageError
    for a path that is not indexed, IndexMissing, IndexDamaged.
    """
    reporter = reporter or Silent()
    began = time.monotonic()
    with ImageIndex(os.path.abspath(folder)) as index:
        parts = {_known(path, index) for path in paths}
        parts = {path for path in parts if not any(is_below(path, other) for other in parts)}
        asked = parts or {root.path for root in index.catalog.roots()}
        report = OriginalsReport(index.folder, tuple(sorted(asked)))

        def files() -> Iterator[tuple[str, bytes]]:
            wanted: list[str | None] = [*sorted(parts)] or [None]
            for part in wanted:
                for root, row in rows_below(index, part):
                    if row.content is not None:
                        yield os.path.join(root.path, row.path), row.content

        reporter.start(0 if parts else index.catalog.counts()[0], "images")
        try:
            with closing(look_ahead(_compare, files(), _AHEAD)) as compared:
                for path, what, size in compared:
                    reporter.advance(1, os.path.dirname(path))
                    _count(report, path, what, size, show)
        finally:
            reporter.stop()
    report.seconds = time.monotonic() - began
    return report


def _known(path: str, index: ImageIndex) -> str:
    """Return the absolute path by which the index knows ``path``. Raises UsageError if it does not."""
    name = known_as(path, index.catalog.roots(), index.catalog)
    if not path or not name.known:
        raise UsageError(f"not in the index: {display_path(path) or repr(path)}")
    return name.path


def _compare(file: tuple[str, bytes]) -> tuple[str, str, int]:
    """Return the path of a file, what is wrong with it, and how many bytes were read."""
    path, sha256 = file
    if is_remote(path):
        return _compare_object(path, sha256)
    try:
        with open_regular(path) as opened:
            found = hashlib.file_digest(opened, "sha256").digest()
            return path, _SAME if found == sha256 else CHANGED, opened.tell()
    except (FileNotFoundError, NotADirectoryError):
        return path, _MISSING, 0
    except (OSError, ValueError) as error:
        return path, f"can't be read: {error_line(error)}", 0


def _compare_object(address: str, sha256: bytes) -> tuple[str, str, int]:
    try:
        with open_source(address) as opened:
            return address, _SAME if opened.sha256 == sha256 else CHANGED, opened.status.st_size
    except PictureError as error:
        what = {"vanished": _MISSING, "empty file": CHANGED}.get(error.reason, f"can't be read: {error}")
        return address, what, 0


def _count(
    report: OriginalsReport, path: str, what: str, size: int, show: Callable[[str, str], None]
) -> None:
    report.bytes += size
    if what == _SAME:
        report.same += 1
    elif what == _MISSING:
        report.missing += 1
    else:
        if what == CHANGED:
            report.changed.append(path)
        else:
            report.unreadable += 1
        show(path, what)
