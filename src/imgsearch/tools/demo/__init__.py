"""Use case: show the whole way on drawn pictures: draw a gallery, index it, ask, and say which hits are right."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from imgsearch.client import load_encoder
from imgsearch.errors import StorageError
from imgsearch.index.reader import ImageIndex
from imgsearch.indexing.options import IndexOptions
from imgsearch.indexing.run import index_pictures
from imgsearch.model.locate import DEMO_MODEL
from imgsearch.search import SearchOptions, query, similar
from imgsearch.spec import checkpoint_for
from imgsearch.text import Call, Message, Option, error_line
from imgsearch.tools.demo.gallery import (
    EXAMPLE,
    QUERIES,
    RIGHT,
    Cell,
    DemoQuery,
    draw_contact_sheet,
    draw_gallery,
)
from imgsearch.tools.demo.scene import Scene
from imgsearch.types import Hit, Input, ModelOptions, Reporter, Silent


def run_demo(out: str, reporter: Reporter) -> int:
    """Draw a gallery into ``out``, index it, ask six questions; return 0 if every first hit is right, else 1.

    What is in ``out`` from an earlier demo is drawn and indexed again. Raises StorageError if ``out`` can't be
    written or holds pictures of somebody else's, CheckpointError if the demo checkpoint is not in the package.
    """
    out = os.path.abspath(out)
    pictures, sheets, folder = (os.path.join(out, name) for name in ("pictures", "sheets", ".imgsearch"))
    if os.path.exists(pictures) and not os.path.exists(sheets):
        raise StorageError(
            f"{pictures} is not from an earlier demo; choose another folder with ", Option("out")
        )
    try:
        os.makedirs(sheets, exist_ok=True)  # before the pictures, so that it tells a gallery of ours
        scenes = draw_gallery(pictures)
    except OSError as error:
        raise _unwritable(out, error) from error
    reporter.say(f"drew {len(scenes)} pictures in {pictures}")
    options = ModelOptions(model=DEMO_MODEL)
    result = index_pictures([pictures], folder, IndexOptions(model=options), reporter)
    reporter.say(Message(result.summary(folder), "."))
    first_right = shown_right = shown = 0
    with ImageIndex(folder) as index:
        checkpoint = checkpoint_for(folder, index.spec, options, reporter)
        encoder = load_encoder(checkpoint, index.spec, options, Silent())  # said already while indexing
        example = next(path for path, scene in scenes.items() if EXAMPLE.matches(scene))
        asked: list[tuple[Message, str, DemoQuery, Sequence[Hit]]] = []
        texts = [Input(text=demo_query.text) for demo_query in QUERIES]
        answers = query(index, encoder, texts, SearchOptions(n=RIGHT))
        for demo_query, found in zip(QUERIES, answers, strict=True):
            command = Message(Call("query", {"questions": [demo_query.text]}))
            asked.append((command, f'query "{demo_query.text}"', demo_query, found))
        alike = similar(index, example, encoder, SearchOptions(n=RIGHT))
        path = os.path.relpath(example)
        command = Message(Call("similar", {"path": path}), f" ({EXAMPLE.text})")
        asked.append((command, f"similar {path} ({EXAMPLE.text})", EXAMPLE, alike))
    for number, (command, title, demo_query, hits) in enumerate(asked, start=1):
        cells = _cells(hits, demo_query, scenes)
        right = sum(cell.right for cell in cells)
        first_right += cells[0].right
        shown_right, shown = shown_right + right, shown + len(cells)
        reporter.say("")
        reporter.say(Message(command, f":  {right} of {len(cells)} right"))
        for hit, cell in zip(hits, cells, strict=True):
            mark = "right" if cell.right else "wrong"
            reporter.say(f"  {hit.score:.4f}  {os.path.relpath(hit.path)}  {mark}")
        name = "-".join(demo_query.text.split())
        sheet = os.path.join(sheets, f"{number}-{name}.png")
        try:
            draw_contact_sheet(sheet, title, cells)
        except OSError as error:
            raise _unwritable(sheet, error) from error
        reporter.say(f"  contact sheet: {sheet}")
    reporter.say("")
    reporter.say(f"{shown_right} of {shown} hits are right, {first_right} of {len(asked)} first hits")
    return 0 if first_right == len(asked) else 1


def _unwritable(path: str, error: OSError) -> StorageError:
    return StorageError(f"{path} can't be written: {error_line(error)}; choose another with ", Option("out"))


def _cells(hits: Sequence[Hit], demo_query: DemoQuery, scenes: Mapping[str, Scene]) -> list[Cell]:
    return [
        Cell(hit.path, f"{hit.rank}.  {hit.score:.3f}", demo_query.matches(scenes[hit.path])) for hit in hits
    ]
