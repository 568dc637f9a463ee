"""The columns of a segment: what filters ask of its images and their files, as arrays, derived from the catalogue.

A join of the catalogue's tables takes seconds at a million images, a pass over an array milliseconds. Layout of
``columns/00000001-<crc>.columns``: a magic number and the length of the head, the head (JSON: how many images, files
and keywords, and of each part its place, length and checksum), then the parts, each read when it is asked for.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.fs import atomic_write, make_folder, open_own
from imgsearch.text import error_line

FOLDER = "columns"
SCHEMA = (
    """CREATE TABLE columns (
        segment INTEGER PRIMARY KEY REFERENCES segment (id) ON DELETE CASCADE,
        rows INTEGER NOT NULL,               -- they cover the first so many
        name TEXT NOT NULL,                  -- file below columns/
        bytes INTEGER NOT NULL,
        crc INTEGER NOT NULL                 -- crc32 of the file's head, which has those of its parts
    )""",
    # Rows of which the columns no longer tell the truth. ON CONFLICT: a statement's own OR overrules that of a trigger.
    """CREATE TABLE stale (
        segment INTEGER NOT NULL REFERENCES columns (segment) ON DELETE CASCADE,
        row INTEGER NOT NULL,
        PRIMARY KEY (segment, row)
    ) WITHOUT ROWID""",
    """CREATE TRIGGER stale_by_content AFTER UPDATE OF files, segment, row ON content BEGIN
        INSERT INTO stale
            SELECT segment, OLD.row FROM columns WHERE segment = OLD.segment AND rows > OLD.row ON CONFLICT DO NOTHING;
    END""",
    """CREATE TRIGGER stale_by_loss AFTER DELETE ON content BEGIN
        INSERT INTO stale
            SELECT segment, OLD.row FROM columns WHERE segment = OLD.segment AND rows > OLD.row ON CONFLICT DO NOTHING;
    END""",
    """CREATE TRIGGER stale_by_metadata AFTER INSERT ON metadata BEGIN
        INSERT INTO stale SELECT segment, row FROM content JOIN columns USING (segment)
            WHERE sha256 = NEW.sha256 AND rows > row ON CONFLICT DO NOTHING;
    END""",
    """CREATE TRIGGER stale_by_update AFTER UPDATE ON metadata BEGIN
        INSERT INTO stale SELECT segment, row FROM content JOIN columns USING (segment)
            WHERE sha256 = NEW.sha256 AND rows > row ON CONFLICT DO NOTHING;
    END""",
    """CREATE TRIGGER stale_by_name AFTER UPDATE OF root, path ON file BEGIN
        INSERT INTO stale SELECT segment, row FROM content JOIN columns USING (segment)
            WHERE sha256 = NEW.content AND rows > row ON CONFLICT DO NOTHING;
    END""",
)
"""Of the catalogue: which columns belong to it, and what has changed since they were made."""
EMPTY = (
    "CREATE TEMP VIEW columns AS SELECT 0 AS segment, 0 AS rows, '' AS name, 0 AS bytes, 0 AS crc WHERE 0",
    "CREATE TEMP VIEW stale AS SELECT 0 AS segment, 0 AS row WHERE 0",
)
"""The same in an index of an older format."""

Mask = NDArray[np.bool_]
UNKNOWN = np.iinfo(np.int64).min
"""Stands for no date."""
UNRATED = -128
_IMAGES, _FILES, _KEYWORDS, _BYTES = "images", "files", "keywords", "bytes"
PARTS = {
    "taken": ("<i8", _IMAGES),  # milliseconds, as in the catalogue
    "dated": ("|u1", _IMAGES),  # whether the image itself tells that
    "camera": ("<i4", _IMAGES),  # of the texts [make, model]
    "lens": ("<i4", _IMAGES),
    "rating": ("|i1", _IMAGES),
    "latitude": ("<f8", _IMAGES),  # NaN: unknown
    "longitude": ("<f8", _IMAGES),
    "titled": ("|u1", _IMAGES),
    "width": ("<i4", _IMAGES),
    "height": ("<i4", _IMAGES),
    "image": ("<i4", _FILES),  # whose image a file is
    "file": ("<i8", _FILES),  # its id
    "folder": ("<i4", _FILES),  # of the texts [root's id, folder's path in it]
    "type": ("<i4", _FILES),
    "screenshot": ("|u1", _FILES),
    "name_end": ("<i8", _FILES),  # of its folded name in "names"
    "names": ("|u1", _BYTES),
    "keyword_image": ("<i4", _KEYWORDS),  # which image has a keyword
    "keyword": ("<i4", _KEYWORDS),  # of the texts, folded
    **{f"texts of {name}": ("|u1", _BYTES) for name in ("camera", "lens", "folder", "type", "keyword")},
}
"""Each part's type, and of what it has one number."""
_MAGIC = b"imgsearch.columns 1\n"
_LENGTH = struct.Struct("<I")
_MOST_HEAD = 1 << 16


class ColumnsError(Exception):
    """Columns that can't be used, and why: the catalogue is asked instead."""


@dataclass(frozen=True, slots=True)
class ColumnFile:
    """A file of columns as the catalogue names it: they cover the first ``rows`` rows of a segment."""

    segment: int
    rows: int
    name: str
    bytes: int
    crc: int


def column_file_row(segment: int, rows: int, name: str, bytes: int, crc: int) -> ColumnFile | None:
    """Read a row of the table; None if it makes no sense: columns are never worth an error."""
    try:
        found = ColumnFile(int(segment), int(rows), str(name), int(bytes), int(crc))
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.rows > 0 and name and os.sep not in found.name and "\0" not in found.name else None


class Columns:
    """What filters ask of the first ``images`` rows of a segment. Everything in it may raise ColumnsError."""

    def __init__(self, images: int, read: Callable[[str], NDArray[Any]]) -> None:
        """Take what reads a part."""
        self.images, self._read = images, read
        self._parts: dict[str, NDArray[Any]] = {}
        self._texts: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a part."""
        if name not in self._parts:
            part = self._read(name)
            if name in ("image", "keyword_image"):
                _check_range(part, self.images)
            self._parts[name] = part
        return self._parts[name]

    def texts(self, name: str) -> list[Any]:
        """Return the texts that a part's numbers stand for."""
        if name not in self._texts:
            try:
                found = json.loads(self[f"texts of {name}"].tobytes())
            except (ValueError, RecursionError) as error:
                raise ColumnsError("its texts are no texts") from error
            if not isinstance(found, list):
                raise ColumnsError("its texts are no texts")
            _check_range(self[name], len(found))
            self._texts[name] = found
        return self._texts[name]

    def where(self, name: str, test: Callable[[Any], object]) -> Mask:
        """Return for each number of a part whether the text that it stands for passes a test."""
        known = self.texts(name)
        try:
            passing = np.fromiter((bool(test(text)) for text in known), bool, len(known))
        except (TypeError, ValueError, AttributeError) as error:
            raise ColumnsError("its texts are of another kind") from error
        return np.asarray(passing[self[name]])

    def any_of(self, part: str, chosen: Mask) -> Mask:
        """Return for each image whether one of its files, or keywords, is chosen; ``part`` tells whose they are."""
        found = np.zeros(self.images, bool)
        found[self[part][chosen]] = True
        return found


def _check_range(numbers: NDArray[Any], limit: int) -> None:
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < limit):
        raise ColumnsError("its numbers are out of range")


def load(data: str, wanted: ColumnFile) -> Columns:
    """Open the columns that the catalogue in ``data`` names. Raises ColumnsError.

    The file stays open, so that a part can be read even if a writer has replaced it since.
    """
    path = os.path.join(data, FOLDER, wanted.name)
    try:
        file = os.fdopen(open_own(path), "rb", buffering=0)
        if os.fstat(file.fileno()).st_size != wanted.bytes:
            raise ColumnsError(f"{path} has the wrong size")
        start = file.read(len(_MAGIC) + _LENGTH.size)
        if start[: len(_MAGIC)] != _MAGIC:
            raise ColumnsError(f"{path} is of another version")
        (length,) = _LENGTH.unpack(start[len(_MAGIC) :])
        head = file.read(min(length, _MOST_HEAD))
        if zlib.crc32(head) != wanted.crc:
            raise ColumnsError(f"{path} does not match its checksum")
        told = json.loads(head)
        counts = {name: int(told[name]) for name in (_IMAGES, _FILES, _KEYWORDS)}
        places = {name: tuple(map(int, told["parts"][name])) for name in PARTS}
    except OSError as error:
        raise ColumnsError(f"{path} can't be read ({error_line(error)})") from error
    except (ValueError, TypeError, KeyError, RecursionError, struct.error) as error:
        raise ColumnsError(f"{path} is damaged") from error
    if counts[_IMAGES] != wanted.rows:
        raise ColumnsError(f"{path} is of another segment")

    def read(name: str) -> NDArray[Any]:
        (dtype, of), (first, length, crc) = PARTS[name], places[name]
        if not (0 <= first <= first + length <= wanted.bytes):
            raise ColumnsError(f"{path} is damaged")
        try:
            found = os.pread(file.fileno(), length, first)
        except OSError as error:
            raise ColumnsError(f"{path} can't be read ({error_line(error)})") from error
        if len(found) != length or zlib.crc32(found) != crc:
            raise ColumnsError(f"{path} does not match its checksum")
        if length != counts.get(of, length) * np.dtype(dtype).itemsize:
            raise ColumnsError(f"{path} is damaged")
        return np.frombuffer(found, dtype)

    return Columns(wanted.rows, read)


def write(data: str, segment: int, rows: int, parts: Mapping[str, NDArray[Any]]) -> ColumnFile:
    """Write the columns of a segment's first ``rows`` rows; return how the catalogue names them. Raises OSError."""
    counts = {_IMAGES: rows, _FILES: len(parts["file"]), _KEYWORDS: len(parts["keyword"])}
    blocks = {name: np.ascontiguousarray(parts[name], dtype).tobytes() for name, (dtype, _) in PARTS.items()}
    places, first = {}, _MOST_HEAD
    for name, block in blocks.items():
        places[name] = (first, len(block), zlib.crc32(block))
        first += len(block)
    head = json.dumps({**counts, "parts": places}).encode()
    crc = zlib.crc32(head)
    name = f"{segment:08d}-{crc:08x}.columns"
    folder = os.path.join(data, FOLDER)
    make_folder(folder, above=False)
    with atomic_write(os.path.join(folder, name)) as file:
        file.write((_MAGIC + _LENGTH.pack(len(head)) + head).ljust(_MOST_HEAD, b"\0"))
        for block in blocks.values():
            file.write(block)
    return ColumnFile(segment, rows, name, first, crc)
