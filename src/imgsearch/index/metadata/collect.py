"""Makes columns of what the catalogue knows, when enough has changed that asking it for the changes takes long."""

from __future__ import annotations

import itertools
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.fs import storage_error
from imgsearch.index.metadata import columns
from imgsearch.index.metadata.columns import UNKNOWN, UNRATED, ColumnFile, ColumnsError, column_file_row
from imgsearch.index.metadata.named import CAMERA, TOLD, file_name, file_type, is_screenshot
from imgsearch.index.rows import pair_row

if TYPE_CHECKING:
    from imgsearch.index.database import Database

MOST_CHANGED = 5_000
"""Images that the catalogue is asked about without anybody noticing: 20 ms."""
_AT_ONCE = 10_000
_MOST = 2**31 - 1


def column_files(database: Database) -> dict[int, ColumnFile]:
    """Return by segment the columns that belong to it."""
    found = database.query(column_file_row, "SELECT segment, rows, name, bytes, crc FROM columns")
    return {file.segment: file for file in found if file}


def due(database: Database, data: str) -> list[tuple[int, int]]:
    """Return (segment, rows) of those that need columns, or new ones; nothing while few images have changed."""
    segments = database.query(pair_row, "SELECT id, rows FROM segment WHERE rows > 0 ORDER BY id")
    stale = dict(database.query(pair_row, "SELECT segment, count(*) FROM stale GROUP BY segment"))
    known = column_files(database)
    changed: dict[int, int] = {}
    for segment, rows in segments:
        changed[segment] = rows
        if segment in known and known[segment].rows <= rows:
            with suppress(ColumnsError):
                columns.load(data, known[segment])
                changed[segment] = rows - known[segment].rows + stale.get(segment, 0)
    if sum(changed.values()) < MOST_CHANGED:
        return []
    return [(segment, rows) for segment, rows in segments if changed[segment]]


def build(database: Database, data: str, segment: int, rows: int) -> None:
    """Make the columns of the first ``rows`` rows of a segment and register them. Raises StorageError, IndexDamaged.

    The caller holds the writer lock. All of it is one transaction, so that nothing changes meanwhile.
    """
    old = column_files(database).get(segment)
    with database.transaction() as db:
        try:
            made = columns.write(data, segment, rows, collect(database, segment, rows))
        except OSError as error:
            raise storage_error(error, os.path.join(data, columns.FOLDER)) from error
        db.execute("DELETE FROM stale WHERE segment = ?", (segment,))
        db.execute(
            "INSERT INTO columns (segment, rows, name, bytes, crc) VALUES (?, ?, ?, ?, ?) ON CONFLICT (segment) DO "
            "UPDATE SET rows = excluded.rows, name = excluded.name, bytes = excluded.bytes, crc = excluded.crc",
            (made.segment, made.rows, made.name, made.bytes, made.crc),
        )
    if old and old.name != made.name:
        with suppress(OSError):  # it costs room until the next writer clears it away
            os.unlink(os.path.join(data, columns.FOLDER, old.name))


def damaged(database: Database, data: str, segments: Mapping[int, int]) -> Iterator[tuple[int, str, str]]:
    """Yield (segment, path, what is wrong) of columns that can't be used; ``segments`` are rows by number."""
    for file in column_files(database).values():
        path = os.path.join(data, columns.FOLDER, file.name)
        try:
            found = columns.load(data, file)
            for name in columns.PARTS:
                found[name]
        except ColumnsError as error:
            yield file.segment, path, str(error).removeprefix(path).strip()
            continue
        if file.rows > segments.get(file.segment, 0):
            yield file.segment, path, f"covers {file.rows:,} images, more than exist"


def drop(database: Database, segment: int) -> None:
    """Forget the columns of a segment; the next run makes them again."""
    with database.transaction() as db:
        db.execute("DELETE FROM columns WHERE segment = ?", (segment,))


def collect(database: Database, segment: int, rows: int) -> dict[str, NDArray[Any]]:
    """Return the parts of the columns of the first ``rows`` rows of a segment, as ``columns.PARTS`` has them."""
    codes: dict[str, dict[Any, int]] = defaultdict(dict)

    def coded(name: str, values: Iterable[Any]) -> list[int]:
        known = codes[name]
        return [known.setdefault(value, len(known)) for value in values]

    parts = _of_images(database, segment, rows, coded) | _of_files(database, segment, rows, coded)
    for name, known in codes.items():
        parts[f"texts of {name}"] = np.frombuffer(json.dumps(list(known)).encode(), np.uint8)
    return parts


def _of_images(database: Database, segment: int, rows: int, coded: Any) -> dict[str, NDArray[Any]]:
    nothing = coded("camera", [("", "")])[0], coded("lens", [""])[0]
    coded("keyword", [])
    parts: dict[str, NDArray[Any]] = {
        "taken": np.full(rows, UNKNOWN, np.int64),
        "camera": np.full(rows, nothing[0], np.int32),
        "lens": np.full(rows, nothing[1], np.int32),
        "rating": np.full(rows, UNRATED, np.int8),
        **{name: np.full(rows, np.nan) for name in ("latitude", "longitude")},
        **{name: np.zeros(rows, np.uint8) for name in ("dated", "titled")},
        **{name: np.zeros(rows, np.int32) for name in ("width", "height")},
    }
    of_keywords: list[int] = []
    keywords: list[int] = []
    sql = (
        "SELECT row, width, height, taken, taken_from, make, model, lens, latitude, longitude, rating, title, "
        "keywords FROM content LEFT JOIN metadata USING (sha256) WHERE segment = ? AND row < ?"
    )
    for chunk in _chunks(database, _image_row, sql, segment, rows):
        row, width, height, taken, dated, camera, lens, latitude, longitude, rating, titled, words = zip(
            *chunk, strict=True
        )
        at = list(row)
        for name, values in (
            ("width", width),
            ("height", height),
            ("taken", taken),
            ("dated", dated),
            ("camera", coded("camera", camera)),
            ("lens", coded("lens", lens)),
            ("latitude", latitude),
            ("longitude", longitude),
            ("rating", rating),
            ("titled", titled),
        ):
            parts[name][at] = values
        for number, several in zip(row, words, strict=True):
            of_keywords += [number] * len(several)
            keywords += coded("keyword", several)
    return {
        **parts,
        "keyword_image": np.array(of_keywords, np.int32),
        "keyword": np.array(keywords, np.int32),
    }


def _image_row(
    row: int, width: int, height: int, taken: int | None, taken_from: str | None, *rest: Any
) -> Any:
    make, model, lens, latitude, longitude, rating, title, keywords = rest
    return (
        int(row),
        min(max(int(width), 0), _MOST),
        min(max(int(height), 0), _MOST),
        UNKNOWN if taken is None else int(taken),
        taken_from not in (None, "", "file"),
        (str(make or ""), str(model or "")),
        str(lens or ""),
        np.nan if latitude is None else float(latitude),
        np.nan if longitude is None else float(longitude),
        UNRATED if rating is None else min(max(int(rating), -1), 127),
        bool(title),
        [str(word).casefold() for word in json.loads(keywords)] if keywords else (),
    )


def _of_files(database: Database, segment: int, rows: int, coded: Any) -> dict[str, NDArray[Any]]:
    found: dict[str, list[int]] = {
        name: [] for name in ("image", "file", "folder", "type", "screenshot", "name_end")
    }
    coded("folder", []), coded("type", [])
    names = bytearray()
    sql = (
        f"SELECT row, file.id, root, path, {CAMERA}, {TOLD}, width, height FROM content "
        "CROSS JOIN file ON file.content = content.sha256 LEFT JOIN metadata USING (sha256) "
        "WHERE segment = ? AND row < ?"
    )
    for chunk in _chunks(database, _file_row, sql, segment, rows):
        row, file, folder, name, screenshot = zip(*chunk, strict=True)
        found["image"] += row
        found["file"] += file
        found["folder"] += coded("folder", folder)
        found["type"] += coded("type", map(file_type, name))
        found["screenshot"] += screenshot
        for text in name:
            names += text.encode()
            found["name_end"].append(len(names))
    parts: dict[str, NDArray[Any]] = {name: np.array(values, np.int64) for name, values in found.items()}
    return {**parts, "names": np.frombuffer(bytes(names), np.uint8)}


def _file_row(
    row: int, file: int, root: int, path: bytes, camera: str | None, told: str | None, *size: int
) -> Any:
    name = file_name(path)
    screenshot = is_screenshot(name, str(camera or ""), str(told or ""), int(size[0]), int(size[1]))
    return int(row), int(file), (int(root), os.fsdecode(os.path.dirname(path))), name, screenshot


def _chunks(database: Database, make: Any, sql: str, *values: object) -> Iterator[list[Any]]:
    rows = database.stream(make, sql, *values)
    while chunk := list(itertools.islice(rows, _AT_ONCE)):
        yield chunk
