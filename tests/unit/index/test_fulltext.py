"""The full text of the catalogue holds the names, titles and keywords of what is indexed, whatever happened to it."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.errors import IndexDamaged
from imgsearch.index import metadata
from imgsearch.index.catalog import Catalog
from imgsearch.index.metadata import fulltext
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import FileState
from imgsearch.index.writer import IndexWriter
from imgsearch.tools.maintenance.verify import repair_index, verify_index
from imgsearch.types import Metadata, SourceFile
from support import fakes
from support.fakes import FakeModel, paint, run, sha, spec, unit

fake_model = fakes.fake_model


def add(writer: IndexWriter, root: int, **images: Metadata | None) -> None:
    """Commit images, by their paths, each with a content of the same name."""
    states = [
        FileState(root, SourceFile("/p", path, 1, 1), sha(path), metadata=known)
        for path, known in images.items()
    ]
    new = [path for path in images if writer.catalog.locate(sha(path)) is None]
    writer.commit([(sha(path), 0, 9, 9) for path in new], unit(len(new), 1), states)


def found(catalog: Catalog, query: str) -> list[str]:
    """Return the paths of the images that a query finds by their words, best first."""
    rows = list(fulltext.find(catalog.database, fulltext.words_of(query)))
    records = catalog.records(rows) if rows else {}
    return [records[row][0].paths[0] for row in rows]


def test_words_are_found_in_names_titles_and_keywords(tmp_path: Path) -> None:
    """A word is found in the names of folders and files, in title, description and keywords, and inside a word."""
    with IndexWriter(str(tmp_path), spec()) as writer:
        root = writer.catalog.put_root("/home/Urlaub", {})
        images = {
            "Lisbon 2019/IMG_1.jpg": None,
            "Sonnenuntergang.jpg": None,
            "a.jpg": Metadata(title="Our harbour"),
            "b.jpg": Metadata(description="Café at the corner"),
            "c.jpg": Metadata(keywords=("Straße", "Köln")),
        }
        add(writer, root, **images)
        for query, name in {
            "lisbon": "Lisbon 2019/IMG_1.jpg",
            "Untergang": "Sonnenuntergang.jpg",
            "HARBOUR": "a.jpg",
            "cafe": "b.jpg",
            "koln": "c.jpg",
            "STRASSE": "c.jpg",
        }.items():
            assert found(writer.catalog, query) == [f"/home/Urlaub/{name}"]
        assert len(found(writer.catalog, "urlaub")) == 5
        assert found(writer.catalog, "jpg") == []


def test_the_best_is_first(tmp_path: Path) -> None:
    """An image that has two of the words stands before those that have one, and one without any is not found."""
    with IndexWriter(str(tmp_path), spec()) as writer:
        others = [f"{number}.jpg" for number in range(9)]
        add(writer, writer.catalog.put_root("/p", {}), **dict.fromkeys(["red.jpg", "red car.jpg", *others]))
        assert found(writer.catalog, "a red car, or a Red Dog") == ["/p/red car.jpg", "/p/red.jpg"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "a of",
        '"',
        'red" OR "dog',
        "NEAR(red dog)",
        "name:red",
        "{name}: red",
        "red* - ^dog",
        "\0",
        "((((",
    ],
)
def test_a_query_is_words_and_nothing_else(tmp_path: Path, query: str) -> None:
    """What FTS5 would take for an operator is no more than the words in it."""
    with IndexWriter(str(tmp_path), spec()) as writer:
        add(writer, writer.catalog.put_root("/p", {}), **dict.fromkeys(["red.jpg", "dog.jpg"]))
        expected = {f"/p/{word}.jpg" for word in ("red", "dog") if word in query}
        assert set(found(writer.catalog, query)) == expected


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    """A folded word is a part of the folded text that it stands in."""
    for word in fulltext.words_of(text):
        assert word == fulltext.fold(word)
        assert word in fulltext.fold(text)


def test_what_matched_is_told(tmp_path: Path) -> None:
    """For an image it is told which of the words stand in its names, title and keywords."""
    with IndexWriter(str(tmp_path), spec()) as writer:
        known = Metadata(title="A dog", keywords=("Red",))
        add(writer, writer.catalog.put_root("/p", {}), **{"red dog.jpg": known, "cat.jpg": None})
        words = fulltext.words_of("red dog")
        ids = [record.id for name in ("red dog.jpg", "cat.jpg") for record in writer.catalog.pages(sha(name))]
        told = fulltext.matched(writer.catalog.database, ids, words)
        assert told == {ids[0]: {"name": ["red", "dog"], "title": ["dog"], "keyword": ["red"]}}


NAMES = ["a.jpg", "b/a.jpg", "b/c d.jpg", "Ü.jpg"]
TOLD = [None, Metadata(), Metadata(title="Tür"), Metadata(keywords=("x y", "é")), Metadata(description="d")]
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.integers(0, 1),
            st.sampled_from(NAMES),
            st.integers(0, 3),
            st.sampled_from(TOLD),
        ),
        st.tuples(st.just("fail"), st.integers(0, 1), st.sampled_from(NAMES)),
        st.tuples(st.just("drop"), st.integers(0, 1), st.sampled_from(NAMES)),
        st.tuples(st.just("move"), st.integers(0, 1), st.sampled_from(["/p", "/q/Neu", "/r"])),
        st.tuples(st.just("split")),
        st.tuples(st.just("compact")),
    ),
    max_size=14,
)


@settings(max_examples=20)
@given(steps=STEPS, most=st.sampled_from([1, 10_000]))
def test_the_full_text_is_what_making_it_anew_gives(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]], most: int
) -> None:
    """However files are added, changed, removed and moved, the full text is the one that the catalogue would give."""
    folder = str(tmp_path_factory.mktemp("fulltext"))
    with pytest.MonkeyPatch.context() as patch, IndexWriter(folder, spec()) as writer:
        patch.setattr(fulltext, "AT_ONCE", most)
        catalog = writer.catalog
        roots = [catalog.put_root("/a", {}), catalog.put_root("/b", {})]
        for step in steps:
            carry_out(writer, roots, *step)
            if most > 1:
                assert not fulltext.count_due(catalog.database)
            assert fulltext.is_right(catalog.database)
        writer.make_words()
        kept = rows(catalog)
        assert fulltext.is_right(catalog.database)
        with catalog.transaction():
            fulltext.make_anew(catalog.database)
        writer.make_words()
        assert rows(catalog) == kept


def rows(catalog: Catalog) -> list[tuple[object, ...]]:
    """Return the rows of the full text, and which trigrams lead to which of them."""
    ask = catalog.database.connection.execute
    ask("CREATE VIRTUAL TABLE IF NOT EXISTS temp.grams USING fts5vocab (main, words, instance)")
    return (
        ask("SELECT rowid, * FROM words ORDER BY 1").fetchall()
        + ask("SELECT * FROM grams ORDER BY 1, 2").fetchall()
    )


def carry_out(writer: IndexWriter, roots: list[int], what: object, *values: object) -> None:
    """Do one thing to an index."""
    catalog = writer.catalog
    match what, *values:
        case "add", int(root), str(path), int(content), known:
            new = [content] if catalog.locate(sha(content)) is None else []
            state = FileState(roots[root], SourceFile("/p", path, 1, 1), sha(content), metadata=known)  # type: ignore[arg-type]
            writer.commit([(sha(number), 0, 9, 9) for number in new], unit(len(new), 1), [state])
        case "fail", int(root), str(path):
            writer.commit(
                [], unit(0, 1), [FileState(roots[root], SourceFile("/p", path, 1, 1), None, "truncated")]
            )
        case "drop", int(root), str(path):
            if row := catalog.file(roots[root], path):
                catalog.drop_files([row.id])
        case "move", int(root), str(path):
            known_roots = {one.id: one for one in catalog.roots()}
            if path not in {one.path for one in known_roots.values()}:
                moved = known_roots[roots[root]].__class__(roots[root], path, {}, "/")
                catalog.move_roots([moved], copied=False)
        case ("split",):
            catalog.split_root(roots[0], "b", roots[1], {})
        case ("compact",):
            writer.compact(0.0)


def test_a_killed_writer_leaves_what_is_due_to_the_next_one(tmp_path: Path) -> None:
    """Words that were noted and not made again are made by the next transaction of any writer."""
    with IndexWriter(str(tmp_path), spec()) as writer:
        add(writer, writer.catalog.put_root("/p", {}), **{"a.jpg": None})
        # As the migration does it.
        with writer.catalog.database.transaction():
            fulltext.make_anew(writer.catalog.database)
        assert found(writer.catalog, "any") == []
    with ImageIndex(str(tmp_path)) as index:
        assert fulltext.is_right(index.catalog.database)
    with IndexWriter(str(tmp_path)) as writer:
        writer.catalog.put_meta("x", "y")
        assert not fulltext.count_due(writer.catalog.database)
        assert fulltext.is_right(writer.catalog.database)


def test_metadata_that_comes_later_is_found(tmp_path: Path) -> None:
    """What an index run reads of images that an older version has indexed is found from then on."""
    with IndexWriter(str(tmp_path), spec()) as writer:
        root = writer.catalog.put_root("/p", {})
        add(writer, root, **{"a.jpg": None})
        state = FileState(
            root, SourceFile("/p", "a.jpg", 1, 1), sha("a.jpg"), metadata=Metadata(title="Boat")
        )
        with writer.catalog.transaction() as db:
            metadata.put(db, [state])
        assert found(writer.catalog, "boat") == ["/p/a.jpg"]


def test_an_image_with_a_thousand_names_costs_a_few_thousand_characters(tmp_path: Path) -> None:
    """The names of copies without end are cut off."""
    with IndexWriter(str(tmp_path), spec()) as writer:
        root = writer.catalog.put_root("/p", {})
        states = [
            FileState(root, SourceFile("/p", f"folder {number}/{number * 'x'}.jpg", 1, 1), sha("same"))
            for number in range(200)
        ]
        writer.commit([(sha("same"), 0, 9, 9)], unit(1, 1), states)
        (name,) = itertools.chain(*writer.catalog.database.connection.execute("SELECT name FROM words"))
        assert len(name) <= 8_000


def test_a_run_brings_an_older_index_up_to_date(fake_model: FakeModel, tmp_path: Path) -> None:
    """An index whose words are all due has them after the next run, which embeds nothing."""
    paint(tmp_path / "photos" / "Lisbon.jpg", "red")
    run(tmp_path / "ix", tmp_path / "photos")
    with IndexWriter(str(tmp_path / "ix")) as writer, writer.catalog.database.transaction() as db:
        fulltext.make_anew(writer.catalog.database)
        writer.make_words = lambda: None  # type: ignore[assignment]
        assert db.execute("SELECT count(*) FROM words_due").fetchone() == (1,)
    done = run(tmp_path / "ix", tmp_path / "photos")
    assert done.indexed == 0
    with ImageIndex(str(tmp_path / "ix")) as index:
        assert found(index.catalog, "lisbon") == [str(tmp_path / "photos" / "Lisbon.jpg")]


def test_a_search_of_a_damaged_full_text_is_one_line_that_tells_how_to_repair_it(tmp_path: Path) -> None:
    """The error is about the names alone, and tells the way to make them right."""
    with IndexWriter(str(tmp_path), spec()) as writer:
        add(writer, writer.catalog.put_root("/p", {}), **{"red.jpg": None})
        writer.catalog.database.connection.execute("UPDATE words_config SET v = 99")
    with (
        ImageIndex(str(tmp_path)) as index,
        pytest.raises(IndexDamaged, match=r"^the names.*repair") as raised,
    ):
        found(index.catalog, "red")
    assert "\n" not in str(raised.value)
    with IndexWriter(str(tmp_path)) as writer, pytest.raises(IndexDamaged, match=r"^the names.*repair"):
        add(writer, 1, **{"blue.jpg": None})


DAMAGES = {
    "a block": "UPDATE words_data SET block = randomblob(length(block)) WHERE id > 10",
    "all blocks": "UPDATE words_data SET block = zeroblob(40)",
    "blocks that are missing": "DELETE FROM words_data WHERE id > 10",
    "the index of blocks": "DELETE FROM words_idx",
    "a text": "UPDATE words_content SET c0 = 'something else'",
    "a blob for a text": "UPDATE words_content SET c0 = x'ff00ff'",
    "sizes": "UPDATE words_docsize SET sz = x'ffffffffffffffffff'",
    "the version": "UPDATE words_config SET v = 99",
    "settings": "INSERT INTO words_config VALUES ('pgsz', -1), ('rank', 'nonsense(1)'), ('automerge', 'x')",
    "a row too many": "INSERT INTO words (rowid, name, title, keyword) VALUES (7777, 'ghost', '', '')",
    "a huge text": "UPDATE words_content SET c1 = printf('%.*c', 5000000, 'x') WHERE id % 100 = 0",
}


@pytest.mark.parametrize("sql", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_full_text_is_found_and_repaired(tmp_path: Path, sql: str) -> None:
    """Whatever the table holds, a search gives an answer or one line; verify finds it, and a repair makes it right."""
    images = {f"red {number}.jpg": Metadata(title="A dog") for number in range(300)}
    with IndexWriter(str(tmp_path), spec()) as writer:
        add(writer, writer.catalog.put_root("/p", {}), **images)
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as db, db:
        db.execute(sql)
    with ImageIndex(str(tmp_path)) as index, suppress(IndexDamaged):
        found(index.catalog, "red dog ghost")
        fulltext.matched(index.catalog.database, range(1, 99), ("red",))
    report = verify_index(str(tmp_path))
    if sql != DAMAGES["settings"]:
        assert [damage.kind for damage in report.damages] == ["counters"]
    repair_index(str(tmp_path))
    assert not verify_index(str(tmp_path)).damages
    with ImageIndex(str(tmp_path)) as index:
        assert len(found(index.catalog, "red")) == 300
