"""RaBitQ codes of a segment's rows: one bit a dimension, built, written, loaded and searched through FAISS.

After Gao and Long, "RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound" (2024): the rows
are rotated (Hadamard, so that no dimension is special), and the signs of what is left after the list's centroid
is taken away estimate the inner product. The estimate only makes a shortlist; nobody sees it as a score.
"""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imgsearch.fs import create_own, open_own
from imgsearch.index.segments import Rows
from imgsearch.text import error_line
from imgsearch.types import Vectors

# Rows rotated and added at once: as float32 of 2,048 dimensions, 8 MB, twice; more at once is no faster.
_BLOCK = 1024
# What one centroid is trained on: FAISS takes at most 256 a centroid, and warns below 39.
_TRAIN = 64
_SEED = 20_240_501
_CHUNK = 1 << 20
_QUERY_BITS = 8
_KIND = b"Iwrn"
"""With this a file of an IndexIVFRaBitQFastScan begins."""
RECALL = 0.99
"""Share of the ten nearest rows that the shortlist must hold for a number of probed lists to be enough."""


class CodesError(Exception):
    """An ANN file that can't be used: missing, damaged, or another FAISS version's. It is rebuilt."""


@dataclass(frozen=True, slots=True)
class Codes:
    """The codes of a segment's first ``rows`` rows, in memory."""

    index: Any
    rows: int
    nlist: int
    nprobe: int

    def shortlist(
        self, query: Vectors, count: int, mask: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return estimated inner products and rows, each (1, at most count), best first; -1 where there is none.

        ``query`` is (1, dim) float32; ``mask`` (rows,) says which rows may be found. Raises CodesError.
        """
        # One query takes one thread: the segments are what is searched side by side.
        with _on_one_thread() as faiss:
            packed = None if mask is None else np.packbits(mask, bitorder="little")
            chosen = {} if packed is None else {"sel": faiss.IDSelectorBitmap(packed)}
            parameters = faiss.IVFRaBitQSearchParameters(nprobe=self.nprobe, qb=_QUERY_BITS, **chosen)
            try:
                scores, rows = self.index.search(rotate(query), min(count, self.rows), params=parameters)
            except (RuntimeError, AssertionError, MemoryError) as error:  # FAISS's own
                raise CodesError(f"the codes of {self.rows:,} rows can't be searched") from error
        # A damaged file must not lead out of the segment.
        return scores, np.where((rows >= 0) & (rows < self.rows), rows, -1)


def _faiss() -> Any:
    """Return FAISS, whose types don't tell all of its names; on use, since loading it takes a third of a second."""
    import faiss

    return faiss


@contextmanager
def _on_one_thread() -> Iterator[Any]:
    """Give FAISS, which uses one thread during the block.

    Where torch is loaded, FAISS's calls reach torch's OpenMP, whose number of threads is the calling thread's: left at
    one, the model would answer the next question on one core.
    """
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield faiss
    finally:
        faiss.omp_set_num_threads(before)


def version() -> str:
    """Return the version of FAISS, which an ANN file is bound to."""
    faiss = _faiss()

    return str(faiss.__version__)


def rotate(vectors: Vectors) -> Vectors:
    """Return (n, dim) float32 rotated by the Hadamard transform that every ANN file uses.

    The dimension grows to the next power of two; inner products stay.
    """
    return np.asarray(
        _rotation(vectors.shape[1]).apply(np.ascontiguousarray(vectors, np.float32)), np.float32
    )


@functools.lru_cache
def _rotation(dim: int) -> Any:
    return _faiss().HadamardRotation(dim, _SEED)


class Source(Protocol):
    """What codes are made from: a segment, read in pieces, since a mapping would count as this process's memory."""

    dim: int

    def __len__(self) -> int:
        """Return the number of rows."""

    def read(self, start: int, stop: int) -> Rows:
        """Return the rows from ``start`` to before ``stop``."""

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """Return some rows."""


def build(
    source: Source, nlist: int = 1, stop: Callable[[], bool] = lambda: False, shortlist: int = 500
) -> Codes | None:
    """Make the codes of all rows of ``source``; None if ``stop`` says so meanwhile.

    With more than one list, the number of lists to look into for a ``shortlist`` is chosen on the rows themselves.
    """
    with _on_one_thread() as faiss:
        return _build(faiss, source, nlist, stop, shortlist)


def _build(faiss: Any, source: Source, nlist: int, stop: Callable[[], bool], shortlist: int) -> Codes | None:
    padded = rotate(np.zeros((1, source.dim), np.float32)).shape[1]
    coarse = faiss.IndexFlatIP(padded)
    index = faiss.IndexIVFRaBitQFastScan(coarse, padded, nlist, faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical = nlist > 1
    index.cp.min_points_per_centroid = 1  # few rows are no reason for a line of FAISS's own on stderr
    step = max(1, len(source) // (_TRAIN * max(nlist, 64)))
    index.train(rotate(source.take(np.arange(0, len(source), step)).astype(np.float32)))
    for start in range(0, len(source), _BLOCK):
        if stop():
            return None
        index.add(rotate(source.read(start, start + _BLOCK).astype(np.float32)))
    nprobe = 1 if nlist == 1 else choose_nprobe(index, source, shortlist)
    return Codes(index, len(source), nlist, nprobe)


def choose_nprobe(index: Any, source: Source, shortlist: int, sample: int = 128) -> int:
    """Return the smallest number of lists whose shortlists hold ``RECALL`` of the ten nearest of the rows' own.

    The questions are ``sample`` of the rows, half of them pulled away from their own kind, as words are from
    pictures. What is enough is doubled once more, because these are only a sample.
    """
    from imgsearch.index.ann.scan import Best, normalize, scan_rows

    faiss = _faiss()
    rng = np.random.default_rng(_SEED)
    picked = np.sort(rng.choice(len(source), min(sample, len(source)), replace=False))
    asked = source.take(picked).astype(np.float32)
    away = rng.standard_normal(asked.shape, dtype=np.float32)
    asked[::2] = normalize(asked[::2]) + 0.8 * normalize(away[::2])
    asked = normalize(asked)
    truth = Best(len(asked), 10)
    for start in range(0, len(source), _BLOCK):
        scores, rows = scan_rows(source.read(start, start + _BLOCK), asked, 10)
        truth.take(scores, np.where(rows >= 0, rows + start, -1))
    turned = rotate(asked)
    nprobe = 1
    while nprobe < index.nlist:
        parameters = faiss.IVFRaBitQSearchParameters(nprobe=nprobe, qb=_QUERY_BITS)
        _, found = index.search(turned, min(shortlist, len(source)), params=parameters)
        hit = np.mean([np.isin(true, got).mean() for true, got in zip(truth.ids, found, strict=True)])
        if hit >= RECALL:
            break
        nprobe *= 2
    return min(2 * nprobe, int(index.nlist))


def write(codes: Codes, path: str, sync: Callable[[int], None]) -> tuple[int, int]:
    """Write the codes to a new file at ``path`` and make it durable; return its size and crc32. Raises OSError.

    Through a callback, so that a write that fails is an error of ours to see and not FAISS's.
    """
    faiss = _faiss()

    size = crc = 0
    failure: list[OSError] = []
    descriptor = create_own(path)

    def take(data: bytes) -> int:
        nonlocal size, crc
        view = memoryview(data)
        crc = zlib.crc32(view, crc)
        size += len(view)
        try:
            while view and not failure:
                view = view[os.write(descriptor, view) :]
        except OSError as error:
            failure.append(error)  # C++ must not see it: the rest is dropped and the error raised below
        return len(data)

    try:
        writer = faiss.PyCallbackIOWriter(take, _CHUNK)
        faiss.write_index(codes.index, writer)
        del writer  # flushes
        if failure:
            raise failure[0]
        sync(descriptor)
    finally:
        os.close(descriptor)
    return size, crc


def load(path: str, dim: int, rows: int, nlist: int, nprobe: int, size: int, crc: int) -> Codes:
    """Read the codes of ``rows`` vectors of ``dim`` in ``path``, and try a search in them. Raises CodesError.

    The bytes must be those that were written; but a checksum that is right says nothing of who has written them.
    """
    faiss = _faiss()

    if reason := damage(path, size, crc):
        raise CodesError(reason)
    try:
        with os.fdopen(open_own(path), "rb", buffering=0) as file:
            if file.read(len(_KIND)) != _KIND:  # FAISS would read an index of any kind
                raise CodesError(f"{path} holds no RaBitQ codes")
        with os.fdopen(open_own(path), "rb", buffering=0) as file:
            index = faiss.read_index(faiss.PyCallbackIOReader(file.read, _CHUNK))
    except OSError as error:
        raise CodesError(f"{path} can't be read ({error_line(error)})") from error
    except (RuntimeError, MemoryError) as error:  # FAISS's own exceptions
        raise CodesError(f"{path} can't be read by FAISS {version()}") from error
    zeros = np.zeros((1, dim), np.float32)
    wanted = {
        "d": rotate(zeros).shape[1],
        "ntotal": rows,
        "nlist": nlist,
        "metric_type": faiss.METRIC_INNER_PRODUCT,
    }
    if wrong := [name for name, value in wanted.items() if getattr(index, name) != value]:
        raise CodesError(f"{path} is of another index: its {' and '.join(wrong)} differ")
    codes = Codes(index, rows, nlist, nprobe)
    codes.shortlist(zeros, 1)
    return codes


def damage(path: str, size: int, crc: int) -> str:
    """Say what is wrong with an ANN file that must have this size and crc32; "" if nothing is."""
    found, block = 0, bytearray(_CHUNK)
    try:
        with os.fdopen(open_own(path), "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size != size:
                return f"{path} has the wrong size"
            while count := file.readinto(block):
                found = zlib.crc32(memoryview(block)[:count], found)
    except OSError as error:
        return f"{path} can't be read ({error_line(error)})"
    return "" if found == crc else f"{path} does not match its checksum"
