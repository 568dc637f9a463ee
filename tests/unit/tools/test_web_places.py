"""What the page is told of pages, frames and quotes, and what opens on the desktop."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsearch.index.image_text import TextLine
from imgsearch.index.image_text.quotes import quote_of
from imgsearch.index.image_text.tokens import phrases_of
from imgsearch.place import label
from imgsearch.tools.web import export
from imgsearch.tools.web.tiles import tile_of_hit
from imgsearch.types import Hit, Quote


def _hit(**fields: object) -> Hit:
    known = {"rank": 1, "score": 0.5, "path": "/a/report.pdf", "page": 6, "copies": (), "missing": False}
    return Hit(**{**known, "width": 4, "height": 3, "content": 1, "sha256": b"x" * 32, **fields})  # type: ignore[arg-type]


def test_a_place_is_told_as_a_person_says_it() -> None:
    """Pages count from 1, times are minutes and seconds, and an image file of one page says nothing."""
    assert (label("page", 6), label("member", 0), label("", 1)) == ("page 7", "page 1", "page 2")
    assert (label("frame", 83_200), label("frame", 0), label("frame", 7_384_000)) == (
        "1:23",
        "0:00",
        "2:03:04",
    )
    assert (label("", 0), label("raw", 0)) == ("", "")


def test_a_tile_has_its_place_and_the_marks_of_its_quote() -> None:
    """Every second part of a quote is a word that was found; control characters do not move the marks."""
    tile = tile_of_hit(_hit(kind="page", quote=Quote("a\x1b TOTAL 23.20 …", marks=((3, 8), (9, 14)))), {})
    assert tile["where"] == "page 7"
    assert tile["quote_parts"][1::2] == ["TOTAL", "23.20"]
    assert "".join(tile["quote_parts"]) == tile["quote"]
    assert tile_of_hit(_hit(kind="frame", page=83_200), {})["where"] == "1:23"
    assert "quote" not in tile_of_hit(_hit(), {})


@pytest.mark.parametrize(
    ("lines", "query", "marked"),
    [
        (["SHOP", "TOTAL 23.20 EUR", "thanks"], "total 23.20", ["TOTAL", "23.20"]),
        (["  Café  total and total"], "cafe total", ["Café", "total", "total"]),
        (["x " * 200 + "IBAN DE44 5001"], '"iban de44"', ["IBAN DE44"]),
        (["請求書 東京"], "請求書", ["請求書"]),
    ],
)
def test_words_are_marked_where_they_stand_in_the_quote(
    lines: list[str], query: str, marked: list[str]
) -> None:
    """The marks are the words of the query as the image has them, also in a line that is cut."""
    quote = quote_of([TextLine(line, None) for line in lines], phrases_of(query))
    assert quote is not None
    assert quote.parts()[1::2] == marked


def test_a_table_of_hits_has_their_place(tmp_path: Path) -> None:
    """Kind, time and member of a selection are columns behind those that were there."""
    row = {"path": "/a/clip.mov", "page": 83_200, "width": 4, "height": 3, "taken": None, "camera": None}
    row |= {"rating": None, "title": None, "keywords": [], "kind": "frame", "time": 83.2}
    heading, line = export.table([row]).decode().splitlines()
    assert heading.endswith("title,keywords,kind,time,member")
    assert line.endswith(",frame,83.2,")
