"""Duplicates: how many of the known ones are found, what is found wrongly, and how long a million images take.

Theory: a version of an image (scaled to 50 % and 25 %, saved again at quality 40, rotated, mirrored, lightened) differs
from it in at most 12 % of the neighbours that differ at all; another scene in nearly half of them. A million hashes in
eight orientations are joined by 16 bands in minutes, since few images that are none agree in a band.

    python benchmarks/duplicates.py [--scenes 120]        precision and recall by kind, with the demo model
    python benchmarks/duplicates.py --million [N]         seconds and memory of the join over N synthetic hashes
    python benchmarks/duplicates.py --hash                what a hash costs beside decoding and the model's resizing
    python benchmarks/duplicates.py --stacks [--scenes 60]    processor time of an answer without and with stacks

The first prints for each kind how many versions were drawn and how many stand in the group of their original, then the
pairs in one group that show something else ("wrong"), among them look-alikes: other scenes of the same ground and
colours, plain colours, and texts in the same layout.
"""

from __future__ import annotations

import argparse
import functools
import io
import itertools
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.options import IndexOptions
from imgsearch.indexing.run import index_pictures
from imgsearch.media.formats import load_pictures
from imgsearch.media.pixelhash import difference_bits, pixel_hash
from imgsearch.search import similar
from imgsearch.search.hits import SearchOptions
from imgsearch.tools.maintenance.duplicates import find_duplicates
from imgsearch.tools.maintenance.near import near_pairs
from imgsearch.types import DEFAULT_BUDGET, ModelOptions

TURNS = {
    "rotated 90": Image.Transpose.ROTATE_270,
    "rotated 180": Image.Transpose.ROTATE_180,
    "rotated 270": Image.Transpose.ROTATE_90,
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
}


def scene(rng: np.random.Generator, size: tuple[int, int] = (640, 480)) -> Image.Image:
    """Draw something like a photo: a soft ground with light from one side, shapes on it, and grain."""
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 10))):
        x, y = rng.integers(0, size[0]), rng.integers(0, size[1])
        w, h = rng.integers(20, 260, 2)
        box = (int(x), int(y), int(x + w), int(y + h))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(
            box, fill=tuple(rng.integers(0, 256, 3).tolist())
        )
    pixels = np.asarray(image).astype(np.int16) + rng.normal(0, 6, (size[1], size[0], 1)).astype(np.int16)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def text_page(rng: np.random.Generator) -> Image.Image:
    """Draw a page of lines, as documents are alike to each other."""
    image = Image.new("RGB", (480, 640), "white")
    draw = ImageDraw.Draw(image)
    for y in range(40, 600, 14):
        x = 40
        while x < 420:
            width = int(rng.integers(8, 60))
            draw.rectangle((x, y, min(x + width, 430), y + 7), fill="black")
            x += width + 7
    return image


def shifted(image: Image.Image, rng: np.random.Generator, frame: int) -> Image.Image:
    """Return the next frame of a burst: the camera has moved by some pixels, the light by little."""
    moved = image.transform(
        image.size, Image.Transform.AFFINE, (1, 0, 3 * frame, 0, 1, int(rng.integers(-3, 4)))
    )
    return ImageEnhance.Brightness(moved).enhance(1 + 0.01 * frame)


def at(seconds: int) -> Image.Exif:
    """Return EXIF with a time of one day, and a camera."""
    exif = Image.Exif()
    exif[0x0110] = "X-T5"
    exif.get_ifd(0x8769)[0x9003] = (
        f"2024:07:14 {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    )
    exif[0x8769] = 0
    return exif


def draw_collection(folder: Path, scenes: int) -> dict[str, tuple[int, str]]:
    """Draw the collection; return by file name the number of what it shows, and the kind of version."""
    rng = np.random.default_rng(17)
    shown: dict[str, tuple[int, str]] = {}

    def save(image: Image.Image, name: str, number: int, kind: str, **options: object) -> None:
        image.save(folder / name, **options)  # type: ignore[arg-type]
        shown[name] = number, kind

    for number in range(scenes):
        image, stem = scene(rng), f"s{number:04}"
        save(image, f"{stem}.jpg", number, "original", quality=92, exif=at(60 * number))
        saved = Image.open(folder / f"{stem}.jpg").convert("RGB")
        (folder / f"{stem} copy.jpg").write_bytes((folder / f"{stem}.jpg").read_bytes())
        shown[f"{stem} copy.jpg"] = number, "same bytes"
        save(saved, f"{stem}.png", number, "same pixels")
        save(saved, f"{stem} q40.jpg", number, "quality 40", quality=40)
        for share in (50, 25):
            small = saved.resize((640 * share // 100, 480 * share // 100), Image.Resampling.LANCZOS)
            save(small, f"{stem} {share}.jpg", number, f"scaled {share} %", quality=85)
        for kind, turn in TURNS.items():
            save(saved.transpose(turn), f"{stem} {kind}.jpg", number, kind, quality=85)
        save(
            ImageEnhance.Brightness(saved).enhance(1.25), f"{stem} light.jpg", number, "lightened", quality=90
        )
        if number % 4 == 0:
            for frame in range(1, 6):
                name = f"{stem} burst{frame}.jpg"
                save(
                    shifted(saved, rng, frame),
                    name,
                    number,
                    "burst",
                    quality=90,
                    exif=at(60 * number + frame),
                )
        # Look-alikes: the same ground with other things on it, an image of one colour, a page of text.
        other = saved.copy()
        draw = ImageDraw.Draw(other)
        for _ in range(4):
            x, y = rng.integers(0, 500), rng.integers(0, 340)
            draw.ellipse(
                (int(x), int(y), int(x) + 180, int(y) + 180), fill=tuple(rng.integers(0, 256, 3).tolist())
            )
        save(other, f"{stem} other.jpg", scenes + number, "look-alike", quality=90)
        plain = Image.new("RGB", (320, 240), tuple(rng.integers(0, 256, 3).tolist()))
        save(plain, f"{stem} plain.png", 2 * scenes + number, "look-alike")
        save(text_page(rng), f"{stem} page.png", 3 * scenes + number, "look-alike")
    return shown


def evaluate(scenes: int) -> None:
    """Print recall by kind and precision of the groups."""
    with tempfile.TemporaryDirectory() as where:
        photos, index = Path(where, "photos"), os.path.join(where, "ix")
        photos.mkdir()
        shown = draw_collection(photos, scenes)
        index_pictures([str(photos)], index, IndexOptions(model=ModelOptions(model="demo")))
        began = time.perf_counter()
        found = find_duplicates(index)
        seconds = time.perf_counter() - began
    group_of = {
        Path(file.path).name: number
        for number, group in enumerate(found.groups)
        for file in (group.keep, *group.others)
        if not group.burst
    }
    bursts = {
        Path(file.path).name: n
        for n, group in enumerate(found.groups)
        if group.burst
        for file in group.others
    }
    bursts |= {Path(group.keep.path).name: n for n, group in enumerate(found.groups) if group.burst}
    drawn, hit = Counter[str](), Counter[str]()
    for name, (number, kind) in shown.items():
        original = next(
            other for other, (n, k) in shown.items() if n == number and k in ("original", "look-alike")
        )
        if kind in ("original", "look-alike"):
            continue
        drawn[kind] += 1
        if kind == "burst":
            same = [bursts.get(other) for other, (n, _) in shown.items() if n == number and other != name]
            alike = group_of.get(name) is not None and group_of[name] == group_of.get(original)
            hit[kind] += (name in bursts and bursts[name] in same) or alike
        else:
            hit[kind] += group_of.get(name) is not None and group_of[name] == group_of.get(original)
    wrong = right = 0
    for group in found.groups:
        for file in group.others:
            same = shown[Path(file.path).name][0] == shown[Path(group.keep.path).name][0]
            right, wrong = right + same, wrong + (not same)
            if not same:
                print("wrong:", Path(group.keep.path).name, "|", Path(file.path).name, file.relation)
    for kind, count in drawn.items():
        print(f"{kind:<14} {hit[kind]:>5} of {count:>5}  {hit[kind] / count:.3f}")
    print(
        f"precision {right / max(right + wrong, 1):.4f} ({wrong} wrong of {right + wrong}); "
        f"{len(shown)} files, {seconds:.1f} s"
    )


def million(count: int) -> None:
    """Print how long the join takes over so many hashes, a thousand of which are there twice."""
    rng = np.random.default_rng(3)
    drawn = [
        difference_bits(Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).resize((64, 64)))
        for _ in range(20_000)
    ]
    # Of two of them, the upper part of one and the lower of another: as smooth as what they are made of.
    base = np.frombuffer(b"".join(drawn), np.uint8).reshape(len(drawn), -1)
    row = np.arange(base.shape[1]) % 32 // 2
    bits = np.empty((count, base.shape[1]), np.uint8)
    for first in range(0, count, 50_000):
        part = bits[first : first + 50_000]
        one, other = (base[rng.integers(0, len(base), len(part))] for _ in range(2))
        part[:] = np.where(row < rng.integers(4, 13, (len(part), 1)), one, other)
    bits[-1000:] = bits[:1000]
    began, used = time.perf_counter(), time.process_time()
    one, _ = near_pairs(bits)
    took = f"{time.perf_counter() - began:.0f} s, {time.process_time() - used:.0f} s of CPU"
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 << (20 if sys.platform == "linux" else 30)
    )
    print(f"{count:,} hashes: {len(one):,} pairs in {took}, {memory:.1f} GB at most")


def median_ms(work: Callable[[], object], times: int = 15) -> float:
    """Return the median of this thread's processor time, in milliseconds."""
    taken = []
    for _ in range(times):
        began = time.thread_time()
        work()
        taken.append(time.thread_time() - began)
    return 1000 * statistics.median(taken)


def cost() -> None:
    """Print by format and size what decoding, resizing for the model and hashing take."""
    drawn = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))
    for kind, size in itertools.product(("JPEG", "PNG", "WEBP"), ((1600, 1200), (4000, 3000))):
        file = io.BytesIO()
        drawn.resize(size, Image.Resampling.BICUBIC).save(file, kind)

        def load(data: bytes = file.getvalue(), name: str = f"a.{kind}") -> np.ndarray:
            return next(iter(load_pictures(io.BytesIO(data), name, DEFAULT_BUDGET))).pixels

        pixels = load()
        decoding, hashing = median_ms(load), median_ms(lambda pixels=pixels: pixel_hash(pixels))
        resizing = median_ms(
            lambda pixels=pixels: Image.fromarray(pixels).resize((240, 240), Image.Resampling.BICUBIC)
        )
        share = hashing / (decoding + resizing)
        print(
            f"{kind:<5}{size}: decode {decoding:.1f} ms, resize {resizing:.1f} ms, hash {hashing:.2f} ms ({share:.1%})"
        )


def stacks(scenes: int) -> None:
    """Print what an answer of ten and of fifty takes without stacks and with them, in turns."""
    with tempfile.TemporaryDirectory() as where:
        photos, folder = Path(where, "photos"), os.path.join(where, "ix")
        photos.mkdir()
        draw_collection(photos, scenes)
        index_pictures([str(photos)], folder, IndexOptions(model=ModelOptions(model="demo")))
        with ImageIndex(folder) as index:
            for n in (10, 50):
                taken: dict[bool, list[float]] = {False: [], True: []}
                for stacked in (False, True) * 15:
                    options, example = SearchOptions(n=n, stacks=stacked), str(photos / "s0008.jpg")
                    # An indexed example needs no model.
                    answer = functools.partial(similar, index, example, lambda: None, options)  # type: ignore[arg-type]
                    taken[stacked].append(median_ms(answer, 1))
                plain, piled = (statistics.median(taken[stacked]) for stacked in (False, True))
                print(f"{n} hits: {plain:.1f} ms, stacked {piled:.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--million", type=int, nargs="?", const=1_000_000)
    parser.add_argument("--hash", action="store_true")
    parser.add_argument("--stacks", action="store_true")
    asked = parser.parse_args()
    if asked.million:
        million(asked.million)
    elif asked.hash:
        cost()
    elif asked.stacks:
        stacks(asked.scenes)
    else:
        evaluate(asked.scenes)
