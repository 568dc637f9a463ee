"""Use case: show how imgsearch works: unpack a gallery, index it, search it, check the results."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass

from imgsearch.client import load_encoder
from imgsearch.errors import IndexMismatch, StorageError
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.options import IndexOptions
from imgsearch.indexing.run import index_pictures
from imgsearch.media.thumbnail import budget_of
from imgsearch.model.locate import DEMO_MODEL
from imgsearch.search import SearchRequest, ask, query, similar
from imgsearch.search.examples import read_picture
from imgsearch.search.hits import SearchOptions
from imgsearch.spec import checkpoint_for
from imgsearch.text import Call, Message, Option, error_line, plural
from imgsearch.tools.collect.sheet import Cell, draw_contact_sheet
from imgsearch.tools.demo.gallery import RIGHT, Gallery, Question, unpack_gallery
from imgsearch.types import Hit, Input, ModelOptions, Reporter, Silent


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What a demo found: how many results, how many of them correct, and the page that shows them."""

    searches: int
    shown: int
    correct: int
    first_correct: int
    page: str


@dataclass(frozen=True, slots=True)
class _Search:
    """One search of the demo: the command, its title on the contact sheet, what it is for, and its results."""

    command: Message
    title: str
    wanted: Question
    hits: Sequence[Hit]


def run_demo(out: str, reporter: Reporter) -> DemoResult:
    """Unpack the gallery into ``out``, index it, run six searches and draw a contact sheet of each.

    What is in ``out`` from an earlier demo is made again. Raises StorageError if ``out`` can't be written or holds
    images of somebody else's or the demo of another version, or if the gallery is not in the package; CheckpointError
    if the demo checkpoint is not.
    """
    out = os.path.abspath(out)
    pictures, sheets, folder = (os.path.join(out, name) for name in ("pictures", "sheets", ".imgsearch"))
    if os.path.exists(pictures) and not os.path.exists(sheets):
        raise StorageError(
            f"{pictures} is not from an earlier demo; choose another folder with ", Option("out")
        )
    try:
        os.makedirs(sheets, exist_ok=True)  # before the pictures, so that it tells a gallery of ours
        gallery = unpack_gallery(pictures)
    except OSError as error:
        raise _unwritable(out, error) from error
    reporter.say(f"{len(gallery.pictures)} test images unpacked in {os.path.relpath(pictures)}")
    options = ModelOptions(model=DEMO_MODEL)
    try:
        result = index_pictures([pictures], folder, IndexOptions(model=options, advise=False), reporter)
    except IndexMismatch as error:  # another version of imgsearch, with another demo model, has been here
        raise StorageError(
            f"{out} is from the demo of another version; delete it, or choose another folder with ",
            Option("out"),
        ) from error
    reporter.say(Message(result.summary(folder), "."))
    reporter.say("")
    reporter.wait("Searching")
    sheets_drawn, marks = [], []
    page = os.path.join(out, "results.html")
    searches, near = _search(folder, gallery, options, reporter)
    for number, search in enumerate(searches, start=1):
        cells = [
            Cell(
                read_picture(hit.path, budget_of("s")),
                hit.rank,
                hit.score,
                right=hit.path in search.wanted.right,
            )
            for hit in search.hits
        ]
        marks.append([bool(cell.right) for cell in cells])
        note = f"{sum(marks[-1])} of {len(cells)} correct"
        reporter.say(Message(f"{note}   ", search.command))
        for hit, right in zip(search.hits, marks[-1], strict=True):
            mark = "correct" if right else "wrong"
            reporter.detail(f"    {hit.score:.4f}  {os.path.relpath(hit.path)}  {mark}")
        sheet = os.path.join(sheets, f"{number}-{'-'.join(search.wanted.text.split())}.png")
        try:
            with open(sheet, "wb") as file:
                draw_contact_sheet(file, "PNG", search.title, note, cells)
        except OSError as error:
            raise _unwritable(sheet, error) from error
        sheets_drawn.append(sheet)
    told = f"{plural(near, 'image')} stand out" if near else "nothing stands out"
    reporter.say(Message(f"{told}   ", Call("query", {"questions": [gallery.absent]})))
    try:
        _write_page(page, sheets_drawn)
    except OSError as error:
        raise _unwritable(page, error) from error
    return DemoResult(
        searches=len(marks),
        shown=sum(map(len, marks)),
        correct=sum(map(sum, marks)),
        first_correct=sum(row[0] for row in marks),
        page=page,
    )


def _write_page(path: str, sheets: Sequence[str]) -> None:
    """Write an HTML page that shows the contact sheets below each other. Raises OSError if it can't be written."""
    folder = os.path.dirname(path)
    images = "\n".join(f'<img src="{html.escape(os.path.relpath(sheet, folder))}">' for sheet in sheets)
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            "<!doctype html>\n<meta charset=utf-8>\n<title>Results of the demo</title>\n"
            "<style>body { margin: 2em auto; max-width: 900px; } img { width: 100%; margin-bottom: 2em; }</style>\n"
            f"{images}\n"
        )


def _unwritable(path: str, error: OSError) -> StorageError:
    return StorageError(f"{path} can't be written: {error_line(error)}; choose another with ", Option("out"))


def _search(
    folder: str, gallery: Gallery, options: ModelOptions, reporter: Reporter
) -> tuple[list[_Search], int]:
    """Run the queries, and one search for images similar to an example; count what stands out for the absent one."""
    with ImageIndex(folder) as index:
        checkpoint = checkpoint_for(folder, index.spec, options, reporter)
        encoder = load_encoder(checkpoint, index.spec, options, Silent())  # reported already while indexing
        texts = [Input(text=question.text) for question in gallery.questions]
        found = query(index, encoder, texts, SearchOptions(n=RIGHT))
        searches = [
            _Search(Message(Call("query", {"questions": [wanted.text]})), wanted.text, wanted, hits)
            for wanted, hits in zip(gallery.questions, found, strict=True)
        ]
        path = os.path.relpath(gallery.example)
        command = Message(Call("similar", {"path": path}), f"   ({gallery.alike.text})")
        hits = similar(index, gallery.example, encoder, SearchOptions(n=RIGHT))
        title = f"similar to {os.path.basename(path)} ({gallery.alike.text})"
        searches.append(_Search(command, title, gallery.alike, hits))
        absent = SearchRequest("query", gallery.absent, options=SearchOptions(n=RIGHT, cut="auto"))
        return searches, len(ask(index, absent, encoder).hits)
