"""The page's names of images: never a path, only the number of an indexed image and the start of its content's hash."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from contextlib import suppress

from imgsearch.errors import ImgsearchError
from imgsearch.index.reader import ImageIndex
from imgsearch.types import Record

_KEY = re.compile(r"(\d{1,18})-([0-9a-f]{16})")
_DIGITS = 16


class NoImage(ImgsearchError):
    """A key of no image that is indexed now, or of one whose file can't be shown."""


def key_of(content: int, sha256: bytes) -> str:
    """Return the key of an image by its content's id and the hash of its file's bytes."""
    return f"{content}-{sha256.hex()[:_DIGITS]}"


def record_of(index: ImageIndex, key: str) -> Record:
    """Return the image of a key. Raises NoImage.

    The hash has to fit: after a rebuild of the index the same number may be another image's.
    """
    return records_of(index, [key])[0]


def find_record(indexes: Sequence[ImageIndex], key: str) -> tuple[ImageIndex, Record]:
    """Return the image of a key that is of one of some indexes, and that index. Raises NoImage."""
    for index in indexes[:-1]:
        with suppress(NoImage):
            return index, record_of(index, key)
    return indexes[-1], record_of(indexes[-1], key)


def records_of(index: ImageIndex, keys: Sequence[str]) -> list[Record]:
    """Return the images of some keys, in order. Raises NoImage if there is none for one of them."""
    wanted = []
    for key in keys:
        found = _KEY.fullmatch(key)
        if found is None:
            raise NoImage("there is no such image")
        wanted.append((int(found[1]), found[2]))
    places = index.catalog.places([id for id, _ in wanted])
    rows = list(dict.fromkeys(places.values()))
    records: dict[int, Record] = {}
    for some in (rows[at : at + 200] for at in range(0, len(rows), 200)):
        records |= {record.id: record for record, _ in index.catalog.records(some).values()}
    for id, digits in wanted:
        record = records.get(id)
        if record is None or not secrets.compare_digest(record.sha256.hex()[:_DIGITS], digits):
            raise NoImage("this image is no longer in the index; search again")
    return [records[id] for id, _ in wanted]
