"""The catalogue keeps the text that stands in images, and finds images by it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.errors import IndexDamaged
from imgsearch.index import image_text
from imgsearch.index.catalog import Catalog
from imgsearch.index.image_text import ImageText, TextLine, search
from imgsearch.index.image_text.quotes import quote_of
from imgsearch.index.image_text.tokens import phrases_of, tokens_of
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import FileState
from imgsearch.index.writer import IndexWriter
from imgsearch.tools.maintenance.verify import repair_index, verify_index
from imgsearch.types import SourceFile
from support.fakes import sha, spec, unit

LEFT, RIGHT = (0.1, 0.3, 0.3, 0.3, 0.3, 0.4, 0.1, 0.4), (0.6, 0.3, 0.9, 0.3, 0.9, 0.4, 0.6, 0.4)


def add(writer: IndexWriter, **texts: str | list[TextLine]) -> None:
    """Commit images by name, each with the lines of a text."""
    root = writer.catalog.put_root("/p", {})
    states = [FileState(root, SourceFile("/p", name, 1, 1), sha(name)) for name in texts]
    new = [name for name in texts if writer.catalog.locate(sha(name)) is None]
    writer.commit([(sha(name), 0, 9, 9) for name in new], unit(len(new), 1), states)
    read = [
        ImageText(
            sha(name), 0, tuple(map(TextLine, text.split("\n")) if isinstance(text, str) else text), "t"
        )
        for name, text in texts.items()
    ]
    with writer.catalog.transaction() as db:
        image_text.put(db, read)


def found(catalog: Catalog, query: str) -> list[str]:
    """Return the names of the images that have all words of a query, best first."""
    rows = [(segment, row) for segment, row, _ in search.find(catalog.database, phrases_of(query))]
    records = catalog.records(rows) if rows else {}
    return [records[row][0].paths[0].removeprefix("/p/") for row in rows]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("total", ["receipt", "film"]),
        ("TOTAL 23,20", ["receipt"]),
        ('"total 23.20"', ["receipt"]),
        ("“war total”", []),
        ("cafe lodz", ["sign"]),
        ("hauptstrasse", ["sign"]),
        ("東京", ["tokyo"]),
        ("京都", ["tokyo"]),
        ("都", ["tokyo"]),
        ("東京都2024", ["tokyo"]),
        ("서울", ["tokyo"]),
        ("부산", []),
        ("tot", []),
        ("…", []),
    ],
)
def test_words_phrases_and_pairs_of_characters_are_found(
    tmp_path: Path, query: str, names: list[str]
) -> None:
    """All words must stand in an image, case and accents aside; scripts without spaces are found by any part."""
    with IndexWriter(str(tmp_path), spec()) as writer:
        add(
            writer,
            receipt="TOTAL\n23.20 EUR",
            film="The total war, as it was told by many people",
            sign="Café Łódź, Hauptstraße 3",
            tokyo="東京都 2024\n서울역",
            none="",
        )
        assert found(writer.catalog, query) == names
        assert image_text.counts(writer.catalog.database) == (5, 4)
        assert image_text.count_missing(writer.catalog.database) == 0


def test_the_text_is_forgotten_with_its_image(tmp_path: Path) -> None:
    """Text that is read again takes the place of the old one, and what is compacted away is found no more."""
    with IndexWriter(str(tmp_path), spec()) as writer:
        add(writer, a="alpha", b="beta")
        add(writer, a="gamma")
        assert (found(writer.catalog, "alpha"), found(writer.catalog, "gamma")) == ([], ["a"])
        root = writer.catalog.roots()[0]
        writer.catalog.drop_files([row.id for row in writer.catalog.files(root.id)])
        assert found(writer.catalog, "gamma") == []
        writer.compact(0)
        assert writer.catalog.database.query(int, "SELECT count(*) FROM image_text") == [0]
        assert writer.catalog.database.query(int, "SELECT count(*) FROM image_words") == [0]


def test_hostile_text_is_kept_as_plain_text_within_limits(tmp_path: Path) -> None:
    """Control characters and lone bytes become spaces, and of a megabyte of words the first are kept."""
    lines = [TextLine("a\x1b[2J\0b\udcff c\x85d"), TextLine("‮evil"), *[TextLine("word " * 99)] * 2000]
    with IndexWriter(str(tmp_path), spec()) as writer:
        add(writer, a=lines)
        (text,) = image_text.lines_of(writer.catalog.database, [1]).values()
        assert text[0].text == "a [2J b c d"
        assert sum(len(line.text) for line in text) <= image_text.MOST_CHARACTERS
        assert found(writer.catalog, "evil") == ["a"]


def test_damaged_words_are_noticed_and_made_again(tmp_path: Path) -> None:
    """Verification notices words that are not those of the text; a repair makes them again."""
    folder = str(tmp_path)
    with IndexWriter(folder, spec()) as writer:
        add(writer, a="alpha", b="beta")
        path = writer.catalog.path
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE image_words SET text = 'omega' WHERE rowid = 1")
    assert any("words in images" in damage.what for damage in verify_index(folder).damages)
    repair_index(folder)
    with ImageIndex(folder) as index:
        assert found(index.catalog, "alpha") == ["a"]
    assert not verify_index(folder).damages


def test_a_damaged_row_is_damage(tmp_path: Path) -> None:
    """A row that holds no lines raises IndexDamaged and nothing else."""
    with IndexWriter(str(tmp_path), spec()) as writer:
        add(writer, a="alpha")
        for stored in ('[["x", [1]]]', "[[3]]", "[3]", "{", "[[]]"):
            writer.catalog.database.connection.execute("UPDATE image_text SET lines = ?", (stored,))
            with pytest.raises(IndexDamaged):
                image_text.lines_of(writer.catalog.database, [1])


def test_the_line_is_quoted_and_its_words_are_boxed() -> None:
    """The words that stand closest together are quoted, with … for text around them; each has a box in its line."""
    lines = [
        TextLine("Total of all"),
        TextLine("SHOP"),
        TextLine("TOTAL", LEFT),
        TextLine("23.20 EUR", RIGHT),
        TextLine("Thanks"),
    ]
    quote = quote_of(lines, phrases_of("total 23.20"))
    assert quote is not None
    assert quote.text == "… TOTAL 23.20 EUR …"
    (left, right) = quote.boxes
    assert left == (0.1, 0.3, 0.3, 0.4)
    assert right[0] == 0.6
    assert 0.7 < right[2] < 0.82
    assert quote_of(lines, phrases_of("nowhere")) is None


def test_a_long_line_is_quoted_around_the_words() -> None:
    """Of a page in one line some words before and behind are quoted."""
    quote = quote_of([TextLine("one two " * 5000 + "needle " + "three " * 5000)], phrases_of("needle"))
    assert quote is not None
    assert "needle" in quote.text
    assert len(quote.text) < 100
    assert quote.text.startswith("… ")
    assert quote.text.endswith(" …")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=12), max_size=6), st.text(max_size=12))
def test_any_text_and_query_are_taken(texts: list[str], query: str) -> None:
    """No text and no query raises; tokens stand where they say, and FTS5's language is never spoken by a query."""
    for text in texts:
        for token in tokens_of(text):
            assert 0 <= token.start < token.end <= len(text)
            assert token.text
            assert token.text.replace(" ", "").isalnum() or not token.text.isascii()
    phrases = phrases_of(query)
    quote_of(list(map(TextLine, texts)), phrases)
    assert all(not set('"*^:(){}+-') & set("".join(phrase.tokens)) for phrase in phrases)


def test_any_query_can_be_asked(tmp_path: Path) -> None:
    """What is an operator to FTS5 is a word here, or nothing."""
    with IndexWriter(str(tmp_path), spec()) as writer:
        add(writer, a="near and not or")
        for query in ("NEAR", "and OR", "a* (", 'NOT "', "text: x", "near(and not)", "\0", "^near", "-or"):
            found(writer.catalog, query)
        assert found(writer.catalog, "NOT or") == ["a"]
