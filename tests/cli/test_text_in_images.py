"""`query --text` and what the other commands tell of the text in images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imgsearch.tools.web.tiles import tile_of_hit
from imgsearch.types import Hit, Quote
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, paint, run
from support.text_reader import FakeReader, install, write_texts

fake_model = fakes.fake_model


@pytest.fixture
def pictures(fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two images in an index that all commands find."""
    for colour in ("red", "blue"):
        paint(tmp_path / "p" / f"{colour}.png", colour)
    run(tmp_path / "i", tmp_path / "p")
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "i"))
    return tmp_path / "p"


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> FakeReader:
    """A reader of colours."""
    return install(monkeypatch)


def test_text_is_read_found_and_shown(reader: FakeReader, pictures: Path, fake_model: FakeModel) -> None:
    """index --ocr adds it, query --text finds it without the model, status counts it, show prints it."""
    loads = fake_model.loads
    assert "text of 2 images read" in imgsearch("index", "--ocr").err
    (hit,) = imgsearch("query", "--text", "colour", "RED", "--json").objects
    assert (Path(hit["path"]).name, hit["quote"]) == ("red.png", "COLOUR RED")
    assert fake_model.loads == loads
    assert "text       2 images have text; 2 of 2 read" in imgsearch("status").out.decode()
    assert imgsearch("status", "--json").objects[0]["text"] == {"read": 2, "found": 2}
    assert "text         COLOUR BLUE" in imgsearch("show", str(pictures / "blue.png")).out.decode()


def test_nothing_is_found_for_a_reason(pictures: Path, tmp_path: Path) -> None:
    """Who looks for words is told if no text was read, and how to have it read, or that not all words stand there."""
    done = imgsearch("query", "--text", "total")
    assert done.code == 1
    assert "no text has been read in these images" in done.err
    assert "imgsearch index --ocr" in done.err
    write_texts(str(tmp_path / "i"), {"red": "TOTAL 5"})
    done = imgsearch("query", "--text", "total", "7")
    assert done.code == 1
    assert "all of these words" in done.err
    assert imgsearch("query", "--text", '"total 5"', "--paths").out.decode() == f"{pictures / 'red.png'}\n"


def test_text_is_for_words_alone(pictures: Path) -> None:
    """--text takes no example image."""
    done = imgsearch("query", "--text", "total", "--image", str(pictures / "red.png"))
    assert done.code == 2
    assert "--text looks for words alone" in done.err


def test_the_page_gets_the_quote_as_plain_text() -> None:
    """A tile has the quote, made visible, and boxes only where text matched."""
    hit = Hit(1, 0.5, "/p/a.png", 0, (), False, 9, 9, sha256=b"x" * 32)
    tile = tile_of_hit(replace(hit, quote=Quote("a\u202eb", ((0.1, 0.2, 0.3, 0.4),))), {})
    assert (tile["quote"], tile["boxes"]) == ("a\\u202eb", [[0.1, 0.2, 0.3, 0.4]])
    assert "quote" not in tile_of_hit(hit, {})
