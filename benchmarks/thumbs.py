"""Thumbnails: what they cost at indexing and on first sight, how fast they come from the store, and their size.

Theory: of the pixels that are decoded for the model anyway, 480 to 1,100 on the long side, a small thumbnail takes a
resize (2 ms) and WebP of 320 pixels (8 ms); in the decoding threads, beside a model that takes a second on a CPU,
nobody notices. On first sight the file is read, hashed and decoded once more: 30 to 60 ms for 12 megapixels. From the
store it is a file of 10 kB: 0.1 ms. A folder of the store is counted once a process: 1 ms for 500 files.

    python benchmarks/thumbs.py [FOLDER] [--images 200] [--cores 2]

FOLDER holds images; without one, photos of 12 megapixels are drawn. Prints medians in milliseconds, of one thread:
decoding as for the model, and what a small thumbnail takes besides; a small and a large one on first sight; both from
the store; then a store of --stored (20,000, files that hold noise): putting one more, counting all of them, tidying;
last the mean sizes in bytes, and the memory of this process before and after 1,000 from the store.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import measure


def photos(folder: Path, count: int) -> list[str]:
    """Draw photos of 12 megapixels: soft colours, edges, and grain, as a JPEG of some 4 MB has them."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        path = folder / f"{number}.jpg"
        if not path.exists():
            soft = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            image = soft.resize((4000, 3000), Image.Resampling.BICUBIC)
            grain = rng.normal(0, 8, (3000, 4000, 1)).astype(np.int16)
            pixels = np.clip(np.asarray(image).astype(np.int16) + grain, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path, quality=90)
        paths.append(str(path))
    return paths


def median(work: Callable[[str], object], paths: list[str]) -> float:
    """Return the median of the milliseconds that some work takes for each path."""
    taken = []
    for path in paths:
        began = measure.now()
        work(path)
        taken.append(1000 * (measure.now() - began))
    return statistics.median(taken)


def images(paths: list[str], index: str) -> dict[str, float]:
    """Time thumbnails of images, made and stored."""
    from imgsearch.index.thumbs import ThumbStore
    from imgsearch.media.formats import load_pictures
    from imgsearch.media.thumbnail import make_thumbnail
    from imgsearch.search.thumbnails import LARGE, SMALL, thumbnail
    from imgsearch.types import DEFAULT_BUDGET, Record

    pixels, records = {}, {}

    def decode(path: str) -> None:
        with open(path, "rb") as stream:
            pixels[path] = next(load_pictures(stream, path, DEFAULT_BUDGET)).pixels

    found = {"decode_ms": median(decode, paths)}
    found["besides_ms"] = median(lambda path: make_thumbnail(pixels[path], SMALL), paths)
    for number, path in enumerate(paths):
        sha256 = hashlib.sha256(Path(path).read_bytes()).digest()
        records[path] = Record(number, sha256, 0, 4000, 3000, (path,))
    for name, size in (("small", SMALL), ("large", LARGE)):
        found[f"first_{name}_ms"] = median(
            lambda path, size=size: thumbnail(index, records[path], size), paths
        )
    store, sizes = ThumbStore(index), {SMALL: 0, LARGE: 0}
    for name, size in (("small", SMALL), ("large", LARGE)):
        found[f"stored_{name}_ms"] = median(
            lambda path, size=size: thumbnail(index, records[path], size), paths
        )
        sizes[size] = sum(len(store.get(one.sha256, 0, size) or b"") for one in records.values())
        found[f"{name}_bytes"] = sizes[size] / len(paths)
    found["memory_before_mb"] = measure.memory()["RssAnon"]
    for number in range(1_000):
        thumbnail(index, records[paths[number % len(paths)]], SMALL)
    found["memory_after_1000_mb"] = measure.memory()["RssAnon"]
    return found


def full_store(index: str, count: int) -> dict[str, float]:
    """Time a store of many."""
    from imgsearch.index.thumbs import ThumbStore

    store, noise = ThumbStore(index), os.urandom(9_000)
    keys = [hashlib.sha256(str(number).encode()).digest() for number in range(count)]
    began = measure.now()
    for key in keys:
        store.put(key, 0, "s", noise)
    found = {"put_ms": 1000 * (measure.now() - began) / count}
    fresh = ThumbStore(index)
    began = measure.now()
    fresh.put(b"\0" * 32, 0, "s", noise)
    found["first_put_ms"] = 1000 * (measure.now() - began)
    began = measure.now()
    fresh.used()
    found["count_s"] = measure.now() - began
    by_first: dict[bytes, list[bytes]] = {}
    for key in keys:
        by_first.setdefault(key[:1], []).append(key)
    began = measure.now()
    fresh.tidy(lambda first: by_first.get(first, []))
    found["tidy_s"] = measure.now() - began
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--stored", type=int, default=20_000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--work", default=os.path.join(tempfile.gettempdir(), "imgsearch-benchmarks"))
    options = parser.parse_args()
    measure.on_cores(options.cores)
    drawn = Path(options.work) / "photos"
    drawn.mkdir(parents=True, exist_ok=True)
    given = sorted(str(path) for path in Path(options.folder).rglob("*.jp*g")) if options.folder else []
    paths = given[: options.images] if options.folder else photos(drawn, min(options.images, 20))
    with tempfile.TemporaryDirectory(dir=options.work) as index:
        (Path(index) / "catalog.sqlite").touch()
        found = images(paths, index) | full_store(index, options.stored)
    for name, value in found.items():
        print(f"{name:<22} {value:12,.3f}")
    print(json.dumps({"benchmark": "thumbs", "images": len(paths), **found}))


if __name__ == "__main__":
    main()
