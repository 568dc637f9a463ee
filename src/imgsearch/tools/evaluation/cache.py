"""Vectors that were computed before, by content: a folder of small files that may be deleted at any time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imgsearch.fs import atomic_write
from imgsearch.text import error_line
from imgsearch.types import Vectors

_FORMAT = 1  # to be raised when vectors are computed or kept in another way, so that older files don't count
_KEY = 32  # bytes of a sha256
_ROWS_A_FILE = 512
_SECONDS_A_FILE = 30.0


def default_folder() -> str:
    """Return where vectors are cached: a folder in the user's cache folder."""
    import platformdirs

    return os.path.join(platformdirs.user_cache_dir("imgsearch"), "vectors")


class VectorCache:
    """The float32 vectors of one space, by the sha256 of what was embedded.

    A space is everything but the content that decides a vector: checkpoint, side, prompt, pixel budget, dtype.
    Each file is written beside and renamed, with a checksum over its contents; one that is torn or of another
    format is passed over, and its vectors are computed anew. Two processes may write at the same time.
    ``failure`` says why a file could not be written; the vectors are then kept in memory only.
    """

    def __init__(self, space: Mapping[str, object], folder: str | None) -> None:
        """Open the cache of ``space`` below ``folder``; with None, keep everything in memory."""
        self._space = json.dumps({"format": _FORMAT, **space}, sort_keys=True)
        name = hashlib.sha256(self._space.encode()).hexdigest()[:32]
        self._folder = None if folder is None else os.path.join(folder, name)
        self._rows: dict[bytes, Vectors] = {}
        self._unwritten: list[bytes] = []
        self._written_at = time.monotonic()
        self.failure: str | None = None
        if self._folder is not None:
            with contextlib.suppress(
                OSError
            ):  # not there yet, or not ours to read: then nothing is remembered
                for file in sorted(os.listdir(self._folder)):
                    if file.endswith(".vectors"):
                        self._load(os.path.join(self._folder, file))

    def __contains__(self, key: bytes) -> bool:
        """Say whether the vector of this content is there."""
        return key in self._rows

    @property
    def dim(self) -> int | None:
        """Length of the vectors that are there, None if there are none."""
        return len(next(iter(self._rows.values()))) if self._rows else None

    def take(self, keys: Sequence[bytes]) -> Vectors:
        """Return (len(keys), dim) float32; all must be there."""
        return np.stack([self._rows[key] for key in keys])

    def put(self, keys: Sequence[bytes], rows: Vectors) -> None:
        """Keep vectors, and write them down every so often."""
        for key, row in zip(keys, rows, strict=True):
            self._rows[key] = np.array(row, np.float32)
            self._unwritten.append(key)
        late = time.monotonic() - self._written_at > _SECONDS_A_FILE
        if len(self._unwritten) >= _ROWS_A_FILE or late:
            self.flush()

    def flush(self) -> None:
        """Write down what is not written yet. A disk that refuses costs the next run time, not this one its result."""
        self._written_at = time.monotonic()
        if self._folder is None or not self._unwritten or self.failure:
            return
        body = b"".join(self._unwritten) + self.take(self._unwritten).astype("<f4").tobytes()
        digest = hashlib.sha256(body).hexdigest()
        header = {"space": self._space, "dim": self.dim, "rows": len(self._unwritten), "sha256": digest}
        path = os.path.join(self._folder, f"{digest[:16]}.vectors")
        try:
            os.makedirs(self._folder, exist_ok=True)
            with atomic_write(path, beside=f"{path}.{os.getpid()}.partial") as file:
                file.write(json.dumps(header).encode() + b"\n" + body)
        except OSError as error:
            self.failure = (
                f"{self._folder} could not be written ({error_line(error)}); the embeddings are not cached"
            )
            return
        self._unwritten.clear()

    def _load(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                header: Any = json.loads(file.readline())
                body = file.read()
            count, dim = int(header["rows"]), int(header["dim"])
            whole = header["space"] == self._space and header["sha256"] == hashlib.sha256(body).hexdigest()
            if not whole or len(body) != count * (_KEY + 4 * dim) or self.dim not in (None, dim):
                return
        except (OSError, ValueError, KeyError, TypeError):
            return
        rows = np.frombuffer(body, "<f4", offset=count * _KEY).reshape(count, dim).astype(np.float32)
        for row in range(count):
            self._rows[body[row * _KEY : (row + 1) * _KEY]] = rows[row]
