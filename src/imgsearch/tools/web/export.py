"""A selection of images as a download: their paths, a table, or the files in one ZIP that is never whole in memory."""

from __future__ import annotations

import csv
import io
import os
import re
import time
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from imgsearch.errors import UsageError
from imgsearch.text import format_bytes, printable
from imgsearch.tools.web.originals import Changed, opened
from imgsearch.types import Record

KINDS = {"paths": "text/plain; charset=utf-8", "csv": "text/csv; charset=utf-8", "zip": "application/zip"}
"""What a selection can be saved as → its type."""
MOST_BYTES = 4_000_000_000
"""Of the files in a ZIP together."""
_PIECE = 1 << 20
_LONGEST = 150  # characters of a name
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_OLDEST = (1980, 1, 1, 0, 0, 0)  # that a ZIP can tell
_PLACE = ("kind", "time", "member")
_NOTES = "not in this file.txt"


def paths(records: Sequence[Record]) -> bytes:
    """Return the path of each image, one a line, byte for byte."""
    return b"".join(os.fsencode(record.paths[0]) + b"\n" for record in records)


def table(rows: Sequence[dict[str, Any]]) -> bytes:
    """Return what is known of images as a table (CSV, UTF-8).

    No cell begins with what a spreadsheet takes for a formula.
    """
    columns = ("path", "page", "width", "height", "taken", "camera", "rating", "title", "keywords", *_PLACE)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        values = {**row, "keywords": "; ".join(row["keywords"])}
        writer.writerow(_as_cell(values.get(name)) for name in columns)
    return out.getvalue().encode("utf-8", "backslashreplace")


def check_size(sizes: Sequence[int]) -> None:
    """Raise UsageError if files are too much for one ZIP."""
    if (together := sum(sizes)) > MOST_BYTES:
        raise UsageError(
            f"the selected files are {format_bytes(together)}, and a ZIP may have {format_bytes(MOST_BYTES)}; "
            "select fewer, or save the list of paths"
        )


def zipped(records: Sequence[Record]) -> Iterator[bytes]:
    """Yield a ZIP with the files of some images as they were indexed, piece by piece.

    Nothing is compressed: images are. A file that is gone or has changed is left out and named in a note. Names are
    safe to unpack on any system, and no two are equal.
    """
    sink = _Sink()
    taken: set[str] = {_NOTES}
    missing: list[str] = []
    # Deflate's level 0 stores, too; but unlike stored files, its may have their size behind them for any program.
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=0) as archive:
        for record in {record.sha256: record for record in records}.values():
            try:
                with opened(record) as (path, found):
                    info = zipfile.ZipInfo(unique_name(path, taken), _time_of(found.status.st_mtime))
                    info.compress_type = zipfile.ZIP_DEFLATED
                    info.external_attr = 0o644 << 16
                    with archive.open(info, "w", force_zip64=found.status.st_size > 1 << 30) as entry:
                        for piece in _pieces(found.stream):
                            entry.write(piece)
                            yield from sink.taken()
            except Changed as error:
                missing.append(f"{printable(record.paths[0])}\t{error}")
            yield from sink.taken()
        if missing:
            archive.writestr(_NOTES, "\n".join([*missing, ""]))
    yield from sink.taken()


def unique_name(path: str, taken: set[str]) -> str:
    """Return a file's name as it can stand in any folder, and not like one of those that are ``taken``; take it."""
    name = _NOT_IN_NAMES.sub("_", printable(os.path.basename(path))).strip(" ").rstrip(". ")
    if not name or name.startswith("."):
        name = "_" + name
    if _DEVICES.fullmatch(name):
        name = "_" + name
    stem, extension = os.path.splitext(name)
    extension = extension[:20]
    stem = stem[: _LONGEST - len(extension)]
    name, number = stem + extension, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem} ({number}){extension}"
    taken.add(name.casefold())
    return name


def _as_cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return (
        f"'{text}"
        if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not isinstance(value, int | float)
        else text
    )


def _time_of(mtime: float) -> tuple[int, int, int, int, int, int]:
    try:
        year, *rest = time.localtime(mtime)[:6]
    except (OverflowError, ValueError, OSError):
        return _OLDEST
    month, day, hour, minute, second = rest
    return (year, month, day, hour, minute, second) if 1980 <= year <= 2107 else _OLDEST


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(_PIECE):
        yield piece


class _Sink(io.RawIOBase):
    """Where the ZIP is written to: what was written is taken away at once."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []

    def writable(self) -> bool:
        """Return that it can be written, and nothing else."""
        return True

    def write(self, data: Any) -> int:
        """Keep some bytes until they are taken."""
        self._written.append(bytes(data))
        return len(data)

    def taken(self) -> Iterator[bytes]:
        """Yield what was written since the last time."""
        written, self._written = self._written, []
        if written:
            yield b"".join(written)
