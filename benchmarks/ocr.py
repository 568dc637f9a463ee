"""Which share of the words in drawn images is found by exact search, by script, kind, size of letters and pixels.

    python benchmarks/ocr.py [--each 4] [--pixels 1500000 3000000] [--fonts DIR]

Signs, receipts, screenshots and turned photographs of text, 3 million pixels each, are drawn and read as ``index
--ocr`` does. A word counts as found if ``query --text`` with it finds the image: folded, whole, or by its pairs of
characters. Theory: the recogniser sees lines of 48 pixels, and letters of some 10 pixels are the smallest that it was
taught; so fewer pixels lose the small letters first. The detector's work grows with the pixels, the recogniser's with
the lines.

Latin, Greek and Cyrillic are drawn in DejaVu, which comes with matplotlib. Chinese and Korean need Debian's
fonts-wqy-microhei, Japanese its fonts-ipafont-gothic; scripts without their font are left out. ``--fonts`` is a folder
with them, if they are not installed.

Prints for each script, kind, size and number of pixels the share of words found; then processor seconds an image,
images a second with all threads, and the peak of memory.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from imgsearch.index.image_text.quotes import found_in
from imgsearch.index.image_text.tokens import phrases_of
from imgsearch.indexing.derived import ocr
from imgsearch.media.lookahead import look_ahead

SIZE = 2000, 1500
KINDS = "sign", "receipt", "screenshot", "photograph"
LETTERS = 12, 16, 24, 40
"""Heights in pixels of the drawn image."""
WORDS = {
    "latin": (
        "total invoice harbour café market Straße naïve receipt station exit bakery Łódź museum garden price open "
        "closed tickets platform señor garçon hotel library 23.20 1,499.00 DE44 2024-07-15 AB12CD wheel coffee"
    ),
    "greek": "σύνολο αγορά λιμάνι έξοδος σταθμός μουσείο κήπος τιμή ξενοδοχείο βιβλιοθήκη",
    "cyrillic": "итого рынок гавань выход вокзал музей сад цена гостиница библиотека",
    "chinese": "合计 发票 市场 港口 出口 车站 面包店 博物馆 花园 价格 图书馆 酒店 咖啡",
    "japanese": "合計 領収書 市場 港 出口 駅前 パン屋 博物館 庭園 価格 としょかん ホテル コーヒー",
    "korean": "합계 영수증 시장 항구 출구 기차역 박물관 정원 가격 도서관 호텔 커피",
}
FONTS = {"chinese": "wqy-microhei.ttc", "korean": "wqy-microhei.ttc", "japanese": "ipag.ttf"}


class Drawn(NamedTuple):
    """A drawn image and the words that stand in it."""

    script: str
    kind: str
    letters: int
    words: tuple[str, ...]
    image: Image.Image


def main() -> None:
    """Draw, read and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=2, help="images of each script, kind and size")
    parser.add_argument("--pixels", type=int, nargs="*", default=[1_100_000, 1_500_000, 2_000_000, 3_000_000])
    parser.add_argument("--scripts", nargs="*", default=list(WORDS))
    parser.add_argument("--letters", type=int, nargs="*", default=list(LETTERS))
    parser.add_argument("--fonts", default="/usr/share/fonts")
    parser.add_argument("--show", metavar="DIR", help="also save the drawn images there")
    parser.add_argument("--threads", type=int, default=min(os.cpu_count() or 1, 4))
    options = parser.parse_args()
    fonts = {script: _font(script, options.fonts) for script in options.scripts}
    for script in (script for script, font in fonts.items() if font is None):
        print(f"{script}: left out, its font is not installed ({FONTS[script]})")
    drawn = [
        draw(script, kind, letters, font, random.Random(f"{script} {kind} {letters} {number}"))
        for script, font in fonts.items()
        if font
        for kind, letters, number in itertools.product(KINDS, options.letters, range(options.each))
    ]
    if options.show:
        for number, one in enumerate(drawn):
            one.image.save(Path(options.show) / f"{number:03} {one.script} {one.kind} {one.letters}.png")
    reader = ocr.load_reader()
    for pixels in options.pixels:
        ocr.PIXELS = pixels
        found: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        began, used = time.perf_counter(), time.process_time()
        read = look_ahead(lambda one: reader.read(np.asarray(one.image)), drawn, options.threads)
        for one, lines in zip(drawn, read, strict=True):
            for word in one.words:
                phrases = phrases_of(word)
                here = len(found_in(lines, phrases)) == len(phrases)
                for name in (
                    "all",
                    one.script,
                    f"{one.script}, {one.kind}",
                    f"{one.script}, {one.letters} px",
                ):
                    found[name][0] += here
                    found[name][1] += 1
        seconds, processor = time.perf_counter() - began, time.process_time() - used
        print(
            f"\n{pixels:,} pixels: {len(drawn)} images, {processor / len(drawn):.2f} processor s an image, ",
            end="",
        )
        print(f"{len(drawn) / seconds:.2f} images/s, ", end="")
        print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:,.0f} MB")
        for name, (good, all_) in found.items():
            print(f"  {name:<24} {100 * good / all_:5.1f} % of {all_}", flush=True)


def _font(script: str, folder: str) -> str | None:
    if script not in FONTS:
        return os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return next((str(path) for path in Path(folder).rglob(FONTS[script])), None)


def draw(script: str, kind: str, letters: int, font_file: str, rng: random.Random) -> Drawn:
    """Draw one image with words in it."""
    font = ImageFont.truetype(font_file, letters)
    words = WORDS[script].split()
    count = {"sign": 3, "receipt": 16, "screenshot": 40, "photograph": 8}[kind]
    chosen = [rng.choice(words) for _ in range(count)]
    dark = rng.random() < 0.3
    paper, ink = ((30, 34, 40), (235, 235, 225)) if dark else ((245, 243, 238), (25, 25, 30))
    if kind == "sign":
        paper = tuple(rng.randrange(40, 120) for _ in range(3))
        ink = (250, 250, 240)
    image = Image.new("RGB", SIZE, paper)
    pen = ImageDraw.Draw(image)
    for (x, y), line in _laid_out(kind, chosen, letters, rng):
        pen.text((x, y), line, ink, font=font)
    if kind in ("sign", "photograph"):
        image = _photographed(image, paper, rng, turned=kind == "photograph")
    return Drawn(script, kind, letters, tuple(dict.fromkeys(chosen)), image)


def _laid_out(
    kind: str, words: list[str], letters: int, rng: random.Random
) -> Iterator[tuple[tuple[int, int], str]]:
    """Yield where which lines of text stand."""
    width, height = SIZE
    left, top = rng.randrange(width // 8, width // 4), rng.randrange(height // 6, height // 4)
    if kind == "receipt":
        for number, (one, other) in enumerate(zip(words[::2], words[1::2], strict=True)):
            y = top + number * 2 * letters
            yield (left, y), one
            yield (left + 16 * letters, y), other
        return
    each = {"sign": 1, "photograph": 2, "screenshot": 8}[kind]
    for number in range(0, len(words), each):
        yield (left, top + number // each * 2 * letters), " ".join(words[number : number + each])


def _photographed(
    image: Image.Image, paper: tuple[int, ...], rng: random.Random, *, turned: bool
) -> Image.Image:
    """Return an image as a camera may have seen it: uneven light, noise, a little out of focus, and turned."""
    if turned:
        angle = rng.choice([rng.uniform(-20, 20), rng.uniform(-20, 20), 90, 270, 180])
        image = image.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=paper)
    noise = np.random.default_rng(rng.randrange(1 << 30))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(0.7)), np.float32)
    light = np.linspace(rng.uniform(0.6, 1), rng.uniform(0.6, 1), pixels.shape[1], dtype=np.float32)[:, None]
    pixels = pixels * light + noise.normal(0, 6, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
