"""Deliveries: sealed files in which workers hand over rows and what they found out, until the index has them.

A delivery begins as a segment does (index/segments.py), header and float16 rows; then come records as JSON, and a
trailer with the sha256 of all before it. It gets its name when it is whole and on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgsearch.fs import atomic_write, make_folder, open_own, storage_error, unusual
from imgsearch.index.layout import DELIVERIES
from imgsearch.index.segments import HEADER_BYTES, header
from imgsearch.types import IndexSpec, Vectors

_NAME = re.compile(r"([0-9a-f]{16})-(\d{8})-[0-9a-f]{8}\.delivery")
_TRAILER = struct.Struct("<16sQQ32s")  # magic, rows, bytes of records, sha256
_MAGIC = b"imgsearch.sealed"
_MARK = ".run"
NOTES = "notes"
"""The folder in that of deliveries in which workers note what they are decoding."""
_ENDINGS = (".delivery", ".delivery.new", _MARK)


class Unsealed(ValueError):
    """A file that is incomplete, damaged, or a delivery for another index."""


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """What a worker on ``host`` handed over: a record for each file, ``rows`` (n, dim) float32, seconds by stage."""

    path: str
    host: str
    files: Sequence[dict[str, Any]]
    rows: Vectors
    seconds: dict[str, float]


def folder_in(data: str) -> str:
    """Return where deliveries to the index with this data folder lie."""
    return os.path.join(data, DELIVERIES)


def unit_of(name: str) -> tuple[str, int] | None:
    """Return the run and the number of the unit that a delivery is of, by its file's name; None if it is none."""
    found = _NAME.fullmatch(name)
    return (found[1], int(found[2])) if found else None


def run_of(name: str) -> str:
    """Return the run that a delivery is of."""
    return name.partition("-")[0]


def write(
    folder: str,
    run: str,
    unit: int,
    spec: IndexSpec,
    rows: Vectors,
    files: Sequence[dict[str, Any]],
    seconds: dict[str, float],
) -> str:
    """Seal ``rows`` (n, dim) float32 and the records of files; return the delivery's name. Raises StorageError."""
    name = f"{run}-{unit:08d}-{secrets.token_hex(4)}.delivery"
    path = os.path.join(folder, name)
    # The header has the model and the dimension only; prompts and pixel budgets make an embedding as well.
    about = {"spec": repr(spec), "host": socket.gethostname(), "files": list(files), "seconds": seconds}
    told = json.dumps(about).encode()
    digest = hashlib.sha256()
    try:
        with atomic_write(path) as file:
            for part in (
                header(spec.dim, spec.fingerprint),
                np.ascontiguousarray(rows, "<f2").tobytes(),
                told,
                _TRAILER.pack(_MAGIC, len(rows), len(told), b""),
            ):
                if len(part) == _TRAILER.size and part[:16] == _MAGIC:
                    part = _TRAILER.pack(_MAGIC, len(rows), len(told), digest.digest())
                digest.update(part)
                file.write(part)
    except OSError as error:
        raise storage_error(error, path) from error
    return name


def read(path: str, spec: IndexSpec) -> Delivery:
    """Return a delivery. Raises Unsealed for what is half-written, altered, or for another index, and OSError."""
    with os.fdopen(open_own(path), "rb") as file:
        data = file.read()
    body, trailer = data[: -_TRAILER.size], data[-_TRAILER.size :]
    if len(trailer) < _TRAILER.size:
        raise Unsealed("it is cut off")
    magic, rows, length, checksum = _TRAILER.unpack(trailer)
    if magic != _MAGIC or hashlib.sha256(body).digest() != checksum:
        raise Unsealed("it is half-written or damaged")
    if body[:HEADER_BYTES] != header(spec.dim, spec.fingerprint):
        raise Unsealed("it was made with another model")
    end = HEADER_BYTES + rows * spec.dim * 2
    if len(body) != end + length:
        raise Unsealed("it has another length than its trailer has")
    vectors = np.frombuffer(body[HEADER_BYTES:end], "<f2").reshape(rows, spec.dim).astype(np.float32)
    told = json.loads(body[end:])
    if told["spec"] != repr(spec):
        raise Unsealed("it was made for another index")
    return Delivery(path, told["host"], told["files"], vectors, told["seconds"])


def names(folder: str) -> list[str]:
    """Return the names of the deliveries in a folder, sorted; an empty list if the folder is missing."""
    try:
        return [] if unusual(folder, folder=True) else sorted(filter(unit_of, os.listdir(folder)))
    except OSError:
        return []


def open_folder(folder: str, run: str) -> None:
    """Make the folder with the mark of a run, and remove what runs that were killed left. Raises StorageError."""
    try:
        make_folder(folder)
        for name in os.listdir(folder):
            if name.endswith(_ENDINGS) and not unit_of(name):
                os.unlink(os.path.join(folder, name))
        shutil.rmtree(os.path.join(folder, NOTES), ignore_errors=True)
        with open(os.path.join(folder, run + _MARK), "xb"):
            pass
    except OSError as error:
        raise storage_error(error, folder) from error


def has_mark(folder: str, run: str) -> bool:
    """Whether this is the folder that the coordinator of a run has opened."""
    return os.path.exists(os.path.join(folder, run + _MARK))


def close_folder(folder: str, run: str) -> None:
    """Remove the mark of a run, and the folder if nothing is left in it."""
    with suppress(OSError):
        os.unlink(os.path.join(folder, run + _MARK))
    for emptied in (os.path.join(folder, NOTES), folder):
        with suppress(OSError):  # it is not empty: there is something for the next run
            os.rmdir(emptied)


def remove(path: str) -> None:
    """Remove a delivery that is registered; one that stays costs room, and is not registered again."""
    with suppress(OSError):
        os.unlink(path)
