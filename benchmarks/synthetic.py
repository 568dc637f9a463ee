"""Vectors such as a model gives, invented, and indexes made of them: what the other benchmarks search in.

Theory: what makes a search hard is not how many vectors there are but how they lie. Embeddings of pictures lie in
clusters, their variance decays along few directions, and all share a mean; words lie elsewhere (the modality gap),
closer together, and are compared with pictures across the gap, where scores differ little. So: a quarter of the
dimensions (512 at most) hold 1,000 clusters with standard deviations falling as 1/sqrt(i), along a random rotation;
image-like queries come from the same distribution; text-like ones have their own mean, half the variance, and a
part that no picture has. Median cosines at 2,048 dimensions: two pictures 0.32, a picture and the nearest of 8,192
others 0.83, the tenth 0.63; a text and any picture 0.15, its nearest 0.49, the tenth 0.37.

    python benchmarks/synthetic.py --rows 100000 --dim 2048 --work DIR     makes the index and prints how it went

The index is made through IndexWriter.commit in blocks of 8,192, each durable before the next, under invented names
in 1,000s a folder, then the ANN files are built in a process of their own. It is kept in DIR and used again.
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import json
import os
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import measure
from imgsearch.index.rows import FileState
from imgsearch.index.writer import IndexWriter
from imgsearch.types import IndexSpec, PixelBudget, SourceFile, Vectors

CLUSTERS = 1000
BLOCK = 8192
_VERSION = 1  # of the distribution: an index of another one is not used again
_HEADER = 4096

BUILD = """
import sys
from imgsearch.index.ann.builder import AnnBuilder
from imgsearch.index.writer import IndexWriter
import measure

with IndexWriter(sys.argv[1]) as writer, measure.peak() as peak:
    began = measure.now()
    files = AnnBuilder(writer.data, writer.spec).finish()
    seconds = measure.now() - began
print(measure.json.dumps({"files": files, "build_seconds": seconds, "build_anon_mb": peak[0]}))
"""


class Distribution:
    """Where invented pictures and words lie in ``dim`` dimensions; the same for the same seed."""

    def __init__(self, dim: int, seed: int = 0) -> None:
        """Draw means, clusters and the rotation."""
        rng = np.random.default_rng([seed, dim])
        self.dim, self.seed = dim, seed
        self.latent = min(max(dim // 4, 16), 512)
        spread = (1 + np.arange(self.latent, dtype=np.float32)) ** -0.5
        self.spread = spread / np.linalg.norm(spread)
        # Orthonormal columns of the latent directions, and two means in directions of their own.
        turn = np.linalg.qr(rng.standard_normal((dim, self.latent + 2)))[0].astype(np.float32)
        self.basis = np.ascontiguousarray(turn[:, : self.latent].T)
        self.picture_mean, self.word_mean = 0.8 * turn[:, -2], 0.3 * turn[:, -2] + 0.8 * turn[:, -1]
        self.centres = rng.standard_normal((CLUSTERS, self.latent), dtype=np.float32) * self.spread

    def pictures(self, rows: int, stream: int = 0) -> Iterator[Vectors]:
        """Yield image-like unit rows, (at most BLOCK, dim) float32 at a time; another stream, other rows."""
        for number, start in enumerate(range(0, rows, BLOCK)):
            rng = np.random.default_rng([self.seed, self.dim, stream, number])
            inner = self._inner(rng, min(BLOCK, rows - start), 0.7)
            yield _unit(inner @ self.basis + self.picture_mean)

    def picture_queries(self, count: int) -> Vectors:
        """Return image-like queries (count, dim) float32 that are in no index."""
        return next(self.pictures(count, stream=1))

    def word_queries(self, count: int) -> Vectors:
        """Return text-like queries (count, dim) float32: their own mean, less variance, a part of their own."""
        rng = np.random.default_rng([self.seed, self.dim, 2, 0])
        own = rng.standard_normal((count, self.dim), dtype=np.float32) / np.sqrt(self.dim)
        return _unit(0.5 * self._inner(rng, count, 0.7) @ self.basis + self.word_mean + 0.4 * own)

    def _inner(self, rng: np.random.Generator, count: int, within: float) -> Vectors:
        drawn = rng.standard_normal((count, self.latent), dtype=np.float32) * (within * self.spread)
        return drawn + self.centres[rng.integers(0, CLUSTERS, count)]


def _unit(rows: Vectors) -> Vectors:
    rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return np.asarray(rows, np.float32)


def picture_name(number: int) -> str:
    """Return the invented path of a picture, relative to its root."""
    return f"{number // 1000:06d}/{number:09d}.jpg"


def number_of(path: str) -> int:
    """Return which row a path was invented for; -1 for a real picture's, which process_similar.py puts in."""
    name, ending = os.path.splitext(os.path.basename(path))
    return int(name) if ending == ".jpg" else -1


def spec(dim: int) -> IndexSpec:
    """Return a spec for invented vectors."""
    fingerprint = hashlib.sha256(b"invented %d" % dim).hexdigest()
    return IndexSpec("invented", fingerprint, dim, "", "", PixelBudget(1, 2))


def make_index(work: str, rows: int, dim: int, seed: int = 0) -> tuple[str, dict[str, float]]:
    """Return the folder of an index of invented pictures below ``work`` and how its making went.

    That is ``ingest_rows_s`` (durable rows a second, without their invention), ``build_seconds`` and
    ``build_anon_mb`` (of the ANN files). One that is there already is used again, with the figures of then.
    """
    home = os.path.join(os.path.abspath(work), f"{rows}x{dim}-{seed}")
    folder, said = os.path.join(home, "index"), os.path.join(home, "made.json")
    if os.path.exists(said):
        with open(said) as file:
            made = json.load(file)
        if made["version"] == _VERSION:
            return folder, made
    if os.path.exists(home):
        raise SystemExit(f"{home} is not a whole index of this version of the script; remove it")
    pictures = os.path.join(home, "pictures")
    os.makedirs(pictures)
    with IndexWriter(folder, spec(dim)) as writer:
        seconds = fill(writer, pictures, rows, seed)
    made = {"version": _VERSION, "ingest_rows_s": rows / seconds, **build(folder)}
    with open(said, "w") as file:
        json.dump(made, file)
    return folder, made


def fill(writer: IndexWriter, pictures: str, rows: int, seed: int = 0) -> float:
    """Commit invented pictures of the folder ``pictures``; return the seconds that this took without inventing them."""
    root = writer.catalog.put_root(pictures, {})
    first, seconds = 0, 0.0
    for block in Distribution(writer.spec.dim, seed).pictures(rows):
        contents, states = named(root, pictures, first, len(block))
        began = time.perf_counter()
        writer.commit(contents, block, states)
        seconds += time.perf_counter() - began
        first += len(block)
    return seconds


def build(folder: str) -> dict[str, float]:
    """Make an index's ANN files in a process of their own; return seconds and peak of anonymous memory."""
    return measure.run(BUILD, folder)


def named(
    root: int, folder: str, first: int, count: int
) -> tuple[list[tuple[bytes, int, int, int]], list[FileState]]:
    """Return contents and file states as IndexWriter.commit takes them for pictures ``first`` and on."""
    contents, states = [], []
    for number in range(first, first + count):
        key = hashlib.sha256(b"%d" % number).digest()
        contents.append((key, 0, 4000, 3000))
        states.append(FileState(root, SourceFile(folder, picture_name(number), 1_000_000, number + 1), key))
    return contents, states


def stored(folder: str, dim: int) -> Iterator[NDArray[np.float16]]:
    """Yield the stored rows of a freshly made index in order, (at most BLOCK, dim) at a time.

    Read past the code that is measured: a header, then rows.
    """
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "vectors", "*.f16"))):
        with open(path, "rb") as file:
            file.seek(_HEADER)
            while data := file.read(BLOCK * dim * 2):
                yield np.frombuffer(data, "<f2").reshape(-1, dim)


def truth(folder: str, queries: Vectors, rows: int, k: int = 10) -> NDArray[np.int64]:
    """Return the k nearest of the first ``rows`` stored rows to each query (n, dim): (n, k), by a matrix product."""
    scores = np.empty((len(queries), 0), np.float32)
    ids = np.empty((len(queries), 0), np.int64)
    start = 0
    for block in stored(folder, queries.shape[1]):
        block = block[: rows - start]
        scores = np.hstack([scores, queries @ block.astype(np.float32).T])
        ids = np.hstack(
            [ids, np.broadcast_to(np.arange(start, start + len(block)), (len(queries), len(block)))]
        )
        keep = np.argpartition(-scores, k - 1, axis=1)[:, :k] if scores.shape[1] > k else np.arange(k)[None]
        scores, ids = np.take_along_axis(scores, keep, 1), np.take_along_axis(ids, keep, 1)
        start += len(block)
    return ids


def recall(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    """Return the share of the true neighbours (n, k) among those found (n, any)."""
    return float(np.mean([np.isin(t, f).mean() for t, f in zip(true, found, strict=True)]))


def main() -> None:
    """Make one index and print how it went."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--work", default="/tmp/imgsearch-benchmarks", help="where indexes are kept")
    options = parser.parse_args()
    began = time.perf_counter()
    folder, made = make_index(options.work, options.rows, options.dim)
    print(
        f"{folder}: {time.perf_counter() - began:.0f} s, {made['ingest_rows_s']:,.0f} durable rows a second"
    )
    print(f"ANN files in {made['build_seconds']:.1f} s, {made['build_anon_mb']:.0f} MB of anonymous memory")
    print(json.dumps({"benchmark": "synthetic", "rows": options.rows, "dim": options.dim, **made}))


if __name__ == "__main__":
    main()
