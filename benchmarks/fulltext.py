"""What the full text of names, titles and keywords costs in bytes and seconds, and how long a search of it takes.

    python benchmarks/fulltext.py [--images 100000]

An index of drawn names is filled as a run does it: 70 % camera names (IMG_01234.jpg) in folders of a year and
words, the others of three words; a title for every tenth image, three keywords for every fifth. Theory: a name of
50 letters has about 50 trigrams; FTS5 stores each with its places in about 4 bytes, and the text itself once more.
So some 300 bytes an image, less than a tenth of its vector of 2,048 dimensions, and some 30 µs to make. A search
for a rare word reads a few lists; one for a word that most names have ranks them all.

Prints the seconds of all commits and those of the full text among them, bytes per image of the catalogue with and
without it, milliseconds of searches, the seconds of comparing it with what it should be (as ``verify`` does) and of
making it again.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import tempfile
import time
from contextlib import closing

import numpy as np

from imgsearch.index.metadata import fulltext
from imgsearch.index.rows import FileState
from imgsearch.index.writer import IndexWriter
from imgsearch.types import IndexSpec, Metadata, PixelBudget, SourceFile

DIM, AT_ONCE = 8, 1000
SPEC = IndexSpec("drawn", "0" * 64, DIM, "", "", PixelBudget(4096, 57600))


def main() -> None:
    """Fill an index and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder, IndexWriter(folder, SPEC) as writer:
        words = fill(writer, images)
        connection, path = writer.catalog.database.connection, writer.catalog.path
        for query in (words[0], f"{words[0]} {words[1]} {words[2]}", "IMG"):
            began = time.perf_counter()
            with closing(fulltext.find(writer.catalog.database, fulltext.words_of(query))) as found:
                count = len(list(itertools.islice(found, 200)))
            print(f"search for {query!r}: {1e3 * (time.perf_counter() - began):.1f} ms, {count} images")
        began = time.perf_counter()
        right = fulltext.is_right(writer.catalog.database)
        print(f"compared: {right} in {time.perf_counter() - began:.1f} s")
        with writer.catalog.database.transaction():
            fulltext.make_anew(writer.catalog.database)
        began = time.perf_counter()
        writer.make_words()
        print(f"made again in {time.perf_counter() - began:.1f} s")
        sizes = []
        for statement in ("VACUUM", "DROP TABLE words"):
            connection.execute(statement)
            writer.catalog.database.vacuum()
            sizes.append(os.path.getsize(path) / images)
        print(f"catalogue: {sizes[0]:.0f} bytes per image, {sizes[1]:.0f} without the full text")


def fill(writer: IndexWriter, images: int) -> list[str]:
    """Commit drawn images, a thousand at a time; return the words that they are called by."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnoprstuvw", k=draw.randint(4, 9))) for _ in range(3000)]
    root = writer.catalog.put_root("/home/me/Pictures", {})
    rows = np.tile(np.eye(1, DIM, dtype=np.float32), (AT_ONCE, 1))
    spent, make_due = 0.0, fulltext.make_due

    def timed(*given: object) -> None:
        nonlocal spent
        began = time.perf_counter()
        make_due(*given)  # type: ignore[arg-type]
        spent += time.perf_counter() - began

    def state(number: int) -> FileState:
        called = f"IMG_{number:05d}" if draw.random() < 0.7 else " ".join(draw.choices(words, k=3))
        path = f"{draw.randint(2005, 2025)}/{' '.join(draw.choices(words, k=2))}/{called}.jpg"
        title = " ".join(draw.choices(words, k=4)) if number % 10 == 0 else ""
        keywords = tuple(draw.choices(words, k=3)) if number % 5 == 0 else ()
        known = Metadata(title=title, keywords=keywords)
        return FileState(root, SourceFile("/home/me/Pictures", path, 1, 1), sha(number), metadata=known)

    fulltext.make_due = timed
    began = time.perf_counter()
    for first in range(0, images, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, images))
        contents = [(sha(number), 0, 9, 9) for number in numbers]
        writer.commit(contents, rows[: len(numbers)], list(map(state, numbers)))
    fulltext.make_due = make_due
    whole = time.perf_counter() - began
    print(
        f"{images:,} images: commits {whole:.1f} s, of which full text {spent:.1f} s ({images / spent:,.0f} per second)"
    )
    return words


def sha(number: int) -> bytes:
    """Return what stands for the hash of an image."""
    return number.to_bytes(32, "big")


if __name__ == "__main__":
    main()
