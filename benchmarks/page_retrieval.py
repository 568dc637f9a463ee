"""Pages found by questions, with the text in them and without: drawn, indexed, read and searched as a user does.

Pages of four kinds are drawn, each in a document of three pages: as PDF with its text, and as a scan of it, turned a
little and noisy, whose text only OCR can tell. A question names what stands on one page (a firm, a total, a heading,
a place), or describes what it looks like. The demo model knows colours and shapes and reads words of six letters at
most, so by images alone it should find pages by their looks, and those with text hardly better than by chance.

    python benchmarks/page_retrieval.py [--documents 40] [--model demo] [--keep DIR]

Runs ``imgsearch index --ocr``, then asks each question with the text in images and without it, and by text alone.
Prints for each the mean NDCG@10, the share found first, and milliseconds a question, by kind of page and question.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from imgsearch.client import load_encoder
from imgsearch.index.reader import ImageIndex
from imgsearch.search import query
from imgsearch.search.hits import SearchOptions
from imgsearch.spec import checkpoint_for
from imgsearch.tools.dataset.retrieval import RetrievalDataset
from imgsearch.tools.evaluation.metrics import measure
from imgsearch.types import Input, ModelOptions, Silent

A4 = 1240, 1754  # 150 dots an inch
FIRMS = (
    "Lindqvist",
    "Okafor",
    "Marchetti",
    "Petrov",
    "Hanlon",
    "Duarte",
    "Yamada",
    "Kowalski",
    "Brandt",
    "Fraser",
)
GOODS = ("timber roof tiles", "copper pipe", "window glass", "garden chairs", "bicycle parts", "coffee beans")
TOWNS = ("Aveiro", "Trondheim", "Ghent", "Ljubljana", "Galway", "Tampere", "Brno", "Girona", "Aarhus", "Graz")
TOPICS = (
    "water supply",
    "night trains",
    "school meals",
    "harbour dredging",
    "street lighting",
    "bird counts",
)
COLOURS = {"red": (200, 40, 40), "green": (40, 150, 60), "blue": (40, 80, 200), "yellow": (230, 200, 40)}
SHAPES = "circle", "square", "triangle"


class Page(NamedTuple):
    """The lines of a page, what is drawn on it, and the questions that it answers, each with its kind."""

    lines: tuple[tuple[int, str], ...]
    figure: tuple[str, str] | None
    questions: tuple[tuple[str, str], ...]


def pages(number: int, rng: random.Random) -> list[Page]:
    """Invent the three pages of a document: an invoice or a letter, a page of a report, and a figure."""
    firm, goods, town, topic = map(rng.choice, (FIRMS, GOODS, TOWNS, TOPICS))
    total, code = f"{rng.randrange(100, 9000)}.{rng.randrange(10, 99)}", f"INV-{1000 + 7 * number}"
    first = Page(
        (
            (40, f"{firm} & Sons"),
            (28, f"Invoice {code}"),
            (24, f"{rng.randrange(2, 90)} x {goods}"),
            (24, "Payable within thirty days"),
            (32, f"TOTAL {total} EUR"),
        ),
        None,
        (("text", f"total {total}"), ("text", code), ("text", f"{firm} invoice for {goods}")),
    )
    body = [
        f"The {topic} of {town} were looked at in {2000 + number % 24}.",
        "Costs rose and use fell, as before.",
    ]
    second = Page(
        ((44, f"{topic.capitalize()} in {town}"), *((22, line) for line in body * 9)),
        None,
        (("text", f"{topic} in {town}"),),
    )
    colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
    third = Page(((26, f"Figure {number + 1}"),), (colour, shape), (("looks", f"a {colour} {shape}"),))
    return [first, second, third]


def draw(page: Page) -> Image.Image:
    """Draw a page."""
    image = Image.new("RGB", A4, "white")
    pen, y = ImageDraw.Draw(image), 130
    for size, line in page.lines:
        pen.text((120, y), line, "black", font=ImageFont.load_default(size * 1.3))
        y += 2 * size
    if page.figure:
        colour, shape = COLOURS[page.figure[0]], page.figure[1]
        box = (220, 500, 1020, 1300)
        if shape == "circle":
            pen.ellipse(box, colour)
        elif shape == "square":
            pen.rectangle(box, colour)
        else:
            pen.polygon(((620, 500), (220, 1300), (1020, 1300)), colour)
    return image


def scanned(image: Image.Image, rng: random.Random) -> Image.Image:
    """Return a page as a scanner sees it: turned a little, blurred, uneven and noisy."""
    turned = image.rotate(rng.uniform(-1.5, 1.5), Image.Resampling.BICUBIC, fillcolor="white")
    pixels = np.asarray(turned.filter(ImageFilter.GaussianBlur(0.8)), np.float32) * rng.uniform(0.85, 1)
    noise = np.random.default_rng(rng.randrange(1 << 30)).normal(0, 5, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def write(folder: str, documents: int) -> dict[tuple[str, int], Page]:
    """Write the documents, half of them with text and half as scans; return the pages by file and number."""
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    rng = random.Random(20)
    written: dict[tuple[str, int], Page] = {}
    for number in range(documents):
        some, scan = pages(number, rng), number % 2
        path = os.path.join(folder, f"{'scan' if scan else 'report'}-{number:03}.pdf")
        if scan:
            first, *rest = (scanned(draw(page), rng) for page in some)
            first.save(path, "PDF", resolution=150, save_all=True, append_images=rest)
        else:
            with PdfPages(path) as file:
                for page in some:
                    sheet, y = Figure((A4[0] / 150, A4[1] / 150)), 130
                    if page.figure:
                        axes = sheet.add_axes((0, 0, 1, 1))
                        axes.imshow(np.asarray(draw(page._replace(lines=()))))
                        axes.axis("off")
                    for size, line in page.lines:
                        sheet.text(120 / A4[0], 1 - y / A4[1], line, fontsize=size * 0.6, va="top")
                        y += 2 * size
                    file.savefig(sheet)
        written |= {(path, place): page for place, page in enumerate(some)}
    return written


def right(written: dict[tuple[str, int], Page], kind: str, question: str) -> list[str]:
    """Name the pages that answer a question: the one that it was made of, or all that look as it says."""
    return [
        f"{path}#{place}" for (path, place), page in written.items() if (kind, question) in page.questions
    ]


def main() -> None:
    """Draw, index, ask."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--keep", metavar="DIR", help="write the documents and the index there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, where = (os.path.join(asked.keep or place, name) for name in ("pages", "index"))
        os.makedirs(folder, exist_ok=True)
        written = write(folder, asked.documents)
        began = time.perf_counter()
        command = [sys.executable, "-m", "imgsearch", "index", folder, "--ocr", "--json"]
        done = subprocess.run(
            [*command, "--index", where, "--model", asked.model], capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        print(f"{len(written)} pages indexed and read in {time.perf_counter() - began:.0f} s")
        print(json.loads(done.stdout.splitlines()[-1]))
        ask(where, written, ModelOptions(model=asked.model))


def ask(where: str, written: dict[tuple[str, int], Page], model: ModelOptions) -> None:
    """Ask all questions in the three ways and print the table."""
    questions: dict[str, list[str]] = defaultdict(list)
    for (path, _), page in written.items():
        for kind, question in page.questions:
            group = "looks" if kind == "looks" else f"text, {Path(path).name.partition('-')[0]}"
            if question not in questions[group]:
                questions[group].append(question)
    print(f"{'questions':16}{'':6}{'text':8}{'NDCG@10':>9}{'first':>8}{'ms':>8}")
    with ImageIndex(where) as index:
        encoder = load_encoder(
            checkpoint_for(where, index.spec, model, Silent()), index.spec, model, Silent()
        )
        corpus: dict[str, Any] = {f"{path}#{place}": None for path, place in written}
        position = {name: number for number, name in enumerate(corpus)}
        for group, some in questions.items():
            relevant = {one: dict.fromkeys(right(written, group.partition(",")[0], one), 1) for one in some}
            dataset = RetrievalDataset("pages", where, {one: one for one in some}, corpus, relevant)
            for how in ("off", "auto", "only"):
                began, ranking = time.perf_counter(), []
                for one in some:
                    (hits,) = query(index, encoder, [Input(text=one)], SearchOptions(n=50, image_text=how))
                    names = [f"{hit.path}#{hit.page}" for hit in hits]
                    ranking.append(np.array([position[name] for name in names], np.int64))
                took = (time.perf_counter() - began) / len(some) * 1000
                found = measure(ranking, dataset)
                name = {"off": "without", "auto": "with", "only": "alone"}[how]
                print(
                    f"{group:16}{len(some):<6}{name:8}{found['ndcg@10']:9.3f}{found['accuracy@1']:8.3f}{took:8.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
