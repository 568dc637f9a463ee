"""Vectors of questions that were asked before, kept best effort beside the index, so that they need no model again."""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from dataclasses import astuple, dataclass

import numpy as np

from imgsearch.index import memory
from imgsearch.types import Vectors

KEPT = 2_000
"""How many are remembered, the newest: 16 MB at 2,048 dimensions."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a question's vector depends on; device and dtype are as they were asked for, "auto" among them."""

    fingerprint: str
    instruction: str
    text: str
    dim: int
    device: str = "auto"
    dtype: str = "auto"

    def key(self) -> bytes:
        """Return what stands for the question in the file; the question can't be read from it."""
        return hashlib.sha256(json.dumps(astuple(self)).encode()).digest()


def recall(folder: str, question: Question) -> Vectors | None:
    """Return the vector (1, dim) of a question that was asked before, bit for bit; None if it is not remembered."""
    row = memory.read(
        folder,
        lambda db: db.execute("SELECT vector, crc FROM question WHERE key = ?", (question.key(),)).fetchone(),
    )
    if not row or not isinstance(row[0], bytes) or zlib.crc32(row[0]) != row[1]:
        return None
    if len(row[0]) != 4 * question.dim:
        return None
    return np.frombuffer(row[0], "<f4").astype(np.float32)[None]


def remember(folder: str, question: Question, vector: Vectors) -> None:
    """Keep the vector (dim,) of a question, and of all questions the newest; do nothing where that is not possible."""
    data = vector.astype("<f4").tobytes()
    row = (question.key(), time.time(), data, zlib.crc32(data))

    def work(db: memory.Connection) -> None:
        db.execute("REPLACE INTO question VALUES (?, ?, ?, ?)", row)
        db.execute(
            "DELETE FROM question WHERE at < (SELECT at FROM question ORDER BY at DESC LIMIT 1 OFFSET ?)",
            (KEPT - 1,),
        )

    memory.write(folder, work)
