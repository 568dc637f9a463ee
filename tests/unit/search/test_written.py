"""Images are found by the text that stands in them: alone, or beside what they show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from imgsearch.errors import InputError, UsageError
from imgsearch.index.metadata.file_filters import Named
from imgsearch.index.reader import ImageIndex
from imgsearch.search import SearchRequest, ask, query
from imgsearch.search.hits import IMAGE_TEXT, SearchOptions
from imgsearch.search.several import ask_all
from imgsearch.types import Hit, Input, Vectors
from support import fakes
from support.fakes import FakeModel, paint, run
from support.text_reader import write_texts

fake_model = fakes.fake_model
TEXTS = {"red": "SHOP\nTOTAL 23.20\nThanks", "green": "total war", "blue": "the red house", "white": ""}


class NoModel:
    """An encoder that must not be asked."""

    def embed(self, inputs: list[Input]) -> Vectors:
        """Fail."""
        raise AssertionError("no model is needed")


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> Iterator[ImageIndex]:
    """Six images of one colour each, four of them read."""
    for colour in (*TEXTS, "black", "yellow"):
        paint(tmp_path / "p" / f"{colour}.png", colour)
    run(tmp_path / "i", tmp_path / "p")
    write_texts(str(tmp_path / "i"), TEXTS)
    with ImageIndex(str(tmp_path / "i")) as opened:
        yield opened


def names(hits: list[Hit]) -> list[str]:
    """Return the stems of the hits' names."""
    return [Path(hit.path).stem for hit in hits]


def by_text(index: ImageIndex, text: str, **options: object) -> list[Hit]:
    """Return what is found by words alone."""
    request = SearchRequest("query", text, options=SearchOptions(image_text="only", **options))  # type: ignore[arg-type]
    return ask(index, request, NoModel()).hits  # type: ignore[arg-type]


def test_a_query_from_python_finds_by_words_alone_too(index: ImageIndex) -> None:
    """``query`` with "only" finds what has all the words, without a model, and refuses an image."""
    only = SearchOptions(image_text="only")
    (found, nothing) = query(index, NoModel(), [Input("total 23.20"), Input("none of it")], only)  # type: ignore[arg-type]
    assert (names(found), nothing) == (["red"], [])
    with pytest.raises(InputError, match="leave out the images"):
        query(index, NoModel(), [Input(image="a.png")], only)  # type: ignore[arg-type]


def test_words_alone_find_without_a_model(index: ImageIndex) -> None:
    """All words must stand in an image; the line is quoted, and the words are boxed."""
    (hit,) = by_text(index, "total 23.20")
    assert Path(hit.path).stem == "red"
    assert hit.quote is not None
    assert hit.quote.text == "… TOTAL 23.20 …"
    told = hit.as_json()
    assert told["quote"] == "… TOTAL 23.20 …"
    assert all(len(box) == 4 and box[1] == 0.1 and box[3] == 0.2 for box in told["boxes"])
    assert {*names(by_text(index, "total"))} == {"red", "green"}
    assert by_text(index, "total 99") == []


def test_filters_folders_and_order_hold_for_words_too(index: ImageIndex, tmp_path: Path) -> None:
    """What is found by words alone is filtered, cut off and sorted as any other answer is."""
    assert names(by_text(index, "total", filters=(Named("gr*"),))) == ["green"]
    assert names(by_text(index, "total", sort="path")) == ["green", "red"]
    assert len(by_text(index, "total", n=1)) == 1
    assert len(by_text(index, "total", n=1, offset=1)) == 1
    assert by_text(index, "total", below=(str(tmp_path / "p" / "blue.png"),)) == []


def asked(index: ImageIndex, model: FakeModel, text: str, **options: object) -> list[Hit]:
    """Return what is found by what images show, and by their text where that counts."""
    chosen = SearchOptions(n=6, **options)  # type: ignore[arg-type]
    return ask(index, SearchRequest("query", text, options=chosen), model.encoder()).hits


def test_text_counts_beside_what_images_show(index: ImageIndex, fake_model: FakeModel) -> None:
    """An image in which all of a query stands comes first, with its cosine and a quote; it may be left out."""
    hits = asked(index, fake_model, "total 23.20")
    shown = asked(index, fake_model, "total 23.20", image_text="off")
    assert hits[0].quote is not None
    assert hits[0].quote.text == "… TOTAL 23.20 …"
    assert {hit.path: hit.score for hit in hits} == {hit.path: hit.score for hit in shown}
    assert not any(hit.quote for hit in shown)
    assert "quote" not in shown[0].as_json()


def test_text_that_matches_little_does_not_count(index: ImageIndex, fake_model: FakeModel) -> None:
    """Of two words one stands in an image: the answer is that by what images show, to the last byte."""
    told = [
        [hit.as_json() for hit in asked(index, fake_model, "blue 23.20", image_text=kind)]
        for kind in IMAGE_TEXT[::2]
    ]
    assert told[0] == told[1]
    assert Path(told[0][0]["path"]).stem == "blue"


def test_a_plain_word_does_not_push_away_what_shows_it(index: ImageIndex, fake_model: FakeModel) -> None:
    """The red image is among the first two answers to red, though the word stands in the blue one."""
    hits = asked(index, fake_model, "red")
    assert [Path(hit.path).stem for hit in hits if hit.quote] == ["blue"]
    assert {*names(hits)[:2]} == {"red", "blue"}


def test_what_is_quoted_is_no_hit_by_chance(index: ImageIndex, fake_model: FakeModel) -> None:
    """An explanation names the text that matched."""
    hits = asked(index, fake_model, "total 23.20", explain=True)
    assert hits[0].why is not None
    assert "text: … TOTAL 23.20 …" in hits[0].why.matched


def test_only_words_can_be_looked_for_in_text(index: ImageIndex) -> None:
    """An image is no text to look for, and there are three ways for text to count."""
    with pytest.raises(InputError, match="only words"):
        SearchRequest("similar", image="a.png", options=SearchOptions(image_text="only"))
    with pytest.raises(UsageError, match="image_text"):
        SearchOptions(image_text="some")


def test_several_indexes_are_asked_for_words(index: ImageIndex, tmp_path: Path) -> None:
    """What is found by words in several indexes is merged by rank, with the quotes."""
    paint(tmp_path / "q" / "pink.png", "pink")
    run(tmp_path / "j", tmp_path / "q")
    write_texts(str(tmp_path / "j"), {"pink": "Total 5"})
    request = SearchRequest("query", "total", options=SearchOptions(image_text="only"))
    with ImageIndex(str(tmp_path / "j")) as other:
        hits = ask_all([index, other], request, [NoModel(), NoModel()]).hits  # type: ignore[list-item]
    assert {*names(hits)} == {"red", "green", "pink"}
    assert all(hit.quote for hit in hits)
