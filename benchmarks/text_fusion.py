"""What counting the text in images does to queries: to those that describe images, and to those for text.

    python benchmarks/text_fusion.py [--covered 0.5 0.6 0.8] [--plain 0.9 1.0]

A gallery of shapes is indexed with the demo model, and beside it 100 plain images that have text, as if it had been
read: 60 receipts, and 40 signs with the colours and shapes that its queries name, as RED LION or THREE STARS
HOTEL. Theory: a query that describes an image loses places only to texts that hold nearly all of its words.

Prints which share of the first eight are right for queries that describe images, and for those of one word; then the
mean reciprocal rank of the image that has the text, for queries for a total and for a word of a sign; without text and
with it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import sys
import tempfile
from collections.abc import Sequence

from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "recipes"))

from imgsearch.client import load_encoder
from imgsearch.index import image_text
from imgsearch.index.image_text import ImageText, TextLine, search
from imgsearch.index.reader import ImageIndex
from imgsearch.index.writer import IndexWriter
from imgsearch.indexing.options import IndexOptions
from imgsearch.indexing.run import index_pictures
from imgsearch.model.locate import DEMO_MODEL
from imgsearch.search import query, written
from imgsearch.search.hits import SearchOptions
from imgsearch.spec import checkpoint_for
from imgsearch.types import Hit, Input, ModelOptions, Silent
from shapes.gallery import QUERIES, RIGHT, draw_gallery

SIGNS = (
    "RED LION|Circle Bar|three stars hotel|White Horse|BLUE MOON CAFE|the large yellow van|Triangle Sports",
    "purple rain|green diamond jewellers|striped pink socks|the word|BLACK CAT|Red Circle Line|star of the day",
)
ON_SIGNS = ("lion", "hotel", "jewellers", "socks", "rain", "sports", "horse", "moon")
SINGLE = ("red", "cat", "green", "blue", "star", "circle", "triangle")
"""Queries of one word: a colour, a shape, or a word that is drawn."""


def main() -> None:
    """Draw, index and ask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--covered", type=float, nargs="*", default=[0.5, search.COVERED, 0.8])
    parser.add_argument("--plain", type=float, nargs="*", default=[written.PLAIN_WORDS, 1.0])
    asked = parser.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        pictures, folder = os.path.join(place, "p"), os.path.join(place, "i")
        scenes = draw_gallery(pictures)
        texts: dict[str, str] = {}
        for number in range(100):
            path = os.path.join(pictures, f"text{number}.png")
            Image.new("RGB", (96, 96), tuple(rng.randrange(256) for _ in range(3))).save(path)
            total = f"{rng.randrange(1, 99)}.{rng.randrange(10, 99)}"
            receipt = f"SHOP {rng.choice('ABCD')}\n2024-0{rng.randrange(1, 9)}-17\nTOTAL {total} EUR"
            texts[path] = receipt if number < 60 else rng.choice("|".join(SIGNS).split("|"))
        options = ModelOptions(model=DEMO_MODEL)
        index_pictures([pictures], folder, IndexOptions(model=options, advise=False), Silent())
        with IndexWriter(folder) as writer:
            (root,) = writer.catalog.roots()
            files = {
                os.path.join(root.path, row.path): row.content or b"" for row in writer.catalog.files(root.id)
            }
            with writer.catalog.transaction() as db:
                known = {os.path.realpath(path): text for path, text in texts.items()}
                known |= {os.path.realpath(path): scene.word for path, scene in scenes.items() if scene.word}
                image_text.put(
                    db,
                    [
                        ImageText(files[path], 0, tuple(map(TextLine, text.splitlines())), "drawn")
                        for path, text in known.items()
                    ],
                )
        scenes = {os.path.realpath(path): scene for path, scene in scenes.items()}
        with ImageIndex(folder) as index:
            encoder = load_encoder(
                checkpoint_for(folder, index.spec, options, Silent()), index.spec, options, Silent()
            )
            receipts = [
                (text.splitlines()[-1], os.path.realpath(path)) for path, text in [*texts.items()][:60]
            ]
            looked_for = [*((line.lower(), path) for line, path in receipts[:20])]
            looked_for += [(line.split()[1], path) for line, path in receipts[20:40]]

            def measure(how: str) -> list[float]:
                def found(texts: Sequence[str], n: int = RIGHT) -> list[list[Hit]]:
                    return query(
                        index, encoder, [Input(text=one) for one in texts], SearchOptions(n=n, image_text=how)
                    )

                right = [
                    sum(hit.path in scenes and one.matches(scenes[hit.path]) for hit in hits) / RIGHT
                    for one, hits in zip(QUERIES, found([one.text for one in QUERIES]), strict=True)
                ]
                single = []
                for word, hits in zip(SINGLE, found(SINGLE), strict=True):
                    seen = [scenes[hit.path] for hit in hits if hit.path in scenes]
                    single.append(
                        sum(
                            word
                            in (
                                one.colour,
                                one.other_colour,
                                one.ground,
                                one.word,
                                one.shape,
                                one.other_shape,
                            )
                            for one in seen
                        )
                        / RIGHT
                    )
                totals = [
                    next((1 / hit.rank for hit in hits if hit.path == path), 0.0)
                    for (_, path), hits in zip(
                        looked_for, found([one for one, _ in looked_for], 50), strict=True
                    )
                ]
                signs = [
                    next(
                        (1 / hit.rank for hit in hits if word in known.get(hit.path, "").lower().split()), 0.0
                    )
                    for word, hits in zip(ON_SIGNS, found(ON_SIGNS, 50), strict=True)
                ]
                return [sum(some) / len(some) for some in (right, single, totals, signs)]

            print("covered  plain  described  one word   total    sign")
            print("    without     {:9.3f} {:9.3f} {:7.3f} {:7.3f}".format(*measure("off")))
            for search.COVERED, written.PLAIN_WORDS in itertools.product(asked.covered, asked.plain):
                told = "{:10.3f} {:9.3f} {:7.3f} {:7.3f}".format(*measure("auto"))
                print(f"{search.COVERED:7} {written.PLAIN_WORDS:6} {told}", flush=True)


if __name__ == "__main__":
    main()
